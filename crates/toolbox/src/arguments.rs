//! Flags and operands, checked against what an applet knows.
//!
//! Short flags come in bundles (`-rf`), values apart or attached, long ones as `--x=y` or `--x y`.

use std::time::Duration;

/// What was given, checked against what an applet knows.
pub struct Arguments {
    flags: Vec<(String, String)>,
    pub operands: Vec<String>,
}

/// `known` names flags, apart by blanks; one that takes a value ends in `=`: `"r f n= every="`.
/// Reading flags ends at `--`, and with `stop` at the first operand.
pub fn parse(arguments: &[String], known: &str, stop: bool) -> Result<Arguments, String> {
    let takes_value = |name: &str| -> Result<bool, String> {
        let mut known = known.split(' ');
        match known.find(|k| k.trim_end_matches('=') == name) {
            Some(found) => Ok(found.ends_with('=')),
            None => Err(format!("unknown option {name:?}")),
        }
    };
    let mut parsed = Arguments { flags: Vec::new(), operands: Vec::new() };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            parsed.operands.extend(rest.cloned());
            break;
        }
        if let Some(long) = argument.strip_prefix("--") {
            let (name, attached) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v.to_string())));
            let value = match (takes_value(name)?, attached) {
                (true, None) => rest.next().cloned().ok_or_else(|| format!("--{name} needs a value"))?,
                (false, Some(_)) => return Err(format!("--{name} takes no value")),
                (_, attached) => attached.unwrap_or_default(),
            };
            parsed.flags.push((name.to_string(), value));
        } else if argument.len() > 1 && argument.starts_with('-') {
            let mut bundle = argument[1..].char_indices();
            while let Some((at, letter)) = bundle.next() {
                let name = letter.to_string();
                let mut value = String::new();
                if takes_value(&name)? {
                    let attached = &argument[1 + at + letter.len_utf8()..];
                    let mut apart = || rest.next().cloned().ok_or_else(|| format!("-{name} needs a value"));
                    value = if attached.is_empty() { apart()? } else { attached.to_string() };
                    bundle = "".char_indices();
                }
                parsed.flags.push((name, value));
            }
        } else {
            parsed.operands.push(argument.clone());
            if stop {
                parsed.operands.extend(rest.cloned());
                break;
            }
        }
    }
    Ok(parsed)
}

impl Arguments {
    pub fn has(&self, name: &str) -> bool {
        self.flags.iter().any(|(flag, _)| flag == name)
    }

    /// The last value given.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(flag, _)| flag == name).map(|(_, value)| value.as_str())
    }

    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |(flag, _)| flag == name).map(|(_, value)| value.as_str())
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str, otherwise: T) -> Result<T, String> {
        self.value(name).map_or(Ok(otherwise), |text| text.parse().map_err(|_| format!("{text:?} is no number")))
    }

    pub fn duration(&self, name: &str) -> Result<Option<Duration>, String> {
        self.value(name).map(duration).transpose()
    }
}

/// `10`, `1.5`, `500ms`, `2s`, `1m`, `1h`, `1d`, `inf`
pub fn duration(text: &str) -> Result<Duration, String> {
    if matches!(text, "inf" | "infinity") {
        return Ok(Duration::from_secs(u64::from(u32::MAX)));
    }
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(format!("{text:?} is no duration")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no duration"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|e| format!("{text:?}: {e}"))
}

/// `123`, `64K`, `64M`, `2G`, also with `i` and `B`
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err(format!("{text:?} is no size")),
    };
    digits.parse::<u64>().map(|n| n << shift).map_err(|_| format!("{text:?} is no size"))
}

/// Says which file it was.
pub fn at<T>(path: &str, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|e| format!("{path}: {}", plain(&e)))
}

/// An error without Rust's "(os error 2)".
pub fn plain(e: &std::io::Error) -> String {
    let text = e.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(text, _)| text.to_string())
}
