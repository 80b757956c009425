use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const MEBIBYTE: usize = 1 << 20;

#[test]
fn blocks_count_and_links_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, beside) = (folder.path().join("tree"), folder.path().join("beside"));
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("large"), vec![1; 4 * MEBIBYTE]).unwrap();
    let before = used_below(&tree);
    assert_eq!(before.inodes, 3);
    fs::write(tree.join("a/b/file"), vec![1; MEBIBYTE]).unwrap();
    fs::hard_link(tree.join("a/b/file"), tree.join("again")).unwrap();
    // A hole takes no blocks.
    fs::File::create(tree.join("sparse")).unwrap().set_len(1 << 30).unwrap();
    symlink(&beside, tree.join("away")).unwrap();
    symlink("/", tree.join("a/root")).unwrap();
    let used = used_below(&tree);
    assert_eq!(used.inodes - before.inodes, 4, "one file of two names, a sparse one, two links");
    let grown = used.bytes - before.bytes;
    assert!((MEBIBYTE as u64..2 * MEBIBYTE as u64).contains(&grown), "{grown}");
    // The folder itself is not reached through a link either.
    assert_eq!(used_below(&tree.join("away")), DiskUse::default());
    assert_eq!(used_below(&tree.join("absent")), DiskUse::default());
}

#[test]
fn folders_of_a_spread_one_lie_apart_where_the_file_system_can_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let open = || fs::File::open(folder.path()).unwrap();
    let before = rustix::fs::ioctl_getflags(open());
    // Where it cannot be said, nothing fails either.
    (0..2).for_each(|_| spread(open()));
    if rustix::fs::fstatfs(open()).unwrap().f_type as i64 == 0xef53 {
        assert_eq!(rustix::fs::ioctl_getflags(open()).unwrap(), before.unwrap() | IFlags::TOPDIR);
    }
}

#[test]
fn a_tree_is_counted_however_deep_it_is() {
    let folder = tempfile::tempdir().unwrap();
    crate::removal::tests::nest(folder.path(), 3000);
    let counted = used_below(folder.path()).inodes;
    crate::removal::remove(folder.path(), crate::removal::Mounts::Refused).unwrap();
    assert_eq!(counted, 3001);
}

#[test]
fn one_file_counts_and_a_link_leads_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), vec![1; MEBIBYTE]).unwrap();
    symlink(folder.path().join("file"), folder.path().join("link")).unwrap();
    assert!(used_by(&folder.path().join("file")).bytes >= MEBIBYTE as u64);
    assert!(used_by(&folder.path().join("link")).bytes < MEBIBYTE as u64);
    assert_eq!(used_by(&folder.path().join("none")), DiskUse::default());
}
