use std::fs::File;

use super::*;

#[test]
fn a_link_to_a_log_is_made_on_the_same_disk_and_on_another() {
    for links in [tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()] {
        let logs = tempfile::tempdir().unwrap();
        let log = logs.path().join("ns_web_u1/c/0.log");
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        fs::write(&log, "line").unwrap();
        let folder = OwnedFd::from(File::open(links.path()).unwrap());
        make_link(&log, &folder, "web_ns_c-1.log").unwrap();
        assert_eq!(fs::read_link(links.path().join("web_ns_c-1.log")).unwrap(), log);
        let beside = fs::read_dir(log.parent().unwrap()).unwrap();
        assert_eq!(beside.count(), 1, "nothing but the log");
        // Nor does it need the log's folder.
        make_link(&logs.path().join("ns_web_u2/c/0.log"), &folder, "web_ns_c-2.log").unwrap();
        assert_eq!(fs::read_dir(links.path()).unwrap().count(), 2);
    }
}
