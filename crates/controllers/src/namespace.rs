//! A namespace that ends is emptied, then let go: its finalizer goes when nothing is left.
//!
//! pkg/controller/namespace/deletion: pods first, then everything else; what is left, and which
//! finalizers hold it, stands in the namespace's conditions in upstream's words.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use api::resource::{NAMESPACES, PODS};
use api::{Object, Reason, Resource, Status};
use client::reconcile::{self, Feed, Requeue, feed};
use client::{DeleteOptions, ListOptions, WatchOptions};
use futures::StreamExt;
use futures::stream::{select, select_all};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Parts;

const FINALIZER: &str = "kubernetes";

pub async fn run(parts: Arc<Parts>) {
    let (namespaces, pods) = (parts.cache(&NAMESPACES), parts.cache(&PODS));
    parts.synced(&[&namespaces, &pods]).await;
    let own = namespaces.subscribe().keys().map(|key| key.name.to_string());
    let ending = {
        let namespaces = namespaces.clone();
        move |name: &str| namespaces.get("", name).is_some_and(|space| space.meta().is_deleting())
    };
    let contents = parts.all().into_iter().filter(|cache| cache.kind().namespaced);
    let emptied = select_all(contents.map(|cache| cache.subscribe().keys())).map(|key| key.namespace.to_string());
    let emptied = emptied.filter(move |name| std::future::ready(ending(name)));
    let (uncached, told) = feed();
    let watches = Arc::new(Watches { feed: uncached, by_namespace: Mutex::default() });
    let work = |name: String| {
        let (parts, watches) = (parts.clone(), watches.clone());
        async move { empty(&parts, &watches, &name).await }
    };
    reconcile::run(select(select(own, emptied), told), 5, work).await;
}

/// What has no cache here does not announce that it went: it is watched where a namespace waits for it, until
/// something happens to it.
struct Watches {
    feed: Feed<String>,
    by_namespace: Mutex<HashMap<String, JoinSet<()>>>,
}

impl Watches {
    /// In place of those that there are for the namespace.
    async fn renew(&self, parts: &Parts, namespace: &str, left: &[Left]) -> Result<(), Status> {
        let mut watches = JoinSet::new();
        for left in left.iter().filter(|left| !crate::is_cached(&left.kind)) {
            let options = WatchOptions { resource_version: left.revision.to_string(), ..WatchOptions::default() };
            let mut events = parts.client.watch(&left.kind, namespace, &options).await?;
            let (feed, namespace) = (self.feed.clone(), namespace.to_string());
            watches.spawn(async move {
                // Its end is a reason to look, too: the next look watches anew.
                events.next().await;
                feed.add(namespace);
            });
        }
        let mut all = self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        match watches.is_empty() {
            true => all.remove(namespace),
            false => all.insert(namespace.to_string(), watches),
        };
        Ok(())
    }
}

/// What is left of one kind.
#[derive(Clone, Debug, PartialEq)]
struct Left {
    /// `pods.`, `leases.coordination.k8s.io`: the plural and the group with a dot between.
    resource: String,
    count: usize,
    finalizers: BTreeMap<String, usize>,
    kind: Resource,
    /// Of the list that it was seen in.
    revision: u64,
}

async fn empty(parts: &Parts, watches: &Watches, name: &str) -> Result<Requeue, Status> {
    let space = match parts.cache(&NAMESPACES).get("", name) {
        Some(space) if space.meta().is_deleting() => space,
        _ => return Ok(Requeue::Done),
    };
    let (mut left, mut failures) = (Vec::new(), Vec::new());
    let pods = &*PODS;
    clear(parts, pods, name, &mut left, &mut failures).await;
    if left.is_empty() && failures.is_empty() {
        let others =
            parts.resources.iter().filter(|kind| kind.namespaced && kind.can("delete") && kind.plural != pods.plural);
        for kind in others {
            clear(parts, kind, name, &mut left, &mut failures).await;
        }
    }
    report(parts, &space, &left, &failures).await?;
    if !failures.is_empty() {
        return Err(Status::internal(failures.join("; ")));
    }
    watches.renew(parts, name, &left).await?;
    if !left.is_empty() {
        return Ok(Requeue::Done);
    }
    finalize(parts, name).await
}

/// Deletes all of a kind and counts what stays.
async fn clear(parts: &Parts, kind: &Resource, namespace: &str, left: &mut Vec<Left>, failures: &mut Vec<String>) {
    let list = match parts.client.list(kind, namespace, &ListOptions::default()).await {
        Ok(list) => list.objects,
        Err(status) => return failures.push(status.message),
    };
    if list.is_empty() {
        return;
    }
    let deleted = match kind.can("deletecollection") {
        true => {
            let path = collection(kind, namespace);
            let options = DeleteOptions { propagation_policy: "Background".into(), ..DeleteOptions::default() };
            let body = options.to_value();
            parts.client.call(Method::DELETE, &path, &[], Some(("application/json", &body))).await.map(|_| ())
        }
        false => each(parts, kind, namespace, &list).await,
    };
    if let Err(status) = deleted {
        failures.push(status.message);
    }
    match parts.client.list(kind, namespace, &ListOptions::default()).await {
        Ok(list) if list.objects.is_empty() => {}
        Ok(list) => left.push(Left::of(kind, &list.objects, list.revision)),
        Err(status) => failures.push(status.message),
    }
}

