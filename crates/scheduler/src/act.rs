//! The effects: a Binding, a condition, an event, a pod pushed out. Each is one idempotent request.

use std::sync::Arc;

use api::Status;
use api::resource::PODS;
use client::recorder::Type;
use client::{Client, DeleteOptions, ObjectReference, PatchKind, Recorder};
use serde_json::{Value, json};

use crate::pod::{Pod, Scheduled};

/// Upstream's limit for the note of an event.
const NOTE_MAX: usize = 1024;

/// What the loop hands out; clone is cheap.
#[derive(Clone)]
pub struct Actor {
    pub client: Client,
    pub recorder: Recorder,
    /// `default-scheduler`
    pub name: Arc<str>,
}

impl Actor {
    /// The one write that gives a pod its node.
    pub async fn bind(&self, pod: &Pod, node: &str) -> Result<(), Status> {
        tracing::trace!(target: "walk", verb = "bind", name = &*pod.name, node);
        let body = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": &*pod.name, "namespace": &*pod.namespace, "uid": &*pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        self.client.create_sub(&PODS, &pod.namespace, &pod.name, "binding", &body).await.map(drop)
    }

    pub fn say_bound(&self, pod: &Pod, node: &str) {
        let note = format!("Successfully assigned {}/{} to {node}", pod.namespace, pod.name);
        self.recorder.event_v1(reference(pod), None, Type::Normal, "Scheduled", "Binding", note);
    }

    pub fn say_failed(&self, pod: &Pod, message: &str) {
        let note = cut(message);
        self.recorder.event_v1(reference(pod), None, Type::Warning, "FailedScheduling", "Scheduling", note);
    }

    /// Writes PodScheduled=False with its reason, and the promised node if that changed; nothing if
    /// the status says so already.
    pub async fn condition(
        &self,
        pod: &Pod,
        reason: &str,
        message: &str,
        nominated: Option<&str>,
        now: String,
    ) -> Result<(), Status> {
        let same = pod.scheduled.as_ref().is_some_and(|c| says(c, reason, message));
        let mut status = json!({});
        if !same {
            let before = pod.scheduled.as_ref().filter(|c| c.status == "False");
            status["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "reason": reason,
                "message": message,
                "lastProbeTime": null,
                "lastTransitionTime": before.map_or(now.as_str(), |c| &c.since),
                "observedGeneration": pod.generation,
            }]);
        }
        if let Some(node) = nominated.filter(|node| *pod.nominated != **node) {
            status["nominatedNodeName"] = if node.is_empty() { Value::Null } else { json!(node) };
        }
        if status == json!({}) {
            return Ok(());
        }
        self.patch(pod, status).await
    }

    /// Says that no node is kept for the pod any more.
    pub async fn forget_promise(&self, pod: &Pod) -> Result<(), Status> {
        self.patch(pod, json!({"nominatedNodeName": null})).await
    }

    /// Pushes a pod out for one of higher priority: says why in its status, then deletes it with its
    /// own grace.
    pub async fn push_out(&self, victim: &Pod, preemptor: &Pod, node: &str, now: String) -> Result<(), Status> {
        let status = json!({"conditions": [{
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": format!("{}: preempting to accommodate a higher priority pod", self.name),
            "lastProbeTime": null,
            "lastTransitionTime": now,
            "observedGeneration": victim.generation,
        }]});
        self.patch(victim, status).await?;
        let options = DeleteOptions { uid: Some(victim.uid.to_string()), ..DeleteOptions::default() };
        self.client.delete(&PODS, &victim.namespace, &victim.name, &options).await?;
        let note = format!("Preempted by pod {} on node {node}", preemptor.uid);
        let related = Some(reference(preemptor));
        self.recorder.event_v1(reference(victim), related, Type::Normal, "Preempted", "Preempting", note);
        Ok(())
    }

    async fn patch(&self, pod: &Pod, status: Value) -> Result<(), Status> {
        let body = json!({"metadata": {"uid": &*pod.uid}, "status": status});
        let (ns, name) = (&pod.namespace, &pod.name);
        self.client.patch(&PODS, ns, name, "status", PatchKind::Strategic, &body).await.map(drop)
    }
}

fn says(condition: &Scheduled, reason: &str, message: &str) -> bool {
    condition.status == "False" && condition.reason == reason && condition.message == message
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: pod.namespace.to_string(),
        name: pod.name.to_string(),
        uid: pod.uid.to_string(),
        resource_version: pod.resource_version.clone(),
        field_path: String::new(),
    }
}

fn cut(message: &str) -> String {
    const END: &str = " ...";
    if message.len() <= NOTE_MAX {
        return message.into();
    }
    let at = (0..=NOTE_MAX - END.len()).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{END}", &message[..at])
}
