//! Law 10 about logs: every line, once, in order, whole, in the log of the life that wrote it.

use super::pods::keeper_died;
use crate::chaos::history::{History, Log};

pub fn no_line_is_lost(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (uid, pod) in &history.pods {
        for container in &pod.containers {
            for log in &container.logs {
                let who = format!(
                    "{} ({}, {uid}) {} life {}, {}",
                    pod.name, pod.behaviour, container.name, log.life, log.source
                );
                // Its pipes die with the keeper, and what was in them.
                let life = container.lives.iter().find(|life| life.number == log.life);
                let cut = life.is_some_and(|life| keeper_died(history, life.began, life.alive));
                found.extend(judge(log, cut).into_iter().map(|what| format!("{who}: {what}")));
            }
        }
    }
    found
}

fn judge(log: &Log, cut: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (stream, lines, (least, most)) in [("stdout", &log.out, log.out_within), ("stderr", &log.err, log.err_within)] {
        if let Some((life, number)) = lines.iter().find(|(life, _)| *life != log.life) {
            found.push(format!("{stream} has line {number} of life {life}"));
            continue;
        }
        let gap = lines.iter().enumerate().find(|(at, (_, number))| *number != *at as u64 + 1);
        if let Some((at, (_, number))) = gap {
            let what = if *number <= at as u64 { "twice" } else { "lost" };
            found.push(format!("{stream}: a line {what}: after {at} comes {number}"));
        } else if (lines.len() as u64) < least && !cut || lines.len() as u64 > most {
            found.push(format!("{stream}: {} lines, not {least} to {most}", lines.len()));
        }
    }
    if let Some(torn) = log.torn.first() {
        found.push(format!("{} lines that nobody wrote: {torn:?}", log.torn.len()));
    }
    found
}
