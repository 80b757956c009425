use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;

/// Where a walk below `root` ends, seen from `root`.
fn walk(root: &Path, path: &str, absent: Absent) -> io::Result<PathBuf> {
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let found = open(folder.as_fd(), Path::new(path), absent)?;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
    let real = std::fs::read_link(link)?;
    Ok(real.strip_prefix(root).map(Path::to_owned).unwrap_or(real))
}

#[test]
fn no_path_and_no_link_leads_out_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    symlink("/a", root.join("absolute")).unwrap();
    symlink("../../../..", root.join("a/up")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    for (path, end) in [("absolute/b", "a/b"), ("a/up/a", "a"), ("../../a", "a"), ("/", ""), ("a/./b/..", "a")] {
        assert_eq!(walk(&root, path, Absent::Fails).unwrap(), Path::new(end), "{path}");
    }
    assert_eq!(walk(&root, "magic", Absent::Fails).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(walk(&root, "loop", Absent::BecomesFolder).is_err());
}

#[test]
fn missing_parts_are_made_behind_dangling_links_too() {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path();
    std::fs::create_dir(root.join("etc")).unwrap();
    symlink("../run/systemd/resolve/stub-resolv.conf", root.join("etc/resolv.conf")).unwrap();
    walk(root, "/etc/resolv.conf", Absent::BecomesFile).unwrap();
    assert!(root.join("run/systemd/resolve/stub-resolv.conf").is_file());
    walk(root, "/data/deep", Absent::BecomesFolder).unwrap();
    assert!(root.join("data/deep").is_dir());
}

/// A volume of mode 2777: who else writes there renames a folder of root's onto the one just made.
#[test]
fn what_another_put_in_a_new_folders_place_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let volume = tempfile::tempdir().unwrap();
    let folder = rustix::fs::open(volume.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mode = |name: &str| std::fs::metadata(volume.path().join(name)).unwrap().permissions().mode() & 0o7777;
    let wanted = Mode::from_raw_mode(0o2700);
    make_folder(folder.as_fd(), OsStr::new("new"), wanted).unwrap();
    rustix::fs::mkdirat(&folder, "private", Mode::from_raw_mode(0o500)).unwrap();
    assert_eq!(mode("new"), 0o2700);
    std::fs::rename(volume.path().join("private"), volume.path().join("new")).unwrap();
    add_special_bits(folder.as_fd(), OsStr::new("new"), wanted).unwrap();
    assert_eq!(mode("new"), 0o500);
}
