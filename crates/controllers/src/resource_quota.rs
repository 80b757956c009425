//! What is used of a ResourceQuota, counted anew when its bounds change and when something goes.
//!
//! pkg/controller/resourcequota. Admission charges what comes, in the write itself; here what has gone is given
//! back. Laws: a count is made of lists that are newer than the quota, and written over that very version, so
//! that whatever was charged meanwhile makes it fail; bounds that begin to hold are followed by another count,
//! which finds what came just before.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::pod::{Amounts, add, amounts};
use api::quantity::Quantity;
use api::resource::RESOURCE_QUOTAS;
use api::{Clock, Object, Reason, Resource, Status, quota, tree};
use client::cache::{Cache, Change, Index};
use client::reconcile::{self, Requeue};
use client::{Key, ListOptions};
use futures::stream::{self, select, select_all};
use futures::{StreamExt, future};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Parts;

static NAMESPACE: Index = Index { name: "namespace", values: |object| vec![object.meta().namespace.clone()] };

pub async fn run(parts: Arc<Parts>) {
    let quotas = parts.cache(&RESOURCE_QUOTAS);
    parts.synced(&[&quotas]).await;
    let own = quotas.subscribe().filter_map(|change| future::ready(is_due(&change).then_some(change.key)));
    let counted = parts.all().into_iter().filter(|cache| is_counted(cache.kind()));
    let freed = counted.map(|cache| {
        let (quotas, clock, resource) = (quotas.clone(), parts.config.clock.clone(), cache.kind().qualified());
        cache.subscribe().flat_map(move |change| stream::iter(concerned(&quotas, &clock, &resource, &change)))
    });
    let work = |key: Key| {
        let parts = parts.clone();
        async move { count(&parts, &key).await }
    };
    reconcile::run(select(own, select_all(freed)), 4, work).await;
}

fn is_counted(resource: &Resource) -> bool {
    resource.namespaced && quota::is_counted(&resource.qualified())
}

/// Whether a quota itself asks for a count: it is new here, its spec changed, or its status does not say all.
fn is_due(change: &Change) -> bool {
    let Some(new) = change.new.as_ref().map(Object::value) else { return false };
    let Some(old) = change.old.as_ref().map(Object::value) else { return true };
    old["spec"] != new["spec"] || amounts(&new["spec"]["hard"]) != amounts(&new["status"]["hard"])
}

/// The quotas that an object counted for, if it counts for less now.
fn concerned(quotas: &Cache, clock: &Clock, resource: &str, change: &Change) -> Vec<Key> {
    let quotas = quotas.by(&NAMESPACE, &change.key.namespace);
    if quotas.is_empty() || !frees(resource, change, clock()) {
        return Vec::new();
    }
    quotas.iter().filter(|quota| is_tracked(&quota.value(), resource)).map(Key::of).collect()
}

fn frees(resource: &str, change: &Change, now: Timestamp) -> bool {
    let Some(new) = &change.new else { return true };
    let Some(old) = &change.old else { return false };
    if old.meta().uid != new.meta().uid {
        return true;
    }
    if !matches!(resource, "pods" | "services" | "persistentvolumeclaims" | "resourceclaims.resource.k8s.io") {
        return false;
    }
    let (old, new) = (old.value(), new.value());
    // A pod that changes its scope is freed where it was.
    let moved = resource == "pods" && quota::is_terminating(&old) != quota::is_terminating(&new);
    let (before, after) = (quota::usage(resource, &old, now), quota::usage(resource, &new, now));
    let falls = |(name, amount): (&String, &Quantity)| after.get(name).is_none_or(|after| after < amount);
    moved || before.iter().any(falls) || (resource == "pods" && quota::expiry(&old) != quota::expiry(&new))
}

fn is_tracked(quota: &Value, resource: &str) -> bool {
    tree::entries(quota, "spec.hard").any(|(name, _)| quota::tracks(resource, name))
}

