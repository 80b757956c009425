use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;

fn with_mode(path: &Path, mode: u32) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn refusal(path: &Path) -> String {
    refusal_of(path, &RUN)
}

fn refusal_of(path: &Path, sort: &Sort) -> String {
    let trusted = Trusted { users: vec![0, rustix::process::geteuid().as_raw()], groups: vec![0] };
    take(path, sort, &trusted).map_or_else(|error| error.message, |()| String::new())
}

fn give_to(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
}

#[test]
fn folders_that_exist_are_closed_to_others() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    with_mode(&folder, 0o755);
    fs::write(folder.join("lock"), "").unwrap();
    assert_eq!((refusal(&folder), mode(&folder)), (String::new(), 0o700));
    // Nobody has written into an empty one yet.
    let open = root.path().join("open");
    with_mode(&open, 0o1777);
    assert_eq!((refusal(&open), mode(&open)), (String::new(), 0o700));
    let fresh = root.path().join("a/b");
    assert_eq!((refusal(&fresh), mode(&fresh), mode(&root.path().join("a"))), (String::new(), 0o700, 0o700));
}

#[test]
fn what_others_may_have_written_or_may_replace_is_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    with_mode(&folder, 0o777);
    symlink("/etc", folder.join("volumes")).unwrap();
    let why = refusal(&folder);
    assert!(why.starts_with(&format!("--run-dir {}: other users may write", folder.display())), "{why}");
    assert_eq!(mode(&folder), 0o777, "a refusal changes nothing");

    let (loose, sticky) = (root.path().join("loose"), root.path().join("sticky"));
    with_mode(&loose, 0o777);
    with_mode(&sticky, 0o1777);
    let why = refusal(&loose.join("a/run"));
    assert!(why.contains(&format!("leads through {} (", loose.display())) && why.contains("0777"), "{why}");
    assert_eq!(refusal(&sticky.join("run")), "");

    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let theirs = root.path().join("theirs");
    with_mode(&theirs, 0o700);
    fs::write(theirs.join("thesis"), "").unwrap();
    chown(&theirs, Some(65534), None).unwrap();
    assert!(refusal(&theirs).contains("belongs to user 65534, not to user 0"), "{}", refusal(&theirs));
    assert!(refusal(&theirs.join("mine")).contains("leads through"), "its owner can replace what is in it");
    // As /tmp/x that somebody else was there first with.
    let planted = sticky.join("planted");
    with_mode(&planted, 0o755);
    chown(&planted, Some(65534), None).unwrap();
    assert!(refusal(&planted).contains("belongs to user 65534"), "{}", refusal(&planted));
    let group = root.path().join("group");
    with_mode(&group, 0o775);
    chown(&group, None, Some(50)).unwrap();
    assert!(refusal(&group.join("run")).contains("group 50"), "{}", refusal(&group.join("run")));
}

#[test]
fn every_link_is_followed_once_and_for_all() {
    let root = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(root.path()).unwrap();
    fs::create_dir(root.join("real")).unwrap();
    symlink(root.join("real"), root.join("link")).unwrap();
    symlink(root.join("absent"), root.join("dangling")).unwrap();
    assert_eq!(canonical(&root.join("link")).unwrap(), root.join("real"));
    assert_eq!(canonical(&root.join("link/not/yet")).unwrap(), root.join("real/not/yet"));
    assert_eq!(canonical(&root.join("link/../real/.")).unwrap(), root.join("real"));
    let why = canonical(&root.join("dangling")).unwrap_err().message;
    assert!(why.ends_with("dangling is a link that leads nowhere"), "{why}");
}

/// In /tmp, say: the folder would be closed to its owner, filled, and removed by `down --purge`.
#[test]
fn a_link_of_another_users_is_not_followed() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(root.path()).unwrap();
    fs::create_dir(root.join("real")).unwrap();
    symlink(root.join("real"), root.join("theirs")).unwrap();
    std::os::unix::fs::lchown(root.join("theirs"), Some(65534), Some(65534)).unwrap();
    symlink(root.join("theirs/data"), root.join("ours")).unwrap();
    for path in ["theirs", "theirs/data", "ours", "ours/x", "real/../theirs"] {
        let why = canonical(&root.join(path)).unwrap_err().message;
        assert!(why.contains("is a link that belongs to user 65534"), "{path}: {why}");
    }
}

