//! What all controllers of pods share: whose pods they are, how they are made and ended.
//!
//! Law: a decision is made on what the caches show, and a controller that wrote waits until its cache shows that, so
//! that what was counted before is not made twice (no expectations to keep, none to lose).

/// Whose an object is: adoption and release.
pub mod claim;
/// A template as Go shows it.
pub mod dump;
/// Names for what a template says.
pub mod hash;
/// What of a pod counts for its controller.
pub mod pod;
/// Pods are made of a template, and ended.
pub mod pods;
/// Whom to end first.
pub mod rank;
/// Histories of templates.
pub mod revisions;

use std::time::Duration;

use api::selector::Labels;
use api::{Object, Reason, Resource, Status};
use client::cache::index::NAMESPACE;
use client::{Cache, Change, DeleteOptions, Key, ListOptions};
use serde_json::{Value, json};

use crate::Parts;

/// Whose an object was and is; where nobody manages it, those of its namespace that would. Pure but for the look.
pub fn concerned(change: &Change, owners: &Resource, would: impl FnOnce(&Object) -> Vec<Object>) -> Vec<Key> {
    let sides = [&change.old, &change.new].into_iter().flatten();
    let managed = sides.filter_map(|object| object.meta().controller());
    let managed = managed.filter(|owner| {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        owner.kind == owners.kind && group == owners.group
    });
    let mut keys: Vec<Key> = managed.map(|owner| Key::new(&change.key.namespace, &owner.name)).collect();
    if let Some(object) = &change.new
        && object.meta().controller().is_none()
        && !object.meta().is_deleting()
    {
        keys.extend(would(object).iter().map(Key::of));
    }
    keys.dedup();
    keys
}

/// The workloads of an object's namespace that select it.
pub fn selecting(workloads: &Cache, object: &Object) -> Vec<Object> {
    let mut all = workloads.by(&NAMESPACE, &object.meta().namespace);
    all.retain(|workload| selects(&workload.value(), object));
    all
}

/// Whether `spec.selector` of a workload selects an object. An empty one selects nothing here.
pub fn selects(workload: &Value, object: &Object) -> bool {
    let selector = Labels::from_label_selector(&workload["spec"]["selector"]);
    selector.is_ok_and(|selector| !selector.is_empty() && selector.matches(&object.meta().labels))
}

/// A selector that can be read; one that cannot is spoken of, and its owner is left alone.
pub fn readable(key: &Key, selector: Result<Labels, Status>) -> Option<Labels> {
    selector.inspect_err(|status| tracing::warn!(%key, %status, "its selector cannot be read")).ok()
}

/// Writes the status of an object that was read; the next look sees it. None: it is gone.
///
/// A conflict is an error as any other: it need not mean that somebody was quicker and that an event of that comes (a
/// quota, a webhook speak of conflicts too), and whoever relied on the event would wait for ever.
pub async fn write_status(parts: &Parts, resource: &Resource, object: &Value) -> Result<Option<Object>, Status> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    match parts.client.update_sub(resource, text("namespace"), text("name"), "status", object).await {
        Ok(written) => {
            parts.cache(resource).reached(written.revision()).await;
            Ok(Some(written))
        }
        Err(status) if status.reason == Reason::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

/// How long a cache may take to show what the server says is so already; longer, and it said so for another reason.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);

/// Asks for the end of an object, and of no namesake; whether it was there. Returns when the cache shows it. An error is
/// also a refusal that speaks of a conflict, or of nothing there, where the object is there and stays.
pub async fn delete(parts: &Parts, resource: &Resource, object: &Object) -> Result<bool, Status> {
    let meta = object.meta();
    let options = DeleteOptions { uid: Some(meta.uid.clone()), ..DeleteOptions::default() };
    let cache = parts.cache(resource);
    match parts.client.delete(resource, &meta.namespace, &meta.name, &options).await {
        Ok(_) => {
            cache.until(|cache| ends(cache, object)).await;
            Ok(true)
        }
        // It is gone, or a namesake took its place.
        Err(status) if matches!(status.reason, Reason::NotFound | Reason::Conflict) => {
            shown(&cache, status, |cache| ends(cache, object)).await.map(|()| false)
        }
        Err(status) => Err(status),
    }
}

/// Returns when a cache shows what a refusal implies; the refusal, where it does not.
pub async fn shown(cache: &Cache, refusal: Status, is_so: impl Fn(&Cache) -> bool) -> Result<(), Status> {
    tokio::time::timeout(SHOWN_WITHIN, cache.until(is_so)).await.map_err(|_| refusal)
}

/// Whether what was answered so may have been done all the same.
pub fn is_doubtful(refusal: &Status) -> bool {
    use Reason::{InternalError, ServerTimeout, ServiceUnavailable, Timeout, Unknown};
    matches!(refusal.reason, InternalError | ServerTimeout | ServiceUnavailable | Timeout | Unknown)
}

/// After dependents were made and nobody knows whether they were: returns when the cache shows those that the server
/// holds, so that none is made twice (upstream keeps an expectation only of creations that time out).
pub async fn settle(parts: &Parts, resource: &Resource, owner: &Object, cache: &Cache) {
    let meta = owner.meta();
    let mut pause = Duration::from_millis(100);
    loop {
        match parts.client.list(resource, &meta.namespace, &ListOptions::default()).await {
            Ok(list) => {
                let own = |object: &&Object| object.meta().controller().is_some_and(|other| other.uid == meta.uid);
                let newest = list.objects.iter().filter(own).map(Object::revision).max();
                return cache.reached(newest.unwrap_or_default()).await;
            }
            Err(status) if is_doubtful(&status) => {
                tracing::debug!(%status, "whether {} were made is not known yet", resource.plural);
            }
            // Who may not look will not see: the next look at the owner says it.
            Err(_) => return,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(SHOWN_WITHIN);
    }
}

/// Whether a cache shows that an object is gone, or that its end was asked for.
pub fn ends(cache: &Cache, object: &Object) -> bool {
    let meta = object.meta();
    let now = cache.get(&meta.namespace, &meta.name);
    now.is_none_or(|now| now.meta().uid != meta.uid || now.meta().is_deleting())
}

/// A number, or a percentage of the whole, rounded up or down.
pub fn share(value: &Value, whole: i64, up: bool) -> Result<i64, String> {
    match value {
        Value::String(text) => {
            let digits =
                text.strip_suffix('%').filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
            // What is beyond any number is as good as the highest.
            let percent = digits.map(|digits| digits.parse::<i64>().unwrap_or(i64::MAX));
            let percent = percent.ok_or("invalid value for IntOrString: invalid type: string is not a percentage")?;
            Ok(percent.saturating_mul(whole).saturating_add(if up { 99 } else { 0 }).div_euclid(100))
        }
        number => Ok(number.as_i64().unwrap_or(0)),
    }
}

/// What a dependent says of the one that manages it.
pub fn controller_of(owner: &Object) -> Value {
    let meta = owner.meta();
    json!({"apiVersion": meta.api_version, "kind": meta.kind, "name": meta.name, "uid": meta.uid,
        "controller": true, "blockOwnerDeletion": true})
}
