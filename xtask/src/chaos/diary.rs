//! What the puppets wrote down, read into the history; and their logs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::history::{Container, Hook, Life, Lines, Log};

const FIELDS: usize = 6;

/// Everything that `container` of the pod `uid` has written so far.
pub fn read(folder: &Path, uid: &str, container: &mut Container) {
    let file = |ending: &str| folder.join(format!("{uid}.{}.{ending}", container.name));
    let text = fs::read_to_string(file("diary")).unwrap_or_default();
    let counts = fs::read(file("counts")).unwrap_or_default();
    parse(&text, &counts, container);
}

/// How many lives it has begun, and the exit code of the last.
pub fn lives(folder: &Path, uid: &str, name: &str) -> (u64, Option<i64>) {
    let mut container = Container::named(name);
    read(folder, uid, &mut container);
    (container.lives.len() as u64, container.lives.last().and_then(|life| life.exit))
}

pub fn parse(text: &str, counts: &[u8], container: &mut Container) {
    let mut lives: Vec<Life> = Vec::new();
    let (mut overlaps, mut hooks) = (Vec::new(), Vec::<Hook>::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
        match words[0] {
            "START" => lives.push(Life {
                number: number(1),
                began: number(2),
                alive: number(2),
                address: words.get(3).copied().unwrap_or_default().to_owned(),
                ..Life::default()
            }),
            "OVERLAP" => overlaps.push(number(1)),
            "TERM" => {
                let told = lives.iter_mut().find(|life| life.number == number(1) && life.term.is_none());
                if let Some(life) = told {
                    life.term = Some(number(2));
                }
            }
            "EXIT" => {
                if let Some(life) = lives.iter_mut().find(|life| life.number == number(1)) {
                    life.exit = Some(number(2) as i64);
                    life.alive = number(3);
                }
            }
            "HOOK" => match words.get(2) {
                Some(&"BEGIN") => hooks.push(Hook { name: words[1].to_owned(), begun: number(3), ended: None }),
                _ => {
                    if let Some(hook) =
                        hooks.iter_mut().rev().find(|hook| hook.name == words[1] && hook.ended.is_none())
                    {
                        hook.ended = Some(number(3));
                    }
                }
            },
            _ => {}
        }
    }
    let fields: Vec<u64> = counts
        .chunks_exact(8)
        .map(|field| {
            u64::from_le_bytes([field[0], field[1], field[2], field[3], field[4], field[5], field[6], field[7]])
        })
        .collect();
    for (number, fields) in fields.chunks_exact(FIELDS).enumerate() {
        if let Some(life) = lives.iter_mut().find(|life| life.number == number as u64) {
            life.alive = life.alive.max(fields[1]);
            life.out = Lines { begun: fields[2], written: fields[3] };
            life.err = Lines { begun: fields[4], written: fields[5] };
        }
    }
    (container.lives, container.overlaps, container.hooks) = (lives, overlaps, hooks);
}

/// A log's own lines: what the puppet says, or what is none of it.
pub fn log(text: &str, into: &mut Log) {
    let whole = text.ends_with('\n') || text.is_empty();
    let count = text.lines().count();
    for (at, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        match (words[0], number(1), number(2), words.get(3), words.len()) {
            ("L", Some(life), Some(number), Some(&"pad-pad-pad-pad-pad-pad"), 4) => into.out.push((life, number)),
            ("E", Some(life), Some(number), None, 3) => into.err.push((life, number)),
            _ if at + 1 == count && !whole => {}
            _ => into.torn.push(line.to_owned()),
        }
    }
}

/// A file of the node's logs, `TIME STREAM F LINE`, to what the container wrote.
pub fn plain(file: &str) -> Result<String, String> {
    let mut text = String::new();
    let whole = file.rfind('\n').map_or("", |end| &file[..=end]);
    for line in whole.lines() {
        let mut parts = line.splitn(4, ' ');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(_), Some("stdout" | "stderr"), Some("F"), Some(rest)) => {
                text.push_str(rest);
                text.push('\n');
            }
            _ => return Err(line.to_owned()),
        }
    }
    Ok(text)
}

/// The log files of all pods on the node's disk: UID, container, life, text.
pub fn files(data: &Path) -> Vec<(String, String, u64, String)> {
    let mut found = Vec::new();
    let folders =
        |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for pod in folders(&data.join("log/pods")) {
        let uid = name(&pod).rsplit('_').next().unwrap_or_default().to_owned();
        for container in folders(&pod) {
            for file in folders(&container) {
                let number = name(&file).strip_suffix(".log").and_then(|number| number.parse().ok());
                if let (Some(life), Ok(text)) = (number, fs::read_to_string(&file)) {
                    found.push((uid.clone(), name(&container), life, text));
                }
            }
        }
    }
    found
}

/// What one life had written, for the bounds of its log.
pub fn written(folder: &Path, uid: &str, name: &str) -> BTreeMap<u64, Life> {
    let mut container = Container::named(name);
    read(folder, uid, &mut container);
    container.lives.into_iter().map(|life| (life.number, life)).collect()
}