/// `--data-dir /srv`, `--run-dir /run`: others would be locked out of them.
#[test]
fn a_folder_of_somebody_elses_things_is_not_closed() {
    let root = tempfile::tempdir().unwrap();
    let srv = root.path().join("srv");
    with_mode(&srv, 0o755);
    // As /run has it.
    fs::create_dir_all(srv.join("lock")).unwrap();
    fs::create_dir_all(srv.join("images")).unwrap();
    fs::create_dir_all(srv.join("www")).unwrap();
    for closed in [0o755, 0o700] {
        with_mode(&srv, closed);
        for sort in [&RUN, &DATA] {
            assert!(refusal_of(&srv, sort).contains("give it a folder of its own"), "{}", refusal_of(&srv, sort));
        }
        assert_eq!(mode(&srv), closed);
    }
    // What an administrator puts there before the first start, and what a new disk has.
    let prepared = root.path().join("prepared");
    with_mode(&prepared, 0o755);
    for name in ["manifests", "seccomp", "lost+found"] {
        fs::create_dir(prepared.join(name)).unwrap();
    }
    fs::write(prepared.join("registries.yaml"), "").unwrap();
    assert_eq!((refusal_of(&prepared, &DATA), mode(&prepared)), (String::new(), 0o700));
}

/// A data folder that was another user's once: its keys would sign for us, its journal say what runs.
#[test]
fn what_another_user_left_in_a_folder_is_not_believed() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let refused = || refusal_of(&data, &DATA);
    for folder in ["pki", "store/deep/er", "images/layers/of", "manifests"] {
        fs::create_dir_all(data.join(folder)).unwrap();
    }
    for file in ["pki/ca.key", "store/deep/er/table", "images/index.json", "images/layers/of/file", "manifests/a"] {
        fs::write(data.join(file), "").unwrap();
    }
    fs::write(data.join("admin.kubeconfig"), "").unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(refused(), "");
    for path in ["pki", "pki/ca.key", "store/deep/er/table", "images/index.json", "images/layers", "admin.kubeconfig"] {
        give_to(&data.join(path), 65534);
        let why = refused();
        let named = format!("{} belongs to user 65534", data.join(path).display());
        assert!(why.starts_with("--data-dir ") && why.contains(&named) && why.contains("chown it to user 0"), "{why}");
        // Nothing is ended by what it says either.
        let trusted = Trusted { users: vec![0], groups: vec![0] };
        assert!(take_to_end(&data, &DATA, &trusted).is_err_and(|error| error.message.contains(&named)));
        give_to(&data.join(path), 0);
    }
    for (path, loose, right) in [("pki", 0o777, 0o700), ("pki/ca.key", 0o622, 0o600), ("manifests/a", 0o646, 0o600)] {
        fs::set_permissions(data.join(path), fs::Permissions::from_mode(loose)).unwrap();
        assert!(refused().contains(&format!("chmod it to {right:04o}")), "{}", refused());
        fs::set_permissions(data.join(path), fs::Permissions::from_mode(right)).unwrap();
    }
    // The files of images and containers are anybody's.
    give_to(&data.join("images/layers/of"), 1000);
    give_to(&data.join("images/layers/of/file"), 1000);
    assert_eq!(refused(), "");
    // On another disk, by a link: an administrator's, to a place of root's.
    let disk = root.path().join("disk");
    fs::rename(data.join("images"), &disk).unwrap();
    symlink(&disk, data.join("images")).unwrap();
    assert_eq!(refused(), "");
    give_to(&disk, 65534);
    assert!(refused().contains("disk belongs to user 65534"), "{}", refused());
    give_to(&disk, 0);
    give_to(&data.join("images"), 65534);
    assert!(refused().contains("images belongs to user 65534"), "{}", refused());
    fs::remove_file(data.join("images")).unwrap();
    fs::create_dir_all(root.path().join("home/disk")).unwrap();
    give_to(&root.path().join("home"), 65534);
    symlink(root.path().join("home/disk"), data.join("images")).unwrap();
    assert!(refused().contains("leads through"), "{}", refused());
}

