//! APIServices of what this server serves itself: one a version of a group, put right at every start.
//!
//! kube-aggregator pkg/controllers/autoregister: what bears the label is made, follows the kinds that are
//! served, and goes with them; anything else is its maker's. While the server runs nothing is put right.

use api::Status;
use http::Method;
use kinds::Kinds;
use serde_json::{Value, json};

use crate::records::Snapshot;
use crate::{Server, discovery, own_write, priorities};

const PATH: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";

/// One write that is due.
#[derive(Debug, PartialEq)]
pub struct Due {
    method: Method,
    path: String,
    object: Value,
}

/// Writes all that is due at once.
pub async fn keep(server: &Server) -> Result<(), Status> {
    let due = plan(&stored(&server.0.snapshot), &desired(&server.kinds()));
    let writes = due.into_iter().map(|due| async move { own_write(server, due.method, &due.path, due.object).await });
    futures::future::join_all(writes).await.into_iter().collect()
}

fn stored(snapshot: &Snapshot) -> Vec<Value> {
    let all = snapshot.all("apiservices.apiregistration.k8s.io", "");
    all.into_iter()
        .filter_map(|entry| {
            let mut service: Value = serde_json::from_slice(&entry.bytes).ok()?;
            service["metadata"]["resourceVersion"] = entry.revision.0.to_string().into();
            Some(service)
        })
        .collect()
}

/// One for each version of each group that upstream registers.
fn desired(kinds: &Kinds) -> Vec<Value> {
    let all = discovery::groups_with_versions(kinds);
    let service = |(group, version): (String, String)| {
        let (of_group, of_version) = priorities::of(&group, &version)?;
        let mut spec = json!({"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version});
        if !group.is_empty() {
            spec["group"] = group.as_str().into();
        }
        let metadata = json!({"name": format!("{version}.{group}"), "labels": {LABEL: "onstart"}});
        Some(
            json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": metadata, "spec": spec}),
        )
    };
    all.into_iter().filter_map(service).collect()
}

fn plan(stored: &[Value], desired: &[Value]) -> Vec<Due> {
    let name = |service: &Value| service["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let is_ours =
        |service: &Value| ["onstart", "true"].iter().any(|word| service["metadata"]["labels"][LABEL] == *word);
    let mut due = Vec::new();
    for wanted in desired {
        match stored.iter().find(|service| name(service) == name(wanted)) {
            None => due.push(Due { method: Method::POST, path: PATH.into(), object: wanted.clone() }),
            Some(found) if is_ours(found) && found["spec"] != wanted["spec"] => {
                let mut object = found.clone();
                object["spec"] = wanted["spec"].clone();
                due.push(Due { method: Method::PUT, path: format!("{PATH}/{}", name(wanted)), object });
            }
            Some(_) => {}
        }
    }
    let is_spurious =
        |service: &&Value| is_ours(service) && !desired.iter().any(|wanted| name(wanted) == name(service));
    due.extend(stored.iter().filter(is_spurious).map(|service| {
        let object = json!({"preconditions": {"uid": service["metadata"]["uid"]}});
        Due { method: Method::DELETE, path: format!("{PATH}/{}", name(service)), object }
    }));
    due
}

#[cfg(test)]
mod tests;
