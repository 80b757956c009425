//! A container's end: its signal, the kill, and its removal with its log.

use std::time::Duration;

use runtime::ContainerId;
use runtime::engine::Result;

use crate::act::{Effect, Ran, Scene, remove};

/// SIGTERM
const STOP: i32 = 15;
/// SIGKILL
const KILL: i32 = 9;

/// `kill_after`: seconds.
pub(super) async fn signal(scene: &Scene<'_>, id: String, kill_after: i64) -> Effect {
    let container = scene.seen.containers().find(|c| c.id.0 == id);
    let signal = container.map(|c| c.spec.stop_signal).filter(|signal| *signal != 0).unwrap_or(STOP);
    let grace = Duration::from_secs(u64::try_from(kill_after).unwrap_or(0));
    let sent = scene.shared.engine.stop(&ContainerId(id.clone()), signal, grace).await;
    Effect::Signalled { id, kill_after, ran: ran(sent) }
}

pub(super) async fn kill(scene: &Scene<'_>, id: String) -> Effect {
    let sent = scene.shared.engine.signal(&ContainerId(id.clone()), KILL).await;
    Effect::Killed { id, ran: ran(sent) }
}

pub(super) async fn remove(scene: &Scene<'_>, id: &str) -> Effect {
    let log = scene.seen.containers().find(|c| c.id.0 == id).and_then(|c| c.spec.log.clone());
    let gone = scene.shared.engine.remove_container(&ContainerId(id.to_owned())).await;
    if let Some(log) = log.filter(|_| gone.is_ok()) {
        remove::forget_log(log.path, scene.shared.config.log_dir.clone(), id.to_owned()).await;
    }
    Effect::Removed(gone.map_err(|why| format!("a container was not removed: {why}")))
}

fn ran(sent: Result<()>) -> Ran {
    match sent {
        Ok(()) => Ran::Done,
        Err(runtime::Error::NotRunning(_) | runtime::Error::NotFound(_)) => Ran::Gone,
        Err(why) => Ran::Failed(why.to_string()),
    }
}