async fn each(parts: &Parts, kind: &Resource, namespace: &str, list: &[Object]) -> Result<(), Status> {
    for object in list {
        match parts.client.delete(kind, namespace, &object.meta().name, &DeleteOptions::default()).await {
            Err(status) if status.reason != Reason::NotFound => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

fn collection(kind: &Resource, namespace: &str) -> String {
    let root = if kind.group.is_empty() { "/api/v1".into() } else { format!("/apis/{}/{}", kind.group, kind.version) };
    format!("{root}/namespaces/{namespace}/{}", kind.plural)
}

/// Writes the conditions, unless they already say so.
async fn report(parts: &Parts, space: &Object, left: &[Left], failures: &[String]) -> Result<(), Status> {
    let status = space.value()["status"].clone();
    let conditions = conditions(&status["conditions"], left, failures, &parts.now());
    if status["conditions"] == conditions {
        return Ok(());
    }
    let meta = space.meta();
    let mut value = space.value();
    value["status"]["conditions"] = conditions;
    match parts.client.update_sub(&NAMESPACES, "", &meta.name, "status", &value).await {
        Err(status) if status.reason != Reason::NotFound => Err(status),
        _ => Ok(()),
    }
}

/// Takes the finalizer away; the server deletes the namespace with it.
async fn finalize(parts: &Parts, name: &str) -> Result<Requeue, Status> {
    let kind = &*NAMESPACES;
    let space = match parts.client.get(kind, "", name).await {
        Ok(space) => space,
        Err(status) if status.reason == Reason::NotFound => return Ok(Requeue::Done),
        Err(status) => return Err(status),
    };
    let mut value = space.value();
    let finalizers = value["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !space.meta().is_deleting() || !finalizers.iter().any(|f| f == FINALIZER) {
        return Ok(Requeue::Done);
    }
    value["spec"]["finalizers"] = finalizers.into_iter().filter(|f| f != FINALIZER).collect();
    match parts.client.update_sub(kind, "", name, "finalize", &value).await {
        Err(status) if status.reason != Reason::NotFound => Err(status),
        _ => Ok(Requeue::Done),
    }
}

/// The conditions (deletion/status_condition_utils.go), with the times of those that did not change.
fn conditions(old: &Value, left: &[Left], failures: &[String], now: &str) -> Value {
    let remaining: Vec<String> =
        left.iter().map(|l| format!("{} has {} resource instances", l.resource, l.count)).collect();
    let mut held = BTreeMap::<&str, usize>::new();
    for (finalizer, count) in left.iter().flat_map(|l| &l.finalizers) {
        *held.entry(finalizer).or_default() += count;
    }
    let held: Vec<String> = held.iter().map(|(f, n)| format!("{f} in {n} resource instances")).collect();
    let or = |bad: bool, yes: (&'static str, String), no: (&'static str, &str)| match bad {
        true => ("True", yes.0, yes.1),
        false => ("False", no.0, no.1.to_string()),
    };
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            ("False", "ResourcesDiscovered", "All resources successfully discovered".into()),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            ("False", "ParsedGroupVersions", "All legacy kube types successfully parsed".into()),
        ),
        (
            "NamespaceDeletionContentFailure",
            or(
                !failures.is_empty(),
                (
                    "ContentDeletionFailed",
                    format!(
                        "Failed to delete all resource types, {} remaining: {}",
                        failures.len(),
                        failures.join(", ")
                    ),
                ),
                ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            ),
        ),
        (
            "NamespaceContentRemaining",
            or(
                !remaining.is_empty(),
                ("SomeResourcesRemain", format!("Some resources are remaining: {}", remaining.join(", "))),
                ("ContentRemoved", "All content successfully removed"),
            ),
        ),
        (
            "NamespaceFinalizersRemaining",
            or(
                !held.is_empty(),
                (
                    "SomeFinalizersRemain",
                    format!("Some content in the namespace has finalizers remaining: {}", held.join(", ")),
                ),
                ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            ),
        ),
    ];
    let old = old.as_array().map_or(&[][..], Vec::as_slice);
    let conditions = rows.into_iter().map(|(kind, (status, reason, message))| {
        let before = old.iter().find(|c| c["type"] == kind);
        let since = before.filter(|c| c["status"] == status).map_or(json!(now), |c| c["lastTransitionTime"].clone());
        json!({"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message})
    });
    conditions.collect()
}

impl Left {
    fn of(kind: &Resource, objects: &[Object], revision: u64) -> Left {
        let mut finalizers = BTreeMap::new();
        for finalizer in objects.iter().flat_map(|o| &o.meta().finalizers) {
            *finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        let (resource, count) = (format!("{}.{}", kind.plural, kind.group), objects.len());
        Left { resource, count, finalizers, kind: kind.clone(), revision }
    }
}

/// A refusal of something new because its namespace ends: nobody needs to be told, and nothing more comes of it.
pub fn takes_nothing_new(refusal: &Status) -> bool {
    refusal.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_is_left_and_what_holds_it() {
        let finalizers = [("a/b".to_string(), 1)].into();
        let left = Left { resource: "pods.".into(), count: 2, finalizers, kind: PODS.clone(), revision: 1 };
        let first = conditions(&Value::Null, &[left], &[], "t1");
        assert_eq!(first[3]["message"], "Some resources are remaining: pods. has 2 resource instances");
        assert_eq!(
            first[4]["message"],
            "Some content in the namespace has finalizers remaining: a/b in 1 resource instances"
        );
        let second = conditions(&first, &[], &[], "t2");
        assert_eq!((&second[3]["status"], &second[3]["lastTransitionTime"]), (&json!("False"), &json!("t2")));
        assert_eq!((&second[0]["status"], &second[0]["lastTransitionTime"]), (&json!("False"), &json!("t1")));
    }
}
