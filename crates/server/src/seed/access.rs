//! The roles and bindings that every cluster has, made and kept up to date at each start.
//!
//! kubernetes pkg/registry/rbac/rest/storage_rbac.go and component-helpers auth/rbac/reconciliation: rules and
//! subjects that are missing are added, others stay, and what says that it is not to be updated is left alone.
//! All that is to be written is one write.

use api::Status;
use kinds::rbac::GROUP;
use serde_json::{Value, json};
use store::{Entry, Expect, Step};

use crate::Server;
use crate::admission::{Ask, Operation};
use crate::authorize::defaults::{self, AUTO_UPDATE};
use crate::authorize::rule::{self, Rule};
use crate::identity::{Component, Identity};
use crate::route::no_such_resource;
use crate::verbs::judge;
use crate::{records, write};

/// Upstream's own name for itself, in managed fields.
const MANAGER: &str = "kube-apiserver";

/// Writes what is missing.
pub async fn reconcile(server: &Server) -> Result<(), Status> {
    let identity = Identity::component(Component::Admin);
    let (mut gone, mut steps) = (Vec::new(), Vec::new());
    for (plural, namespace, expected) in defaults::objects() {
        let served = server.kinds().served(GROUP, "v1", plural).ok_or_else(no_such_resource)?;
        let name = write::text(&expected, "name").to_string();
        let key = records::key(&served.kind, namespace, &name);
        let mut there = server.0.store.get(key.as_str());
        let mut old = there.as_ref().map(parsed).transpose()?;
        // A binding to another role goes first, unless it is not to be touched.
        if let (Some(entry), Some(stale)) = (&there, &old)
            && !is_protected(stale)
            && stale["roleRef"] != expected["roleRef"]
        {
            gone.push(write::delete(key.clone(), Expect::At(entry.revision), stale));
            (there, old) = (None, None);
        }
        let mut object = match &old {
            Some(old) => match completed(old, &expected) {
                Some(object) => object,
                None => continue,
            },
            None => expected,
        };
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let ask = Ask {
            server,
            identity: &identity,
            served: &served,
            operation,
            verb: if old.is_some() { "update" } else { "create" },
            subresource: "",
            schema: &served.kind.schema,
            namespace,
            name: &name,
            old: old.as_ref(),
            dry_run: false,
        };
        let mut findings = judge::mutate(&ask, Some(MANAGER), &mut object).await?;
        judge::admit(&ask, &mut object, &mut findings).await?;
        steps.push(match (&there, &old) {
            (Some(entry), Some(old)) => write::replace(&served.kind, entry, old, &object)?,
            _ => write::put(&served.kind, key, Expect::Absent, &object)?,
        });
    }
    for steps in [gone, steps].into_iter().filter(|steps: &Vec<Step>| !steps.is_empty()) {
        tracing::debug!(objects = steps.len(), "roles and bindings that every cluster has");
        server.0.store.write(steps).await.map_err(|e| write::failed(&e))?;
    }
    Ok(())
}

fn parsed(entry: &Entry) -> Result<Value, Status> {
    serde_json::from_slice(&entry.bytes).map_err(|e| Status::internal(format!("{}: {e}", entry.key)))
}

fn is_protected(object: &Value) -> bool {
    object["metadata"]["annotations"][AUTO_UPDATE] == "false"
}

/// What is there with what it lacks; None if it lacks nothing or is not to be updated
/// (computeReconciledRole, computeReconciledRoleBinding).
fn completed(there: &Value, expected: &Value) -> Option<Value> {
    if is_protected(there) {
        return None;
    }
    let mut object = there.clone();
    for field in ["labels", "annotations"] {
        for (key, value) in expected["metadata"][field].as_object().into_iter().flatten() {
            let has = object["metadata"][field].get(key).is_some();
            if !has {
                object["metadata"][field][key] = value.clone();
            }
        }
    }
    let missing = missing_rules(there, expected);
    if !missing.is_empty() {
        extend(&mut object["rules"], missing.iter().map(|rule| json!(rule)));
    }
    let list = |object: &Value, pointer: &str| -> Vec<Value> {
        object.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    for pointer in ["/subjects", "/aggregationRule/clusterRoleSelectors"] {
        let held = list(there, pointer);
        let lacking: Vec<Value> = list(expected, pointer).into_iter().filter(|one| !held.contains(one)).collect();
        if lacking.is_empty() {
            continue;
        }
        match pointer {
            "/subjects" => extend(&mut object["subjects"], lacking),
            _ => extend(&mut object["aggregationRule"]["clusterRoleSelectors"], lacking),
        }
    }
    if expected.get("aggregationRule").is_none()
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("aggregationRule");
    }
    (object != *there).then_some(object)
}

fn missing_rules(there: &Value, expected: &Value) -> Vec<Rule> {
    let rules = |object: &Value| -> Vec<Rule> {
        let list = object["rules"].as_array().into_iter().flatten();
        list.filter_map(|rule| serde_json::from_value(rule.clone()).ok()).collect()
    };
    let (held, wanted) = (rules(there), rules(expected));
    match held == wanted {
        true => Vec::new(),
        false => rule::missing(&held.iter().collect::<Vec<_>>(), &wanted),
    }
}

fn extend(slot: &mut Value, more: impl IntoIterator<Item = Value>) {
    if !slot.is_array() {
        *slot = json!([]);
    }
    if let Some(list) = slot.as_array_mut() {
        list.extend(more);
    }
}

#[cfg(test)]
mod tests;
