use super::*;

fn formatted(text: &[u8]) -> String {
    let mut out = Vec::new();
    format(&mut out, "stdout", text, 1_700_000_000_000_000_001);
    String::from_utf8(out).unwrap()
}

#[test]
fn lines_become_records_and_a_line_without_end_a_partial_one() {
    let head = "2023-11-14T22:13:20.000000001Z stdout";
    assert_eq!(formatted(b"one\r\n\ntwo"), format!("{head} F one\n{head} F \n{head} P two\n"));
}

#[test]
fn long_lines_are_cut_at_sixteen_kibibytes() {
    let text = [vec![b'x'; LINE_MAX + 1], b"\n".to_vec()].concat();
    let records = formatted(&text);
    let tags: Vec<_> = records.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(tags, ["P", "F"]);
}

const LINE: &[u8] = b"2026-01-01T00:00:01.000000000Z stdout F of a log, and long enough to be rotated\n";

/// Pods that collect logs may write below /var/log: links there lead to what is not theirs.
#[test]
fn links_in_a_logs_place_are_neither_read_nor_written_through() {
    let root = tempfile::tempdir().unwrap();
    let secret = root.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let log = |name: &str| root.path().join("log/pods/ns_p_u").join(name).join("0.log");
    let spec = |path: PathBuf| spec::LogFile { path, size_max: 100, files_max: 3 };
    let kept = || assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");

    // The log itself; a folder on the way; a pipe.
    LogFile::open(&spec(log("a"))).unwrap();
    std::fs::remove_file(log("a")).unwrap();
    std::os::unix::fs::symlink(&secret, log("a")).unwrap();
    assert!(LogFile::open(&spec(log("a"))).is_err());
    assert!(logfolder::open_log(&log("a")).is_err());
    std::fs::create_dir(root.path().join("away")).unwrap();
    std::fs::write(root.path().join("away/0.log"), "theirs").unwrap();
    std::os::unix::fs::symlink(root.path().join("away"), log("b").parent().unwrap()).unwrap();
    assert!(LogFile::open(&spec(log("b"))).is_err());
    assert!(logfolder::open_log(&log("b")).is_err() && rotations(&log("b")).is_empty());
    std::fs::create_dir(log("c").parent().unwrap()).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, log("c"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    // Not even opened: to open some devices does something.
    let why = LogFile::open(&spec(log("c"))).err().unwrap().to_string();
    assert!(why.contains("not a plain file"), "{why}");
    assert!(logfolder::open_log(&log("c")).is_err(), "it would wait for a writer");

    // What is to be compressed, and where it is compressed to.
    let mut file = LogFile::open(&spec(log("d"))).unwrap();
    let older = |name: &str| log("d").with_file_name(name);
    std::os::unix::fs::symlink(&secret, older("0.log.20200101-000000")).unwrap();
    std::fs::write(older("0.log.20200101-000001"), LINE).unwrap();
    std::fs::write(older("0.log.20200101-000002"), LINE).unwrap();
    let partial = format!("0.log.20200101-000001.{}.tmp", std::process::id());
    std::os::unix::fs::symlink(&secret, older(&partial)).unwrap();
    pack(&log("d"));
    kept();
    assert!(!older("0.log.20200101-000000.gz").exists(), "the secret was packed for everybody to read");
    assert!(logfolder::open_log(&older("0.log.20200101-000000")).is_err());
    assert!(older("0.log.20200101-000001.gz").exists());
    // It goes on rotating, and removes links as what they are.
    for _ in 0..8 {
        file.make_room(LINE.len()).unwrap();
        file.write(LINE).unwrap();
    }
    kept();
    assert!(older("0.log.20200101-000000").symlink_metadata().is_err());
    assert_eq!(std::fs::read_to_string(root.path().join("away/0.log")).unwrap(), "theirs");
}

/// An administrator may have moved all logs to another disk; a pod that writes to /var/log may not.
#[test]
fn the_root_of_all_logs_may_be_a_link_when_it_is_first_seen_and_becomes_none_later() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("log/pods/ns_p_u/c/0.log");
    let spec = spec::LogFile { path: log.clone(), size_max: 0, files_max: 2 };
    std::fs::create_dir_all(root.path().join("disk/logs")).unwrap();
    std::fs::create_dir_all(root.path().join("away/ns_p_u/c")).unwrap();
    std::fs::create_dir(root.path().join("log")).unwrap();
    let pods = root.path().join("log/pods");
    std::os::unix::fs::symlink(root.path().join("disk/logs"), &pods).unwrap();
    LogFile::open(&spec).unwrap().write(LINE).unwrap();
    assert_eq!(std::fs::read(root.path().join("disk/logs/ns_p_u/c/0.log")).unwrap(), LINE);
    // Whoever swaps the link moves nothing.
    std::fs::remove_file(&pods).unwrap();
    std::os::unix::fs::symlink(root.path().join("away"), &pods).unwrap();
    LogFile::open(&spec).unwrap().write(LINE).unwrap();
    remove_log(&log);
    assert_eq!(std::fs::read_dir(root.path().join("away/ns_p_u/c")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(root.path().join("disk/logs/ns_p_u/c")).unwrap().count(), 0);
}

/// Where /var/log belongs to a group, as Debian has it, a user could be there first.
#[test]
fn a_root_of_logs_that_another_user_put_there_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
    let root = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        let path = root.path().join(name).join("ns_p_u/c/0.log");
        LogFile::open(&spec::LogFile { path, size_max: 0, files_max: 2 })
            .map_or_else(|e| e.to_string(), |_| "open".into())
    };
    for folder in ["away", "theirs", "loose", "group", "ours"] {
        std::fs::create_dir(root.path().join(folder)).unwrap();
    }
    symlink(root.path().join("away"), root.path().join("link")).unwrap();
    lchown(root.path().join("link"), Some(65534), None).unwrap();
    symlink("link", root.path().join("onto-theirs")).unwrap();
    chown(root.path().join("theirs"), Some(65534), None).unwrap();
    chown(root.path().join("group"), None, Some(65534)).unwrap();
    for (name, mode) in [("loose", 0o757), ("group", 0o775)] {
        std::fs::set_permissions(root.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    for name in ["link", "onto-theirs"] {
        assert!(open(name).contains("is a link that belongs to user 65534"), "{name}: {}", open(name));
    }
    for (name, why) in [("theirs", "belongs to user 65534"), ("loose", "mode 0757"), ("group", "mode 0775")] {
        assert!(open(name).contains(why), "{name}: {}", open(name));
    }
    assert_eq!(std::fs::read_dir(root.path().join("away")).unwrap().count(), 0);
    assert_eq!(open("ours"), "open");
}

#[test]
fn a_root_of_logs_that_becomes_a_link_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let spec = spec::LogFile { path: root.path().join("log/pods/ns_p_u/c/0.log"), size_max: 0, files_max: 2 };
    LogFile::open(&spec).unwrap();
    let pods = root.path().join("log/pods");
    std::fs::rename(&pods, root.path().join("log/was")).unwrap();
    std::fs::create_dir(root.path().join("away")).unwrap();
    std::os::unix::fs::symlink(root.path().join("away"), &pods).unwrap();
    assert!(LogFile::open(&spec).is_err());
    assert_eq!(std::fs::read_dir(root.path().join("away")).unwrap().count(), 0);
}
