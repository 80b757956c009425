//! Files that are damaged while nobody looks: each damage is told by name or harms nothing.
//!
//! A bit flipped, a byte, a piece cut off, overwritten, emptied, or the whole file removed: of the store's files on
//! copies of one store, and of the runtime's journal under containers that run on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::writes::MAPS;
use super::{Round, kills};
use crate::chaos::behaviours;
use crate::chaos::chance::Chance;
use crate::chaos::history::{Blow, History, Outcome, Part, Record, Trial};
use crate::chaos::instance::{Api, Instance, until};
use crate::chaos::workload::{Workload, followed};
use crate::conformance::cache::run as command;

const OBJECTS: u64 = 700;

/// Damaged stores, one after the other.
pub async fn store(round: &Round<'_>) -> Result<()> {
    let mut chance = round.chance("damage");
    let mut whole = Instance::new(round.gousse, &round.name, &round.home.join("whole"), round.record.clone())?;
    whole.verb = vec!["server".into()];
    whole.start().await?;
    let api = whole.api()?;
    for number in 0..OBJECTS {
        let name = format!("c-{}", chance.within(0..=OBJECTS / 2));
        let length = chance.within(100..=9000) as usize;
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"t": number.to_string(), "pad": chance.noise(length)}});
        let (path, method) =
            if chance.happens(20) { (format!("{MAPS}/{name}"), "DELETE") } else { (MAPS.to_owned(), "POST") };
        let (code, ..) = api.insist(method, &path, Some(&map)).await?;
        if code == 409 {
            api.insist("PUT", &format!("{MAPS}/{name}"), Some(&map)).await?;
        }
    }
    let all = contents(&api).await?;
    if chance.happens(50) {
        // In tables too, not in the journal alone.
        whole.kill().await;
        whole.start().await?;
    }
    whole.kill().await;
    let files = files(&whole.data.join("store"));
    let end = Instant::now() + round.span;
    while Instant::now() < end {
        let trial = trial(round, &whole.data, chance.pick(&files).clone(), &all, &mut chance).await?;
        round.record.lock().trials.push(trial);
    }
    Ok(())
}

