//! When a node runs short of memory, disk or process numbers: thresholds, the conditions that follow. Pure.
//!
//! Matches the hard thresholds of pkg/kubelet/eviction (helpers.go, eviction_manager.go): a signal below
//! its floor makes a node condition, which stays for five minutes after the last time it was seen. Which
//! pod goes then stands in `rank`; taints are made of the conditions by the node lifecycle controller.

use std::collections::BTreeMap;
use std::str::FromStr;

use api::quantity::Quantity;
use jiff::{SignedDuration, Timestamp};

use crate::collect::Room;

/// Which pod goes, and what is said of it.
pub mod rank;

/// What is kept free by default: upstream's (apis/config/v1beta1/defaults_linux.go), of a large disk no more
/// than an amount (docs/decisions/eviction-thresholds.md).
const DEFAULT: [(Signal, Floor); 5] = [
    (Signal::ImagefsAvailable, Floor::ShareUpTo(0.15, 1 << 30)),
    (Signal::ImagefsInodes, Floor::Share(0.05)),
    (Signal::MemoryAvailable, Floor::Amount(100 << 20)),
    (Signal::NodefsAvailable, Floor::ShareUpTo(0.10, 512 << 20)),
    (Signal::NodefsInodes, Floor::Share(0.05)),
];
/// A condition lasts so long after it was last seen (evictionPressureTransitionPeriod).
const TRANSITION: SignedDuration = SignedDuration::from_mins(5);

/// What is looked at. The order is that in which shortages are met: memory first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    MemoryAvailable,
    ImagefsAvailable,
    ImagefsInodes,
    NodefsAvailable,
    NodefsInodes,
    PidsAvailable,
}

/// A node condition that says what is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    DiskPressure,
    MemoryPressure,
    PIDPressure,
}

/// What pods have to give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scarce {
    Memory,
    Storage,
    Inodes,
    Pids,
}

struct Row {
    signal: Signal,
    name: &'static str,
    scarce: Scarce,
    condition: Condition,
}

const fn row(signal: Signal, name: &'static str, scarce: Scarce, condition: Condition) -> Row {
    Row { signal, name, scarce, condition }
}

static SIGNALS: &[Row] = &[
    row(Signal::MemoryAvailable, "memory.available", Scarce::Memory, Condition::MemoryPressure),
    row(Signal::ImagefsAvailable, "imagefs.available", Scarce::Storage, Condition::DiskPressure),
    row(Signal::ImagefsInodes, "imagefs.inodesFree", Scarce::Inodes, Condition::DiskPressure),
    row(Signal::NodefsAvailable, "nodefs.available", Scarce::Storage, Condition::DiskPressure),
    row(Signal::NodefsInodes, "nodefs.inodesFree", Scarce::Inodes, Condition::DiskPressure),
    row(Signal::PidsAvailable, "pid.available", Scarce::Pids, Condition::PIDPressure),
];

/// How much of a resource stays free.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Floor {
    Amount(i64),
    /// Of the capacity.
    Share(f64),
    /// Of the capacity, but no more than an amount.
    ShareUpTo(f64, u64),
}

/// What is kept free, by signal. From the kubelet's `--eviction-hard` form.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(BTreeMap<Signal, Floor>);

/// A signal below its floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub signal: Signal,
    pub floor: u64,
    pub available: u64,
}

/// When each condition was last seen.
#[derive(Clone, Debug, Default)]
pub struct LastSeen(BTreeMap<Condition, Timestamp>);

/// The node needs the room of a pod, or the pod broke a limit: it is to end.
#[derive(Clone, Debug, Default)]
pub struct Eviction {
    pub message: String,
    /// The pod may be innocent: condition DisruptionTarget.
    pub disruption: bool,
    /// Of the event.
    pub annotations: BTreeMap<String, String>,
}

impl Signal {
    fn row(self) -> &'static Row {
        SIGNALS.iter().find(|row| row.signal == self).expect("every signal has its row")
    }

    pub fn scarce(self) -> Scarce {
        self.row().scarce
    }
}

impl Scarce {
    /// As pods ask for it, where they can.
    pub fn name(self) -> &'static str {
        match self {
            Scarce::Memory => "memory",
            Scarce::Storage => "ephemeral-storage",
            Scarce::Inodes => "inodes",
            Scarce::Pids => "pids",
        }
    }
}

