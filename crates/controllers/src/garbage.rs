//! Objects whose owners are gone, and the three ways in which an owner may go.
//!
//! pkg/controller/garbagecollector: a dependent is deleted when none of its owners is left; `orphan`
//! cuts the references first; `foregroundDeletion` waits for the dependents that block. The graph is
//! the caches themselves, indexed by owner's uid.

use std::sync::Arc;

use api::{Object, Reason, Resource, Status, tree};
use client::cache::index::OWNER;
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use client::{Cache, Change, DeleteOptions, Key, PatchKind, Recorder, Resources};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::Parts;

/// An object of any kind.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Node {
    resource: Resource,
    namespace: Arc<str>,
    name: Arc<str>,
}

/// Who depends on whom: what the caches have under an owner's uid.
struct Graph {
    caches: Vec<Arc<Cache>>,
    resources: Resources,
    recorder: Recorder,
}

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

pub async fn run(parts: Arc<Parts>) {
    let caches = parts.all();
    for cache in &caches {
        cache.synced().await;
    }
    let (clock, entropy) = (parts.config.clock.clone(), parts.config.entropy.clone());
    let recorder = Recorder::new(parts.client.clone(), "garbage-collector-controller", "", clock, entropy);
    let graph = Arc::new(Graph { caches, resources: parts.resources.clone(), recorder });
    let (feed, keys) = reconcile::feed::<Node>();
    let mut followers = tokio::task::JoinSet::new();
    for cache in &graph.caches {
        let (mut changes, kind, graph, feed) = (cache.subscribe(), cache.kind().clone(), graph.clone(), feed.clone());
        followers.spawn(async move {
            while let Some(change) = changes.next().await {
                for node in graph.note(&kind, &change) {
                    feed.add(node);
                }
            }
        });
    }
    let work = |node: Node| {
        let (parts, graph) = (parts.clone(), graph.clone());
        async move { attend(&parts, &graph, &node).await }
    };
    reconcile::run(keys.boxed(), 8, work).await;
}

impl Graph {
    /// Takes a change in, and says who must be looked at.
    fn note(&self, kind: &Resource, change: &Change) -> Vec<Node> {
        let node = Node::of(kind, &change.key);
        let uid = |object: &Option<Object>| object.as_ref().map(|o| o.meta().uid.clone());
        let (old, new) = (uid(&change.old), uid(&change.new));
        let mut concerned = Vec::new();
        // It went, or another one took its name: its dependents may have lost their last owner.
        if let Some(old) = old
            && new.as_ref() != Some(&old)
        {
            concerned.extend(self.dependents(&old));
        }
        // An owner in foreground deletion waits for this one to go, or to block no longer.
        let references = change.old.iter().flat_map(|o| &o.meta().owner_references);
        concerned.extend(references.filter_map(|owner| self.owner(owner, &change.key)));
        let ending = change.new.as_ref().is_some_and(|o| {
            o.meta().is_deleting() && o.meta().finalizers.iter().any(|f| f == ORPHAN || f == FOREGROUND)
        });
        let is_owned = change.new.as_ref().is_some_and(|o| !o.meta().owner_references.is_empty());
        if ending || is_owned {
            concerned.push(node);
        }
        concerned
    }

    fn owner(&self, owner: &api::OwnerReference, dependent: &Key) -> Option<Node> {
        let resource = self.resources.by_kind(&owner.api_version, &owner.kind)?.clone();
        let namespace = if resource.namespaced { dependent.namespace.clone() } else { "".into() };
        Some(Node { resource, namespace, name: owner.name.as_str().into() })
    }

    fn dependents(&self, uid: &str) -> Vec<Node> {
        let found = self.caches.iter().flat_map(|cache| {
            let objects = cache.by(&OWNER, uid).into_iter();
            objects.map(|object| Node::of(cache.kind(), &Key::of(&object)))
        });
        found.collect()
    }
}

