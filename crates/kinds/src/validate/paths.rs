//! Paths inside a volume or below a folder of the node: they never lead out.

use crate::validate::at::{At, Errors};

/// Relative, without `..`, and not beginning with two dots.
pub fn local_path(at: &At, errors: &mut Errors) {
    descending_path(at, errors);
    if at.text().starts_with("..") && !at.text().starts_with("../") {
        errors.push(at.invalid("must not start with '..'"));
    }
}

pub fn descending_path(at: &At, errors: &mut Errors) {
    if at.text().starts_with('/') {
        errors.push(at.invalid("must be a relative path"));
    }
    no_backsteps(at, errors);
}

pub fn no_backsteps(at: &At, errors: &mut Errors) {
    if at.text().split('/').any(|part| part == "..") {
        errors.push(at.invalid("must not contain '..'"));
    }
}

pub fn host_path(at: &At, errors: &mut Errors) {
    let path = at.get("path");
    if path.text().is_empty() {
        errors.push(path.required(""));
        return;
    }
    no_backsteps(&path, errors);
    const TYPES: &[&str] =
        &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    if !TYPES.contains(&at.get("type").text()) {
        errors.push(at.get("type").not_supported(TYPES));
    }
}
