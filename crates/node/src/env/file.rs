//! A variable from a file that another container wrote (fileKeyRef): the one form that is read.
//!
//! `NAME='value'` lines, the strict subset of shell that kubelet/util/env ParseEnv takes. What is in
//! the volume is a container's: links are followed inside it only, nothing but a plain file is read.

use std::io::{self, Read};
use std::path::Path;

use runtime::untrusted;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

/// More is no file of variables.
const SIZE_MAX: u64 = 1 << 20;

/// The value of `key` in a file below `root`; empty where it is not there.
pub(super) fn value(root: &Path, path: &str, key: &str) -> Result<String, String> {
    let text = read(root, path).map_err(|e| format!("failed to open environment variable file {path:?}: {e}"))?;
    parse(&text, key)
}

fn read(root: &Path, path: &str) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    let mut file = untrusted::open_plain(&found, flags | OFlags::NONBLOCK)?;
    let mut bytes = Vec::new();
    if (&mut file).take(SIZE_MAX + 1).read_to_end(&mut bytes)? as u64 > SIZE_MAX {
        return Err(io::Error::other(format!("more than {SIZE_MAX} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(text: &str, key: &str) -> Result<String, String> {
    let blank = [' ', '\t'];
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let invalid = |why: &str| Err(format!("invalid environment variable format at line {number}: {why}"));
        let line = line.trim_start_matches(blank);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { return invalid("missing '='") };
        if name.trim_end_matches(blank).is_empty() {
            return invalid("empty variable name");
        }
        if name.ends_with(blank) {
            return invalid("whitespace before '=' is not allowed");
        }
        let found = match value.strip_prefix('\'') {
            Some(rest) => quoted(rest, number, &mut lines)?,
            // To a shell `A= 'b'` sets A to nothing.
            None if value.starts_with(blank) => String::new(),
            None => return invalid("value must be enclosed in single quotes"),
        };
        if name == key {
            return Ok(found);
        }
    }
    Ok(String::new())
}

/// Up to the closing quote, over as many lines as it takes.
fn quoted<'a>(first: &'a str, begun: u32, lines: &mut impl Iterator<Item = (&'a str, u32)>) -> Result<String, String> {
    let mut value = String::new();
    let (mut rest, mut number) = (first, begun);
    loop {
        if let Some((last, after)) = rest.split_once('\'') {
            value.push_str(last);
            let after = after.trim_start_matches([' ', '\t']);
            if !after.is_empty() && !after.starts_with('#') {
                return Err(format!(
                    "invalid environment variable format at line {number}: unexpected content after closing quote"
                ));
            }
            return Ok(value);
        }
        value.push_str(rest);
        value.push('\n');
        let unclosed =
            || format!("invalid environment variable format starting at line {begun}: unclosed single quote");
        (rest, number) = lines.next().ok_or_else(unclosed)?;
    }
}

#[cfg(test)]
mod tests;
