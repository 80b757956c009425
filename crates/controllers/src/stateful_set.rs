//! StatefulSets: pods with names of their own, one after the other, each with its claims.
//!
//! pkg/controller/statefulset. A look finds (or makes) the two revisions between which the set is, decides purely
//! (`rollout`) what is to be done, does it stage by stage, and tells the status that was found. Law: there is at most
//! one pod of a name; one that ends holds it until it is gone.

use std::sync::Arc;

use api::resource::{CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS};
use api::selector::Labels;
use api::{Object, Status, tree};
use client::cache::index::NAMESPACE;
use client::reconcile::{self, Requeue};
use client::{Cache, Key, Recorder};
use futures::StreamExt;
use futures::stream::{self, select};
use serde_json::Value;

use crate::Parts;
use crate::workload::claim::{self, Owner, Verdict};
use crate::workload::{concerned, readable, revisions, selects, write_status};

/// What was decided is done.
mod act;
/// Who a pod is.
mod identity;
/// Whose its claims are.
mod retention;
/// What is to be done now.
mod rollout;
#[cfg(test)]
mod tests;

use rollout::{Decision, Look, Pod, Revision};

pub async fn run(parts: Arc<Parts>) {
    let (sets, pods, claims) =
        (parts.cache(&STATEFUL_SETS), parts.cache(&PODS), parts.cache(&PERSISTENT_VOLUME_CLAIMS));
    parts.synced(&[&sets, &pods, &claims, &parts.cache(&CONTROLLER_REVISIONS)]).await;
    let recorder = parts.recorder("statefulset-controller");
    let own = sets.subscribe().keys();
    let of_pods = {
        let sets = sets.clone();
        pods.subscribe()
            .flat_map(move |change| stream::iter(concerned(&change, &STATEFUL_SETS, |pod| would_adopt(pod, &sets))))
    };
    // One that ended held the place of the next.
    let of_claims = claims.subscribe().flat_map(move |change| {
        let is_gone = change.new.is_none();
        let mut waiting = if is_gone { sets.by(&NAMESPACE, &change.key.namespace) } else { Vec::new() };
        waiting.retain(|set| names(&set.value(), &change.key.name));
        stream::iter(waiting.iter().map(Key::of).collect::<Vec<_>>())
    });
    let work = |key: Key| {
        let (parts, recorder) = (parts.clone(), recorder.clone());
        async move { attend(&parts, &recorder, &key).await }
    };
    reconcile::run(select(own, select(of_pods, of_claims)), 8, work).await;
}

/// The set that a pod is named after, if it selects it.
fn would_adopt(pod: &Object, sets: &Cache) -> Vec<Object> {
    let named = identity::parse(&pod.meta().name).and_then(|(parent, _)| sets.get(&pod.meta().namespace, parent));
    named.into_iter().filter(|set| selects(&set.value(), pod)).collect()
}

/// Whether a pod of the set has, or would have, a claim of that name.
fn names(set: &Value, claim: &str) -> bool {
    let parent = tree::text(set, "metadata.name");
    let of = |template: &Value| {
        let rest = claim.strip_prefix(tree::text(template, "metadata.name")).and_then(|rest| rest.strip_prefix('-'));
        rest.and_then(|rest| identity::ordinal_in(parent, rest)).is_some()
    };
    tree::list(set, "spec.volumeClaimTemplates").iter().any(of)
}

async fn attend(parts: &Parts, recorder: &Recorder, key: &Key) -> Result<Requeue, Status> {
    let Some(set) = parts.cache(&STATEFUL_SETS).get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    let mut value = set.value();
    let Some(selector) = readable(key, Labels::from_label_selector(&value["spec"]["selector"])) else {
        return Ok(Requeue::Done);
    };
    let owner = Owner { resource: &STATEFUL_SETS, object: &set, selector: &selector };
    let history = history(parts, &owner).await?;
    let pods = pods(parts, &owner).await?;
    let mut collisions = tree::int(&value, "status.collisionCount").unwrap_or(0);
    let Some(update) = newest(parts, &set, &value, &history, &mut collisions).await? else { return Ok(Requeue::Done) };
    let at = tree::text(&value, "status.currentRevision");
    let current = history.iter().find(|revision| revision.meta().name == at).unwrap_or(&update);
    let mut used: Vec<String> = pods.iter().map(|pod| pod.revision().to_owned()).collect();
    used.extend([current, &update].map(|revision| revision.meta().name.clone()));
    let templates = [template(current), template(&update)];
    let claims = parts.cache(&PERSISTENT_VOLUME_CLAIMS);
    let look = Look {
        owner: &set,
        set: &value,
        current: Revision { name: &current.meta().name, template: &templates[0] },
        update: Revision { name: &update.meta().name, template: &templates[1] },
        collisions,
        pods,
        claim: &|name| claims.get(&key.namespace, name),
        now: (parts.config.clock)(),
    };
    let decided = rollout::decide(&look);
    let Decision { stages, status, recheck } = decided.map_err(|why| {
        recorder.event(&set, "", client::recorder::Type::Warning, "UnknownStrategy", why.clone());
        Status::unknown(why)
    })?;
    let done = act::act(parts, recorder, &set, &stages).await;
    if status != value["status"] {
        value["status"] = status;
        write_status(parts, &STATEFUL_SETS, &value).await?;
    }
    forget(parts, &value, &history, &used).await?;
    done.map(|()| recheck.map_or(Requeue::Done, Requeue::After))
}

