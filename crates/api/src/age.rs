//! Ages as kubectl prints them: `5s`, `2m10s`, `3h`, `4d2h`, `2y100d`.
//!
//! Matches apimachinery pkg/util/duration (HumanDuration). A time that is absent or unreadable has
//! the age `<unknown>`.

/// The age of an RFC 3339 time (`""` is unknown) at `now`, also RFC 3339.
pub fn since(time: &str, now: &str) -> String {
    match (time.parse::<jiff::Timestamp>(), now.parse::<jiff::Timestamp>()) {
        (Ok(time), Ok(now)) => human((now.as_millisecond() - time.as_millisecond()).div_euclid(1000)),
        _ => "<unknown>".into(),
    }
}

/// A span of seconds with at most two units.
pub fn human(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |big: i64, unit: char, small: i64, rest: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{rest}"),
    };
    match () {
        _ if seconds < -1 => "<invalid>".into(),
        _ if seconds < 0 => "0s".into(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => two(hours / 24, 'd', hours % 24, 'h'),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => two(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        _ => format!("{}y", hours / 24 / 365),
    }
}