async fn count(parts: &Parts, key: &Key) -> Result<Requeue, Status> {
    let kind = &*RESOURCE_QUOTAS;
    loop {
        // Its role lists and watches everything, and gets nothing.
        let field_selector = format!("metadata.name={}", key.name);
        let only = ListOptions { field_selector, ..ListOptions::default() };
        let list = parts.client.list(kind, &key.namespace, &only).await?;
        let Some(quota) = list.objects.first().map(Object::value) else { return Ok(Requeue::Done) };
        let now = (parts.config.clock)();
        let (mut counted, mut again) = (Amounts::new(), Requeue::Done);
        let mut seen = BTreeSet::new();
        let tracked = parts.resources.iter().filter(|resource| {
            is_counted(resource) && resource.can("list") && is_tracked(&quota, &resource.qualified())
        });
        for resource in tracked.filter(|resource| seen.insert(resource.qualified())) {
            let list = parts.client.list(resource, &key.namespace, &ListOptions::default()).await?;
            let objects: Vec<Value> = list.objects.iter().map(Object::value).collect();
            add(&mut counted, &used(&quota, &resource.qualified(), &objects, now));
            if resource.qualified() == "pods" {
                again = next_expiry(&objects, now);
            }
        }
        let Some(status) = status(&quota, &counted) else { return Ok(again) };
        let begins = amounts(&quota["status"]["hard"]) != amounts(&status["hard"]);
        let mut next = quota;
        next["status"] = status;
        match parts.client.update_sub(kind, &key.namespace, &key.name, "status", &next).await {
            Ok(_) if begins => {}
            Ok(_) => return Ok(again),
            Err(status) if status.reason == Reason::NotFound => return Ok(Requeue::Done),
            Err(status) => return Err(status),
        }
    }
}

/// What objects of one resource count for in a quota; zero where there are none.
fn used(quota: &Value, resource: &str, objects: &[Value], now: Timestamp) -> Amounts {
    let names = tree::entries(quota, "spec.hard").map(|(name, _)| name).filter(|name| quota::tracks(resource, name));
    let mut used: Amounts = names.map(|name| (name.clone(), Quantity::ZERO)).collect();
    for object in objects.iter().filter(|object| quota::selects(quota, resource, object)) {
        for (name, amount) in quota::usage(resource, object, now) {
            if let Some(sum) = used.get_mut(&name) {
                *sum = sum.plus(amount);
            }
        }
    }
    used
}

/// When the next of the pods that do not go stops to count.
fn next_expiry(pods: &[Value], now: Timestamp) -> Requeue {
    let next = pods.iter().filter_map(quota::expiry).filter(|end| *end >= now).min();
    // Just after it.
    let rest = next.and_then(|end| std::time::Duration::try_from(end.duration_since(now)).ok());
    rest.map_or(Requeue::Done, |rest| Requeue::After(rest + std::time::Duration::from_secs(1)))
}