/// Its revisions, sorted; those that nobody has are adopted.
async fn history(parts: &Parts, owner: &Owner<'_>) -> Result<Vec<Object>, Status> {
    let cache = parts.cache(&CONTROLLER_REVISIONS);
    let mut all = claim::candidates(&cache, owner.object);
    // What its selector does not match is not looked at, and not let go either.
    all.retain(|revision| matches!(claim::judge(owner, revision), Verdict::Own | Verdict::Adopt));
    let mut history = claim::claim(parts, owner, &cache, all).await?;
    revisions::sort(&mut history);
    Ok(history)
}

/// Its pods; what has no name of its pods is not adopted, and is let go.
async fn pods(parts: &Parts, owner: &Owner<'_>) -> Result<Vec<Pod>, Status> {
    let cache = parts.cache(&PODS);
    let name = &owner.object.meta().name;
    let all = claim::candidates(&cache, owner.object);
    let is_named = |pod: &Object| identity::ordinal_in(name, &pod.meta().name).is_some();
    let (own, mut strange): (Vec<Object>, Vec<Object>) = all.into_iter().partition(is_named);
    strange.retain(|pod| pod.meta().controller().is_some());
    let own = claim::claim(parts, owner, &cache, own).await?;
    if !strange.is_empty() {
        let nothing = Labels::from_label_selector(&Value::Null)?;
        claim::claim(parts, &Owner { selector: &nothing, ..*owner }, &cache, strange).await?;
    }
    Ok(own.into_iter().filter_map(|pod| Pod::of(name, pod)).collect())
}

/// What becomes of the template that the set has now.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// The newest keeps it.
    Newest,
    /// One of before keeps it, and becomes the newest.
    Again(usize),
    /// Nobody keeps it yet.
    New,
}

/// Of revisions that are sorted. Pure.
fn choose(history: &[Object], data: &Value) -> Choice {
    match history.iter().rposition(|revision| revisions::keeps(revision, data)) {
        Some(at) if at + 1 == history.len() => Choice::Newest,
        Some(at) => Choice::Again(at),
        None => Choice::New,
    }
}

/// The revision of the template that the set has now. None: the set ends, and gets no new one.
async fn newest(
    parts: &Parts,
    set: &Object,
    value: &Value,
    history: &[Object],
    collisions: &mut i64,
) -> Result<Option<Object>, Status> {
    let cache = parts.cache(&CONTROLLER_REVISIONS);
    let template = &value["spec"]["template"];
    let data = revisions::data(template);
    match choose(history, &data) {
        Choice::Newest => Ok(history.last().cloned()),
        Choice::Again(at) => {
            let number = revisions::next(history);
            revisions::renumber(parts, &cache, &history[at], number).await.map(Some)
        }
        Choice::New if set.meta().is_deleting() => Ok(None),
        Choice::New => {
            let hash = revisions::hash(&data, Some(*collisions));
            let number = revisions::next(history);
            let revision = revisions::of(set, template, revisions::HASH, &hash, number);
            revisions::create(parts, &cache, set, &revision, collisions).await.map(Some)
        }
    }
}

/// What a revision keeps.
fn template(revision: &Object) -> Value {
    let mut template = tree::at(&revision.value(), "data.spec.template").clone();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    template
}

/// Of those that nobody uses, the oldest beyond the limit go.
async fn forget(parts: &Parts, set: &Value, history: &[Object], used: &[String]) -> Result<(), Status> {
    let Some(limit) = tree::int(set, "spec.revisionHistoryLimit").filter(|limit| *limit >= 0) else { return Ok(()) };
    let unused = history.iter().filter(|revision| !used.contains(&revision.meta().name));
    let unused: Vec<Object> = unused.cloned().collect();
    let surplus = revisions::surplus(&unused, limit, |_| false);
    revisions::delete(parts, &surplus).await
}
