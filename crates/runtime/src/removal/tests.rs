//! Attacks on the removal: links, mounts, depth, somebody who goes on writing.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive};

use super::*;

/// A folder in a folder in a folder …: by descriptors, since no path is so long.
pub fn nest(root: &Path, depth: usize) {
    let mut here = walk::open_folder(root).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&here, c"d", Mode::from_raw_mode(0o755)).unwrap();
        here = walk::open_in(&here, c"d").unwrap();
    }
}

/// Runs in a mount namespace of its own thread's; says so where it may not.
fn in_a_mount_namespace(name: &str, test: impl FnOnce(&Path) + Send + 'static) {
    let ran = std::thread::spawn(move || {
        // SAFETY: only this thread's view of mounts (and its working folder) changes.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return false;
        }
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        let folder = tempfile::tempdir().unwrap();
        // On a tmpfs of its own: whatever happens, it happens there.
        mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), c"size=64m").unwrap();
        test(folder.path());
        rustix::mount::unmount(folder.path(), UnmountFlags::DETACH).unwrap();
        true
    });
    if !ran.join().unwrap() {
        eprintln!("{name}: SKIPPED, it needs root");
        assert!(std::env::var_os("CI").is_none(), "{name} needs root");
    }
}

/// A folder to be removed, and one beside it that must stay as it is.
fn doomed_and_precious(root: &Path) -> (PathBuf, PathBuf) {
    let (doomed, precious) = (root.join("doomed"), root.join("precious"));
    fs::create_dir_all(doomed.join("a/b")).unwrap();
    fs::write(doomed.join("a/file"), "x").unwrap();
    fs::create_dir_all(precious.join("sub")).unwrap();
    fs::write(precious.join("sub/kept"), "kept").unwrap();
    (doomed, precious)
}

fn is_kept(precious: &Path) {
    assert_eq!(fs::read_to_string(precious.join("sub/kept")).unwrap(), "kept");
}

#[test]
fn files_folders_and_links_go_and_what_is_gone_is_no_error() {
    let root = tempfile::tempdir().unwrap();
    let (doomed, precious) = doomed_and_precious(root.path());
    symlink(&precious, doomed.join("a/b/away")).unwrap();
    symlink(&precious, root.path().join("link")).unwrap();
    remove(&doomed, Mounts::Refused).unwrap();
    remove(&doomed, Mounts::Refused).unwrap();
    remove(&root.path().join("none/of/it"), Mounts::Refused).unwrap();
    remove(&root.path().join("link"), Mounts::Refused).unwrap();
    assert!(!doomed.exists() && root.path().join("link").symlink_metadata().is_err());
    is_kept(&precious);
    fs::write(root.path().join("file"), "x").unwrap();
    remove(&root.path().join("file"), Mounts::Detached).unwrap();
    assert!(!root.path().join("file").exists());
    empty(&precious, Mounts::Refused).unwrap();
    assert_eq!(fs::read_dir(&precious).unwrap().count(), 0);
    empty(&precious, Mounts::Refused).unwrap();
    empty(&root.path().join("none"), Mounts::Refused).unwrap();
}

#[test]
fn a_hundred_thousand_levels_cost_neither_stack_nor_descriptors() {
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    let doomed = root.path().join("doomed");
    fs::create_dir(&doomed).unwrap();
    nest(&doomed, 100_000);
    // What an earlier removal left half done.
    fs::create_dir_all(doomed.join(".gousse-removes-1/x")).unwrap();
    fs::write(doomed.join(".gousse-removes-2"), "").unwrap();
    let small = std::thread::Builder::new().stack_size(128 << 10);
    small.spawn(move || remove(&doomed, Mounts::Refused).unwrap()).unwrap().join().unwrap();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn what_is_mounted_is_detached_or_named_and_never_emptied() {
    in_a_mount_namespace("what_is_mounted_is_detached_or_named_and_never_emptied", |root| {
        let (doomed, precious) = doomed_and_precious(root);
        // A bind mount of the same file system, twice; one of a file; one below one; one on the top itself.
        mount_bind(&precious, doomed.join("a/b")).unwrap();
        mount_bind(&precious, doomed.join("a/b")).unwrap();
        mount_bind(precious.join("sub/kept"), doomed.join("a/file")).unwrap();
        let why = remove(&doomed, Mounts::Refused).unwrap_err().to_string();
        assert!(why.contains("doomed/a/b") || why.contains("doomed/a/file"), "{why}");
        assert!(why.contains("mounted"), "{why}");
        is_kept(&precious);
        mount("tmpfs", &doomed, "tmpfs", MountFlags::empty(), c"size=1m").unwrap();
        fs::create_dir_all(doomed.join("over")).unwrap();
        mount_bind(&precious, doomed.join("over")).unwrap();
        remove(&doomed, Mounts::Detached).unwrap();
        assert!(!doomed.exists());
        is_kept(&precious);
    });
}

#[test]
fn the_end_of_a_recursive_bind_does_not_spread_to_what_was_bound() {
    in_a_mount_namespace("the_end_of_a_recursive_bind_does_not_spread_to_what_was_bound", |root| {
        let (doomed, precious) = doomed_and_precious(root);
        mount_bind(&precious, &precious).unwrap();
        rustix::mount::mount_change(&precious, MountPropagationFlags::SHARED).unwrap();
        mount("tmpfs", precious.join("sub"), "tmpfs", MountFlags::empty(), c"size=1m").unwrap();
        fs::write(precious.join("sub/kept"), "kept").unwrap();
        mount_bind_recursive(&precious, doomed.join("a/b")).unwrap();
        assert!(doomed.join("a/b/sub/kept").exists());
        remove(&doomed, Mounts::Detached).unwrap();
        is_kept(&precious);
        // It is still there because it is still mounted.
        assert!(is_mount(&precious.join("sub")).unwrap());
    });
}

#[test]
fn a_mount_that_only_another_namespace_has_costs_nothing() {
    in_a_mount_namespace("a_mount_that_only_another_namespace_has_costs_nothing", |root| {
        let (doomed, precious) = doomed_and_precious(root);
        let (there, target) = (precious.clone(), doomed.join("a/b"));
        let (told, mounted) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            // SAFETY: only this thread's view of mounts changes.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
            mount_bind(&there, &target).unwrap();
            told.send(()).unwrap();
            let _ = ended.recv();
        });
        mounted.recv().unwrap();
        remove(&doomed, Mounts::Refused).unwrap();
        drop(end);
        other.join().unwrap();
        assert!(!doomed.exists());
        is_kept(&precious);
    });
}

