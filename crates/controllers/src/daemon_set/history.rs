//! A DaemonSet's templates until now, of which the newest has a name for its pods.
//!
//! pkg/controller/daemon, constructHistory.

use api::resource::{CONTROLLER_REVISIONS, DAEMON_SETS, PODS};
use api::{Object, Reason, Status, tree};
use client::PatchKind;
use serde_json::{Value, json};

use crate::Parts;
use crate::workload::claim::{self, Owner};
use crate::workload::hash;
use crate::workload::revisions::{self, REVISION_HASH};

/// The hash of the newest, and the others, the oldest first. `pods` are the set's own.
pub async fn construct(
    parts: &Parts,
    owner: &Owner<'_>,
    set: &Value,
    pods: &[Object],
) -> Result<(String, Vec<Object>), Status> {
    let cache = parts.cache(&CONTROLLER_REVISIONS);
    let own = claim::claim(parts, owner, &cache, claim::candidates(&cache, owner.object)).await?;
    let data = revisions::data(&set["spec"]["template"]);
    let (mut current, mut old) = (Vec::new(), Vec::new());
    for revision in own {
        let revision = match revision.meta().labels.contains_key(REVISION_HASH) {
            true => revision,
            false => {
                let mut value = revision.value();
                value["metadata"]["labels"][REVISION_HASH] = revision.meta().name.as_str().into();
                revisions::update(parts, &cache, &value).await?
            }
        };
        if revisions::keeps(&revision, &data) { current.push(revision) } else { old.push(revision) }
    }
    revisions::sort(&mut old);
    revisions::sort(&mut current);
    let number = revisions::next(&old);
    let Some(newest) = current.pop() else {
        let made = snapshot(parts, owner.object, set, number).await?;
        return Ok((hash_of(&made), old));
    };
    if !current.is_empty() {
        relabel(parts, pods, &hash_of(&newest)).await?;
        revisions::delete(parts, &current.iter().collect::<Vec<_>>()).await?;
    }
    if revisions::number(&newest) < number {
        revisions::renumber(parts, &cache, &newest, number).await?;
    }
    Ok((hash_of(&newest), old))
}

/// Deletes the oldest that no pod is of, down to the limit.
pub async fn truncate(parts: &Parts, set: &Value, old: &[Object], pods: &[Object]) -> Result<(), Status> {
    let limit = tree::int(set, "spec.revisionHistoryLimit").unwrap_or(10);
    let is_used = |revision: &Object| {
        let hash = revision.meta().labels.get(REVISION_HASH);
        hash.is_some() && pods.iter().any(|pod| pod.meta().labels.get(REVISION_HASH) == hash)
    };
    revisions::delete(parts, &revisions::surplus(old, limit, is_used)).await
}

fn hash_of(revision: &Object) -> String {
    revision.meta().labels.get(REVISION_HASH).map(|hash| hash.to_string()).unwrap_or_default()
}

/// Makes the newest; where another one has its name, the count of collisions goes up, and the next look tries again.
async fn snapshot(parts: &Parts, owner: &Object, set: &Value, number: i64) -> Result<Object, Status> {
    let template = &set["spec"]["template"];
    let hash = hash::of(template, tree::int(set, "status.collisionCount"));
    let revision = revisions::of(owner, template, REVISION_HASH, &hash, number);
    let namespace = &owner.meta().namespace;
    let status = match parts.client.create(&CONTROLLER_REVISIONS, namespace, &revision).await {
        Ok(made) => {
            parts.cache(&CONTROLLER_REVISIONS).reached(made.revision()).await;
            return Ok(made);
        }
        Err(status) if status.reason == Reason::AlreadyExists => status,
        Err(status) => return Err(status),
    };
    let name = tree::text(&revision, "metadata.name");
    let there = parts.client.get(&CONTROLLER_REVISIONS, namespace, name).await?;
    if revisions::keeps(&there, &revision["data"]) {
        return Ok(there);
    }
    let mut fresh = parts.client.get(&DAEMON_SETS, namespace, &owner.meta().name).await?.value();
    if fresh["status"]["collisionCount"] == set["status"]["collisionCount"] {
        let collisions = tree::int(set, "status.collisionCount").unwrap_or(0);
        fresh["status"]["collisionCount"] = json!(collisions + 1);
        let name = &owner.meta().name;
        let written = parts.client.update_sub(&DAEMON_SETS, namespace, name, "status", &fresh).await?;
        parts.cache(&DAEMON_SETS).reached(written.revision()).await;
    }
    Err(status)
}

/// Pods of revisions that say the same are of the one that stays.
async fn relabel(parts: &Parts, pods: &[Object], hash: &str) -> Result<(), Status> {
    let patch = json!({"metadata": {"labels": {REVISION_HASH: hash}}});
    let mut reached = 0;
    for pod in pods.iter().filter(|pod| pod.meta().labels.get(REVISION_HASH).is_none_or(|own| *own != *hash)) {
        let meta = pod.meta();
        let written = parts.client.patch(&PODS, &meta.namespace, &meta.name, "", PatchKind::Merge, &patch).await?;
        reached = reached.max(written.revision());
    }
    parts.cache(&PODS).reached(reached).await;
    Ok(())
}
