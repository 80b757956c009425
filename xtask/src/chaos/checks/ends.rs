//! Law 10 about pods that are deleted: their signals, graces, hooks and last words.

use super::pods::keeper_died;
use crate::chaos::history::{Container, Deletion, History, Life, Pod, Role, SECOND};

/// How much later than its grace allows a container may be gone, on a busy machine.
const LATE: u64 = 4 * SECOND;
/// With kills and stops in between.
const LATE_AFTER_HITS: u64 = 20 * SECOND;

/// The last life of each main container that was alive when its pod's deletion was acknowledged.
fn ended(history: &History) -> impl Iterator<Item = (&Pod, &Deletion, &Container, &Life, String)> {
    history.pods.iter().filter(|(_, pod)| pod.gone.is_some()).flat_map(move |(uid, pod)| {
        let mains = pod.containers.iter().filter(|container| container.role == Role::Main);
        mains.filter_map(move |container| {
            let (deletion, life) = (pod.deletion.as_ref()?, container.lives.last()?);
            let counts = life.alive >= deletion.acknowledged && !keeper_died(history, life.began, life.alive);
            let who = format!("{} ({}, {uid}) {}", pod.name, pod.behaviour, container.name);
            counts.then_some((pod, deletion, container, life, who))
        })
    })
}

fn seconds(from: u64, to: u64) -> f64 {
    (to as f64 - from as f64) / SECOND as f64
}

/// What was hit between the deletion and the end, for whoever reads the finding.
fn hits(history: &History, deletion: &Deletion, until: u64) -> String {
    let within = history.hits.iter().filter(|hit| hit.at + SECOND > deletion.asked && hit.at < until);
    within.map(|hit| format!(" {:?} {:?} at {:+.2}", hit.blow, hit.part, seconds(deletion.asked, hit.at))).collect()
}

/// When the grace began that counts: a new agent gives the whole of it again.
fn counted_from(history: &History, deletion: &Deletion, until: u64) -> u64 {
    let starts = history.starts.iter().filter(|start| (deletion.asked..until).contains(*start));
    starts.max().copied().unwrap_or(deletion.asked)
}

pub fn graces_are_kept(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (_, deletion, container, life, who) in ended(history) {
        let hits = hits(history, deletion, life.alive);
        let before = life.began < deletion.asked;
        if before && deletion.grace > 0 && !deletion.shrunk && life.term.is_none() && life.exit.is_none() {
            found.push(format!("{who}: killed without TERM;{hits}"));
        }
        let since = counted_from(history, deletion, life.alive);
        let (lasted, grace) = (life.alive.saturating_sub(since), deletion.grace * SECOND);
        let cut = lasted + SECOND / 5 < grace;
        if container.ignores_term && before && cut && !deletion.shrunk {
            found.push(format!(
                "{who}: {:.2} s of a grace of {} s;{hits}",
                lasted as f64 / SECOND as f64,
                deletion.grace
            ));
        }
        let late = if hits.is_empty() { LATE } else { LATE_AFTER_HITS };
        if lasted > grace + late {
            found.push(format!(
                "{who}: lived {:.2} s, with a grace of {} s;{hits}",
                lasted as f64 / SECOND as f64,
                deletion.grace
            ));
        }
    }
    found
}

pub fn hooks_run(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (_, deletion, container, life, who) in ended(history) {
        let Some(term) = life.term.filter(|_| life.began < deletion.asked && deletion.grace > 0 && !deletion.shrunk)
        else {
            continue;
        };
        if !container.pre_stop {
            continue;
        }
        // A new agent that finds the container still ending runs its hook once more.
        let owed = |begun: u64| (deletion.asked..=term).contains(&begun);
        let runs: Vec<_> = container.hooks.iter().filter(|hook| hook.name == "pre" && owed(hook.begun)).collect();
        let hits = hits(history, deletion, term);
        let since = |at: u64| seconds(deletion.asked, at);
        if runs.is_empty() {
            found.push(format!("{who}: TERM at {:+.2} without its preStop hook;{hits}", since(term)));
            continue;
        }
        let finished = runs.iter().any(|hook| hook.ended.is_some_and(|ended| ended <= term));
        // A hook is cut off where its grace ends.
        let in_time = term + SECOND / 5 < counted_from(history, deletion, term) + deletion.grace * SECOND;
        if !finished && in_time {
            let begun: Vec<f64> = runs.iter().map(|hook| since(hook.begun)).collect();
            found.push(format!(
                "{who}: TERM at {:+.2}, before the hook begun at {begun:.2?} had ended;{hits}",
                since(term)
            ));
        }
        if hits.is_empty() && runs.len() > 1 {
            found.push(format!("{who}: its preStop hook ran {} times", runs.len()));
        }
    }
    found
}

/// Law 6 as the API shows it: before a pod is gone, its containers are said to have ended.
pub fn ends_are_told_first(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (uid, pod) in &history.pods {
        let (Some(deletion), Some(gone), Some(last)) = (&pod.deletion, pod.gone, pod.seen.last()) else { continue };
        // Whoever watches anew after a start may miss the last change.
        let restarted = history.starts.iter().any(|start| (deletion.asked..gone + SECOND).contains(start));
        if deletion.grace == 0 || deletion.shrunk || restarted || !last.deleting {
            continue;
        }
        for status in &last.statuses {
            let began = pod
                .containers
                .iter()
                .any(|container| container.name == status.container && !container.lives.is_empty());
            if began && status.terminated.is_none() {
                found.push(format!(
                    "{} ({uid}) {}: gone, and its end was not told: {status:?}",
                    pod.name, status.container
                ));
            }
        }
    }
    found
}