#[test]
fn detaching_alone_deletes_nothing() {
    in_a_mount_namespace("detaching_alone_deletes_nothing", |root| {
        let (doomed, precious) = doomed_and_precious(root);
        mount_bind(&precious, doomed.join("a/b")).unwrap();
        // A mount point that is no UTF-8, as anybody may make one.
        let odd = doomed.join(OsStr::from_bytes(b"a/odd \xff\n"));
        fs::create_dir(&odd).unwrap();
        mount("tmpfs", &odd, "tmpfs", MountFlags::empty(), c"size=1m").unwrap();
        detach_below(&doomed).unwrap();
        assert!(!is_mount(&odd).unwrap() && !is_mount(&doomed.join("a/b")).unwrap());
        assert!(odd.exists() && doomed.join("a/file").exists());
        detach_below(&root.join("none")).unwrap();
        is_kept(&precious);
    });
}

#[test]
fn whoever_swaps_folders_for_links_meanwhile_leads_it_nowhere() {
    let root = tempfile::tempdir().unwrap();
    let (doomed, precious) = doomed_and_precious(root.path());
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let (swapped, target, end) = (doomed.join("a/b"), precious.join("sub"), stop.clone());
    let (begun, has_begun) = std::sync::mpsc::channel();
    let attacker = std::thread::spawn(move || {
        while !end.load(Ordering::Relaxed) {
            // A folder with something in it, then a link to the precious one in its place.
            let _ = fs::create_dir_all(swapped.join("sub/deeper"));
            let _ = fs::rename(&swapped, swapped.with_extension("old"));
            let _ = symlink(&target, &swapped);
            let _ = rustix::fs::unlink(&swapped);
            let _ = begun.send(());
        }
    });
    has_begun.recv().unwrap();
    for _ in 0..300 {
        // It may give up on who never stops; it may not follow.
        let _ = remove(&doomed, Mounts::Refused);
        is_kept(&precious);
    }
    stop.store(true, Ordering::Relaxed);
    attacker.join().unwrap();
    remove(&doomed, Mounts::Refused).unwrap();
    is_kept(&precious);
}

#[test]
fn immutable_files_of_a_privileged_container_go_and_those_of_others_stay() {
    let root = tempfile::tempdir().unwrap();
    let (doomed, precious) = doomed_and_precious(root.path());
    fs::hard_link(precious.join("sub/kept"), doomed.join("a/linked")).unwrap();
    let freeze = |path: &Path, on: bool| {
        let file = fs::File::open(path).unwrap();
        let flags = rustix::fs::ioctl_getflags(&file)?;
        rustix::fs::ioctl_setflags(&file, if on { flags | IFlags::IMMUTABLE } else { flags - IFlags::IMMUTABLE })
    };
    if freeze(&doomed.join("a/file"), true).is_err() {
        return eprintln!("immutable files: SKIPPED, neither this file system nor these rights make one");
    }
    freeze(&doomed.join("a"), true).unwrap();
    freeze(&precious.join("sub/kept"), true).unwrap();
    let why = remove(&doomed, Mounts::Refused).unwrap_err().to_string();
    assert!(why.contains("a/linked") && why.contains("immutable"), "{why}");
    freeze(&precious.join("sub/kept"), false).unwrap();
    remove(&doomed, Mounts::Refused).unwrap();
    is_kept(&precious);
    assert_eq!(fs::metadata(precious.join("sub/kept")).unwrap().nlink(), 1);
}

/// Each lift is of a folder that somebody may be making anew.
#[test]
fn folders_are_moved_up_so_often_and_no_oftener() {
    let root = tempfile::tempdir().unwrap();
    let doomed = root.path().join("doomed");
    fs::create_dir(&doomed).unwrap();
    nest(&doomed, 20 * LEVELS_MAX);
    fs::write(doomed.join(".gousse-removes-0000000000000007-1"), "").unwrap();
    let bounded = |moved_max: u64| {
        let mut removal = Removal { moved_max, lot: 7, ..Removal::of(&doomed, Mounts::Refused) };
        removal.empty(walk::open_folder(&doomed).unwrap())
    };
    let why = bounded(5).unwrap_err().to_string();
    assert!(why.ends_with("doomed: it is still being written to"), "{why}");
    bounded(30).unwrap();
    assert_eq!(fs::read_dir(&doomed).unwrap().count(), 0);
}
