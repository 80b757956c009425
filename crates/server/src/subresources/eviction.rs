//! `pods/eviction`: a DELETE that leaves a trace in the pod's conditions.
//!
//! pkg/registry/core/pod/storage/eviction.go. Disruption budgets are no kind yet; with them the
//! 429 comes in here.

use api::Status;
use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::{Payload, Reply};
use crate::verbs::Call;
use crate::verbs::change::Change;
use crate::verbs::create::validation;
use crate::verbs::delete::{self, Options};
use crate::write;

pub async fn evict(call: Call<'_>) -> Result<Reply, Status> {
    let decoded = call.decode("io.k8s.api.policy.v1.Eviction", validation(&call)?)?;
    let eviction = decoded.value;
    let name = call.name();
    if write::text(&eviction, "name") != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let options_body = &eviction["deleteOptions"];
    let bytes = if options_body.is_null() { Vec::new() } else { options_body.to_string().into_bytes() };
    let asked = Call { body: bytes.into(), ..call };
    let options = Options::of(&asked)?;
    let pod = asked.server.0.store.get(asked.key(name).as_str()).ok_or_else(|| asked.not_found(name))?;
    let pod: Value = serde_json::from_slice(&pod.bytes).map_err(|e| Status::internal(e.to_string()))?;
    let ending = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
        || pod["metadata"].get("deletionTimestamp").is_some();
    if !ending && !options.dry_run {
        let now = asked.server.now();
        let mut change = Change {
            call: &asked,
            name,
            subresource: "status",
            manager: None,
            verbatim: true,
            dry_run: false,
            once: false,
            warnings: Vec::new(),
        };
        change.run(|pod| Ok(marked(pod, &now))).await?;
    }
    delete::remove(&asked, name, &options).await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Reply::new(StatusCode::CREATED, Payload::Value(status)))
}

fn marked(pod: &Value, now: &str) -> Value {
    let mut pod = pod.clone();
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": now});
    let conditions = &mut pod["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let conditions = conditions.as_array_mut().expect("made a list above");
    conditions.retain(|c| c["type"] != "DisruptionTarget");
    conditions.push(condition);
    pod
}