impl Condition {
    pub const ALL: [Condition; 3] = [Condition::MemoryPressure, Condition::DiskPressure, Condition::PIDPressure];

    pub fn name(self) -> &'static str {
        match self {
            Condition::DiskPressure => "DiskPressure",
            Condition::MemoryPressure => "MemoryPressure",
            Condition::PIDPressure => "PIDPressure",
        }
    }

    /// Reason and message of the node's condition, as nodestatus/setters.go has them.
    pub fn told(self, short: bool) -> (&'static str, &'static str) {
        match (self, short) {
            (Condition::MemoryPressure, true) => {
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
            }
            (Condition::MemoryPressure, false) => {
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available")
            }
            (Condition::DiskPressure, true) => ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            (Condition::DiskPressure, false) => ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            (Condition::PIDPressure, true) => ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            (Condition::PIDPressure, false) => ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        }
    }
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds(DEFAULT.into())
    }
}

impl FromStr for Thresholds {
    type Err = String;

    /// `memory.available<100Mi,nodefs.available<10%`; nothing: no thresholds; `0%` and `100%` are none.
    fn from_str(text: &str) -> Result<Thresholds, String> {
        let mut all = BTreeMap::new();
        for statement in text.split(',').map(str::trim).filter(|s| !s.is_empty()) {
            let (name, value) = statement
                .split_once('<')
                .ok_or_else(|| format!("{statement:?} is no threshold; one looks like memory.available<100Mi"))?;
            let known = SIGNALS.iter().find(|row| row.name == name);
            let row = known.ok_or_else(|| {
                let names: Vec<&str> = SIGNALS.iter().map(|row| row.name).collect();
                format!("unknown eviction signal {name:?}; there are {}", names.join(", "))
            })?;
            let Some(floor) = floor(value).map_err(|why| format!("{statement:?}: {why}"))? else { continue };
            if all.insert(row.signal, floor).is_some() {
                return Err(format!("eviction signal {name:?} is given twice"));
            }
        }
        Ok(Thresholds(all))
    }
}

fn floor(value: &str) -> Result<Option<Floor>, String> {
    if let Some(percent) = value.strip_suffix('%') {
        let percent: f64 = percent.parse().map_err(|_| format!("{value} is no percentage"))?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(format!("{value} is not between 0% and 100%"));
        }
        return Ok((percent > 0.0 && percent < 100.0).then_some(Floor::Share(percent / 100.0)));
    }
    let amount = Quantity::parse(value).map_err(|why| why.to_string())?.value();
    if amount <= 0 { Err(format!("{value} is not more than nothing")) } else { Ok(Some(Floor::Amount(amount))) }
}

impl Thresholds {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is kept free of so much; 0 without a threshold.
    pub fn kept_free(&self, signal: Signal, capacity: u64) -> u64 {
        let of = |share: f64| (capacity as f64 * share) as u64;
        match self.0.get(&signal) {
            None => 0,
            Some(Floor::Amount(amount)) => amount.unsigned_abs(),
            Some(Floor::Share(share)) => of(*share),
            Some(Floor::ShareUpTo(share, most)) => of(*share).min(*most),
        }
    }

    /// What is short, the most urgent first.
    pub fn judge(&self, observed: &BTreeMap<Signal, Room>) -> Vec<Shortage> {
        let short = |(signal, room): (&Signal, &Room)| {
            let floor = self.kept_free(*signal, room.capacity);
            // A file system that does not count its inodes has none to be short of.
            let is_short = room.capacity > 0 && room.available < floor;
            is_short.then_some(Shortage { signal: *signal, floor, available: room.available })
        };
        observed.iter().filter_map(short).collect()
    }
}

impl LastSeen {
    pub fn note(&mut self, shortages: &[Shortage], now: Timestamp) {
        for shortage in shortages {
            self.0.insert(shortage.signal.row().condition, now);
        }
    }

    pub fn conditions(&self, now: Timestamp) -> Vec<Condition> {
        self.0.iter().filter(|(_, at)| now.duration_since(**at) < TRANSITION).map(|(c, _)| *c).collect()
    }
}

#[cfg(test)]
mod tests;
