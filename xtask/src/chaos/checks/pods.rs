//! Laws 4 to 10 about pods that live: lives, counts, exits, phases, addresses.

use std::collections::BTreeMap;

use crate::chaos::history::{
    Blow, Container, Exit, History, Hit, Life, Lived, Moment, Part, Pod, Restart, Role, SECOND,
};

/// How late a diary may be: its puppet stamps ten times a second, and the machine may be busy.
const STAMP: u64 = 2 * SECOND;

/// What one container's lives were, or all of them.
fn containers(history: &History) -> impl Iterator<Item = (&Pod, &Container, String)> {
    let of = |(uid, pod): (&'_ String, &'_ Pod)| (uid.clone(), pod.name.clone(), pod.behaviour);
    history.pods.iter().flat_map(move |entry| {
        let (uid, name, behaviour) = of(entry);
        entry
            .1
            .containers
            .iter()
            .map(move |container| (entry.1, container, format!("{name} ({behaviour}, {uid}) {}", container.name)))
    })
}

/// What is told of an end that nobody saw.
const UNKNOWN: i64 = 255;

/// The keeper's death ends every container, also those that were just being started; all else must not.
pub fn keeper_died(history: &History, from: Moment, to: Moment) -> bool {
    let window = from.saturating_sub(SECOND)..=to + STAMP;
    let died = |hit: &&Hit| hit.part == Part::Keeper && hit.blow == Blow::Kill;
    history.hits.iter().filter(died).any(|hit| window.contains(&hit.at))
}

fn keepers_death(history: &History) -> Option<Moment> {
    history.hits.iter().find(|hit| hit.part == Part::Keeper && hit.blow == Blow::Kill).map(|hit| hit.at)
}

pub fn one_life_at_a_time(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (_, container, who) in containers(history) {
        if !container.overlaps.is_empty() {
            found.push(format!("{who}: two lives at once, at {:?}", container.overlaps));
        }
        let numbers: Vec<u64> = container.lives.iter().map(|life| life.number).collect();
        if numbers.iter().enumerate().any(|(at, number)| *number != at as u64) {
            found.push(format!("{who}: lives began at once: {numbers:?}"));
        }
    }
    found
}

pub fn node_name_is_set_once(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (uid, pod) in &history.pods {
        let mut names: Vec<&str> =
            pod.seen.iter().map(|seen| seen.node.as_str()).filter(|node| !node.is_empty()).collect();
        names.dedup();
        if names.len() > 1 {
            found.push(format!("{} ({uid}): on the nodes {names:?}", pod.name));
        }
    }
    found
}

pub fn nobody_ends_without_a_reason(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (pod, container, who) in containers(history) {
        let asked = pod.deletion.as_ref().map(|deletion| deletion.asked);
        for (at, life) in container.lives.iter().enumerate() {
            if let Some(term) = life.term.filter(|term| asked.is_none_or(|asked| *term < asked)) {
                found.push(format!("{who}: TERM to life {at} at {term}, and nobody had deleted it"));
            }
        }
        for (before, after) in container.lives.iter().zip(container.lives.iter().skip(1)) {
            let excused = keeper_died(history, before.began, after.began);
            let ended = before.exit.is_some() && container.ends;
            let allowed = match (pod.restart, container.role) {
                (_, Role::Sidecar) | (Restart::Always, Role::Main) => true,
                (Restart::Never, _) => false,
                (_, Role::Init) | (Restart::OnFailure, Role::Main) => before.exit != Some(0),
            };
            // After the keeper's death a pod that may start again does so in a new sandbox, with its init containers.
            let again = excused && pod.restart != Restart::Never;
            let reason = again || ended && allowed;
            if !reason {
                let exit = before.exit;
                found.push(format!(
                    "{who}: life {} began after life {} (exit {exit:?}) without a reason",
                    after.number, before.number
                ));
            }
        }
        let last = container.lives.last();
        let over = |life: &Life, until: Moment| life.exit.is_none() && life.alive + STAMP < until;
        if let (Some(life), Some(until)) =
            (last, asked.or(pod.rest.as_ref().and_then(|rest| rest.seen.as_ref()).map(|seen| seen.at)))
            && over(life, until)
            && !keeper_died(history, life.began, life.alive)
        {
            found.push(format!("{who}: life {} was killed at {}, and nobody had deleted it", life.number, life.alive));
        }
    }
    found
}

pub fn restarts_are_counted(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (pod, container, who) in containers(history) {
        let (mut highest, mut counts) = (0, BTreeMap::<&str, u64>::new());
        let statuses = pod.seen.iter().flat_map(|seen| seen.statuses.iter().map(move |status| (seen.revision, status)));
        for (revision, status) in statuses.filter(|(_, status)| status.container == container.name) {
            if status.restarts < highest {
                found.push(format!(
                    "{who}: restartCount fell from {highest} to {} at revision {revision}",
                    status.restarts
                ));
            }
            highest = highest.max(status.restarts);
            if !status.id.is_empty() && *counts.entry(&status.id).or_insert(status.restarts) != status.restarts {
                found.push(format!(
                    "{who}: one container with two counts, {} and {}",
                    counts[status.id.as_str()],
                    status.restarts
                ));
            }
        }
    }
    found
}

pub fn phases_are_final(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (uid, pod) in &history.pods {
        for (before, after) in pod.seen.iter().zip(pod.seen.iter().skip(1)) {
            if matches!(before.phase.as_str(), "Succeeded" | "Failed") && before.phase != after.phase {
                found.push(format!(
                    "{} ({uid}): from {} to {} at revision {}",
                    pod.name, before.phase, after.phase, after.revision
                ));
            }
        }
    }
    found
}

