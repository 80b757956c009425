//! kill -9 while images are pulled from a registry of the run's, and while they are loaded.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::{Round, kills};
use crate::chaos::behaviours;
use crate::chaos::image::{PULLED, pulled};
use crate::chaos::instance::{Answer, Instance, until};
use crate::chaos::workload::{PODS, Workload, followed};
use crate::conformance::namespace::ADDRESS;
use crate::conformance::registry::PORT;

/// For a pull that nobody interrupts any more.
const PULL: Duration = Duration::from_secs(60);

pub async fn run(round: &Round<'_>) -> Result<()> {
    let mut instance = Instance::new(round.gousse, &round.name, &round.home, round.record.clone())?;
    std::fs::create_dir(&instance.data)?;
    let mirror = format!("mirrors:\n  \"chaos.test\":\n    endpoint: [\"http://{ADDRESS}:{PORT}\"]\n");
    std::fs::write(instance.data.join("registries.yaml"), mirror)?;
    instance.start().await?;
    let api = instance.api()?;
    let instance = Arc::new(Mutex::new(instance));
    let mut workload = Workload::new(api.clone(), round.record.clone(), &round.home, round.chance("pods"))?;
    let (follower, over) = followed(&workload);
    let mut chance = round.chance("blows");
    let end = Instant::now() + round.span;
    let mut number = 0;
    while Instant::now() < end {
        if chance.happens(30) {
            load_and_strike(round, &instance, &mut chance).await?;
        }
        let image = pulled(number % PULLED);
        let mut uids = Vec::new();
        for _ in 0..2 {
            let name = format!("pulled-{number}");
            number += 1;
            uids.extend(workload.create_from(behaviours::named("runner"), Some(name), &image).await?);
        }
        for _ in 0..chance.within(1..=3) {
            sleep(chance.pause(250)).await;
            kills::strike(&instance, kills::EITHER, &mut chance).await?;
        }
        for uid in uids {
            runs(&workload, round, &uid).await;
            workload.delete(&uid, Some(1)).await?;
        }
        workload.all_gone().await;
        let removed = instance.lock().await.gousse(&["image", "rm", &image], None).await;
        if let Err(why) = removed {
            round.record.lock().refused.push(format!("{why:#}"));
        }
    }
    kills::close(round, instance, &mut workload).await?;
    over.set();
    follower.await?;
    Ok(())
}

/// The server dies under a load; the same load goes through afterwards.
async fn load_and_strike(
    round: &Round<'_>,
    instance: &Arc<Mutex<Instance>>,
    chance: &mut crate::chaos::chance::Chance,
) -> Result<()> {
    let mut instance = instance.lock().await;
    let archive = round.images.archive.clone();
    let loading = instance.spawn(&["image", "load"], &archive)?;
    sleep(chance.pause(150)).await;
    instance.kill().await;
    instance.start().await?;
    // How it ended is the killed server's affair.
    let _ = tokio::time::timeout(PULL, loading.wait_with_output()).await?;
    if let Err(why) = instance.gousse(&["image", "load"], Some(&archive)).await {
        round.record.lock().refused.push(format!("a load after one that was interrupted: {why:#}"));
    }
    Ok(())
}

async fn runs(workload: &Workload, round: &Round<'_>, uid: &str) {
    let Some(name) = round.record.lock().pods.get(uid).map(|pod| pod.name.clone()) else { return };
    let mut last = String::new();
    let runs = async || match workload.api.ask("GET", &format!("{PODS}/{name}"), None).await {
        Answer::Told(200, pod) => {
            last = pod["status"]["containerStatuses"].to_string();
            (pod["status"]["phase"] == "Running").then_some(())
        }
        _ => None,
    };
    if let Err(why) = until(&format!("{name} to run"), PULL, runs).await {
        round.record.lock().late.push(format!("{why:#}: {last}"));
    }
}
