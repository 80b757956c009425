//! ClusterRoles that are gathered of others: all the rules of those whose labels they select.
//!
//! pkg/controller/clusterroleaggregation: the selected ones in the order of their names, each rule once, never its
//! own. Every change of a role may concern every gathered one, and there are few of those.

use std::sync::Arc;

use api::resource::CLUSTER_ROLES;
use api::selector::Labels;
use api::{Object, Reason, Status};
use client::PatchKind;
use client::cache::index::Index;
use client::reconcile::{self, Requeue};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::Parts;

/// ClusterRoles that are gathered, all under one value.
static GATHERED: Index = Index {
    name: "gathered",
    values: |role| {
        let is_gathered = role.value()["aggregationRule"].is_object();
        is_gathered.then(String::new).into_iter().collect()
    },
};
/// Who owns the rules of a gathered role.
const MANAGER: &str = "clusterrole-aggregation-controller";

pub async fn run(parts: Arc<Parts>) {
    let cache = parts.cache(&CLUSTER_ROLES);
    cache.synced().await;
    let of = cache.clone();
    let gathered =
        move || of.by(&GATHERED, "").into_iter().map(|role| role.meta().name.to_string()).collect::<Vec<_>>();
    let names = cache.subscribe().keys().flat_map(move |_| stream::iter(gathered()));
    let work = |name: String| {
        let parts = parts.clone();
        async move { gather(&parts, &name).await }
    };
    reconcile::run(names, 4, work).await;
}

async fn gather(parts: &Parts, name: &str) -> Result<Requeue, Status> {
    let kind = &*CLUSTER_ROLES;
    let cache = parts.cache(kind);
    let Some(role) = cache.get("", name).map(|role| role.value()) else { return Ok(Requeue::Done) };
    if !role["aggregationRule"].is_object() {
        return Ok(Requeue::Done);
    }
    let rules = rules_of(&role, &cache.list())?;
    if role["rules"].as_array().map_or(&[][..], Vec::as_slice) == rules {
        return Ok(Requeue::Done);
    }
    let configuration = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind.kind,
        "metadata": {"name": name}, "rules": rules});
    let patch = PatchKind::Apply { manager: MANAGER.into(), force: true };
    match parts.client.patch(kind, "", name, "", patch, &configuration).await {
        // The next run sees it.
        Ok(written) => cache.reached(written.revision()).await,
        Err(status) if status.reason == Reason::NotFound => {}
        Err(status) => return Err(status),
    }
    Ok(Requeue::Done)
}

/// The rules that a role gathers of all, which are sorted by name.
fn rules_of(role: &Value, all: &[Object]) -> Result<Vec<Value>, Status> {
    let mut rules: Vec<Value> = Vec::new();
    for selector in role["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten() {
        let selector = Labels::from_label_selector(selector)?;
        for other in all.iter().filter(|other| selector.matches(&other.meta().labels)) {
            let other = other.value();
            if other["metadata"]["name"] == role["metadata"]["name"] {
                continue;
            }
            for rule in other["rules"].as_array().into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Ok(rules)
}
