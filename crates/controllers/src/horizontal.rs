//! HorizontalPodAutoscalers: how many pods there shall be, by what they use.
//!
//! pkg/controller/podautoscaler (horizontal.go, replica_calculator.go), of 1.37.2. Every 15 seconds, or when its spec
//! changes, one look: what its target's scale says, what its pods use (`metrics.k8s.io`), and from both purely
//! (`decide`) how many there shall be, which conditions it has and which events are told. Law: what was recommended and
//! done in a window is remembered here alone, and forgotten with the process, as it is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::resource::{HORIZONTAL_POD_AUTOSCALERS, PODS};
use api::selector::Labels;
use api::{Object, Reason, Resource, Status, tree};
use client::cache::index::NAMESPACE;
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use client::{Change, Key, ListOptions, Recorder};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::Parts;

/// Conditions and the status.
mod conditions;
/// What is to be done, of all that is known.
mod decide;
/// Each metric of a spec: what it proposes, or why it cannot be told.
mod metrics;
/// Of pods and what they use, how many there shall be.
mod replicas;
/// Not too far, not too fast, not to and fro.
mod scaling;
#[cfg(test)]
mod tests;

use decide::First;
use metrics::{Measured, Scale};
use replicas::Pod;
use scaling::Memory;

/// --horizontal-pod-autoscaler-sync-period
const PERIOD: Duration = Duration::from_secs(15);
/// How often a scale is read again that somebody else changed meanwhile (client-go util/retry DefaultRetry).
const ATTEMPTS: usize = 5;

/// What is remembered of each autoscaler.
type Memories = Mutex<BTreeMap<Key, Known>>;

#[derive(Default)]
struct Known {
    memory: Memory,
    /// Which pods are its target's, once that is known.
    selector: Option<Labels>,
}

pub async fn run(parts: Arc<Parts>) {
    let (autoscalers, pods) = (parts.cache(&HORIZONTAL_POD_AUTOSCALERS), parts.cache(&PODS));
    parts.synced(&[&autoscalers, &pods]).await;
    let recorder = parts.recorder("horizontal-pod-autoscaler");
    let memories: Arc<Memories> = Arc::default();
    // Its own status is no reason to look again (updateHPA).
    let asked = autoscalers.subscribe().filter_map(|change| std::future::ready(is_new(&change).then_some(change.key)));
    let work = |key: Key| {
        let (parts, recorder, memories) = (parts.clone(), recorder.clone(), memories.clone());
        async move { attend(&parts, &recorder, &memories, &key).await }
    };
    reconcile::run(asked, 5, work).await;
}

/// It came, it went, or its spec changed.
fn is_new(change: &Change) -> bool {
    let generation =
        |object: &Option<Object>| object.as_ref().map(|object| object.value()["metadata"]["generation"].clone());
    generation(&change.old) != generation(&change.new)
}

async fn attend(parts: &Parts, recorder: &Recorder, memories: &Memories, key: &Key) -> Result<Requeue, Status> {
    let Some(autoscaler) = parts.cache(&HORIZONTAL_POD_AUTOSCALERS).get(&key.namespace, &key.name) else {
        known(memories).remove(key);
        return Ok(Requeue::Done);
    };
    known(memories).entry(key.clone()).or_default();
    let value = autoscaler.value();
    let mut next = value.clone();
    let told = judge(parts, memories, key, &mut next).await;
    for (class, reason, message) in told {
        recorder.event(&autoscaler, "", class, reason, message);
    }
    if next["status"] != value["status"] {
        let written =
            parts.client.update_sub(&HORIZONTAL_POD_AUTOSCALERS, &key.namespace, &key.name, "status", &next).await;
        match written {
            Ok(written) => parts.cache(&HORIZONTAL_POD_AUTOSCALERS).reached(written.revision()).await,
            // Somebody was quicker, or it is gone: the next look sees it.
            Err(status) if matches!(status.reason, Reason::Conflict | Reason::NotFound) => {}
            Err(status) => {
                recorder.event(&autoscaler, "", Type::Warning, "FailedUpdateStatus", status.message.clone());
                return Err(status);
            }
        }
    }
    Ok(Requeue::After(PERIOD))
}

