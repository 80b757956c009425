//! Storage that is used does not go: the finalizers of claims, volumes and classes of attributes.
//!
//! pkg/controller/volume/{pvcprotection,pvprotection,vacprotection}: a new object has its finalizer from the
//! server (StorageObjectInUseProtection). Once it is being deleted the finalizer goes when nobody uses it: of a
//! claim no pod that has a node, of a volume no claim, of a class no volume and no claim.

use std::sync::Arc;

use api::resource::{Named, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, VOLUME_ATTRIBUTES_CLASSES};
use api::{Object, Reason, Status, tree};
use client::reconcile::{self, Requeue};
use client::{Index, Key, ListOptions};
use futures::StreamExt;
use futures::stream::{self, BoxStream, select_all};
use serde_json::{Value, json};

use crate::Parts;

/// A kind whose objects are used by others.
struct Protected {
    resource: &'static Named,
    finalizer: &'static str,
    /// Who may use one: in its namespace, if it has one.
    users: &'static [&'static Named],
    use_by: UseBy,
}

#[derive(Clone, Copy, Debug)]
enum UseBy {
    Pods,
    /// The volume's own status says it.
    Claim,
    VolumesAndClaims,
}

static PROTECTED: [Protected; 3] = [
    Protected {
        resource: &PERSISTENT_VOLUME_CLAIMS,
        finalizer: "kubernetes.io/pvc-protection",
        users: &[&PODS],
        use_by: UseBy::Pods,
    },
    Protected {
        resource: &PERSISTENT_VOLUMES,
        finalizer: "kubernetes.io/pv-protection",
        users: &[],
        use_by: UseBy::Claim,
    },
    Protected {
        resource: &VOLUME_ATTRIBUTES_CLASSES,
        finalizer: "kubernetes.io/vac-protection",
        users: &[&PERSISTENT_VOLUMES, &PERSISTENT_VOLUME_CLAIMS],
        use_by: UseBy::VolumesAndClaims,
    },
];

/// Objects that are being deleted and may have to wait for their users, under their namespace.
static WAITING: Index = Index {
    name: "storage-in-use",
    values: |object| {
        let meta = object.meta();
        let is_held = PROTECTED.iter().any(|kind| meta.finalizers.iter().any(|one| one == kind.finalizer));
        (meta.is_deleting() && is_held).then(|| meta.namespace.clone()).into_iter().collect()
    },
};

/// Pods under the claims that they name or have made: `default/data`.
static CLAIMS: Index = Index { name: "claims", values: claims_of };

/// Volumes and claims under the classes of attributes that they have or are to have.
static ATTRIBUTES: Index = Index {
    name: "volume-attributes-classes",
    values: |object| {
        const NAMES: [&str; 3] = [
            "spec.volumeAttributesClassName",
            "status.currentVolumeAttributesClassName",
            "status.modifyVolumeStatus.targetVolumeAttributesClassName",
        ];
        let value = object.value();
        let mut classes: Vec<String> = NAMES.iter().map(|path| tree::text(&value, path).into()).collect();
        classes.retain(|class| !class.is_empty());
        classes.sort_unstable();
        classes.dedup();
        classes
    },
};

/// Claims, volumes, classes: each under an account of its own.
pub async fn claims(parts: Arc<Parts>) {
    run(parts, &PROTECTED[0]).await;
}

pub async fn volumes(parts: Arc<Parts>) {
    run(parts, &PROTECTED[1]).await;
}

pub async fn classes(parts: Arc<Parts>) {
    run(parts, &PROTECTED[2]).await;
}

async fn run(parts: Arc<Parts>, kind: &'static Protected) {
    let protected = parts.cache(kind.resource);
    let users = kind.users.iter().map(|users| parts.cache(users));
    let users: Vec<_> = users.collect();
    parts.synced(&[&protected].into_iter().chain(&users).map(|cache| &**cache).collect::<Vec<_>>()).await;
    let mut concerned: Vec<BoxStream<'static, Key>> = vec![protected.subscribe().keys().boxed()];
    for users in &users {
        let protected = protected.clone();
        let waiting = move |user: Key| {
            let namespace = if kind.resource.namespaced { &*user.namespace } else { "" };
            let waiting = protected.by(&WAITING, namespace);
            stream::iter(waiting.iter().map(Key::of).collect::<Vec<_>>())
        };
        concerned.push(users.subscribe().keys().flat_map(waiting).boxed());
    }
    let work = |key: Key| {
        let parts = parts.clone();
        async move { protect(&parts, kind, &key).await }
    };
    reconcile::run(select_all(concerned), 8, work).await;
}

