//! A disk without room: what leads to less goes through, and with room again everything does.
//!
//! The data folder is a small file system of its own, filled from outside or by the API alone. Lines that containers
//! write meanwhile have no room; that they are missing is told where the next one stands, and is not judged here.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::writes::MAPS;
use super::{Round, kills};
use crate::chaos::behaviours;
use crate::chaos::history::{Blow, Part};
use crate::chaos::instance::{Answer, Api, Instance, until};
use crate::chaos::workload::{PODS, Workload, followed};

const SIZE: &std::ffi::CStr = c"size=192m,mode=700";
/// For a pod to go, or a write to be taken.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn run(round: &Round<'_>) -> Result<()> {
    let mut instance = Instance::new(round.gousse, &round.name, &round.home, round.record.clone())?;
    std::fs::create_dir(&instance.data)?;
    mount("disk", &instance.data, "tmpfs", MountFlags::empty(), SIZE).context("a small file system")?;
    instance.start().await?;
    instance.gousse(&["image", "load"], Some(&round.images.archive)).await?;
    let api = instance.api()?;
    let mut workload = Workload::new(api.clone(), round.record.clone(), &round.home, round.chance("pods"))?;
    let (follower, over) = followed(&workload);
    let mut chance = round.chance("disk");
    let mut doomed = Vec::new();
    for name in ["runner", "crasher", "once", "runner", "retrier"] {
        workload.create(behaviours::named(name), None).await?;
    }
    for name in ["graceful", "forced", "later"] {
        doomed.extend(workload.create(behaviours::named("stubborn"), Some(name.to_owned())).await?);
    }
    workload.rest().await?;
    let filler = instance.data.join("filler");
    let by_api = chance.happens(50);
    let mut made = 0;
    match by_api {
        true => made = fill_by_api(&api, &mut chance).await,
        false => fill(&filler)?,
    }
    refused_clearly(&api, round).await;
    // Both kinds of deletion, and their ends, on the full disk.
    let [graceful, forced, later] = doomed.as_slice() else { return Ok(()) };
    workload.delete(graceful, None).await?;
    workload.delete(forced, Some(0)).await?;
    for name in ["graceful", "forced"] {
        gone(&api, round, name, "while the disk is full").await;
    }
    instance.strike(Part::Supervisor, Blow::Kill);
    instance.kill().await;
    if let Err(why) = instance.start().await {
        round.record.lock().late.push(format!("on a full disk: {why:#}"));
        let _ = std::fs::remove_file(&filler);
        instance.start().await?;
    }
    workload.delete(later, None).await?;
    gone(&api, round, "later", "after a start on a full disk").await;
    // Room again, without a restart.
    match by_api {
        true => delete_maps(&api, round, made).await,
        false => crate::conformance::cache::remove(&filler)?,
    }
    let taken = async || {
        matches!(api.ask("POST", MAPS, Some(&map("after", 100))).await, Answer::Told(201 | 409, _)).then_some(())
    };
    let way = if by_api { "all that filled it is deleted" } else { "it has room" };
    if let Err(why) = until(&format!("a write to be taken once {way}"), PATIENCE * 2, taken).await {
        round.record.lock().late.push(format!("{why:#}"));
        instance.kill().await;
        instance.start().await?;
    }
    workload.create(behaviours::named("once"), Some("fresh".into())).await?;
    workload.rest().await?;
    forget_lines(round);
    workload.delete_all().await?;
    kills::close(round, Arc::new(Mutex::new(instance)), &mut workload).await?;
    forget_lines(round);
    over.set();
    follower.await?;
    Ok(())
}

/// The logs of whoever wrote while there was no room.
fn forget_lines(round: &Round<'_>) {
    let mut history = round.record.lock();
    history
        .pods
        .values_mut()
        .filter(|pod| pod.name != "fresh")
        .flat_map(|pod| &mut pod.containers)
        .for_each(|container| container.logs.clear());
    // The file system itself stays mounted.
    history.left.retain(|what| !what.ends_with("/data"));
}

fn map(name: &str, size: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"v": "v".repeat(size)}})
}

/// Takes all the room that there is.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    Ok(())
}

/// Maps that fill the disk; how many were taken.
async fn fill_by_api(api: &Api, chance: &mut crate::chaos::chance::Chance) -> u64 {
    let mut made = 0;
    while made < 1000 {
        let mut large = map(&format!("big-{made}"), 0);
        large["data"]["v"] = chance.noise(700_000).into();
        match api.ask("POST", MAPS, Some(&large)).await {
            Answer::Told(201, _) => made += 1,
            _ => break,
        }
    }
    made
}

async fn delete_maps(api: &Api, round: &Round<'_>, made: u64) {
    for number in 0..made {
        match api.insist("DELETE", &format!("{MAPS}/big-{number}"), None).await {
            Ok((200 | 404, ..)) => {}
            Ok((code, answer, _)) => {
                round
                    .record
                    .lock()
                    .refused
                    .push(format!("deleting big-{number} on a full disk: {code} {}", answer["message"]));
                return;
            }
            Err(why) => return round.record.lock().late.push(format!("{why:#}")),
        }
    }
}

/// A write without room is refused in words that say so; reads go on.
async fn refused_clearly(api: &Api, round: &Round<'_>) {
    let answer = api.ask("POST", MAPS, Some(&map("no-room", 100_000))).await;
    let mut found = Vec::new();
    match answer {
        Answer::Told(400.., answer) if answer["message"].as_str().is_some_and(|said| said.contains("full")) => {}
        Answer::Told(code, answer) => found.push(format!("a write on a full disk: {code} {}", answer["message"])),
        Answer::Unknown(why) => found.push(format!("a write on a full disk has no answer: {why}")),
    }
    if !matches!(api.ask("GET", PODS, None).await, Answer::Told(200, _)) {
        found.push("reads fail on a full disk".into());
    }
    round.record.lock().refused.extend(found);
}

async fn gone(api: &Api, round: &Round<'_>, name: &str, when: &str) {
    let path = format!("{PODS}/{name}");
    let gone = async || matches!(api.ask("GET", &path, None).await, Answer::Told(404, _)).then_some(());
    if let Err(why) = until(&format!("{name} to go {when}"), PATIENCE, gone).await {
        round.record.lock().late.push(format!("{why:#}"));
    }
}
