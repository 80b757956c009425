//! `pods/binding`: sets nodeName and PodScheduled in one write; a second one is refused.
//!
//! pkg/registry/core/pod/storage/storage.go (setPodNodeAndMetadata).

use api::{FieldError, Status};
use http::StatusCode;
use serde_json::{Value, json};

use crate::admission::{Ask, Operation};
use crate::answer::{Payload, Reply};
use crate::route::Target;
use crate::verbs::options::WriteOptions;
use crate::verbs::update::Update;
use crate::verbs::{Call, judge};
use crate::write;

const SCHEMA: &str = "io.k8s.api.core.v1.Binding";

pub async fn bind(call: Call<'_>) -> Result<Reply, Status> {
    let WriteOptions { dry_run, validation, .. } = WriteOptions::of(&call)?;
    let decoded = call.decode(SCHEMA, validation)?;
    assign(&call, decoded.value, dry_run).await
}

/// POST of a Binding to the old `bindings` collection: the pod is the one it names.
pub async fn bind_collection(call: Call<'_>) -> Result<Reply, Status> {
    let WriteOptions { dry_run, validation, .. } = WriteOptions::of(&call)?;
    let decoded = call.decode(SCHEMA, validation)?;
    let name = write::text(&decoded.value, "name").to_string();
    let target = Target { name, ..call.target.clone() };
    assign(&Call { target: &target, ..call }, decoded.value, dry_run).await
}

async fn assign(call: &Call<'_>, mut binding: Value, dry_run: bool) -> Result<Reply, Status> {
    let name = call.name();
    let ask = Ask { schema: SCHEMA, ..call.ask(Operation::Create, "binding", dry_run) };
    let findings = judge::bystander(&ask, &mut binding).await?;
    let target = &binding["target"];
    let node = target["name"].as_str().unwrap_or("").to_string();
    let mut errors = Vec::new();
    if !matches!(target["kind"].as_str(), None | Some("" | "Node")) {
        errors.push(FieldError::not_supported("target.kind", &target["kind"], &["Node", "<empty>"]));
    }
    if node.is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    if !errors.is_empty() {
        return Err(Status::invalid("", "Binding", name, &errors));
    }
    let given = write::text(&binding, "name");
    if !given.is_empty() && given != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let conflict = |why: String| Status::conflict("", "pods/binding", name, &why);
    let now = call.server.now();
    let mut update =
        Update { call, name, subresource: "binding", manager: None, verbatim: true, dry_run, warnings: Vec::new() };
    update
        .run(|pod| {
            let uid = write::text(&binding, "uid");
            if !uid.is_empty() && uid != write::text(pod, "uid") {
                let found = write::text(pod, "uid");
                return Err(conflict(format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found}")));
            }
            let revision = write::text(&binding, "resourceVersion");
            if !revision.is_empty() && revision != write::text(pod, "resourceVersion") {
                let found = write::text(pod, "resourceVersion");
                return Err(conflict(format!(
                    "Precondition failed: ResourceVersion in precondition: {revision}, ResourceVersion in object meta: {found}"
                )));
            }
            if pod["metadata"].get("deletionTimestamp").is_some() {
                return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
            }
            if let Some(assigned) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
                return Err(conflict(format!("pod {name} is already assigned to node \"{assigned}\"")));
            }
            if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
                return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
            }
            Ok(bound(pod, &binding, &node, &now))
        })
        .await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Reply::new(StatusCode::CREATED, Payload::Value(status)).warned(findings.warnings))
}

/// The pod with its node, the binding's annotations and labels, and the condition.
fn bound(pod: &Value, binding: &Value, node: &str, now: &str) -> Value {
    let mut pod = pod.clone();
    pod["spec"]["nodeName"] = json!(node);
    for map in ["annotations", "labels"] {
        for (key, value) in binding["metadata"][map].as_object().into_iter().flatten() {
            pod["metadata"][map][key] = value.clone();
        }
    }
    let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    let conditions = &mut pod["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let conditions = conditions.as_array_mut().expect("made a list above");
    match conditions.iter_mut().find(|c| c["type"] == "PodScheduled") {
        Some(old) => {
            let unchanged = old["status"] == "True";
            let since = old["lastTransitionTime"].clone();
            *old = condition;
            if unchanged && !since.is_null() {
                old["lastTransitionTime"] = since;
            }
        }
        None => conditions.push(condition),
    }
    pod
}