async fn protect(parts: &Parts, kind: &Protected, key: &Key) -> Result<Requeue, Status> {
    let Some(object) = parts.cache(kind.resource).get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    let is_used = object.meta().is_deleting() && is_used(parts, kind.use_by, &object).await?;
    let Some(finalizers) = finalizers(&object, kind.finalizer, is_used) else { return Ok(Requeue::Done) };
    let meta = object.meta();
    let mut next = object.value();
    next["metadata"]["finalizers"] = json!(finalizers);
    match parts.client.update(kind.resource, &meta.namespace, &meta.name, &next).await {
        Err(status) if status.reason != Reason::NotFound => Err(status),
        _ => Ok(Requeue::Done),
    }
}

/// What the finalizers of an object should be; None: as they are. Pure.
fn finalizers(object: &Object, finalizer: &str, is_used: bool) -> Option<Vec<String>> {
    let mut finalizers = object.meta().finalizers.clone();
    let has = finalizers.iter().any(|one| one == finalizer);
    match (object.meta().is_deleting(), has) {
        (true, true) if !is_used => finalizers.retain(|one| one != finalizer),
        (false, false) => finalizers.push(finalizer.into()),
        _ => return None,
    }
    Some(finalizers)
}

async fn is_used(parts: &Parts, by: UseBy, object: &Object) -> Result<bool, Status> {
    let name = &object.meta().name;
    match by {
        UseBy::Claim => Ok(tree::text(&object.value(), "status.phase") == "Bound"),
        UseBy::VolumesAndClaims => {
            let users = [&PERSISTENT_VOLUMES, &PERSISTENT_VOLUME_CLAIMS];
            Ok(users.iter().any(|users| !parts.cache(users).by(&ATTRIBUTES, name).is_empty()))
        }
        UseBy::Pods => {
            let namespace = &object.meta().namespace;
            let known = parts.cache(&PODS).by(&CLAIMS, &format!("{namespace}/{name}"));
            if known.iter().any(|pod| uses(&pod.value(), object)) {
                return Ok(true);
            }
            // The cache may be behind: the server decides.
            let pods = parts.client.list(&PODS, namespace, &ListOptions::default()).await?;
            Ok(pods.objects.iter().any(|pod| uses(&pod.value(), object)))
        }
    }
}

/// Whether a pod uses a claim: by its name, or as its own. One without a node has not begun, and does not
/// begin with a claim that is being deleted. Pure.
fn uses(pod: &Value, claim: &Object) -> bool {
    let own = claim.meta().controller().is_some_and(|owner| pod["metadata"]["uid"] == owner.uid.as_str());
    // A pod that waits for nothing but its finalizers holds no claim of its own: neither would go.
    let has_ended = tree::has(pod, "metadata.deletionTimestamp")
        && tree::int(pod, "metadata.deletionGracePeriodSeconds") == Some(0);
    let name = &claim.meta().name;
    let made =
        |volume: &Value| own && !has_ended && volume.get("ephemeral").is_some() && made_name(pod, volume) == *name;
    let named = |volume: &Value| tree::text(volume, "persistentVolumeClaim.claimName") == name;
    let volumes = tree::list(pod, "spec.volumes");
    !tree::text(pod, "spec.nodeName").is_empty() && volumes.iter().any(|volume| named(volume) || made(volume))
}

/// Of the claim that is made for an ephemeral volume.
fn made_name(pod: &Value, volume: &Value) -> String {
    format!("{}-{}", tree::text(pod, "metadata.name"), tree::text(volume, "name"))
}

fn claims_of(pod: &Object) -> Vec<String> {
    let value = pod.value();
    let claims = tree::list(&value, "spec.volumes").iter().filter_map(|volume| {
        let named = tree::text(volume, "persistentVolumeClaim.claimName");
        match volume.get("ephemeral") {
            Some(_) => Some(made_name(&value, volume)),
            None => Some(named.to_owned()).filter(|name| !name.is_empty()),
        }
    });
    claims.map(|name| format!("{}/{name}", pod.meta().namespace)).collect()
}

#[cfg(test)]
mod tests;