async fn attend(parts: &Parts, graph: &Graph, node: &Node) -> Result<Requeue, Status> {
    let Some(object) = node.cached(parts) else { return Ok(Requeue::Done) };
    let meta = object.meta();
    if meta.is_deleting() {
        if meta.finalizers.iter().any(|f| f == ORPHAN) {
            return orphan(parts, graph, node, &object).await;
        }
        if meta.finalizers.iter().any(|f| f == FOREGROUND) {
            return foreground(parts, graph, node, &object).await;
        }
        return Ok(Requeue::Done);
    }
    if meta.owner_references.is_empty() {
        return Ok(Requeue::Done);
    }
    let (mut waiting, mut is_held, mut leaving) = (false, false, Vec::new());
    for owner in &meta.owner_references {
        if is_out_of_reach(parts, &meta.namespace, owner) {
            // graph_builder.go, reportInvalidNamespaceOwnerRef
            let api::OwnerReference { api_version, kind, name, uid, .. } = owner;
            let owner = format!("[{api_version}/{kind}, namespace: , name: {name}, uid: {uid}]");
            let text = format!("ownerRef {owner} does not exist in namespace \"\"");
            graph.recorder.event(&object, "", Type::Warning, "OwnerRefInvalidNamespace", text);
        }
        match owner_of(parts, &meta.namespace, owner).await? {
            Owner::Absent => leaving.push(owner.uid.as_str()),
            // It waits for us: then we go, and so do ours.
            Owner::Waiting => {
                waiting = true;
                leaving.push(owner.uid.as_str());
            }
            Owner::Solid => is_held = true,
        }
    }
    match is_held {
        true if leaving.is_empty() => Ok(Requeue::Done),
        // Whoever stays for another owner keeps nobody waiting.
        true => node.cut(parts, &object, &leaving).await,
        false => end(parts, graph, node, &object, waiting).await,
    }
}

/// Deletes what no owner holds; with what depends on it first, where an owner waits for all of it.
async fn end(parts: &Parts, graph: &Graph, node: &Node, object: &Object, waiting: bool) -> Result<Requeue, Status> {
    let dependents = graph.dependents(&object.meta().uid);
    if !waiting || dependents.is_empty() {
        return node.delete(parts, object, "Background").await;
    }
    // In a circle each would wait for the next: whose dependent waits already, keeps nobody waiting
    // (garbagecollector.go attemptToDeleteItem).
    let is_circle = dependents.iter().any(|dependent| dependent.cached(parts).is_some_and(|object| waits(&object)));
    match is_circle {
        true => {
            let object = node.unblock(parts, object).await?;
            node.delete(parts, &object, "Foreground").await
        }
        false => node.delete(parts, object, "Foreground").await,
    }
}

/// It goes when its dependents have gone.
fn waits(object: &Object) -> bool {
    object.meta().is_deleting() && object.meta().finalizers.iter().any(|f| f == FOREGROUND)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Absent,
    /// In foreground deletion.
    Waiting,
    Solid,
}

/// A namespaced owner of an object that is in no namespace: nobody can say whether it exists.
fn is_out_of_reach(parts: &Parts, namespace: &str, owner: &api::OwnerReference) -> bool {
    let resource = parts.resources.by_kind(&owner.api_version, &owner.kind);
    namespace.is_empty() && resource.is_some_and(|resource| resource.namespaced)
}

async fn owner_of(parts: &Parts, namespace: &str, owner: &api::OwnerReference) -> Result<Owner, Status> {
    // A kind that we do not know may exist where we cannot see it.
    let Some(kind) = parts.resources.by_kind(&owner.api_version, &owner.kind) else { return Ok(Owner::Solid) };
    // garbagecollector.go, namespacedOwnerOfClusterScopedObjectErr: it is never collected.
    if is_out_of_reach(parts, namespace, owner) {
        return Ok(Owner::Solid);
    }
    let namespace = if kind.namespaced { namespace } else { "" };
    let state = |object: &Object| match object.meta().uid == owner.uid {
        true if waits(object) => Owner::Waiting,
        true => Owner::Solid,
        false => Owner::Absent,
    };
    let cached = parts.cache_of(kind).and_then(|cache| cache.get(namespace, &owner.name));
    if let Some(object) = cached.filter(|object| object.meta().uid == owner.uid) {
        return Ok(state(&object));
    }
    // The cache may be behind: only the server's word deletes.
    match parts.client.get(kind, namespace, &owner.name).await {
        Ok(object) => Ok(state(&object)),
        Err(status) if status.reason == Reason::NotFound => Ok(Owner::Absent),
        Err(status) => Err(status),
    }
}

/// Cuts the references of all dependents, then lets the owner go.
async fn orphan(parts: &Parts, graph: &Graph, node: &Node, owner: &Object) -> Result<Requeue, Status> {
    let uid = &owner.meta().uid;
    for dependent in graph.dependents(uid) {
        let Some(object) = dependent.cached(parts) else { continue };
        dependent.cut(parts, &object, &[uid]).await?;
    }
    node.unhold(parts, owner, ORPHAN).await
}

