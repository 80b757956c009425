//! `pods/eviction`: a DELETE that asks the disruption budgets first, and leaves a trace.
//!
//! pkg/registry/core/pod/storage/eviction.go. A budget's status says how many pods may go; who lets one go takes it
//! from there, by compare-and-set, so that no two evictions take the same.

use api::disruption::allow;
use api::pod::is_ready;
use api::resource::POD_DISRUPTION_BUDGETS;
use api::selector::Labels;
use api::{Cause, Reason, Status, tree};
use http::StatusCode;
use serde_json::{Map, Value, json};
use store::{Entry, Error};

use crate::admission::{Ask, Operation};
use crate::answer::{Payload, Reply};
use crate::verbs::delete::{self, Options};
use crate::verbs::options::WriteOptions;
use crate::verbs::update::Update;
use crate::verbs::{Call, judge};
use crate::write;

const SCHEMA: &str = "io.k8s.api.policy.v1.Eviction";
/// Who goes and is not gone: more are not let go.
const DISRUPTED_MAX: usize = 2000;
const TRIES: usize = 20;
const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

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
    let options = Options::read(&eviction["deleteOptions"], &call)?;
    for attempt in 1.. {
        let pod = stored(&call)?;
        let leave = leave(&call, &pod, &options).await?;
        let seen = write::text(&pod, "resourceVersion").to_string();
        // It shall go as it was seen, unless its sender has said as what.
        let bound =
            Options { revision: options.revision.clone().or(leave.as_seen().then_some(seen)), ..options.clone() };
        match go(&call, bound).await {
            Ok(()) => break,
            Err(status) if status.reason != Reason::Conflict || options.revision.is_some() => return Err(status),
            Err(status) => match leave {
                Leave::Unasked { .. } if attempt < TRIES => {}
                Leave::Unhealthy(budget) => return Err(later(&budget)),
                _ => return Err(status),
            },
        }
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Reply::new(StatusCode::CREATED, Payload::Value(status)).warned(findings.warnings))
}

fn stored(call: &Call<'_>) -> Result<Value, Status> {
    let entry = call.server.0.store.get(call.key(call.name()).as_str()).ok_or_else(|| call.not_found(call.name()))?;
    parsed(&entry)
}

fn parsed(entry: &Entry) -> Result<Value, Status> {
    serde_json::from_slice(&entry.bytes).map_err(|e| Status::internal(e.to_string()))
}

/// Why a pod may go.
enum Leave {
    /// It serves nobody: it has ended, is ending, or has not begun; what has not begun might.
    Unasked { might_begin: bool },
    /// It is not ready, and the budget of that name does not protect it as long as it is not.
    Unhealthy(String),
    /// No budget, or one that has counted it.
    Granted,
}

impl Leave {
    /// Only as it was looked at.
    fn as_seen(&self) -> bool {
        matches!(self, Leave::Unasked { might_begin: true } | Leave::Unhealthy(_))
    }
}

async fn leave(call: &Call<'_>, pod: &Value, options: &Options) -> Result<Leave, Status> {
    let phase = tree::text(pod, "status.phase");
    let is_ending = pod["metadata"].get("deletionTimestamp").is_some();
    if is_ending || matches!(phase, "Succeeded" | "Failed" | "Pending") {
        return Ok(Leave::Unasked { might_begin: phase == "Pending" && !is_ending });
    }
    let snapshot = &call.server.0.snapshot;
    let labels = pod["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let protects = |entry: &Entry| {
        let selector = parsed(entry).map(|budget| budget["spec"]["selector"].clone());
        selector.and_then(|selector| Labels::from_label_selector(&selector)).is_ok_and(|s| s.matches(&labels))
    };
    let mut budgets = snapshot.all(&POD_DISRUPTION_BUDGETS.qualified(), call.namespace()).into_iter().filter(protects);
    let Some(entry) = budgets.next() else { return Ok(Leave::Granted) };
    if budgets.next().is_some() {
        let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::new(Reason::InternalError, why));
    }
    let budget = parsed(&entry)?;
    if !is_ready(pod) {
        let count = |field: &str| tree::int(&budget["status"], field).unwrap_or(0);
        let desired = count("desiredHealthy");
        let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
        if always || (count("currentHealthy") >= desired && desired > 0) {
            return Ok(Leave::Unhealthy(write::text(&budget, "name").into()));
        }
    }
    take(call, entry, options.dry_run).await?;
    Ok(Leave::Granted)
}

