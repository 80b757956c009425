//! Flow schemas and priority levels: those that every cluster has, and what all say of their levels.
//!
//! apiserver pkg/util/flowcontrol and kubernetes pkg/registry/flowcontrol: two controllers of the server itself, one
//! for each name in managed fields.

use std::collections::BTreeSet;
use std::time::Duration;

use api::Status;
use futures::future::select_all;
use http::Method;
use kinds::flowcontrol::{bootstrap, dangling};
use serde_json::{Value, json};

use super::{all, stored};
use crate::{Server, own_write};

const SCHEMAS: &str = "flowschemas.flowcontrol.apiserver.k8s.io/";
const LEVELS: &str = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io/";
/// Who makes them, in managed fields.
const PRODUCER: &str = "fieldManager=api-priority-and-fairness-config-producer-v1";

/// Makes flow schemas and priority levels anew that somebody deletes, as often as that happens
/// (registry/flowcontrol/rest ensures them every minute), and has each schema say whether its level exists.
pub async fn keep(server: Server) {
    loop {
        let store = &server.0.store;
        let after = store.revision();
        let mut watches: Vec<_> =
            [SCHEMAS, LEVELS].iter().filter_map(|prefix| store.watch(prefix, after).ok()).collect();
        // Watched before they are looked at: what changes meanwhile is seen after it.
        if watches.is_empty() {
            return;
        }
        report(&server).await;
        let mut failures = 0;
        loop {
            let changes = select_all(watches.iter_mut().map(|watch| Box::pin(watch.next())));
            tokio::select! {
                (change, ..) = changes => if !matches!(change, Some(Ok(_))) { break },
                () = tokio::time::sleep(again(failures)), if failures > 0 => {}
            }
            report(&server).await;
            match all(bootstrap::all().into_iter().map(|own| ensure(&server, own))).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    tracing::error!(%error, "flow schemas and priority levels cannot be made anew");
                }
            }
        }
    }
}

/// After the n-th failure in a row: a second, doubled up to the minute after which upstream looks again.
fn again(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(Duration::from_secs(60))
}

/// Each schema says in its status whether its level exists.
async fn report(server: &Server) {
    let entries = |prefix: &str| {
        let listed = server.0.store.list(prefix, None, usize::MAX, None).map(|listed| listed.entries);
        listed.unwrap_or_default()
    };
    let levels: BTreeSet<String> =
        entries(LEVELS).iter().filter_map(|entry| entry.key.as_str().strip_prefix(LEVELS).map(str::to_owned)).collect();
    let now = server.now();
    for entry in entries(SCHEMAS) {
        let Ok(schema) = serde_json::from_slice::<Value>(&entry.bytes) else { continue };
        let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        let Some(condition) = dangling::condition(&schema, levels.contains(level), &now) else { continue };
        let name = schema["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!(
            "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/{name}/status?force=true&fieldManager={}",
            dangling::MANAGER
        );
        // The uid, so that no other of its name is meant.
        let metadata = json!({"name": name, "uid": schema["metadata"]["uid"]});
        let object = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": metadata,
            "status": {"conditions": [condition]}});
        // What changed meanwhile is looked at again.
        if let Err(error) = own_write(server, Method::PATCH, &path, object).await {
            tracing::debug!(%error, name, "a flow schema's status was not written");
        }
    }
}

/// One of those that every cluster has is there, as it shall be.
pub async fn ensure(server: &Server, own: bootstrap::Bootstrap) -> Result<(), Status> {
    let path = format!("/apis/flowcontrol.apiserver.k8s.io/v1/{}", own.plural);
    let name = own.object["metadata"]["name"].as_str().unwrap_or_default();
    let at = format!("{path}/{name}");
    match stored(server, &at).await? {
        None => own_write(server, Method::POST, &format!("{path}?{PRODUCER}"), own.object).await,
        Some(found) => match bootstrap::revised(&own, &found) {
            Some(revised) => own_write(server, Method::PUT, &format!("{at}?{PRODUCER}"), revised).await,
            None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests;
