use super::*;

/// A pod that may write to /var/log has another one's logs be what it likes.
#[test]
fn what_a_link_among_logs_leads_to_is_not_counted() {
    let root = tempfile::tempdir().unwrap();
    let (pods, away) = (root.path().join("log/pods"), root.path().join("away"));
    for folder in [pods.join("ns_own_u/c"), away.join("c")] {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("0.log"), vec![b'x'; 1 << 20]).unwrap();
    }
    assert!(logs_of(&pods.join("ns_own_u"), "c").bytes >= 1 << 20);
    std::os::unix::fs::symlink(&away, pods.join("ns_planted_u")).unwrap();
    assert_eq!(logs_of(&pods.join("ns_planted_u"), "c"), DiskUse::default());
}