/// The status that a quota shall have; None: it says so already. What nobody here counts stays as it was told.
fn status(quota: &Value, counted: &Amounts) -> Option<Value> {
    let (hard, told) = (amounts(&quota["spec"]["hard"]), amounts(&quota["status"]["used"]));
    let of = |name: &String| counted.get(name).or(told.get(name)).map(|amount| (name.clone(), *amount));
    let used: Amounts = hard.keys().filter_map(of).collect();
    if hard == amounts(&quota["status"]["hard"]) && used == told {
        return None;
    }
    let text = |all: &Amounts| -> Value {
        all.iter().map(|(name, amount)| (name.clone(), json!(amount.to_string()))).collect()
    };
    Some(json!({"hard": text(&hard), "used": text(&used)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn change(old: Value, new: Value) -> Change {
        let object = |value: &Value| (!value.is_null()).then(|| Object::from_value(value).unwrap());
        Change { key: Key::new("n", "o"), old: object(&old), new: object(&new) }
    }

    fn pod(with: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "o", "namespace": "n", "uid": "1", "resourceVersion": "1"},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}, "status": {}});
        for (pointer, value) in with.as_object().unwrap() {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[key] = value.clone();
        }
        pod
    }

    #[test]
    fn only_what_goes_is_counted_anew() {
        let plain = || pod(json!({}));
        let frees = |old: Value, new: Value| frees("pods", &change(old, new), now());
        assert!(frees(plain(), Value::Null) && frees(Value::Null, Value::Null));
        assert!(!frees(Value::Null, plain()), "admission has charged it");
        assert!(!frees(plain(), pod(json!({"/metadata/labels": {"a": "b"}}))));
        assert!(frees(plain(), pod(json!({"/metadata/uid": "2"}))), "another one of its name");
        assert!(frees(plain(), pod(json!({"/status/phase": "Failed"}))));
        assert!(frees(plain(), pod(json!({"/spec/activeDeadlineSeconds": 5}))), "it left a scope");
        assert!(frees(plain(), pod(json!({"/spec/containers": []}))));
        assert!(!frees(pod(json!({"/spec/containers": []})), plain()));
        let map =
            |data: &str| json!({"metadata": {"name": "o", "uid": "1", "resourceVersion": "1"}, "data": {"a": data}});
        assert!(!super::frees("configmaps", &change(map("1"), map("2")), now()));
    }

    #[test]
    fn a_quota_asks_for_a_count_itself() {
        let quota = |hard: &str, told: &str| {
            json!({"metadata": {"name": "q", "namespace": "n", "uid": "1", "resourceVersion": "1"},
                "spec": {"hard": {"pods": hard}}, "status": {"hard": {"pods": told}, "used": {"pods": "0"}}})
        };
        assert!(is_due(&change(Value::Null, quota("1", "1"))), "at the start");
        assert!(!is_due(&change(quota("1", "1"), quota("1", "1"))), "its status was written, by admission perhaps");
        assert!(is_due(&change(quota("1", "1"), quota("2", "1"))));
        assert!(is_due(&change(quota("1", "2"), quota("1", "2"))));
        assert!(!is_due(&change(quota("1", "1"), Value::Null)));
    }

    #[test]
    fn a_status_says_what_is_used_of_each_bound() {
        let quota = json!({"spec": {"hard": {"pods": "5", "cpu": "2", "x.io/y": "1"}, "scopes": ["NotTerminating"]},
            "status": {"hard": {"pods": "4"}, "used": {"pods": "9", "x.io/y": "1", "secrets": "1"}}});
        let ending = pod(json!({"/spec/activeDeadlineSeconds": 5}));
        let counted = used(&quota, "pods", &[pod(json!({})), pod(json!({})), ending], now());
        let expected =
            json!({"hard": {"pods": "5", "cpu": "2", "x.io/y": "1"}, "used": {"pods": "2", "cpu": "2", "x.io/y": "1"}});
        assert_eq!(status(&quota, &counted), Some(expected.clone()));
        let mut told = quota;
        told["status"] = expected;
        assert_eq!(status(&told, &counted), None);
        assert_eq!(status(&json!({"spec": {}}), &Amounts::new()), None);
        assert_eq!(used(&told, "pods", &[], now()), amounts(&json!({"pods": "0", "cpu": "0"})));
    }

    #[test]
    fn a_pod_that_does_not_go_is_looked_at_when_it_stops_to_count() {
        let stuck = pod(
            json!({"/metadata/deletionTimestamp": "2026-01-01T00:00:10Z", "/metadata/deletionGracePeriodSeconds": 30}),
        );
        let rest = std::time::Duration::from_secs(41);
        assert_eq!(next_expiry(&[pod(json!({})), stuck.clone()], now()), Requeue::After(rest));
        assert_eq!(next_expiry(&[stuck], "2026-01-02T00:00:00Z".parse().unwrap()), Requeue::Done);
    }
}
