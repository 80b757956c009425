//! Cargo, run from within cargo.

use std::process::Command;

/// Cargo as a shell would start it: without what `cargo xtask` was told of its own package. Build scripts
/// that watch such a variable (ring's) would build once more, and with them all that stands on them.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| text.starts_with(start));
        if of_package || matches!(&*text, "CARGO_BIN_NAME" | "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE") {
            command.env_remove(&name);
        }
    }
    command
}
