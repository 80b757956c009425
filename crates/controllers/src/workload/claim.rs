//! Whose an object is: what matches a selector is adopted, what no longer does is let go.
//!
//! pkg/controller/controller_ref_manager.go. Both are patches that name the uid, so that they never meet a namesake,
//! and nobody that ends adopts: before the first adoption the owner itself is asked for once more.

use api::selector::Labels;
use api::{Object, Reason, Resource, Status};
use client::cache::index::CONTROLLER;
use client::{Cache, PatchKind};
use serde_json::json;

use super::controller_of;
use crate::Parts;

/// Who manages what matches its selector.
pub struct Owner<'a> {
    pub resource: &'a Resource,
    pub object: &'a Object,
    pub selector: &'a Labels,
}

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the owner's, and stays so.
    Own,
    Adopt,
    Release,
    /// It is somebody else's, or nobody's that the owner may take.
    Other,
}

/// What is managed by the owner, and what nobody in its namespace manages.
pub fn candidates(cache: &Cache, owner: &Object) -> Vec<Object> {
    let mut found = cache.by(&CONTROLLER, &owner.meta().uid);
    found.extend(cache.by(&CONTROLLER, &format!("orphans/{}", owner.meta().namespace)));
    found
}

/// Pure.
pub fn judge(owner: &Owner<'_>, object: &Object) -> Verdict {
    let (own, meta) = (owner.object.meta(), object.meta());
    let matches = owner.selector.matches(&meta.labels);
    match meta.controller() {
        Some(controller) if controller.uid != own.uid => Verdict::Other,
        Some(_) if matches => Verdict::Own,
        Some(_) if own.is_deleting() => Verdict::Other,
        Some(_) => Verdict::Release,
        None if own.is_deleting() || !matches || meta.is_deleting() || own.namespace != meta.namespace => {
            Verdict::Other
        }
        None => Verdict::Adopt,
    }
}

/// The objects that are the owner's afterwards. Returns when the cache shows what was adopted and released; an error
/// is the first of them, the others have been tried all the same.
pub async fn claim(
    parts: &Parts,
    owner: &Owner<'_>,
    cache: &Cache,
    objects: Vec<Object>,
) -> Result<Vec<Object>, Status> {
    claim_held(parts, owner, cache, objects, "").await
}

/// The same, where what is adopted gets a finalizer, and loses it when it is let go.
pub async fn claim_held(
    parts: &Parts,
    owner: &Owner<'_>,
    cache: &Cache,
    objects: Vec<Object>,
    finalizer: &str,
) -> Result<Vec<Object>, Status> {
    let (mut own, mut failed, mut reached) = (Vec::new(), None, 0);
    let mut may_adopt: Option<Result<(), Status>> = None;
    for object in objects {
        let verdict = judge(owner, &object);
        let written = match verdict {
            Verdict::Own => {
                own.push(object);
                continue;
            }
            Verdict::Other => continue,
            Verdict::Release => {
                let held = ("$deleteFromPrimitiveList/finalizers", finalizer);
                patch(parts, cache.kind(), &object, release(owner.object), held).await
            }
            Verdict::Adopt => {
                if may_adopt.is_none() {
                    may_adopt = Some(still_there(parts, owner).await);
                }
                match may_adopt.clone() {
                    Some(Err(status)) => Err(status),
                    _ => {
                        let references = json!([controller_of(owner.object)]);
                        patch(parts, cache.kind(), &object, references, ("finalizers", finalizer)).await
                    }
                }
            }
        };
        match written {
            Ok(written) => {
                reached = reached.max(written.revision());
                if verdict == Verdict::Adopt {
                    own.push(written);
                }
            }
            Err(status) if status.reason == Reason::NotFound => {}
            // It has no such owner any more, or is a namesake: the event of that comes.
            Err(status) if status.reason == Reason::Invalid && verdict == Verdict::Release => {}
            Err(status) => failed = failed.or(Some(status)),
        }
    }
    cache.reached(reached).await;
    failed.map_or(Ok(own), Err)
}

/// An owner that a cache still shows may be ending.
async fn still_there(parts: &Parts, owner: &Owner<'_>) -> Result<(), Status> {
    let meta = owner.object.meta();
    let fresh = parts.client.get(owner.resource, &meta.namespace, &meta.name).await?;
    let name = format!("{} {}/{}", meta.kind, meta.namespace, meta.name);
    if fresh.meta().uid != meta.uid {
        return Err(Status::unknown(format!(
            "original {name} is gone: got uid {}, wanted {}",
            fresh.meta().uid,
            meta.uid
        )));
    }
    match &fresh.meta().deletion_timestamp {
        Some(at) => Err(Status::unknown(format!("{name} has just been deleted at {at}"))),
        None => Ok(()),
    }
}

fn release(owner: &Object) -> serde_json::Value {
    json!([{"$patch": "delete", "uid": owner.meta().uid}])
}

async fn patch(
    parts: &Parts,
    kind: &Resource,
    object: &Object,
    references: serde_json::Value,
    (field, finalizer): (&str, &str),
) -> Result<Object, Status> {
    let meta = object.meta();
    let mut patch = json!({"metadata": {"uid": meta.uid, "ownerReferences": references}});
    if !finalizer.is_empty() {
        patch["metadata"][field] = json!([finalizer]);
    }
    parts.client.patch(kind, &meta.namespace, &meta.name, "", PatchKind::Strategic, &patch).await
}

#[cfg(test)]
mod tests;
