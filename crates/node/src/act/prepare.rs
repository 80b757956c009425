//! A pod's volumes: made before its containers, brought up to date while they run.

use crate::act::{Act, Effect, Scene, Work};
use crate::progress::Job;

pub(super) fn volumes(scene: &Scene<'_>) -> Act {
    let (shared, pod) = (scene.shared.clone(), scene.pod.clone());
    let facts = shared.downward(scene.seen.addresses());
    Act::job(Job::Volumes, async move { Effect::Volumes(shared.volumes.prepare(&pod, &facts).await) })
}

pub(crate) fn refresh(scene: &Scene<'_>) -> Work {
    let (shared, pod) = (scene.shared.clone(), scene.pod.clone());
    let facts = shared.downward(scene.seen.addresses());
    let mut ending = scene.cancel.subscribe();
    Box::pin(async move {
        // A pod's end waits for whoever writes, and nobody who writes waits for a server.
        Effect::Refreshed(tokio::select! {
            biased;
            _ = ending.wait_for(|ending| *ending) => Ok(false),
            refreshed = shared.volumes.refresh(&pod, &facts) => refreshed,
        })
    })
}
