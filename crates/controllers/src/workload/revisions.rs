//! Histories of templates: the ControllerRevisions of DaemonSets and StatefulSets.
//!
//! pkg/controller/history. A revision keeps a template as the patch that brings it back; equal ones are the same. Which
//! are whose is said by `claim`, with the owner's selector. Data is compared by value, not by its bytes.

use std::cmp::Ordering;

use api::resource::CONTROLLER_REVISIONS;
use api::{Object, Reason, Status, tree};
use client::Cache;
use serde_json::{Value, json};

use super::{controller_of, hash};
use crate::Parts;

/// Of a revision's data, in its labels (StatefulSets).
pub const HASH: &str = "controller.kubernetes.io/hash";
/// Of a pod: which revision it is of. Of a DaemonSet's revision: what its pods say.
pub const REVISION_HASH: &str = "controller-revision-hash";
/// A longer name of the owner is cut, so that the revision's fits into 253 letters.
const PREFIX_MAX: usize = 223;

/// What a template is kept as: the strategic merge patch that brings it back. Pure.
pub fn data(template: &Value) -> Value {
    let mut template = template.clone();
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

/// As HashControllerRevision: FNV-1 of 32 bits over the data as Go writes it, and the count of collisions in digits, in
/// safe letters. Pure.
pub fn hash(data: &Value, collisions: Option<i64>) -> String {
    let mut text = as_go_writes(data);
    if let Some(collisions) = collisions {
        text.push_str(&collisions.to_string());
    }
    let fnv = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte));
    hash::letters(fnv)
}

/// encoding/json: keys in order, and what HTML or JavaScript would take for theirs is escaped.
fn as_go_writes(value: &Value) -> String {
    let mut text = String::new();
    for letter in value.to_string().chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => text.push(letter),
        }
    }
    text
}

/// `web-5d8c7b9f4`
pub fn name(owner: &str, hash: &str) -> String {
    let mut end = owner.len().min(PREFIX_MAX);
    while !owner.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{hash}", &owner[..end])
}

/// A revision of the owner, with its template's labels, the hash under `label`, and its own annotations. Pure.
pub fn of(owner: &Object, template: &Value, label: &str, hash: &str, number: i64) -> Value {
    let mut labels = serde_json::Map::new();
    labels.extend(tree::entries(template, "metadata.labels").map(|(key, value)| (key.clone(), value.clone())));
    labels.insert(label.into(), hash.into());
    let meta = owner.meta();
    let mut revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {
        "name": name(&meta.name, hash), "namespace": meta.namespace, "labels": labels,
        "ownerReferences": [controller_of(owner)]}, "data": data(template), "revision": number});
    let annotations = &owner.value()["metadata"]["annotations"];
    if annotations.is_object() {
        revision["metadata"]["annotations"] = annotations.clone();
    }
    revision
}

/// Which one it is.
pub fn number(revision: &Object) -> i64 {
    tree::int(&revision.value(), "revision").unwrap_or(0)
}

/// The number of the next: one more than the highest.
pub fn next<'a>(revisions: impl IntoIterator<Item = &'a Object>) -> i64 {
    revisions.into_iter().map(number).max().unwrap_or(0).saturating_add(1)
}

/// By number; of the same the older first, then by name.
pub fn sort(revisions: &mut [Object]) {
    let by_age = |a: &Object, b: &Object| -> Ordering {
        let (a, b) = (a.meta(), b.meta());
        a.creation_timestamp.cmp(&b.creation_timestamp).then_with(|| a.name.cmp(&b.name))
    };
    revisions.sort_by(|a, b| number(a).cmp(&number(b)).then_with(|| by_age(a, b)));
}

/// Whether it keeps this data.
pub fn keeps(revision: &Object, data: &Value) -> bool {
    revision.value()["data"] == *data
}

/// The oldest of these that are more than the limit and that nobody uses (those that are used count, but stay). They
/// are sorted. Pure.
pub fn surplus(sorted: &[Object], limit: i64, is_used: impl Fn(&Object) -> bool) -> Vec<&Object> {
    let count = sorted.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    sorted.iter().filter(|revision| !is_used(revision)).take(count).collect()
}

/// Makes it, of a template of a StatefulSet: who has its name and keeps the same is it, and where somebody else does,
/// the next name is tried and `collisions` counted up. Returns when the cache shows it.
pub async fn create(
    parts: &Parts,
    cache: &Cache,
    owner: &Object,
    revision: &Value,
    collisions: &mut i64,
) -> Result<Object, Status> {
    let (namespace, mut revision) = (&owner.meta().namespace, revision.clone());
    loop {
        let own = name(&owner.meta().name, &hash(&revision["data"], Some(*collisions)));
        revision["metadata"]["name"] = own.as_str().into();
        match parts.client.create(&CONTROLLER_REVISIONS, namespace, &revision).await {
            Ok(made) => {
                cache.reached(made.revision()).await;
                return Ok(made);
            }
            Err(status) if status.reason == Reason::AlreadyExists => {
                let there = parts.client.get(&CONTROLLER_REVISIONS, namespace, &own).await?;
                if keeps(&there, &revision["data"]) {
                    return Ok(there);
                }
                *collisions += 1;
            }
            Err(status) => return Err(status),
        }
    }
}

/// Gives it another number: what was once is the newest again. Returns when the cache shows it.
pub async fn renumber(parts: &Parts, cache: &Cache, revision: &Object, number: i64) -> Result<Object, Status> {
    let mut value = revision.value();
    value["revision"] = number.into();
    update(parts, cache, &value).await
}

/// Writes it; returns when the cache shows it.
pub async fn update(parts: &Parts, cache: &Cache, revision: &Value) -> Result<Object, Status> {
    let text = |path: &str| tree::text(revision, path);
    let (namespace, name) = (text("metadata.namespace"), text("metadata.name"));
    let written = parts.client.update(&CONTROLLER_REVISIONS, namespace, name, revision).await?;
    cache.reached(written.revision()).await;
    Ok(written)
}

/// Deletes them, the first first; returns when the cache shows none of them. An error is the first refusal.
pub async fn delete(parts: &Parts, revisions: &[&Object]) -> Result<(), Status> {
    for revision in revisions {
        super::delete(parts, &CONTROLLER_REVISIONS, revision).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
