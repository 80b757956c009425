//! Of two looks, what was used between them. Pure.
//!
//! metrics-server pkg/storage (types.go resourceUsage, pod.go): memory is that of the last look, the processor's time
//! is divided by the window.

use super::read::{Containers, Point};

/// What a node or a container used.
#[derive(Clone, Debug, PartialEq)]
pub struct Used {
    /// When the window ended, in milliseconds since 1970.
    pub at: i64,
    /// Its length in milliseconds.
    pub window: i64,
    /// Billionths of a processor.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
}

/// In a shorter time since its start a container tells nothing (freshContainerMinMetricsResolution), and in a longer one
/// nothing of now: both in milliseconds.
const SINCE_START: std::ops::RangeInclusive<i64> = 10_000..=60_000;

/// None where there is no window: nothing came before, or it was started anew, or the clock or the count went back.
pub fn between(before: Option<&Point>, last: &Point) -> Option<Used> {
    let goes_on = |before: &&Point| last.started.is_none_or(|started| started <= before.at);
    let (from, cpu) = match (before.filter(goes_on), last.started) {
        (Some(before), _) => (before.at, before.cpu),
        (None, Some(started)) if SINCE_START.contains(&last.at.checked_sub(started)?) => (started, 0),
        _ => return None,
    };
    let window = last.at.checked_sub(from).filter(|window| *window > 0)?;
    let rate = u128::from(last.cpu.checked_sub(cpu)?) * 1000 / u128::try_from(window).ok()?;
    Some(Used { at: last.at, window, cpu: u64::try_from(rate).ok()?, memory: last.memory })
}

/// Of each container by its name; None where one of them has no window yet.
pub fn of_pod<'a>(before: Option<&Containers>, last: &'a Containers) -> Option<Vec<(&'a str, Used)>> {
    let before = |name: &str| before.and_then(|containers| containers.get(name));
    last.iter().map(|(name, point)| Some((name.as_str(), between(before(name), point)?))).collect()
}
