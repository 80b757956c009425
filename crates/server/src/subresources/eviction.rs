//! `pods/eviction`: a DELETE that leaves a trace in the pod's conditions.
//!
//! pkg/registry/core/pod/storage/eviction.go. Disruption budgets are no kind yet; with them the
//! 429 comes in here.

use api::Status;
use http::StatusCode;
use serde_json::{Value, json};

use crate::admission::{self, Ask, Operation};
use crate::answer::{Payload, Reply};
use crate::verbs::Call;
use crate::verbs::change::Change;
use crate::verbs::delete::{self, Options};
use crate::verbs::options::WriteOptions;
use crate::write;

pub async fn evict(call: Call<'_>) -> Result<Reply, Status> {
    let decoded = call.decode("io.k8s.api.policy.v1.Eviction", WriteOptions::of(&call)?.validation)?;
    let eviction = decoded.value;
    let name = call.name();
    if write::text(&eviction, "name") != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = Options::read(&eviction["deleteOptions"], &call)?;
    let pod = call.server.0.store.get(call.key(name).as_str()).ok_or_else(|| call.not_found(name))?;
    let pod: Value = serde_json::from_slice(&pod.bytes).map_err(|e| Status::internal(e.to_string()))?;
    let ask = Ask { call: &call, operation: Operation::Create, subresource: "eviction", old: Some(&pod) };
    admission::evict(&ask, &pod)?;
    if !options.dry_run {
        let now = call.server.now();
        let mut change = Change {
            call: &call,
            name,
            subresource: "status",
            manager: None,
            verbatim: true,
            dry_run: false,
            once: false,
            warnings: Vec::new(),
        };
        let entry = change
            .run(|pod| {
                delete::check_preconditions(&call, name, pod, &options)?;
                Ok(marked(pod, &now))
            })
            .await?;
        // The mark is our own change.
        options.revision = options.revision.map(|_| entry.revision.0.to_string());
    }
    delete::remove(&call, name, &options).await?;
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
