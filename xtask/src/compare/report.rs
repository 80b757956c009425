//! Differences by their cause: the same in many kinds and fields is one line with a count.
//!
//! `xtask/compare/purposes.tsv` has those that are meant: regular expressions on kind, case, place and both sides, and
//! the reason, which docs/compatibility.md tells too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use regex::Regex;

use super::cases::{Step, Told};
use super::difference::Difference;

/// One row of purposes.tsv.
struct Purpose {
    kind: Regex,
    case: Regex,
    place: Regex,
    stock: Regex,
    gousse: Regex,
    reason: String,
    /// Of the table.
    line: usize,
    met: usize,
}

impl Purpose {
    /// Whether chance decides if it is met: by the order of Go's maps, or by who of two processes is quicker.
    fn is_chance(&self) -> bool {
        ["(upstream: in any", "(upstream: in no order", "run beside its server"]
            .iter()
            .any(|by| self.reason.contains(by))
    }
}

pub struct Report {
    /// Where what is meant stands.
    table: &'static str,
    unserved: Vec<String>,
    purposes: Vec<Purpose>,
    groups: BTreeMap<Cause, Group>,
    meant: BTreeMap<String, usize>,
    requests: usize,
    cases: usize,
}

/// What differences of one cause have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Cause {
    place: String,
    stock: String,
    gousse: String,
}

#[derive(Default)]
struct Group {
    count: usize,
    kinds: BTreeSet<String>,
    cases: BTreeSet<String>,
    examples: Vec<String>,
}

pub const PURPOSES: &str = "compare/purposes.tsv";
const EXAMPLES: usize = 2;
const SHOWN: usize = 600;

impl Report {
    /// With a table of what is meant.
    pub fn new(table: &'static str, unserved: Vec<String>) -> Result<Report> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(table);
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(Report {
            table,
            unserved,
            purposes: purposes(&text)?,
            groups: BTreeMap::new(),
            meant: BTreeMap::new(),
            requests: 0,
            cases: 0,
        })
    }

    pub fn add(&mut self, told: Told) {
        self.requests += told.requests;
        self.cases += 1;
        for (step, difference) in told.differences {
            let meant = |purpose: &&mut Purpose| {
                purpose.kind.is_match(&told.kind)
                    && purpose.case.is_match(&told.name)
                    && purpose.place.is_match(&difference.place)
                    && purpose.stock.is_match(&difference.stock)
                    && purpose.gousse.is_match(&difference.gousse)
            };
            if let Some(purpose) = self.purposes.iter_mut().find(meant) {
                purpose.met += 1;
                *self.meant.entry(purpose.reason.clone()).or_default() += 1;
                continue;
            }
            let group = self.groups.entry(Cause::of(&told.kind, &difference)).or_default();
            group.count += 1;
            group.kinds.insert(told.kind.clone());
            let family = told.name.split('/').next().unwrap_or_default();
            group.cases.insert(family.to_owned());
            if group.examples.len() < EXAMPLES {
                group.examples.push(example(&told.kind, &told.name, &step, &difference));
            }
        }
    }

    /// All groups with their examples.
    pub fn write(&self, file: &Path) -> Result<()> {
        let mut text = String::new();
        for (cause, group) in self.sorted() {
            let kinds: Vec<&str> = group.kinds.iter().map(String::as_str).collect();
            let cases: Vec<&str> = group.cases.iter().map(String::as_str).collect();
            writeln!(text, "=== {} x {}  [{}]  [{}]", group.count, cause.place, kinds.join(" "), cases.join(", "))?;
            for example in &group.examples {
                writeln!(text, "{example}")?;
            }
        }
        std::fs::write(file, text).with_context(|| file.display().to_string())
    }