/// `down --purge --data-dir /root`, where somebody keeps an `admin.kubeconfig`.
#[test]
fn only_what_an_instance_made_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("root");
    fs::create_dir_all(home.join("images")).unwrap();
    for file in ["admin.kubeconfig", "token", "thesis"] {
        fs::write(home.join(file), "").unwrap();
    }
    let why = require_removable(&home, &DATA).unwrap_err().message;
    assert!(why.contains("no instance of gousse ever lived in it"), "{why}");
    require_removable(&root.path().join("absent"), &DATA).unwrap();

    let data = root.path().join("data");
    assert_eq!(refusal_of(&data, &DATA), "");
    require_removable(&data, &DATA).unwrap();
    for folder in ["pki", "images/layers", "manifests"] {
        fs::create_dir_all(data.join(folder)).unwrap();
    }
    fs::create_dir_all(data.join("store.damaged-1")).unwrap();
    fs::write(data.join("store.mark"), "").unwrap();
    fs::write(data.join("thesis"), "").unwrap();
    remove(&data, &DATA, Mounts::Refused).unwrap();
    assert_eq!(names_in(&data).unwrap(), ["thesis"]);
    fs::remove_file(data.join("thesis")).unwrap();
    remove(&data, &DATA, Mounts::Refused).unwrap();
    remove(&data, &DATA, Mounts::Refused).unwrap();
    assert!(!data.exists());

    // What a version before the mark made.
    let old = root.path().join("old");
    for folder in ["images", "runtime"] {
        fs::create_dir_all(old.join(folder)).unwrap();
    }
    assert!(require_removable(&old, &DATA).is_err(), "anybody may have such folders");
    fs::write(old.join("images/lock"), "").unwrap();
    require_removable(&old, &DATA).unwrap();
}

/// As CI has it: `docker run -v $PWD/data:/data`, root inside, the folder a user's of the host.
#[test]
fn an_empty_folder_of_a_stranger_is_taken_where_only_root_put_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let (volume, full, home) = (root.path().join("volume"), root.path().join("full"), root.path().join("home"));
    for folder in [&volume, &full, &home.join("data")] {
        with_mode(folder, 0o755);
        give_to(folder, 1000);
    }
    fs::write(full.join("thesis"), "").unwrap();
    assert_eq!((refusal_of(&volume, &DATA), mode(&volume)), (String::new(), 0o700));
    assert_eq!(fs::metadata(&volume).unwrap().uid(), 0);
    assert!(refusal_of(&full, &DATA).contains("belongs to user 1000"));
    assert_eq!((fs::metadata(&full).unwrap().uid(), mode(&full)), (1000, 0o755), "a refusal changes nothing");
    // By a service, which nobody called through sudo.
    give_to(&home, 1000);
    let why = refusal_of(&home.join("data"), &DATA);
    assert!(why.contains("leads through") && why.contains("choose a folder that only root can replace"), "{why}");
}

/// `mkdir d && sudo gousse up --data-dir d`
#[test]
fn an_empty_folder_of_who_called_sudo_becomes_ours() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let trusted = Trusted { users: vec![0, 65533], groups: vec![0, 65533] };
    let take = |path: &Path| take(path, &DATA, &trusted).map_or_else(|error| error.message, |()| String::new());
    let (theirs, old, full, open) =
        (root.path().join("theirs"), root.path().join("old"), root.path().join("full"), root.path().join("open"));
    for folder in [&theirs, &old, &full, &open] {
        with_mode(folder, 0o775);
    }
    fs::write(old.join(MARK), "").unwrap();
    fs::write(full.join("thesis"), "").unwrap();
    fs::write(open.join(MARK), "").unwrap();
    with_mode(&open, 0o777);
    for folder in [&theirs, &old, &full, &open] {
        chown(folder, Some(65533), Some(65533)).unwrap();
    }
    let owner = |path: &Path| (fs::metadata(path).unwrap().uid(), fs::metadata(path).unwrap().gid());
    assert_eq!((take(&theirs), owner(&theirs), mode(&theirs)), (String::new(), (0, 0), 0o700));
    assert_eq!((take(&old), owner(&old), mode(&old)), (String::new(), (0, 0), 0o700));
    assert!(take(&full).contains("belongs to user 65533"));
    assert!(take(&open).contains("other users may write"));
    assert_eq!((owner(&full), owner(&open)), ((65533, 65533), (65533, 65533)), "a refusal changes nothing");
}

/// What the version before began where this one would not.
#[test]
fn down_ends_an_instance_in_a_folder_that_up_would_refuse_unless_others_may_write() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let trusted = Trusted { users: vec![0], groups: vec![0] };
    let end = |path: &Path| take_to_end(path, &RUN, &trusted).map_err(|error| error.message);
    let folder = root.path().join("theirs/run");
    fs::create_dir_all(&folder).unwrap();
    chown(root.path().join("theirs"), Some(65533), None).unwrap();
    chown(&folder, Some(65533), None).unwrap();
    assert!(end(&folder).unwrap_err().contains("leads through"), "no instance lives there");
    fs::write(folder.join("lock"), "1").unwrap();
    assert!(refusal(&folder).contains("leads through"));
    end(&folder).unwrap();
    with_mode(&root.path().join("theirs"), 0o777);
    assert!(end(&folder).unwrap_err().contains("leads through"));
    with_mode(&root.path().join("theirs"), 0o755);
    with_mode(&folder, 0o777);
    assert!(end(&folder).is_err());
}