async fn trial(
    round: &Round<'_>,
    data: &Path,
    file: PathBuf,
    all: &BTreeMap<String, String>,
    chance: &mut Chance,
) -> Result<Trial> {
    let home = round.home.join("trial");
    crate::conformance::cache::remove(&home)?;
    fs::create_dir_all(&home)?;
    command(Command::new("cp").args(["-a", "--sparse=always"]).arg(data).arg(home.join("data")))?;
    let mut instance = Instance::new(round.gousse, &round.name, &home, Record::default())?;
    instance.verb = vec!["server".into()];
    let damage = bend(&home.join("data/store").join(&file), chance)?;
    let outcome = match instance.start().await {
        Err(why) if why.to_string().contains("was not ready") => Outcome::Stuck,
        Err(_) => {
            let said = instance.said();
            // What was refused must not open by itself now.
            let again = instance.start().await;
            let lost = if again.is_ok() { differs(all, &contents(&instance.api()?).await?) } else { None };
            instance.kill().await;
            if let Some(lost) = lost {
                return Ok(Trial {
                    file: text(&file),
                    damage,
                    outcome: Outcome::Lost(format!("refused once, then opened: {lost}")),
                    said,
                });
            }
            return Ok(Trial { file: text(&file), damage, outcome: Outcome::Refused, said });
        }
        Ok(()) => differs(all, &contents(&instance.api()?).await?).map_or(Outcome::Whole, Outcome::Lost),
    };
    let said = instance.said();
    instance.kill().await;
    Ok(Trial { file: text(&file), damage, outcome, said })
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

async fn contents(api: &Api) -> Result<BTreeMap<String, String>> {
    let (code, list, _) = api.insist("GET", MAPS, None).await?;
    if code != 200 {
        bail!("listing what is stored: {code}");
    }
    let items = list["items"].as_array().into_iter().flatten();
    let text = |object: &serde_json::Value| object["data"]["t"].as_str().unwrap_or_default().to_owned();
    Ok(items.map(|object| (object["metadata"]["name"].as_str().unwrap_or_default().to_owned(), text(object))).collect())
}

fn differs(all: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Option<String> {
    let lost = all.keys().filter(|name| !found.contains_key(*name)).count();
    let back = found.keys().filter(|name| !all.contains_key(*name)).count();
    let old = all.iter().filter(|(name, text)| found.get(*name).is_some_and(|found| found != *text)).count();
    (lost + back + old > 0).then(|| format!("{lost} of {} objects lost, {back} back, {old} older", all.len()))
}

/// Everything below that holds something.
fn files(store: &Path) -> Vec<PathBuf> {
    let (mut open, mut found) = (vec![store.to_owned()], Vec::new());
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                open.push(path);
            } else if fs::metadata(&path).is_ok_and(|meta| meta.len() > 0)
                && !matches!(name.as_str(), "reserve" | "lock")
            {
                found.push(path.strip_prefix(store).unwrap_or(&path).to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Damages a file; what was done to it.
pub fn bend(path: &Path, chance: &mut Chance) -> Result<String> {
    let mut bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    // Journals are made longer than what they hold.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
    let at = chance.within(0..=used as u64 - 1) as usize;
    let end = (at + chance.within(1..=4096) as usize).min(bytes.len());
    let done = match chance.within(0..=6) {
        0 | 1 => {
            let bit = chance.within(0..=7);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        2 => {
            bytes[at] ^= 0xff;
            format!("byte {at} flipped")
        }
        3 => {
            bytes.truncate(at);
            format!("cut at {at} of {used}")
        }
        4 => {
            bytes[at..end].fill(0);
            format!("zeros from {at} to {end} of {used}")
        }
        5 => {
            bytes.clear();
            "emptied".to_owned()
        }
        _ => {
            fs::remove_file(path)?;
            return Ok("removed".to_owned());
        }
    };
    fs::write(path, bytes)?;
    Ok(done)
}

/// The runtime's journal, damaged while agent and supervisor are dead and the keeper holds the containers.
pub async fn journal(round: &Round<'_>) -> Result<()> {
    let instance = kills::launch(round).await?;
    let api = instance.lock().await.api()?;
    let mut workload = Workload::new(api.clone(), round.record.clone(), &round.home, round.chance("pods"))?;
    let (follower, over) = followed(&workload);
    let mut chance = round.chance("damage");
    for _ in 0..chance.within(4..=8) {
        workload.create(behaviours::named("runner"), None).await?;
    }
    workload.rest().await?;
    let mut held = instance.lock().await;
    let path = held.data.join("runtime/journal");
    held.kill().await;
    held.strike(Part::Keeper, Blow::Stop);
    held.strike(Part::Supervisor, Blow::Kill);
    let kept = fs::read(&path)?;
    let said = |held: &Instance| fs::read(held.log()).unwrap_or_default().len() + runtime_log(held).len();
    let before = said(&held);
    let damage = bend(&path, &mut chance)?;
    held.strike(Part::Keeper, Blow::Continue);
    let started = held.start().await;
    // What is to happen happens at once, or when the first actors have looked.
    sleep(Duration::from_secs(5)).await;
    workload.read_diaries();
    let text = [fs::read(held.log()).unwrap_or_default(), runtime_log(&held)].concat();
    let told = String::from_utf8_lossy(&text[before.min(text.len())..]).into_owned();
    let told: Vec<&str> = told.lines().filter(|line| line.contains("journal")).collect();
    let outcome = match (&started, told.is_empty(), changed(&round.record.lock())) {
        (Ok(()), _, None) => Outcome::Whole,
        (Ok(()), true, Some(changed)) => Outcome::Lost(changed),
        _ => Outcome::Refused,
    };
    let said = told.first().map_or_else(|| held.said(), |line| (*line).to_owned());
    round.record.lock().trials.push(Trial { file: "runtime/journal".into(), damage, outcome, said });
    if started.is_err() {
        // The way out that there always is: the file as it was.
        held.strike(Part::Keeper, Blow::Stop);
        held.strike(Part::Supervisor, Blow::Kill);
        fs::write(&path, kept)?;
        held.strike(Part::Keeper, Blow::Continue);
        held.start().await?;
    }
    drop(held);
    // Whatever became of them: they can be deleted, and nothing stays.
    let ready = async || {
        matches!(api.ask("GET", "/readyz", None).await, crate::chaos::instance::Answer::Told(200, _)).then_some(())
    };
    until("the server to be ready", Duration::from_secs(30), ready).await?;
    workload.delete_all().await?;
    let instance =
        Arc::try_unwrap(instance).map_err(|_| anyhow::anyhow!("somebody else has the instance"))?.into_inner();
    kills::close(round, Arc::new(Mutex::new(instance)), &mut workload).await?;
    over.set();
    follower.await?;
    Ok(())
}

fn runtime_log(instance: &Instance) -> Vec<u8> {
    fs::read(instance.run.join("runtime/runtime.log")).unwrap_or_default()
}

/// What of the pods did not just live on.
fn changed(history: &History) -> Option<String> {
    let containers = history.pods.values().flat_map(|pod| &pod.containers);
    let lives: usize = containers.clone().map(|container| container.lives.len()).sum();
    let expected = containers.clone().count();
    let silent = containers
        .filter(|container| {
            container.lives.last().is_some_and(|life| life.alive + 2_000_000_000 < crate::chaos::history::now())
        })
        .count();
    (lives != expected || silent > 0)
        .then(|| format!("{lives} lives of {expected} containers, {silent} of them not alive"))
}
