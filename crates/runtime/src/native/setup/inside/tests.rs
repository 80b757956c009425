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
