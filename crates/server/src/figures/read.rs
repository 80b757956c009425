//! A node's `/metrics/resource`, read: of Prometheus' text form what is asked of it. Pure.
//!
//! metrics-server pkg/scraper/client/resource/decode.go. What cannot be read counts as not said.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

/// What is counted of a node or a container at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Milliseconds since 1970, by the node's clock.
    pub at: i64,
    /// The same, of a container.
    pub started: Option<i64>,
    /// Nanoseconds of processor since then.
    pub cpu: u64,
    /// Bytes of its working set.
    pub memory: u64,
}

/// The containers of a pod by their names.
pub type Containers = BTreeMap<String, Point>;

/// A pod's namespace and name.
pub type Place = (String, String);

/// One look at a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    pub node: Option<Point>,
    pub pods: HashMap<Place, Containers>,
}

/// What is asked of a series.
enum Asked {
    Cpu,
    Memory,
    Started,
}

/// Of pods, those in `own` alone are looked at: nothing is kept of what a node says of others.
pub fn look(text: &str, own: &HashSet<Place>, now: Timestamp) -> Look {
    let mut look = Look::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (of_node, asked) = match line.split(['{', ' ']).next().unwrap_or("") {
            "node_cpu_usage_seconds_total" => (true, Asked::Cpu),
            "node_memory_working_set_bytes" => (true, Asked::Memory),
            "container_cpu_usage_seconds_total" => (false, Asked::Cpu),
            "container_memory_working_set_bytes" => (false, Asked::Memory),
            "container_start_time_seconds" => (false, Asked::Started),
            _ => continue,
        };
        let Some((labels, value, at)) = series(line, now) else { continue };
        let point = if of_node {
            look.node.get_or_insert_default()
        } else {
            let label = |name: &str| labels.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let place = label("namespace").zip(label("pod")).filter(|place| own.contains(place));
            let (Some(place), Some(container)) = (place, label("container")) else { continue };
            look.pods.entry(place).or_default().entry(container).or_default()
        };
        match asked {
            Asked::Cpu => (point.cpu, point.at) = ((value * 1e9) as u64, at),
            Asked::Memory => (point.memory, point.at) = (value as u64, at),
            Asked::Started => point.started = Some((value * 1e3) as i64),
        }
    }
    // What is not whole is none: of a pod with such a container nothing is known (checkContainerMetrics).
    let is_whole = |point: &Point| point.cpu > 0 && point.memory > 0;
    look.node = look.node.filter(is_whole);
    look.pods.retain(|_, containers| containers.values().all(is_whole));
    look
}

type Series<'a> = (Vec<(&'a str, &'a str)>, f64, i64);

/// `name{key="value",…} 1.5 1790000000000`: the last are milliseconds since 1970, now where they are missing.
fn series(line: &str, now: Timestamp) -> Option<Series<'_>> {
    let (_, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => rest.split_once('}')?,
        None => ("", rest),
    };
    let labels = labels.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key, value.strip_prefix('"')?.strip_suffix('"')?))
    });
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok()?;
    let at = words.next().map_or(Some(now.as_millisecond()), |word| word.parse().ok())?;
    Some((labels.collect(), value, at))
}
