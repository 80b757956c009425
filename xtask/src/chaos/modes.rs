//! What a round does: a table, one row and one file for each mode.

/// Connections and requests that no client means well with.
mod abuse;
/// Damaged files.
mod damage;
/// Deaths during `down`.
mod downs;
/// A full disk.
mod full_disk;
/// Deaths and standstills while pods live.
mod kills;
/// A machine without power.
mod power;
/// Deaths during pulls and loads.
mod pulls;
/// Writers and watchers over deaths of the server.
mod writes;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use anyhow::Result;

use super::chance::Chance;
use super::history::Record;
use super::image::Images;

pub use power::{NEEDS as POWER_NEEDS, bring as bring_machine, write as write_in_machine};

/// One round, as its mode gets it.
pub struct Round<'a> {
    pub gousse: &'a Path,
    /// Of its instances: no other run's bear it.
    pub name: String,
    pub images: &'a Images,
    pub seed: u64,
    pub number: u64,
    /// A folder of its own.
    pub home: PathBuf,
    /// How long faults go on.
    pub span: Duration,
    pub record: Record,
}

impl Round<'_> {
    pub fn chance(&self, part: &str) -> Chance {
        Chance::new(self.seed, self.number, part)
    }
}

type Done<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

pub struct Mode {
    pub name: &'static str,
    pub what: &'static str,
    /// Part of a run that names no modes.
    pub usual: bool,
    pub checks: &'static [&'static str],
    pub run: for<'a> fn(&'a Round<'a>) -> Done<'a>,
}

/// Of every round with pods.
const PODS: &[&str] = &[
    "revisions-increase",
    "node-name-is-set-once",
    "one-life-at-a-time",
    "exits-are-told",
    "no-address-twice",
    "rest-is-reached",
    "nobody-ends-without-a-reason",
    "restarts-are-counted",
    "phases-are-final",
    "no-line-is-lost",
    "ends-are-told-first",
    "graces-are-kept",
    "hooks-run",
    "nothing-is-left",
    "everything-comes-to-an-end",
    "nobody-is-refused",
    "nothing-breaks",
];

const STORE: &[&str] = &[
    "revisions-increase",
    "compare-and-set-holds",
    "watches-are-complete",
    "acknowledged-writes-survive",
    "everything-comes-to-an-end",
    "nobody-is-refused",
    "nothing-breaks",
    "nothing-is-left",
];

const DAMAGE: &[&str] = &[
    "damage-is-never-silent",
    "damage-is-told-by-name",
    "one-life-at-a-time",
    "nothing-breaks",
    "everything-comes-to-an-end",
    "nothing-is-left",
];

const ANSWERS: &[&str] =
    &["memory-is-bounded", "everything-comes-to-an-end", "nobody-is-refused", "nothing-breaks", "nothing-is-left"];

pub const MODES: &[Mode] = &[
    Mode {
        name: "up",
        what: "kill -9 of server and agent while pods live",
        usual: true,
        checks: PODS,
        run: |r| Box::pin(kills::run(r, kills::UP)),
    },
    Mode {
        name: "supervisor",
        what: "kill -9 of the supervisor",
        usual: true,
        checks: PODS,
        run: |r| Box::pin(kills::run(r, kills::SUPERVISOR)),
    },
    Mode {
        name: "both",
        what: "kill -9 of both at once",
        usual: true,
        checks: PODS,
        run: |r| Box::pin(kills::run(r, kills::BOTH)),
    },
    Mode {
        name: "keeper",
        what: "kill -9 of the keeper, which ends all containers",
        usual: true,
        checks: PODS,
        run: |r| Box::pin(kills::run(r, kills::KEEPER)),
    },
    Mode {
        name: "all",
        what: "kill -9 of all three at once",
        usual: true,
        checks: PODS,
        run: |r| Box::pin(kills::run(r, kills::ALL)),
    },
    Mode {
        name: "stop",
        what: "each of the three stands still for a while",
        usual: true,
        checks: PODS,
        run: |r| Box::pin(kills::run(r, kills::STOP)),
    },
    Mode {
        name: "pulls",
        what: "kill -9 while images are pulled and loaded",
        usual: true,
        checks: PODS,
        run: |r| Box::pin(pulls::run(r)),
    },
    Mode {
        name: "downs",
        what: "kill -9 while `gousse down` takes an instance away",
        usual: true,
        checks: ANSWERS,
        run: |r| Box::pin(downs::run(r)),
    },
    Mode {
        name: "writes",
        what: "writers and watchers over kill -9 of the server",
        usual: true,
        checks: STORE,
        run: |r| Box::pin(writes::run(r)),
    },
    Mode {
        name: "disk",
        what: "a full disk, and room again",
        usual: true,
        checks: PODS,
        run: |r| Box::pin(full_disk::run(r)),
    },
    Mode {
        name: "store",
        what: "damaged files of the store",
        usual: true,
        checks: DAMAGE,
        run: |r| Box::pin(damage::store(r)),
    },
    Mode {
        name: "journal",
        what: "the runtime's journal damaged under running pods",
        usual: true,
        checks: DAMAGE,
        run: |r| Box::pin(damage::journal(r)),
    },
    Mode {
        name: "abuse",
        what: "half requests, connections that never read, HTTP/2 resets and windows",
        usual: true,
        checks: ANSWERS,
        run: |r| Box::pin(abuse::run(r)),
    },
    Mode {
        name: "power",
        what: "power loss of an emulated machine under writes (minutes; needs qemu)",
        usual: false,
        checks: STORE,
        run: |r| Box::pin(power::run(r)),
    },
];