/// Counts the pod as gone in the budget, as often as somebody else is quicker.
async fn take(call: &Call<'_>, mut entry: Entry, dry_run: bool) -> Result<(), Status> {
    let store = &call.server.0.store;
    for _ in 0..TRIES {
        let budget = parsed(&entry)?;
        let next = taken(&budget, call.name(), &call.server.now())?;
        if dry_run {
            return Ok(());
        }
        let kinds = call.server.kinds();
        let kind = kinds.by_plural(&POD_DISRUPTION_BUDGETS.group, &POD_DISRUPTION_BUDGETS.plural);
        let kind = kind.ok_or_else(|| Status::internal("disruption budgets are no kind"))?;
        match store.write(vec![write::replace(kind, &entry, &budget, &next)?]).await {
            Ok(_) => return Ok(()),
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(write::failed(&error)),
        }
        // A budget that is gone protects nobody.
        let Some(newer) = store.get(entry.key.as_str()) else { return Ok(()) };
        entry = newer;
    }
    let name = parsed(&entry).map(|budget| write::text(&budget, "name").to_string())?;
    let why = format!("couldn't update PodDisruptionBudget {name:?} due to conflicts");
    Err(Status { retry_after_seconds: Some(10), ..Status::new(Reason::Timeout, format!("Timeout: {why}")) })
}

/// The budget without the one disruption, or why it allows none (checkAndDecrement). Pure.
fn taken(budget: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    let (name, status) = (write::text(budget, "name"), &budget["status"]);
    let count = |field: &str| tree::int(status, field).unwrap_or(0);
    let allowed = count("disruptionsAllowed");
    if count("observedGeneration") < tree::int(budget, "metadata.generation").unwrap_or(0) {
        return Err(later(name));
    }
    let never = |why: &str, cause: &str| {
        let refused = Status::forbidden("policy", "poddisruptionbudget", name, why);
        with_cause(refused, &format!("The disruption budget {name} does not allow evicting pods currently: {cause}"))
    };
    if allowed < 0 {
        let why = "pdb disruptions allowed is negative";
        return Err(never(why, why));
    }
    if status["disruptedPods"].as_object().map_or(0, Map::len) > DISRUPTED_MAX {
        return Err(never(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
            "too many pending evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        return Err(with_cause(Status::new(Reason::TooManyRequests, VIOLATES), &why_none(name, status)));
    }
    let mut next = budget.clone();
    next["status"]["disruptionsAllowed"] = json!(allowed - 1);
    next["status"]["disruptedPods"][pod] = json!(now);
    if allowed == 1 {
        allow(&mut next["status"], now);
    }
    Ok(next)
}

fn why_none(name: &str, status: &Value) -> String {
    let count = |field: &str| tree::int(status, field).unwrap_or(0);
    let (healthy, desired) = (count("currentHealthy"), count("desiredHealthy"));
    let condition = tree::list(status, "conditions").iter().find(|c| c["type"] == "DisruptionAllowed");
    let told =
        condition.filter(|c| c["status"] == "False").map(|c| (tree::text(c, "reason"), tree::text(c, "message")));
    match told.filter(|(_, message)| !message.is_empty()) {
        Some(("SyncFailed", message)) => {
            format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
            )
        }
        _ if healthy <= desired => {
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
        }
        Some((reason, message)) => {
            format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {message}")
        }
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

/// Nobody has counted for the budget as it stands.
fn later(budget: &str) -> Status {
    let status = Status { retry_after_seconds: Some(10), ..Status::new(Reason::TooManyRequests, VIOLATES) };
    with_cause(status, &format!("The disruption budget {budget} is still being processed by the server."))
}

fn with_cause(mut status: Status, message: &str) -> Status {
    status.causes.push(Cause { reason: "DisruptionBudget".into(), message: message.into(), field: String::new() });
    status
}

/// Marks the pod and deletes it. The eviction was admitted; its deletion is not asked about (ValidateAllObjectFunc).
async fn go(call: &Call<'_>, mut options: Options) -> Result<(), Status> {
    let name = call.name();
    if !options.dry_run {
        let now = call.server.now();
        let mut update = Update {
            call,
            name,
            subresource: "status",
            manager: None,
            verbatim: true,
            dry_run: false,
            warnings: Vec::new(),
        };
        let entry = update
            .run(|pod| {
                delete::check_preconditions(call, name, pod, &options)?;
                Ok(marked(pod, &now))
            })
            .await?;
        // The mark is our own change.
        options.revision = options.revision.map(|_| entry.revision.0.to_string());
    }
    delete::remove(call, name, &options, None).await?;
    Ok(())
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

#[cfg(test)]
mod tests;
