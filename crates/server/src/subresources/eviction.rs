//! `pods/eviction`: a DELETE that leaves a trace in the pod's conditions.
//!
//! pkg/registry/core/pod/storage/eviction.go. Disruption budgets are no kind yet; with them the
//! 429 comes in here.

use api::Status;
use http::StatusCode;
use serde_json::{Value, json};

use crate::admission::{Ask, Operation};
use crate::answer::{Payload, Reply};
use crate::verbs::delete::{self, Options};
use crate::verbs::options::WriteOptions;
use crate::verbs::update::Update;
use crate::verbs::{Call, judge};
use crate::write;

const SCHEMA: &str = "io.k8s.api.policy.v1.Eviction";

pub async fn evict(call: Call<'_>) -> Result<Reply, Status> {
    let asked = WriteOptions::of(&call)?;
    let decoded = call.decode(SCHEMA, asked.validation)?;
    let mut eviction = decoded.value;
    let name = call.name();
    if write::text(&eviction, "name") != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let ask = Ask { schema: SCHEMA, ..call.ask(Operation::Create, "eviction", asked.dry_run) };
    let findings = judge::bystander(&ask, &mut eviction).await?;
    let mut options = Options::read(&eviction["deleteOptions"], &call)?;
    if !options.dry_run {
        let now = call.server.now();
        let mut update = Update {
            call: &call,
            name,
            subresource: "status",
            manager: None,
            verbatim: true,
            dry_run: false,
            warnings: Vec::new(),
        };
        let entry = update
            .run(|pod| {
                delete::check_preconditions(&call, name, pod, &options)?;
                Ok(marked(pod, &now))
            })
            .await?;
        // The mark is our own change.
        options.revision = options.revision.map(|_| entry.revision.0.to_string());
    }
    // The eviction was admitted; its deletion is not asked about (ValidateAllObjectFunc).
    delete::remove(&call, name, &options, None).await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Reply::new(StatusCode::CREATED, Payload::Value(status)).warned(findings.warnings))
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
