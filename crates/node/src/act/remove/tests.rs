use std::fs;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn only_folders_that_are_called_as_a_pods_are_taken_for_one() {
    let uid = "362f13d6-a0cb-4c89-8330-5b69f40470ac";
    assert_eq!(uid_of(&format!("default_web.0-1_{uid}")), Some(uid));
    assert_eq!(uid_of("kube-system_dns-vm_0f3c"), Some("0f3c"));
    for other in ["", "web", "default_web", "default_web_a_b", "_web_a", "default__a", "default_web_", "Default_web_a"]
    {
        assert_eq!(uid_of(other), None, "{other}");
    }
    for climbing in ["default_web_..", "default_web_.a", "../x_web_a"] {
        assert_eq!(uid_of(climbing), None, "{climbing}");
    }
}

#[test]
fn logs_of_nobody_go_and_what_others_put_beside_them_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (root, links) = (dir.path().join("pods"), dir.path().join("containers"));
    let (gone, here) = ("ns_gone_u1", "ns_here_u2");
    for pod in [gone, here, "collector", "ns_odd_u3_more"] {
        fs::create_dir_all(root.join(pod).join("c")).unwrap();
        fs::write(root.join(pod).join("c/0.log"), "line").unwrap();
    }
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::write(elsewhere.join("0.log"), "not ours").unwrap();
    // Whoever may write there tries to have somebody else's folder removed.
    symlink(&elsewhere, root.join("ns_link_u4")).unwrap();
    fs::write(root.join("ns_file_u5"), "").unwrap();
    symlink(&elsewhere, root.join(gone).join("c/away")).unwrap();
    fs::create_dir_all(&links).unwrap();
    let link = |name: &str, to: &Path| symlink(to, links.join(name)).unwrap();
    link("gone_ns_c-1.log", &root.join(gone).join("c/0.log"));
    link("here_ns_c-2.log", &root.join(here).join("c/0.log"));
    link("here_ns_c-0.log", &root.join(here).join("c/9.log"));
    link("long-gone_ns_c-3.log", &root.join("ns_long-gone_u6/c/0.log"));
    link("others.log", &dir.path().join("nowhere/0.log"));
    link("collectors.log", &root.join("collector/c/7.log"));
    fs::write(links.join("plain_ns_c-4.log"), "").unwrap();
    let mut strays = log_folders(&root);
    strays.retain(|name| uid_of(name) != Some("u2"));
    forget_strays(&root, dir.path(), &strays);
    let names = |folder: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&root), ["collector", "ns_file_u5", "ns_here_u2", "ns_link_u4", "ns_odd_u3_more"]);
    assert_eq!(names(&links), ["collectors.log", "here_ns_c-2.log", "others.log", "plain_ns_c-4.log"]);
    assert_eq!(fs::read_to_string(elsewhere.join("0.log")).unwrap(), "not ours");
}
