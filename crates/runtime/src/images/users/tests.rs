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
    assert_eq!(refusal("99999999999"), "user number 99999999999 is out of range");
}
