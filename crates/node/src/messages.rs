//! Termination messages: what a container left in its file, or said last.
//!
//! Upstream: kuberuntime getTerminationMessage; 4096 bytes per container, 12 KiB per pod, from the log
//! at most 80 lines or 2048 bytes, and only after a failure.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use runtime::Container;

use crate::observe::exit_code;
use crate::pod::{NOTE_MESSAGE_PATH, NOTE_MESSAGE_POLICY};

const MESSAGE_MAX: usize = 4096;
const POD_MAX: usize = 12 * 1024;
const LOG_BYTES: u64 = 2048;
const LOG_LINES: usize = 80;

/// The message of an ended container of a pod whose spec has so many (status_manager.go normalizeStatus).
pub fn termination_message(c: &Container, containers: usize) -> String {
    let limit = MESSAGE_MAX.min(POD_MAX / containers.max(1));
    let notes = &c.spec.annotations;
    let from_file = notes.get(NOTE_MESSAGE_PATH).map(|path| head(Path::new(path), limit)).unwrap_or_default();
    let fallback = notes.get(NOTE_MESSAGE_POLICY).is_some_and(|p| p == "FallbackToLogsOnError");
    if !from_file.is_empty() || !fallback || exit_code(c) == Some(0) {
        return from_file;
    }
    match &c.spec.log {
        Some(log) => {
            let mut words = last_words(&tail(&log.path));
            words.truncate(words.floor_char_boundary(limit));
            words
        }
        None => String::new(),
    }
}

fn head(path: &Path, limit: usize) -> String {
    let mut bytes = Vec::new();
    // A file that is not there says nothing.
    if let Ok(file) = File::open(path) {
        let _ = file.take(limit as u64).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// More than enough of the log's end for `LOG_BYTES` of text.
fn tail(path: &Path) -> String {
    let Ok(mut file) = runtime::native::open_log(path) else { return String::new() };
    let size = file.metadata().map_or(0, |m| m.len());
    let window = LOG_BYTES * 40;
    let start = size.saturating_sub(window);
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(start)).is_err() || file.take(window).read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // The first line may be cut.
    if start > 0 { text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned()) } else { text }
}

/// The texts of the last CRI lines (`time stream tag text`).
fn last_words(log: &str) -> String {
    let mut words = String::new();
    let lines: Vec<&str> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        let mut fields = line.splitn(4, ' ');
        let (Some(_), Some(_), Some(tag), text) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        words.push_str(text.unwrap_or(""));
        if tag.starts_with('F') {
            words.push('\n');
        }
    }
    let limit = usize::try_from(LOG_BYTES).expect("a small constant");
    let mut start = words.len().saturating_sub(limit);
    while !words.is_char_boundary(start) {
        start += 1;
    }
    words.split_off(start)
}

#[cfg(test)]
mod tests;