/// Law 8, seen from outside: once nothing is hit any more, what the API says is what is.
pub fn rest_is_reached(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (uid, pod) in &history.pods {
        let Some(rest) = &pod.rest else { continue };
        let who = format!("{} ({}, {uid})", pod.name, pod.behaviour);
        let Some(seen) = &rest.seen else {
            found.push(format!("{who}: was lost from the API"));
            continue;
        };
        for Lived { container: name, before, after, .. } in &rest.lives {
            let status = seen.statuses.iter().find(|status| status.container == *name);
            let died = keeper_died(history, 0, seen.at);
            let Some(status) = status else {
                found.push(format!("{who} {name}: no status"));
                continue;
            };
            if *after == 0 && !(died && pod.restart == Restart::Never) {
                found.push(format!("{who} {name}: never began: {status:?}"));
                continue;
            }
            // A new sandbox begins anew: its count goes on, but a life that was never seen has none.
            let counted = (before.saturating_sub(1)..=after.saturating_sub(1)).contains(&status.restarts);
            if !counted && !died {
                found.push(format!("{who} {name}: restartCount {}, but {before} to {after} lives", status.restarts));
            }
            if !matches!(status.waiting.as_str(), "" | "CrashLoopBackOff") {
                found.push(format!("{who} {name}: waits: {}", status.waiting));
            }
        }
        let is_main =
            |name: &str| pod.containers.iter().any(|container| container.name == name && container.role == Role::Main);
        let mains: Vec<&Lived> = rest.lives.iter().filter(|lived| is_main(&lived.container)).collect();
        let exits: Vec<Option<i64>> = mains.iter().map(|lived| lived.exit).collect();
        let done = match pod.restart {
            Restart::Always => false,
            Restart::OnFailure => exits.iter().all(|exit| *exit == Some(0)),
            Restart::Never => exits.iter().all(Option::is_some),
        };
        let wanted = if exits.iter().all(|exit| *exit == Some(0)) { "Succeeded" } else { "Failed" };
        if done && seen.phase != wanted {
            found.push(format!("{who}: all have ended with {exits:?}, but its phase is {}", seen.phase));
        }
        for lived in mains.iter().filter(|lived| lived.exit.is_some() && lived.before == lived.after) {
            let said = seen.statuses.iter().find(|status| status.container == lived.container && status.running);
            if said.is_some() {
                found.push(format!("{who} {}: has ended with {:?}, but is said to run", lived.container, lived.exit));
            }
        }
    }
    found
}

/// Every exit that was ever told is what happened, and no life has two.
pub fn exits_are_told(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (pod, container, who) in containers(history) {
        let mut counts = BTreeMap::<&str, u64>::new();
        let mut told = BTreeMap::<u64, Vec<&Exit>>::new();
        for status in
            pod.seen.iter().flat_map(|seen| &seen.statuses).filter(|status| status.container == container.name)
        {
            if !status.id.is_empty() {
                counts.entry(&status.id).or_insert(status.restarts);
            }
            for exit in status.terminated.iter().chain(&status.last) {
                // What never ran has no container.
                let Some(life) = counts.get(exit.id.as_str()) else {
                    if exit.id.is_empty()
                        && !container.lives.is_empty()
                        && !keeper_died(history, 0, Moment::MAX - STAMP)
                    {
                        found.push(format!("{who}: an exit of no container: {exit:?}"));
                    }
                    continue;
                };
                let all = told.entry(*life).or_default();
                if !all.contains(&exit) {
                    all.push(exit);
                }
            }
        }
        // After the keeper's death counts and lives go apart: what is told must still be one of what happened.
        if let Some(died) = keepers_death(history) {
            let real: Vec<i64> = container.lives.iter().map(|life| life.exit.unwrap_or(UNKNOWN)).collect();
            let odd = told
                .values()
                .flatten()
                .find(|exit| !real.contains(&exit.code) && ![UNKNOWN, 137, 128].contains(&exit.code));
            found.extend(odd.map(|exit| {
                format!("{who}: told is {exit:?}, its lives ended with {real:?} (keeper killed at {died})")
            }));
            continue;
        }
        for (number, exits) in told {
            let Some(life) = container.lives.get(number as usize) else {
                found.push(format!("{who}: an exit of life {number}, which never began: {exits:?}"));
                continue;
            };
            let real = life.exit.unwrap_or(137);
            if let Some(wrong) = exits.iter().find(|exit| exit.code != real) {
                found.push(format!("{who}: life {number} ended with {real}, told was {wrong:?}"));
            }
        }
    }
    found
}

/// By what the puppets saw of themselves, not by what was told.
pub fn no_address_twice(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let mut held = BTreeMap::<&str, Vec<(Moment, Moment, String)>>::new();
    for (pod, container, who) in containers(history) {
        for life in &container.lives {
            let told = pod.seen.iter().filter(|seen| seen.at > life.began && seen.at < life.alive);
            for seen in told.filter(|seen| !seen.address.is_empty() && seen.address != life.address) {
                // After the keeper's death the pod gets another one; what is told follows.
                if !keeper_died(history, 0, seen.at) {
                    found.push(format!("{who}: has {}, told is {}", life.address, seen.address));
                }
            }
            let uid = history.pods.iter().find(|(_, other)| std::ptr::eq(*other, pod)).map(|(uid, _)| uid.clone());
            held.entry(&life.address).or_default().push((life.began, life.alive, uid.unwrap_or_default()));
        }
    }
    for (address, mut all) in held {
        all.sort();
        for (at, first) in all.iter().enumerate() {
            let beside = all[at + 1..].iter().take_while(|later| later.0 < first.1);
            found.extend(
                beside
                    .filter(|later| later.2 != first.2)
                    .map(|later| format!("{address}: of {} and {} at once", first.2, later.2)),
            );
        }
    }
    found
}
