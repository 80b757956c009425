//! The code base keeps its own rules (`cargo xtask tidy`).

#[path = "../../../xtask/src/tidy.rs"]
mod tidy;

use std::path::Path;

#[test]
fn the_code_base_keeps_its_own_rules() {
    let problems = tidy::problems(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
