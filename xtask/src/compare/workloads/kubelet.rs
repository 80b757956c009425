//! What becomes of pods: as a scheduler and a kubelet would write it, one pod after the other.

use std::time::Duration;

use anyhow::{Context, Result};
use api::Reason;
use api::resource::PODS;
use client::DeleteOptions;
use serde_json::{Value, json};

use super::side::{NODE_NAMES, Side};

/// What a pod comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Bound, started, ready.
    Ready,
    /// It runs, and is not ready any more.
    Unready,
    Succeeded,
    /// With that exit code.
    Failed(i64),
    /// Failed, since somebody took it away (condition DisruptionTarget).
    Disrupted,
    /// Somebody deletes it; it runs on until it is gone.
    Deleted,
    /// A deleted one ends.
    Gone,
}

/// Pods that end or start before it is said that this does not end.
const MOST: usize = 60;
/// Between two pods.
const QUIET: Duration = Duration::from_millis(400);

/// That becomes of so many pods that it can become of, in their order.
pub async fn act(side: &Side, namespace: &str, fate: Fate, count: usize) -> Result<()> {
    for _ in 0..count {
        let pods = side.until_pods(namespace, |pods| first(pods, fate).is_some()).await;
        let pods = pods.with_context(|| format!("no pod can be {fate:?}"))?;
        let pod = first(&pods, fate).context("there was one")?;
        come(side, namespace, pod, fate).await?;
        side.settled(namespace, QUIET).await;
    }
    Ok(())
}

/// Deleted pods end, others start, until there are no more.
pub async fn play(side: &Side, namespace: &str) -> Result<()> {
    for _ in 0..MOST {
        side.settled(namespace, QUIET).await;
        let pods = side.pods(namespace);
        let next = [Fate::Gone, Fate::Ready].into_iter().find_map(|fate| Some((fate, first(&pods, fate)?)));
        let Some((fate, pod)) = next else { return Ok(()) };
        come(side, namespace, pod, fate).await?;
    }
    anyhow::bail!("{MOST} pods came and went, and there are more")
}

/// The first that this can become of: deleted ones, then by index or ordinal, then as they were made.
fn first(pods: &[Value], fate: Fate) -> Option<&Value> {
    let can = |pod: &&Value| {
        let is_deleted = pod["metadata"]["deletionTimestamp"].is_string();
        let phase = pod["status"]["phase"].as_str().unwrap_or("Pending");
        match fate {
            Fate::Gone => is_deleted,
            Fate::Deleted => !is_deleted,
            Fate::Ready => !is_deleted && (phase == "Pending" || (phase == "Running" && !is_ready(pod))),
            Fate::Unready => !is_deleted && is_ready(pod),
            Fate::Succeeded | Fate::Failed(_) | Fate::Disrupted => phase == "Running",
        }
    };
    pods.iter().filter(can).min_by_key(|pod| {
        let labels = &pod["metadata"]["labels"];
        let index = labels["batch.kubernetes.io/job-completion-index"].as_str();
        let ordinal = labels["apps.kubernetes.io/pod-index"].as_str();
        let number = index.or(ordinal).and_then(|number| number.parse::<u32>().ok()).unwrap_or_default();
        let node = wanted_node(pod);
        let stays = pod["metadata"]["deletionTimestamp"].is_null();
        (stays, number, node, pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned())
    })
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// The one that a DaemonSet means, else the first.
fn wanted_node(pod: &Value) -> String {
    let term = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0";
    let named = pod.pointer(&format!("{term}/matchFields/0/values/0"));
    named.and_then(Value::as_str).unwrap_or(NODE_NAMES[0]).to_owned()
}

async fn come(side: &Side, namespace: &str, pod: &Value, fate: Fate) -> Result<()> {
    let name = pod["metadata"]["name"].as_str().context("a pod has a name")?;
    if matches!(fate, Fate::Gone | Fate::Deleted) {
        let grace_period_seconds = (fate == Fate::Gone).then_some(0);
        let options = DeleteOptions { grace_period_seconds, ..DeleteOptions::default() };
        return match side.client.delete(&PODS, namespace, name, &options).await {
            Err(status) if status.reason != Reason::NotFound => Err(status.into()),
            _ => Ok(()),
        };
    }
    if pod["spec"]["nodeName"].is_null() {
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
            "target": {"kind": "Node", "name": wanted_node(pod)}});
        side.client.create_sub(&PODS, namespace, name, "binding", &binding).await?;
    }
    let mut object = side.client.get(&PODS, namespace, name).await?.value();
    status(&mut object, fate);
    if object["status"]["podIP"].is_null() {
        let last = |pod: &Value| pod["status"]["podIP"].as_str()?.rsplit_once('.')?.1.parse::<u8>().ok();
        let address = format!("10.0.0.{}", side.pods(namespace).iter().filter_map(last).max().unwrap_or_default() + 1);
        object["status"]["podIPs"] = json!([{"ip": address}]);
        object["status"]["podIP"] = json!(address);
    }
    side.client.update_sub(&PODS, namespace, name, "status", &object).await?;
    Ok(())
}

/// What a kubelet would write.
fn status(pod: &mut Value, fate: Fate) {
    // Well before now: what is counted from a pod's end or readiness is over at once on both sides.
    const BEGUN: &str = "2026-01-01T00:00:00Z";
    let (phase, ready) = match fate {
        Fate::Ready => ("Running", "True"),
        Fate::Unready => ("Running", "False"),
        Fate::Succeeded => ("Succeeded", "False"),
        _ => ("Failed", "False"),
    };
    let code = if let Fate::Failed(code) = fate { code } else { 0 };
    let state = match phase {
        "Running" => json!({"running": {"startedAt": BEGUN}}),
        _ => json!({"terminated": {"exitCode": code, "startedAt": BEGUN, "finishedAt": BEGUN, "reason": "Over"}}),
    };
    let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let statuses = containers.iter().map(|container| {
        json!({"name": container["name"], "image": container["image"], "imageID": "", "ready": ready == "True",
            "started": phase == "Running", "restartCount": 0, "lastState": {}, "state": state})
    });
    let statuses: Vec<Value> = statuses.collect();
    let mut conditions = vec![condition("PodScheduled", "True", BEGUN), condition("Ready", ready, BEGUN)];
    conditions.push(condition("ContainersReady", ready, BEGUN));
    if fate == Fate::Disrupted {
        let mut target = condition("DisruptionTarget", "True", BEGUN);
        target["reason"] = json!("EvictionByEvictionAPI");
        conditions.push(target);
    }
    pod["status"]["phase"] = json!(phase);
    pod["status"]["startTime"] = json!(BEGUN);
    pod["status"]["containerStatuses"] = json!(statuses);
    pod["status"]["conditions"] = json!(conditions);
}

fn condition(class: &str, status: &str, since: &str) -> Value {
    json!({"type": class, "status": status, "lastTransitionTime": since})
}
