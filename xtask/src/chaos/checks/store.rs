//! Laws 1, 2 and 11: writes, watches, and files that were damaged.

use std::collections::{BTreeMap, BTreeSet};

use crate::chaos::history::{History, Outcome};

pub fn revisions_increase(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let mut by_revision = BTreeMap::new();
    for write in &history.writes.acknowledged {
        if let Some(other) = by_revision.insert(write.revision, write)
            && write.revision > 0
        {
            found.push(format!(
                "revision {}: of {} ({}) and {} ({})",
                write.revision, other.key, other.token, write.key, write.token
            ));
        }
    }
    let back = history.writes.turns.iter().filter(|(before, after)| after < before);
    found.extend(back.map(|(before, after)| format!("after a kill: revision {after}, and {before} was acknowledged")));
    for pod in history.pods.values() {
        let back =
            pod.seen.iter().zip(pod.seen.iter().skip(1)).find(|(before, after)| after.revision <= before.revision);
        found.extend(
            back.map(|(before, after)| format!("{}: revision {} after {}", pod.name, after.revision, before.revision)),
        );
    }
    found
}

pub fn compare_and_set_holds(history: &History) -> Vec<String> {
    let mut found = history.writes.wrong.clone();
    let counter = &history.writes.counter;
    let entries: BTreeSet<&String> = counter.entries.iter().collect();
    let known: BTreeSet<&String> = counter.acknowledged.iter().chain(&counter.unknown).collect();
    let lost: Vec<_> = counter.acknowledged.iter().filter(|token| !entries.contains(token)).take(3).collect();
    if !lost.is_empty() {
        found.push(format!("counter: acknowledged and not counted: {lost:?}"));
    }
    if let Some(strange) = entries.iter().find(|token| !known.contains(*token)) {
        found.push(format!("counter: refused and counted: {strange}"));
    }
    if entries.len() != counter.entries.len() || counter.number != counter.entries.len() as u64 {
        found.push(format!(
            "counter: {} with {} entries, {} of them different",
            counter.number,
            counter.entries.len(),
            entries.len()
        ));
    }
    let won = history.writes.races.iter().filter(|(_, winners)| winners.len() > 1);
    found.extend(won.map(|(name, winners)| format!("{name}: created {} times", winners.len())));
    found
}

pub fn watches_are_complete(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (number, watch) in history.writes.watches.iter().enumerate() {
        let who = format!("watch {number} from {}", watch.from);
        let revisions: Vec<u64> = watch.events.iter().map(|event| event.revision).collect();
        if let Some(pair) = revisions.windows(2).find(|pair| pair[1] <= pair[0]) {
            found.push(format!("{who}: {} after {}", pair[1], pair[0]));
        }
        let Some(first) = revisions.first() else { continue };
        if *first <= watch.from {
            found.push(format!("{who}: begins with {first}"));
        }
        let (seen, last): (BTreeSet<u64>, u64) =
            (revisions.iter().copied().collect(), revisions.iter().copied().max().unwrap_or(0).max(watch.mark));
        let owed =
            history.writes.acknowledged.iter().filter(|write| write.revision > watch.from && write.revision <= last);
        let missing: Vec<String> = owed
            .filter(|write| !seen.contains(&write.revision))
            .map(|write| format!("{} {}", write.revision, write.key))
            .collect();
        if !missing.is_empty() {
            found.push(format!(
                "{who} to {last}: misses {} writes: {:?}",
                missing.len(),
                &missing[..missing.len().min(3)]
            ));
        }
    }
    found
}

pub fn acknowledged_writes_survive(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let nothing = Default::default();
    for (key, may) in &history.writes.may {
        let end = history.writes.end.get(key).unwrap_or(&nothing);
        let fits = |state: &&crate::chaos::history::State| {
            state.token == end.token && (state.revision.is_none() || state.revision == end.revision)
        };
        if !may.iter().any(|state| fits(&state)) {
            let what = if may.iter().all(|state| state.token.is_none()) { "came back" } else { "is lost or changed" };
            found.push(format!("{key}: {what}: {end:?}, and must be one of {may:?}"));
        }
    }
    let end: &BTreeMap<_, _> = &history.writes.end;
    for (name, winners) in &history.writes.races {
        if !winners.is_empty() && !end.contains_key(name) {
            found.push(format!("{name}: its creation was acknowledged, and it is lost"));
        }
    }
    // What a watch showed is durable too.
    let mut newest = BTreeMap::<&str, (u64, bool)>::new();
    for event in history.writes.watches.iter().flat_map(|watch| &watch.events) {
        let known = newest.entry(&event.key).or_insert((event.revision, event.deleted));
        if event.revision > known.0 {
            *known = (event.revision, event.deleted);
        }
    }
    for (key, (revision, _)) in newest {
        let older = end.get(key).and_then(|state| state.revision).filter(|at| *at < revision);
        found.extend(older.map(|at| format!("{key}: a watch showed revision {revision}, it stands at {at}")));
    }
    found
}

pub fn damage_is_never_silent(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for trial in &history.trials {
        match &trial.outcome {
            Outcome::Whole | Outcome::Refused => {}
            Outcome::Lost(lost) => {
                found.push(format!("{}, {}: {lost}; it said: {}", trial.file, trial.damage, trial.said))
            }
            Outcome::Stuck => found
                .push(format!("{}, {}: neither ready nor ended; it said: {}", trial.file, trial.damage, trial.said)),
        }
    }
    found
}

pub fn damage_is_told_by_name(history: &History) -> Vec<String> {
    let name = |file: &str| file.rsplit('/').next().unwrap_or(file).to_owned();
    let refused = history
        .trials
        .iter()
        .filter(|trial| trial.outcome == Outcome::Refused && !trial.said.contains(&name(&trial.file)));
    refused.map(|trial| format!("{}, {}: it said: {}", trial.file, trial.damage, trial.said)).collect()
}

pub fn memory_is_bounded(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for memory in &history.memory {
        if !memory.is_bounded() {
            found.push(format!("{}: from {} to {} MiB", memory.what, memory.before, memory.peak));
        }
        if !memory.given_back() {
            found.push(format!("{}: {} MiB before, {} MiB afterwards", memory.what, memory.before, memory.after));
        }
    }
    found
}
