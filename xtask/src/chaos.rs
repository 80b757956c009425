//! `cargo xtask chaos`: the real binary, struck, stopped, filled and damaged, judged by the laws.
//!
//! Rounds go one after the other, each with a fresh instance in the namespaces of the run and choices of its own, fixed
//! by seed and number. A round writes down what happened (history); checks are pure functions over that. A round that
//! breaks a law keeps its folder, and the run says how to do it again.

/// What pods do.
mod behaviours;
/// Seeded choices.
mod chance;
/// The laws.
mod checks;
/// What the puppets wrote down.
mod diary;
/// A watch of the pods.
mod follow;
/// What happened.
mod history;
/// The puppets' images.
mod image;
/// One gousse.
mod instance;
/// What is there of it.
mod left;
/// What a round does.
mod modes;
/// The command line.
mod options;
/// Who is who.
mod processes;
/// Pods that come and go.
mod workload;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::conformance::{cluster, namespace, registry};
use crate::{machine, needs};
use history::Record;
use modes::{Mode, Round};
use options::Options;

/// Runs the command; true if no law was broken.
pub fn chaos(words: &[String]) -> Result<bool> {
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{}", options::usage());
        return Ok(true);
    }
    if let Some(kubeconfig) = words.strip_prefix(["--write".to_owned()].as_slice()) {
        return modes::write_in_machine(kubeconfig);
    }
    let options = Options::parse(words)?;
    match namespace::inside() {
        Some(home) => Run { options: &options, home: &home }.go(),
        None => enter(words, &options),
    }
}

/// Builds what is needed and goes on inside namespaces; clears up whatever became of it in there.
fn enter(words: &[String], options: &Options) -> Result<bool> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the workspace")?;
    let emulates = options.modes.iter().any(|mode| mode.name == "power");
    needs::check(&[needs::NAMESPACES, NEEDS])?;
    if emulates {
        needs::check(&[machine::NEEDS, needs::PACKAGES, modes::POWER_NEEDS])?;
    }
    let home = std::env::temp_dir().join(format!("gousse-chaos-{}", std::process::id()));
    std::fs::create_dir_all(&home)?;
    image::pack(&home)?;
    let gousse = options.gousse.clone().map_or_else(|| cluster::build(workspace, &["--release"]), Ok)?;
    let words = [words, &[format!("--gousse={}", gousse.display())]].concat();
    if emulates {
        modes::bring_machine(&home, &gousse)?;
    }
    let ended = namespace::enter("chaos", &words, &home)?;
    clear(&home)?;
    Ok(ended.success())
}

/// Removes the run's folder, but for rounds that are kept; and the cgroups of instances that it left.
fn clear(home: &Path) -> Result<()> {
    let kept = Run::kept(home);
    cluster::clear_cgroups(&name_of(home));
    if !kept.exists() {
        return crate::conformance::cache::remove(home);
    }
    for entry in std::fs::read_dir(home)? {
        let path = entry?.path();
        if path != kept {
            crate::conformance::cache::remove(&path)?;
        }
    }
    Ok(())
}

/// `chaos-` and the number of the process that was called.
fn name_of(home: &Path) -> String {
    let name = home.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("gousse-").unwrap_or(&name).to_owned()
}

const NEEDS: &[needs::Need] =
    &[("cp", "coreutils", "keeps what is to be looked at"), ("tar", "tar", "packs the puppets' image")];

struct Run<'a> {
    options: &'a Options,
    home: &'a Path,
}

