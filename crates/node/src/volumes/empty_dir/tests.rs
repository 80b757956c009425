use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn folder_has_no_name_before_it_is_complete() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("scratch");
    let group = Some(nix::unistd::getegid().as_raw());
    // What it is made under cannot be made: as if the agent were killed there.
    fs::write(parent.path().join(".scratch"), "").unwrap();
    set_up(&folder, &EmptyDirVolumeSource::default(), group).unwrap_err();
    assert!(!folder.exists());
    // The next agent finds it half made.
    fs::remove_file(parent.path().join(".scratch")).unwrap();
    fs::create_dir(parent.path().join(".scratch")).unwrap();
    set_up(&folder, &EmptyDirVolumeSource::default(), group).unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o7777, 0o2777);
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn tmpfs_is_the_groups_from_its_mount_on() {
    assert_eq!(options(None, None), "mode=0777");
    assert_eq!(options(Some(4096), Some(1000)), "mode=2777,gid=1000,size=4096");
}
