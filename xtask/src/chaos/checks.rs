//! The laws, each with checks: pure functions over a recorded history.
//!
//! Every mode names the checks that its rounds are judged by. What a check says begins with whom it is about.

/// What became of pods that were deleted: signals, graces, hooks, last words.
pub mod ends;
/// Lines of logs.
pub mod logs;
/// Lives, counts, exits, phases, addresses.
pub mod pods;
/// Writes, watches, damaged files.
pub mod store;
#[cfg(test)]
mod tests;

use super::history::History;

pub struct Check {
    pub name: &'static str,
    /// Of ARCHITECTURE.md; 0 for what every law supposes.
    pub law: u8,
    pub judge: fn(&History) -> Vec<String>,
}

const fn check(name: &'static str, law: u8, judge: fn(&History) -> Vec<String>) -> Check {
    Check { name, law, judge }
}

pub const CHECKS: &[Check] = &[
    check("revisions-increase", 1, store::revisions_increase),
    check("compare-and-set-holds", 1, store::compare_and_set_holds),
    check("watches-are-complete", 2, store::watches_are_complete),
    check("node-name-is-set-once", 4, pods::node_name_is_set_once),
    check("one-life-at-a-time", 5, pods::one_life_at_a_time),
    check("exits-are-told", 6, pods::exits_are_told),
    check("no-address-twice", 7, pods::no_address_twice),
    check("rest-is-reached", 8, pods::rest_is_reached),
    check("nobody-ends-without-a-reason", 10, pods::nobody_ends_without_a_reason),
    check("restarts-are-counted", 10, pods::restarts_are_counted),
    check("phases-are-final", 10, pods::phases_are_final),
    check("no-line-is-lost", 10, logs::no_line_is_lost),
    check("ends-are-told-first", 10, ends::ends_are_told_first),
    check("graces-are-kept", 10, ends::graces_are_kept),
    check("hooks-run", 10, ends::hooks_run),
    check("acknowledged-writes-survive", 11, store::acknowledged_writes_survive),
    check("damage-is-never-silent", 11, store::damage_is_never_silent),
    check("damage-is-told-by-name", 11, store::damage_is_told_by_name),
    check("memory-is-bounded", 0, store::memory_is_bounded),
    check("nothing-is-left", 0, |history| history.left.clone()),
    check("everything-comes-to-an-end", 0, |history| history.late.clone()),
    check("nobody-is-refused", 0, |history| history.refused.clone()),
    check("nothing-breaks", 0, |history| history.broken.clone()),
];

/// What a history breaks, of the checks that are named.
pub fn judge(history: &History, names: &[&str]) -> Vec<(&'static Check, String)> {
    let wanted = CHECKS.iter().filter(|check| names.contains(&check.name));
    wanted.flat_map(|check| (check.judge)(history).into_iter().map(move |said| (check, said))).collect()
}

/// Whether anything is broken so far.
pub fn breaks(history: &History) -> bool {
    CHECKS.iter().any(|check| !(check.judge)(history).is_empty())
}
