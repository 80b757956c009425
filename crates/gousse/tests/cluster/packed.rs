//! Images of Debian's packages, as this machine has them installed: no registry, no network.
//!
//! An image holds the files that `dpkg -L` lists, the libraries that their programs load (`ldd`), and in
//! a layer above them what a package's installation would have made: accounts and empty folders.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stage::{Output, say};

/// The layout's writer is the one that packs the official suite's images.
#[path = "../../../../xtask/src/conformance/layout.rs"]
pub mod layout;

/// Of these nothing is read by a program.
const UNREAD: &[&str] = &["/usr/share/doc", "/usr/share/man", "/usr/share/lintian", "/usr/share/locale"];

/// Whether all packages are installed; what is missing is said on the raw stderr, and fails under CI.
pub fn installed(test: &str, packages: &[&str]) -> bool {
    let state = |package: &&str| Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]).output();
    let there = |package: &&str| state(package).is_ok_and(|done| done.stdout == b"installed");
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !there(package)).collect();
    if missing.is_empty() {
        return true;
    }
    say(&format!("SKIPPED {test}: needs the Debian packages {}", missing.join(", ")));
    assert!(std::env::var_os("CI").is_none(), "{test} needs {missing:?} under CI");
    false
}

/// Packs an image into `folder`; the folder is an OCI layout and a docker archive.
pub fn pack(folder: &Path, name: &str, packages: &[&str], accounts: &[&str], start: layout::Start) -> PathBuf {
    let layout = folder.join(name);
    fs::create_dir_all(&layout).unwrap();
    let (own, tars) = (layout.join("own"), [layout.join("debian.tar"), layout.join("own.tar")]);
    let list = layout.join("files");
    let files: String = files(packages).iter().map(|path| format!("{}\0", &path.to_str().unwrap()[1..])).collect();
    fs::write(&list, files).unwrap();
    let mut debian = Command::new("tar");
    debian.args(["-C", "/", "--no-recursion", "--null", "-cf"]).arg(&tars[0]).arg("--files-from").arg(&list);
    must(&mut debian);
    installation(&own, accounts);
    must(Command::new("tar").arg("-C").arg(&own).arg("-cf").arg(&tars[1]).arg("."));
    let layers = ["debian", "own"].iter().zip(&tars).map(|(name, tar)| layout::Layer::pack(name, tar, &layout));
    let layers: Vec<layout::Layer> = layers.map(Result::unwrap).collect();
    layout::write(&layout, &[(&format!("{name}:debian"), start, layers.iter().collect())]).unwrap();
    fs::remove_dir_all(&own).unwrap();
    tars.iter().chain([&list]).for_each(|path| fs::remove_file(path).unwrap());
    layout
}

/// What the scripts of packages make: accounts, and folders that are empty.
fn installation(tree: &Path, accounts: &[&str]) {
    for (folder, mode) in [("etc", 0o755), ("run", 0o755), ("tmp", 0o1777)] {
        fs::create_dir_all(tree.join(folder)).unwrap();
        fs::set_permissions(tree.join(folder), fs::Permissions::from_mode(mode)).unwrap();
    }
    for file in ["passwd", "group"] {
        let all = fs::read_to_string(Path::new("/etc").join(file)).unwrap();
        let wanted = |line: &&str| accounts.contains(&line.split(':').next().unwrap());
        let lines: Vec<&str> = all.lines().filter(wanted).collect();
        assert_eq!(lines.len(), accounts.len(), "{accounts:?} in /etc/{file}");
        fs::write(tree.join("etc").join(file), lines.join("\n") + "\n").unwrap();
    }
}

/// Every path of the packages and what their programs load, the folders above included.
fn files(packages: &[&str]) -> BTreeSet<PathBuf> {
    let listed = must(Command::new("dpkg-query").arg("-L").args(packages));
    let mut files = BTreeSet::new();
    let mut programs = Vec::new();
    for line in listed.lines().filter(|line| line.starts_with('/') && !UNREAD.iter().any(|p| line.starts_with(p))) {
        if let Some(path) = add(Path::new(line), &mut files)
            && is_program(&path)
        {
            programs.push(path);
        }
    }
    // A library that is no program of its own (a module with undefined symbols, say) is no error.
    let loaded = Command::new("ldd").args(&programs).output_now().out;
    for word in loaded.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':')) {
        add(Path::new(word), &mut files);
    }
    files
}

/// Adds a path under its real name, with the links that lead to it; the real file, if it is one.
fn add(path: &Path, files: &mut BTreeSet<PathBuf>) -> Option<PathBuf> {
    let mut so_far = PathBuf::from("/");
    for part in path.components().skip(1) {
        so_far.push(part);
        let is = fs::symlink_metadata(&so_far).ok()?;
        files.insert(so_far.clone());
        if is.is_symlink() {
            let target = so_far.parent().unwrap().join(fs::read_link(&so_far).unwrap());
            so_far = fs::canonicalize(&so_far).ok()?;
            // A chain of links: each of them is needed.
            if target != so_far {
                add(&target, files);
            }
            add(&so_far, files);
        }
    }
    so_far.is_file().then_some(so_far)
}

fn is_program(path: &Path) -> bool {
    let mut magic = [0; 4];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

fn must(command: &mut Command) -> String {
    let done = command.output_now();
    assert!(done.ok, "{command:?}: {}", done.err);
    done.out
}
