//! Builds the toolbox, small and static, so that it can be carried inside this binary.
//!
//! A nested cargo with a target folder of its own: the toolbox has its own profile, and cargo has no
//! stable way to depend on a binary. It compiles offline: its one dependency is ours too.

use std::io::Write;
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
    let program = std::fs::read(&built).unwrap_or_else(|error| panic!("reading {}: {error}", built.display()));
    let kept = out.join("toolbox.zz");
    let file = std::fs::File::create(&kept).unwrap_or_else(|error| panic!("making {}: {error}", kept.display()));
    let mut packed = flate2::write::ZlibEncoder::new(file, flate2::Compression::best());
    packed.write_all(&program).unwrap_or_else(|error| panic!("packing the toolbox: {error}"));
    packed.finish().unwrap_or_else(|error| panic!("packing the toolbox: {error}"));
}
