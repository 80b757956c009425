//! Pods come and go while the processes that keep them die or stand still.
//!
//! Law 10 excepts the keeper: its death ends every container of the node. What must hold then is that each is told as
//! ended, that restart policies decide as after a reboot, and that nothing of the former lives is left.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::Round;
use crate::chaos::chance::Chance;
use crate::chaos::history::{Blow, Part};
use crate::chaos::instance::{Instance, Shared};
use crate::chaos::left;
use crate::chaos::workload::{Workload, followed};

/// What is struck together, and how: one of them each time.
pub type Blows = &'static [(&'static [Part], Blow)];

pub const UP: Blows = &[(&[Part::Up], Blow::Kill)];
pub const SUPERVISOR: Blows = &[(&[Part::Supervisor], Blow::Kill)];
pub const BOTH: Blows = &[(&[Part::Up, Part::Supervisor], Blow::Kill), (&[Part::Supervisor, Part::Up], Blow::Kill)];
/// One or the other.
pub const EITHER: Blows =
    &[(&[Part::Up], Blow::Kill), (&[Part::Supervisor], Blow::Kill), (&[Part::Up, Part::Supervisor], Blow::Kill)];
pub const KEEPER: Blows = &[(&[Part::Keeper], Blow::Kill)];
pub const ALL: Blows =
    &[(&[Part::Up, Part::Supervisor, Part::Keeper], Blow::Kill), (&[Part::Keeper, Part::Up], Blow::Kill)];
pub const STOP: Blows = &[(&[Part::Up], Blow::Stop), (&[Part::Supervisor], Blow::Stop), (&[Part::Keeper], Blow::Stop)];

/// Longer than any request to the runtime may take.
const STANDSTILL: Duration = Duration::from_secs(15);
/// For what pods leave to be swept away.
const SWEPT: Duration = Duration::from_secs(20);

pub async fn run(round: &Round<'_>, blows: Blows) -> Result<()> {
    let instance = launch(round).await?;
    let mut workload = {
        let instance = instance.lock().await;
        Workload::new(instance.api()?, round.record.clone(), &round.home, round.chance("pods"))?
    };
    let (follower, over) = followed(&workload);
    let end = Instant::now() + round.span;
    let striker = tokio::spawn(strike_until(instance.clone(), blows, round.chance("blows"), end));
    workload.populate().await?;
    workload.churn(end).await?;
    striker.await??;
    workload.rest().await?;
    let mut chance = round.chance("end");
    workload.delete_all().await?;
    if chance.happens(50) {
        sleep(chance.pause(2500)).await;
        strike(&instance, blows, &mut chance).await?;
    }
    close(round, instance, &mut workload).await?;
    over.set();
    follower.await?;
    Ok(())
}

/// A fresh instance with the puppets' image in it.
pub async fn launch(round: &Round<'_>) -> Result<Shared> {
    let mut instance = Instance::new(round.gousse, &round.name, &round.home, round.record.clone())?;
    instance.start().await?;
    instance.gousse(&["image", "load"], Some(&round.images.archive)).await?;
    Ok(Arc::new(Mutex::new(instance)))
}

/// Waits for the pods' end, looks at what is left, and takes the instance down.
pub async fn close(round: &Round<'_>, instance: Shared, workload: &mut Workload) -> Result<()> {
    workload.all_gone().await;
    let mut instance = instance.lock().await;
    workload.read_files(&instance.data);
    workload.read_diaries();
    let swept = Instant::now() + SWEPT;
    let mut left = left::of_pods(&instance);
    while !left.is_empty() && Instant::now() < swept {
        sleep(Duration::from_millis(200)).await;
        left = left::of_pods(&instance);
    }
    round.record.lock().left.extend(left.iter().map(|what| format!("after all pods had gone: {what}")));
    if let Err(why) = instance.down().await {
        round.record.lock().late.push(format!("down: {why:#}"));
    }
    let after = left::of_all(&instance);
    round.record.lock().left.extend(
        after.into_iter().filter(|what| !left.contains(what)).map(|what| format!("after `down --purge`: {what}")),
    );
    Ok(())
}

async fn strike_until(instance: Shared, blows: Blows, mut chance: Chance, end: Instant) -> Result<()> {
    sleep(chance.pause(1200)).await;
    while Instant::now() < end {
        strike(&instance, blows, &mut chance).await?;
        let longest = *chance.pick(&[300, 1000, 2000, 4000]);
        sleep(Duration::from_millis(200) + chance.pause(longest)).await;
    }
    Ok(())
}

/// One blow, sometimes again while what died begins anew.
pub async fn strike(instance: &Shared, blows: Blows, chance: &mut Chance) -> Result<()> {
    let (parts, blow) = *chance.pick(blows);
    let mut instance = instance.lock().await;
    if blow == Blow::Stop {
        parts.iter().for_each(|part| instance.strike(*part, Blow::Stop));
        sleep(STANDSTILL).await;
        parts.iter().for_each(|part| instance.strike(*part, Blow::Continue));
        return Ok(());
    }
    for part in parts {
        match part {
            Part::Up => instance.kill().await,
            part => instance.strike(*part, Blow::Kill),
        }
    }
    if parts.contains(&Part::Up) {
        let longest = *chance.pick(&[0, 0, 100, 1000]);
        sleep(chance.pause(longest)).await;
        let mut starting = instance.begin()?;
        while chance.happens(30) {
            sleep(chance.pause(150)).await;
            instance.kill().await;
            starting = instance.begin()?;
        }
        return instance.ready(starting).await;
    }
    while chance.happens(30) {
        sleep(chance.pause(60)).await;
        parts.iter().for_each(|part| instance.strike(*part, Blow::Kill));
    }
    Ok(())
}