/// Deletes the dependents, and lets the owner go when none that blocks is left.
async fn foreground(parts: &Parts, graph: &Graph, node: &Node, owner: &Object) -> Result<Requeue, Status> {
    let uid = &owner.meta().uid;
    let mut blocked = false;
    for dependent in graph.dependents(uid) {
        let Some(object) = dependent.cached(parts) else { continue };
        let meta = object.meta();
        let blocks = meta.owner_references.iter().any(|r| r.uid == *uid && r.block_owner_deletion);
        blocked |= blocks;
        if !meta.is_deleting() {
            attend_later(parts, graph, &dependent, &object, uid).await?;
        }
    }
    // Each one's deletion comes as a change of its own and brings the owner back (`note`).
    match blocked {
        true => Ok(Requeue::Done),
        false => node.unhold(parts, owner, FOREGROUND).await,
    }
}

/// Deletes a dependent of an owner that waits, unless another owner stays.
async fn attend_later(parts: &Parts, graph: &Graph, node: &Node, object: &Object, uid: &str) -> Result<(), Status> {
    let meta = object.meta();
    for owner in meta.owner_references.iter().filter(|r| r.uid != uid) {
        if owner_of(parts, &meta.namespace, owner).await? == Owner::Solid {
            return node.cut(parts, object, &[uid]).await.map(|_| ());
        }
    }
    end(parts, graph, node, object, true).await.map(|_| ())
}

impl Node {
    fn of(resource: &Resource, key: &Key) -> Node {
        Node { resource: resource.clone(), namespace: key.namespace.clone(), name: key.name.clone() }
    }

    fn cached(&self, parts: &Parts) -> Option<Object> {
        parts.cache_of(&self.resource)?.get(&self.namespace, &self.name)
    }

    async fn delete(&self, parts: &Parts, object: &Object, policy: &str) -> Result<Requeue, Status> {
        let meta = object.meta();
        let options = DeleteOptions {
            uid: Some(meta.uid.clone()),
            resource_version: Some(meta.resource_version.clone()),
            propagation_policy: policy.into(),
            ..DeleteOptions::default()
        };
        settled(parts.client.delete(&self.resource, &self.namespace, &self.name, &options).await)
    }

    /// Takes the references to these owners away.
    async fn cut(&self, parts: &Parts, object: &Object, uids: &[&str]) -> Result<Requeue, Status> {
        let mut references = tree::list(&object.value(), "metadata.ownerReferences").to_vec();
        references.retain(|reference| !uids.contains(&tree::text(reference, "uid")));
        let meta = object.meta();
        let (uid, version) = (&meta.uid, &meta.resource_version);
        let patch = json!({"metadata": {"uid": uid, "resourceVersion": version, "ownerReferences": references}});
        self.patch(parts, &patch).await
    }

    /// No owner waits for it any more.
    async fn unblock(&self, parts: &Parts, object: &Object) -> Result<Object, Status> {
        let mut references = tree::list(&object.value(), "metadata.ownerReferences").to_vec();
        references.iter_mut().for_each(|reference| reference["blockOwnerDeletion"] = json!(false));
        let meta = object.meta();
        let (uid, version) = (&meta.uid, &meta.resource_version);
        let patch = json!({"metadata": {"uid": uid, "resourceVersion": version, "ownerReferences": references}});
        parts.client.patch(&self.resource, &self.namespace, &self.name, "", PatchKind::Merge, &patch).await
    }

    async fn patch(&self, parts: &Parts, patch: &Value) -> Result<Requeue, Status> {
        settled(parts.client.patch(&self.resource, &self.namespace, &self.name, "", PatchKind::Merge, patch).await)
    }

    /// Takes a finalizer away.
    async fn unhold(&self, parts: &Parts, object: &Object, finalizer: &str) -> Result<Requeue, Status> {
        let meta = object.meta();
        let rest: Vec<&String> = meta.finalizers.iter().filter(|f| *f != finalizer).collect();
        let patch =
            json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": rest}});
        self.patch(parts, &patch).await
    }
}

/// Gone is as good as done; a conflict means that a change is on its way, which brings the key back.
fn settled(result: Result<Object, Status>) -> Result<Requeue, Status> {
    match result {
        Ok(_) => Ok(Requeue::Done),
        Err(status) if status.reason == Reason::NotFound => Ok(Requeue::Done),
        Err(status) => Err(status),
    }
}