    /// Prints a line for each group; true if there is none, and in a whole run no purpose without a difference.
    pub fn print(&self, all: bool, whole: bool) -> bool {
        for (cause, group) in self.sorted() {
            let kinds: Vec<&str> = group.kinds.iter().map(String::as_str).take(4).collect();
            println!("{:5} x {} [{} kinds: {}]", group.count, cause.place, group.kinds.len(), kinds.join(" "));
            println!("        stock:  {}", cut(&cause.stock, 200));
            println!("        gousse: {}", cut(&cause.gousse, 200));
        }
        for name in &self.unserved {
            println!("{name}");
        }
        if all {
            for (reason, count) in &self.meant {
                println!("{count:5} x on purpose: {reason}");
            }
        }
        let is_idle = |purpose: &&Purpose| whole && purpose.met == 0 && !purpose.is_chance();
        let idle: Vec<&Purpose> = self.purposes.iter().filter(is_idle).collect();
        for purpose in &idle {
            println!("{}:{}: met by nothing: {}", self.table, purpose.line, purpose.reason);
        }
        let count: usize = self.groups.values().map(|group| group.count).sum();
        let meant: usize = self.meant.values().sum();
        println!(
            "{} cases, {} requests to each: {count} differences of {} causes, {meant} on purpose",
            self.cases,
            self.requests,
            self.groups.len()
        );
        self.groups.is_empty() && idle.is_empty()
    }

    fn sorted(&self) -> Vec<(&Cause, &Group)> {
        let mut groups: Vec<(&Cause, &Group)> = self.groups.iter().collect();
        groups.sort_by_key(|(cause, group)| (std::cmp::Reverse(group.count), *cause));
        groups
    }
}

/// `[/api/v1/pods]`, in a place.
static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\[[^\]]+\]").expect("written in this program"));
static QUOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""(?:[^"\\]|\\.)*""#).expect("written in this program"));
static PATH: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b[a-z]\w*(?:\[[^\]]*\])?(?:\.\w+(?:\[[^\]]*\])*)+").expect("written in this program")
});
/// `Pod`, `Lease.coordination.k8s.io`
static KIND: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:[A-Z][a-z]+)+(?:\.[a-z0-9]+)*\b").expect("written in this program"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"-?\b\d+\b").expect("written in this program"));

impl Cause {
    fn of(kind: &str, difference: &Difference) -> Cause {
        let plural = kind.split(['.', '/']).next().unwrap_or(kind);
        let general = |text: &str| {
            let text = KIND.replace_all(text, "<Kind>").replace(plural, "<kind>");
            let text = QUOTED.replace_all(&text, "\"\"");
            let text = PATH.replace_all(&text, "<field>");
            cut(&NUMBER.replace_all(&text, "0"), SHOWN).to_owned()
        };
        Cause {
            place: NAME.replace_all(&difference.place, "[]").into_owned(),
            stock: general(&difference.stock),
            gousse: general(&difference.gousse),
        }
    }
}

fn example(kind: &str, case: &str, step: &Step, difference: &Difference) -> String {
    let body = step.body.as_deref().unwrap_or_default();
    format!(
        "  {kind} | {case} | {} {} {}{}\n    stock:  {}\n    gousse: {}",
        step.method,
        step.path,
        cut(body, 200),
        if NAME.is_match(&difference.place) { format!("\n    at:     {}", difference.place) } else { String::new() },
        cut(&difference.stock, SHOWN),
        cut(&difference.gousse, SHOWN),
    )
}

/// The beginning of a text.
fn cut(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(at, _)| &text[..at])
}

/// Kind, case, place, stock, gousse, reason; an empty expression is met by anything.
fn purposes(text: &str) -> Result<Vec<Purpose>> {
    let rows = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    rows.map(|(at, line)| {
        let cells: Vec<&str> = line.split('\t').collect();
        let [kind, case, place, stock, gousse, reason] = cells[..] else {
            anyhow::bail!("{PURPOSES}: six cells in {line:?}");
        };
        let whole = |text: &str| match text {
            "" => Regex::new(""),
            text => Regex::new(&format!("(?s)^(?:{text})$")),
        };
        Ok(Purpose {
            kind: whole(kind)?,
            case: whole(case)?,
            place: whole(place)?,
            stock: whole(stock)?,
            gousse: whole(gousse)?,
            reason: reason.to_owned(),
            line: at + 1,
            met: 0,
        })
    })
    .collect()
}
