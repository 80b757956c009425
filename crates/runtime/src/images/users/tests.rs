use super::*;

const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nbroken\napp:x:1000:1001:A:/home/app:\n";
const GROUP: &str = "root:x:0:\nadm:x:4:app,www-data\nweb:x:80:app\n";

fn check(user: &str, expected: (u32, u32, &[u32], bool, &str)) {
    let found = resolve(user, PASSWD, GROUP).expect("it resolves");
    let (uid, gid, groups, numeric, home) = expected;
    assert_eq!(found, ImageUser { uid, gid, groups: groups.to_vec(), numeric, home: home.into() }, "{user}");
}

#[test]
fn users_resolve_as_runc_resolves_them() {
    check("", (0, 0, &[], true, "/root"));
    check("app", (1000, 1001, &[4, 80], false, "/home/app"));
    check("1000", (1000, 1001, &[4, 80], true, "/home/app"));
    check("1234", (1234, 0, &[], true, "/"));
    check("1234:5", (1234, 5, &[], true, "/"));
    check("www-data:web", (33, 80, &[4], false, "/var/www"));
}

#[test]
fn unknown_names_are_refused_in_runcs_words() {
    let refusal = |user| resolve(user, PASSWD, GROUP).unwrap_err().to_string();
    assert_eq!(refusal("nobody"), "unable to find user nobody: no matching entries in passwd file");
    assert_eq!(refusal("app:nogroup"), "unable to find group nogroup: no matching entries in group file");
    assert_eq!(
        refusal("99999999999"),
        "user number 99999999999 is out of range: uids and gids must be in range 0-2147483647"
    );
}

/// Numbers that setresuid takes as "unchanged", or that some system call or some file takes as another.
#[test]
fn numbers_out_of_range_are_refused_wherever_they_come_from() {
    let passwd = "minus:x:4294967295:0::/:\nlarge:x:2147483648:0::/:\ngroup:x:5:4294967295::/:\n\
        7:x:1:1::/seven:\nlast:x:2147483647:2147483647::/:\n-1:x:0:0::/:\n4294967295:x:0:0::/:\nin:x:6:6::/:\n";
    let group = "all:x:4294967295:\nhuge:x:99999999999999999999:\nodd:x:4294967295:in\nok:x:4:last\n";
    for user in [
        "4294967295",
        "2147483648",
        "99999999999999999999",
        "4294967295:0",
        "0:4294967295",
        "0:2147483648",
        "0:99999999999999999999",
        "minus",
        "large",
        "group",
        "5",
        "0:all",
        "in",
        "last:4294967295",
        "0:huge",
    ] {
        let refusal = resolve(user, passwd, group).map(|found| panic!("{user}: {found:?}")).unwrap_err().to_string();
        let in_runcs_words = refusal.contains("uids and gids must be in range 0-2147483647");
        assert!(in_runcs_words || refusal.contains("unable to find"), "{user}: {refusal}");
    }
    let found = |user: &str| resolve(user, passwd, group).map(|found| (found.uid, found.gid, found.numeric));
    assert_eq!(found("last").unwrap(), (2147483647, 2147483647, false));
    assert_eq!(found("2147483647").unwrap(), (2147483647, 2147483647, true));
    // As Go's Atoi: these are numbers, and the first of them is root, whom runAsNonRoot refuses.
    for (user, uid) in [("+0", 0), ("00", 0), ("0000000000000", 0), ("007", 7)] {
        assert_eq!(found(user).map(|(uid, _, numeric)| (uid, numeric)).ok(), Some((uid, true)), "{user}");
    }
    // These are not: names, which runAsNonRoot does not believe. containerd takes "-1" so too.
    assert_eq!(found("-1").unwrap(), (0, 0, false));
    for user in [" 0", "0 ", "0x0", "1e3", "-2", "+", "0\n", "\u{660}"] {
        assert!(found(user).is_err(), "{user:?}");
    }
}

#[test]
fn absurd_names_are_cut_in_what_is_said_of_them() {
    let refusal = resolve(&"x".repeat(1 << 20), PASSWD, GROUP).unwrap_err().to_string();
    assert!(refusal.len() < 1000, "{}", refusal.len());
    assert!(resolve(&"9".repeat(1 << 20), PASSWD, GROUP).unwrap_err().to_string().len() < 1000);
}

/// What stands where /etc/passwd should is the image's choice.
#[test]
fn a_passwd_that_is_no_plain_file_of_the_image_is_not_read() {
    let root = tempfile::tempdir().unwrap();
    let outside = root.path().join("outside");
    std::fs::write(&outside, "evil:x:0:0::/:\n").unwrap();
    let layer = |name: &str| {
        let layer = root.path().join(name);
        std::fs::create_dir_all(layer.join("etc")).unwrap();
        layer
    };
    let refused = |layer: PathBuf| {
        let refusal = look_up(std::slice::from_ref(&layer), "evil").unwrap_err().to_string();
        assert!(refusal.contains("unable to find user evil"), "{}: {refusal}", layer.display());
        assert_eq!(look_up(&[layer], "12").unwrap().uid, 12);
    };
    for (name, target) in [
        ("absolute", outside.clone()),
        ("relative", PathBuf::from("../../outside")),
        ("process", format!("/proc/{}/root{}", std::process::id(), outside.display()).into()),
        ("itself", PathBuf::from("passwd")),
    ] {
        let layer = layer(name);
        std::os::unix::fs::symlink(target, layer.join("etc/passwd")).unwrap_or(());
        if name == "itself" {
            assert!(look_up(&[layer], "evil").is_err());
        } else {
            refused(layer);
        }
    }
    // Nobody writes into it: opening it would wait for ever.
    let fifo = layer("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, fifo.join("etc/passwd"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    refused(fifo);
    let folder = layer("folder");
    std::fs::create_dir(folder.join("etc/passwd")).unwrap();
    refused(folder);
    // The folder itself leads out.
    let away = root.path().join("away");
    std::fs::create_dir(&away).unwrap();
    std::fs::write(root.path().join("passwd"), "evil:x:0:0::/:\n").unwrap();
    std::os::unix::fs::symlink(root.path(), away.join("etc")).unwrap();
    refused(away);
    let huge = layer("huge");
    let file = std::fs::File::create(huge.join("etc/passwd")).unwrap();
    file.set_len(1 << 40).unwrap();
    let refusal = look_up(&[huge], "evil").unwrap_err().to_string();
    assert!(refusal.contains("/etc/passwd") && refusal.contains("larger"), "{refusal}");
}
