//! Whether the node is ready: the runtime must not have been out of reach for long.
//!
//! Upstream asks the runtime every five seconds and calls it down after thirty (kubelet/runtime.go,
//! maxWaitForContainerRuntime); here the engine says when its connection breaks.

use std::sync::Arc;
use std::time::Duration;

use client::recorder::Type;

use crate::shared::Shared;

const PATIENCE: Duration = Duration::from_secs(30);

/// Reason and message of the Ready condition.
pub fn told(trouble: Option<String>) -> (&'static str, String) {
    match trouble {
        None => ("KubeletReady", "kubelet is posting ready status".into()),
        Some(trouble) => ("KubeletNotReady", trouble),
    }
}

/// Why the node is not ready. A network that is not opened yet is none at first: its pods wait for it.
pub fn trouble(shared: &Shared) -> Option<String> {
    if !shared.standing.runtime_answers() {
        return Some("container runtime is down".into());
    }
    let network = shared.network.trouble().borrow().clone()?;
    shared.standing.network_is_late().then(|| {
        format!(
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:{network}"
        )
    })
}

/// For ever, or until the engine is gone.
pub async fn keep(shared: Arc<Shared>) {
    let mut up = shared.engine.is_up();
    loop {
        if up.wait_for(|up| !*up).await.is_err() {
            return;
        }
        let back = tokio::time::timeout(PATIENCE, up.wait_for(|up| *up)).await.map(|up| up.is_ok());
        match back {
            Ok(true) => continue,
            Ok(false) => return,
            Err(_) => {}
        }
        note(&shared, false);
        if up.wait_for(|up| *up).await.is_err() {
            return;
        }
        note(&shared, true);
    }
}

fn note(shared: &Shared, ready: bool) {
    let reason = if ready { "NodeReady" } else { "NodeNotReady" };
    let message = format!("Node {} status is now: {reason}", shared.config.node_name);
    super::event(shared, Type::Normal, reason, &message);
    shared.standing.set_runtime_answers(ready);
}
