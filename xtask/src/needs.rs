//! The programs that a command runs, looked for before its first minute of work. All that are missing
//! are told at once.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// A program, Debian's package that has it, and what it is for.
pub type Need = (&'static str, &'static str, &'static str);

/// Makes namespaces, as `bench`, `conformance` and the tests do.
pub const NAMESPACES: &[Need] = &[
    ("unshare", "util-linux", "makes the run's namespaces"),
    ("mount", "mount", "mounts in them"),
    ("ip", "iproute2", "sets their network up"),
];

/// Fetches Debian's packages and unpacks them.
pub const PACKAGES: &[Need] = &[
    ("apt-get", "apt", "fetches Debian's packages (a Debian or what comes of it)"),
    ("dpkg-deb", "dpkg", "unpacks them"),
];

/// An error that names every program that is in no folder of PATH.
pub fn check(needs: &[&[Need]]) -> Result<()> {
    check_in(needs, &std::env::var_os("PATH").unwrap_or_default())
}

fn check_in(needs: &[&[Need]], path: &OsStr) -> Result<()> {
    let folders: Vec<PathBuf> = std::env::split_paths(path).collect();
    let runs =
        |file: PathBuf| file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    let missing: Vec<&Need> = needs
        .iter()
        .copied()
        .flatten()
        .filter(|need| !folders.iter().any(|folder| runs(folder.join(need.0))))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = missing.iter().map(|(program, _, purpose)| format!("\n  {program}: {purpose}")).collect();
    let packages: BTreeSet<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    let packages: Vec<&str> = packages.into_iter().collect();
    bail!("what this needs is not here:{}\ninstall it: apt-get install {}", lines.concat(), packages.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let needs: &[&[Need]] = &[
            &[("sh", "dash", "runs scripts"), ("no-such-1", "one", "does this")],
            &[("no-such-2", "two", "does that")],
        ];
        let told = check(needs).unwrap_err().to_string();
        assert!(told.contains("no-such-1: does this") && told.contains("no-such-2: does that"), "{told}");
        assert!(told.ends_with("apt-get install one two"), "{told}");
        assert!(check(&[&needs[0][..1]]).is_ok());
    }

    #[test]
    fn what_cannot_be_run_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tool"), "").unwrap();
        assert!(check_in(&[&[("tool", "tools", "works")]], folder.path().as_os_str()).is_err());
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        assert!(check_in(&[&[("folder", "tools", "works")]], folder.path().as_os_str()).is_err());
    }
}