/// One event: its class, reason and message.
type Said = (Type, &'static str, String);

/// One look at an autoscaler: what its status is afterwards is in `next`, what is told comes back.
async fn judge(parts: &Parts, memories: &Memories, key: &Key, next: &mut Value) -> Vec<Said> {
    let now = (parts.config.clock)();
    let mut told = Vec::new();
    let (resource, mut scale) = match scale_of(parts, next).await {
        Ok(found) => found,
        Err(why) => {
            decide::no_scale(next, &why, now);
            told.push((Type::Warning, "FailedGetScale", why));
            return told;
        }
    };
    let current = Scale::of(&scale);
    decide::with(&mut known(memories).entry(key.clone()).or_default().memory, &current, next, now);
    let measured = match decide::first(next, &current) {
        First::Measure => Some(measure(parts, memories, key, next, &current).await),
        _ => None,
    };
    let decision = {
        let mut known = known(memories);
        let memory = &mut known.entry(key.clone()).or_default().memory;
        decide::decide(next, &current, measured, memory, now)
    };
    told.extend(decision.told);
    let Some(desired) = decision.rescale else { return told };
    let rescaled = rescale(parts, &resource, &mut scale, desired).await;
    let mut known = known(memories);
    let memory = &mut known.entry(key.clone()).or_default().memory;
    told.extend(decide::rescaled(next, &decision.outcome, &current, desired, rescaled, memory, now));
    told
}

fn known(memories: &Memories) -> std::sync::MutexGuard<'_, BTreeMap<Key, Known>> {
    memories.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the target is, and how many pods it says there are (scaleForResourceMappings).
async fn scale_of(parts: &Parts, autoscaler: &Value) -> Result<(Resource, Value), String> {
    let target = &autoscaler["spec"]["scaleTargetRef"];
    let version = tree::text(target, "apiVersion");
    if version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {version}"));
    }
    let (group, kind) = (version.split_once('/').map_or("", |(group, _)| group), tree::text(target, "kind"));
    let (namespace, name) = (tree::text(autoscaler, "metadata.namespace"), tree::text(target, "name"));
    let mut first = None;
    for resource in parts.resources.iter().filter(|resource| resource.group == group && resource.kind == kind) {
        match parts.client.get_sub(resource, namespace, name, "scale").await {
            Ok(scale) => return Ok((resource.clone(), scale.value())),
            Err(status) => first = first.or(Some(status.message)),
        }
    }
    Err(first.unwrap_or_else(|| format!("no matches for kind {kind:?} in group {group:?}")))
}

/// What its metrics propose.
async fn measure(parts: &Parts, memories: &Memories, key: &Key, autoscaler: &Value, scale: &Scale) -> Measured {
    let all = parts.cache(&PODS).by(&NAMESPACE, &key.namespace);
    let selector = match metrics::selector(&scale.selector) {
        Ok(selector) => selector,
        Err(measured) => return *measured,
    };
    let own: Vec<Object> = all.into_iter().filter(|pod| selector.matches(&pod.meta().labels)).collect();
    let others = {
        let mut known = known(memories);
        known.entry(key.clone()).or_default().selector = Some(selector);
        let selects = |(other, known): &(&Key, &Known)| {
            let selector = known.selector.as_ref().filter(|_| other.namespace == key.namespace);
            selector.is_some_and(|selector| own.iter().any(|pod| selector.matches(&pod.meta().labels)))
        };
        known.iter().filter(selects).take(2).map(|(key, _)| key.clone()).collect::<Vec<_>>()
    };
    if others.len() > 1 {
        return metrics::ambiguous(&scale.selector, &others);
    }
    let figures = match metrics::needs_figures(autoscaler) {
        true => figures(parts, &key.namespace, &scale.selector).await,
        false => Ok(Vec::new()),
    };
    let pods: Vec<Pod> = own.iter().map(Pod::of).collect();
    metrics::measure(autoscaler, scale, &pods, figures.as_deref(), (parts.config.clock)())
}

/// PodMetrics of the pods that a selector selects (metrics/client.go GetResourceMetric).
async fn figures(parts: &Parts, namespace: &str, selector: &str) -> Result<Vec<Value>, String> {
    let options = ListOptions { label_selector: selector.into(), ..ListOptions::default() };
    match parts.client.list(&metrics::POD_METRICS, namespace, &options).await {
        Err(status) => Err(format!("unable to fetch metrics from resource metrics API: {}", status.message)),
        Ok(list) if list.objects.is_empty() => Err("no metrics returned from resource metrics API".into()),
        Ok(list) => Ok(list.objects.iter().map(Object::value).collect()),
    }
}

/// Says how many there shall be; who changed the scale meanwhile is seen and overruled.
async fn rescale(parts: &Parts, resource: &Resource, scale: &mut Value, desired: i64) -> Result<(), String> {
    let text = |scale: &Value, field: &str| tree::text(&scale["metadata"], field).to_owned();
    let (namespace, name) = (text(scale, "namespace"), text(scale, "name"));
    let mut refused = String::new();
    for _ in 0..ATTEMPTS {
        scale["spec"]["replicas"] = json!(desired);
        match parts.client.update_sub(resource, &namespace, &name, "scale", scale).await {
            Ok(_) => return Ok(()),
            Err(status) if status.reason == Reason::Conflict => refused = status.message,
            Err(status) => return Err(status.message),
        }
        if let Ok(latest) = parts.client.get_sub(resource, &namespace, &name, "scale").await {
            *scale = latest.value();
        }
    }
    Err(refused)
}
