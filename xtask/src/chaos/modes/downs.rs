//! kill -9 of anybody while `gousse down` takes an instance away.
//!
//! The next `down` brings it to the same end.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep, timeout};

use super::{Round, kills};
use crate::chaos::behaviours::BEHAVIOURS;
use crate::chaos::history::{Blow, Part};
use crate::chaos::left;
use crate::chaos::workload::Workload;

const PODS: usize = 8;
/// For a `down` that was struck to end by itself: graces are up to 30 seconds.
const DOWN: Duration = Duration::from_secs(90);

pub async fn run(round: &Round<'_>) -> Result<()> {
    let mut chance = round.chance("blows");
    let end = Instant::now() + round.span;
    let mut times = 0;
    while times == 0 || Instant::now() < end {
        times += 1;
        let instance = kills::launch(round).await?;
        let mut instance = instance.lock().await;
        let mut workload =
            Workload::new(instance.api()?, round.record.clone(), &round.home, round.chance(&format!("pods {times}")))?;
        for _ in 0..PODS {
            let behaviour = chance.pick(&BEHAVIOURS.iter().collect::<Vec<_>>()).to_owned();
            workload.create(behaviour, None).await?;
        }
        sleep(chance.pause(1500)).await;
        let mut down = instance.spawn(&["down"], std::path::Path::new("--purge"))?;
        for _ in 0..chance.within(1..=2) {
            sleep(chance.pause(1500)).await;
            match chance.within(0..=4) {
                0 | 1 => instance.strike(Part::Up, Blow::Kill),
                2 => instance.strike(Part::Supervisor, Blow::Kill),
                3 => instance.strike(Part::Keeper, Blow::Kill),
                _ => down.start_kill().unwrap_or_default(),
            }
        }
        let ended = timeout(DOWN, down.wait()).await;
        if ended.is_err() {
            round.record.lock().late.push(format!("`down` has not ended {} s after a blow", DOWN.as_secs()));
            down.kill().await.context("ending a `down` that hangs")?;
        }
        // Sometimes it was meant to go on.
        if instance.data.exists() && chance.happens(30) {
            instance.kill().await;
            instance.start().await?;
        }
        if let Err(why) = instance.down().await {
            round.record.lock().late.push(format!("`down` after an interrupted one: {why:#}"));
            instance.kill().await;
        }
        let left = left::of_all(&instance);
        round.record.lock().left.extend(left.iter().map(|what| format!("after `down --purge`, time {times}: {what}")));
        if !left.is_empty() {
            break;
        }
    }
    Ok(())
}
