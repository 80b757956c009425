//! Builds the toolbox, small and static, so that it can be carried inside this binary.
//!
//! A nested cargo with a target folder of its own: the toolbox has its own profile, and cargo has no
//! stable way to depend on a binary. It compiles offline: its one dependency is ours too.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"));
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../..");
    let out = PathBuf::from(variable("OUT_DIR"));
    let target = variable("TARGET");
    for watched in ["crates/toolbox", "Cargo.lock", ".cargo/config.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let mut command = Command::new(variable("CARGO"));
    command.current_dir(&root).args([
        "build",
        "--quiet",
        "--package",
        "toolbox",
        "--profile",
        "toolbox",
        "--target",
        &target,
    ]);
    command.arg("--target-dir").arg(out.join("toolbox"));
    // What the outer cargo decided (flags, wrappers of clippy) is not meant for the inner one.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_ours =
            text.starts_with("CARGO_ENCODED") || text.starts_with("CARGO_PROFILE") || text.starts_with("CARGO_BUILD");
        if is_ours || matches!(&*text, "RUSTC_WORKSPACE_WRAPPER" | "RUSTC_WRAPPER" | "RUSTFLAGS" | "CLIPPY_ARGS") {
            command.env_remove(&name);
        }
    }
    let status = command.status().unwrap_or_else(|error| panic!("running cargo for the toolbox: {error}"));
    assert!(status.success(), "the toolbox did not build; its errors stand above");
    let built = out.join("toolbox").join(&target).join("toolbox/toolbox");
    let kept = out.join("toolbox.bin");
    std::fs::copy(&built, &kept).unwrap_or_else(|error| panic!("copying {}: {error}", built.display()));
}