impl Run<'_> {
    fn go(&self) -> Result<bool> {
        namespace::furnish(self.home)?;
        let images = image::Images { layout: self.home.join("served"), archive: self.home.join("puppet.tar") };
        registry::serve(&images.layout)?;
        let gousse = self.options.gousse.as_deref().context("the program to judge is named by the call outside")?;
        let end = Instant::now() + Duration::from_secs_f64(self.options.minutes * 60.0);
        println!("seed {}", self.options.seed);
        let (mut number, mut broken) = (self.options.round.unwrap_or(0), 0);
        loop {
            let mode = self.options.modes[number as usize % self.options.modes.len()];
            broken += usize::from(!self.round(gousse, &images, mode, number)?);
            number += 1;
            if self.options.round.is_some() || Instant::now() > end || broken == ENOUGH {
                break;
            }
        }
        println!("{broken} rounds broke a law");
        Ok(broken == 0)
    }

    /// One round, to its verdict: true if no law was broken.
    fn round(&self, gousse: &Path, images: &image::Images, mode: &Mode, number: u64) -> Result<bool> {
        let begun = Instant::now();
        let home = self.home.join(format!("round-{number}"));
        let record = Record::default();
        let span = Duration::from_secs(self.options.span);
        let name = name_of(self.home);
        let round = Round { gousse, name, images, seed: self.options.seed, number, home: home.clone(), span, record };
        // A runtime of its own: what a round leaves running ends with it.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let ended = runtime.block_on((mode.run)(&round));
        runtime.shutdown_timeout(Duration::from_secs(5));
        let mut history = round.record.lock();
        history.broken.extend(complaints(&home));
        let found = match ended {
            Ok(()) => checks::judge(&history, mode.checks),
            Err(error) => {
                // Half a record: what was not written down would look like a loss.
                history.late.push(format!("the round could not go on: {error:#}"));
                checks::judge(&history, UNFINISHED)
            }
        };
        println!(
            "round {number} {}: {} in {:.0} s: {}",
            mode.name,
            summary(&history),
            begun.elapsed().as_secs_f64(),
            if found.is_empty() { "holds" } else { "BROKEN" }
        );
        if found.is_empty() {
            end_leftovers();
            crate::conformance::cache::remove(&home)?;
            return Ok(true);
        }
        for check in checks::CHECKS {
            let said: Vec<&String> =
                found.iter().filter(|(of, _)| of.name == check.name).map(|(_, said)| said).collect();
            let law = if check.law == 0 { String::new() } else { format!("law {}, ", check.law) };
            said.iter().take(SHOWN).for_each(|said| println!("  {law}{}: {said}", check.name));
            if said.len() > SHOWN {
                println!("  {law}{}: and {} more, in `findings`", check.name, said.len() - SHOWN);
            }
        }
        let kept = Run::kept(self.home).join(format!("{}-{}-{number}", mode.name, self.options.seed));
        keep(&home, &kept, &found, &history)?;
        let again = format!(
            "cargo xtask chaos --mode {} --seed {} --round {number} --span {}",
            mode.name, self.options.seed, self.options.span
        );
        println!("  kept: {}\n  again: {again} --gousse {}", kept.display(), gousse.display());
        Ok(false)
    }

    fn kept(home: &Path) -> PathBuf {
        home.join("kept")
    }
}

/// What a round is judged by that ended in the middle.
const UNFINISHED: &[&str] = &["everything-comes-to-an-end", "nobody-is-refused", "nothing-breaks"];

/// Broken rounds that a run ends with: their folders are kept, and somebody is to look at them.
const ENOUGH: usize = 5;

/// Findings of one check on the screen; all of them are kept.
const SHOWN: usize = 3;

/// Moves a round's folder away once nothing of it runs any more.
fn keep(home: &Path, kept: &Path, found: &[(&checks::Check, String)], history: &history::History) -> Result<()> {
    end_leftovers();
    std::fs::create_dir_all(kept.parent().context("it stands in a folder")?)?;
    std::fs::rename(home, kept)?;
    let lines: String =
        found.iter().map(|(check, said)| format!("law {}, {}: {said}\n", check.law, check.name)).collect();
    std::fs::write(kept.join("findings"), lines)?;
    Ok(std::fs::write(kept.join("history"), format!("{history:#?}"))?)
}

/// Ends what a broken round left of the instance: the next one begins alone.
fn end_leftovers() {
    for process in processes::all() {
        if process.name.starts_with("gousse") || process.name == "puppet" {
            processes::strike(process.pid, history::Blow::Kill);
        }
    }
}

fn summary(history: &history::History) -> String {
    let lives: usize =
        history.pods.values().flat_map(|pod| &pod.containers).map(|container| container.lives.len()).sum();
    let blows = history.hits.iter().filter(|hit| hit.blow != history::Blow::Continue).count();
    let mut parts = vec![format!("{blows} blows")];
    let counts = [
        (history.pods.len(), "pods"),
        (lives, "lives"),
        (history.writes.acknowledged.len(), "writes"),
        (history.trials.len(), "trials"),
    ];
    parts.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    parts.join(", ")
}

/// Lines that say that a part of the program broke.
fn complaints(home: &Path) -> Vec<String> {
    let logs = ["up.log", "runtime.log"];
    let text = logs.iter().map(|log| std::fs::read(home.join(log)).unwrap_or_default());
    text.flat_map(|text| {
        String::from_utf8_lossy(&text)
            .lines()
            .filter(|line| line.contains("panicked"))
            .map(String::from)
            .collect::<Vec<_>>()
    })
    .collect()
}
