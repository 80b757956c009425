//! Managed fields: who owns which field of an object, and server-side apply.
//!
//! `update` is for every other write: whoever changes a field owns it. `apply` merges a configuration:
//! what others own and it would change is a conflict, what its manager once applied and no longer
//! names goes, unless somebody else owns it too. Upstream: structured-merge-diff merge/update.go,
//! apimachinery util/managedfields/internal.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

use crate::schema::{self, Type};
use crate::{Cause, Reason, Status};

/// What is wrong with a configuration.
mod check;
/// Differences and field sets of objects.
mod compare;
/// The steps of a path.
mod element;
/// `metadata.managedFields` as data.
mod entries;
/// Trees by ownership.
mod merge;
/// What the schema says about owning a place.
mod place;
/// Sets of fields, and FieldsV1.
mod set;
#[cfg(test)]
mod tests;

use compare::{Difference, compare, fields};
use entries::{Entry, Owned};
use place::Place;

pub use element::{Element, Path};
pub use set::Set;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who writes, and how: what an entry of managedFields is named after.
#[derive(Clone, Debug)]
pub struct Write<'a> {
    /// The row's schema: `io.k8s.api.core.v1.Pod`.
    pub schema: &'a str,
    /// `v1`, `apps/v1`: the version of the request.
    pub api_version: &'a str,
    /// `fieldManager`, or the user agent up to the first slash; empty is `unknown`.
    pub manager: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// RFC 3339, whole seconds.
    pub time: &'a str,
    /// The fields that it leaves as they are (upstream: GetResetFields of the registry strategies).
    pub resets: &'a [&'a [&'a str]],
}

/// Sets `metadata.managedFields` of a created or updated object. `old` is None at create.
pub fn update(write: &Write, old: Option<&Value>, new: &mut Value) {
    let Some(of) = schema::get(write.schema) else { return };
    let mut managed = live_or_new(old, new, write.subresource);
    let reset_or_untracked = managed.is_empty() && old.is_some();
    entries::take(new);
    if reset_or_untracked {
        return;
    }
    match old {
        Some(old) => updated(write, of, old, new, &mut managed),
        None => updated(write, of, &of.skeleton(), new, &mut managed),
    }
    entries::cap(&mut managed);
    entries::write(new, managed);
}

/// Server-side apply: the merged object, with its managed fields. `live` is None at create.
///
/// Errors: 400 for another version or managedFields in the configuration, 409 with a cause for each
/// conflict, 500 (as upstream) for what the schema does not allow. The result is yet to be decoded,
/// defaulted and validated like any body.
pub fn apply(write: &Write, live: Option<&Value>, applied: &Value, force: bool) -> Result<Value, Status> {
    let of = schema::get(write.schema)
        .ok_or_else(|| Status::internal(format!("no schema {:?}: nothing can be applied", write.schema)))?;
    check_applied(write, applied)?;
    let skeleton = of.skeleton();
    let mut managed = entries::read(live.unwrap_or(&skeleton))
        .ok_or_else(|| Status::internal("failed to decode managed fields".to_string()))?;
    let live = without_managed(live.unwrap_or(&skeleton));
    if managed.is_empty() {
        let everything = Write { manager: BEFORE_FIRST_APPLY, ..write.clone() };
        updated(&everything, of, &skeleton, &live, &mut managed);
    }
    let (mut object, managed) = match applied_over(write, of, &live, applied, &managed, force) {
        Ok(merged) => merged,
        Err(conflicts) => upgraded(write, of, &live, applied, &managed, conflicts)?,
    };
    if write.manager == "kubectl" && last_applied(&object).is_some() {
        set_last_applied(&mut object, applied);
    }
    entries::write(&mut object, managed);
    Ok(object)
}

/// Puts the old times back when nothing but times would change, so that such a write is none.
pub fn keep_times(old: &Value, new: &mut Value) {
    let stripped = |object: &Value| {
        let mut object = object.clone();
        if let Some(list) = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut) {
            list.iter_mut().filter_map(Value::as_object_mut).for_each(|entry| drop(entry.remove("time")));
        }
        object
    };
    let tracked = |object: &Value| object["metadata"]["managedFields"].is_array();
    if tracked(old) && tracked(new) && stripped(old) == stripped(new) {
        new["metadata"]["managedFields"] = old["metadata"]["managedFields"].clone();
    }
}

/// One field that others own and the configuration would change.
struct Conflict {
    /// `"kubectl" using apps/v1`
    with: String,
    path: Path,
}

/// What nobody owns (upstream: stripmeta.go).
static STRIPPED: LazyLock<Set> = LazyLock::new(|| {
    let metadata: [&str; 9] = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let below: Vec<[&str; 2]> = metadata.iter().map(|name| ["metadata", *name]).collect();
    let mut paths: Vec<&[&str]> = vec![&["apiVersion"], &["kind"], &["metadata"]];
    paths.extend(below.iter().map(|path| path.as_slice()));
    Set::of_paths(&paths)
});

/// The entries that the write starts from: the request's own, unless it has none or may not set them.
fn live_or_new(old: Option<&Value>, new: &Value, subresource: &str) -> Vec<Entry> {
    let live = || old.and_then(entries::read).unwrap_or_default();
    if !subresource.is_empty() {
        return live();
    }
    if entries::is_reset(new) {
        return Vec::new();
    }
    match entries::read(new) {
        Some(found) if !found.is_empty() => found,
        _ => live(),
    }
}

fn without_managed(object: &Value) -> Value {
    let mut object = object.clone();
    entries::take(&mut object);
    object
}

fn entry(write: &Write, operation: Operation, set: Set) -> Entry {
    let manager = if write.manager.is_empty() { "unknown" } else { write.manager };
    Entry {
        manager: manager.into(),
        operation,
        api_version: write.api_version.into(),
        subresource: write.subresource.into(),
        time: Some(write.time.into()),
        owns: Owned::Set(set),
    }
}

/// Whoever changed a field owns it, and nobody else does.
fn updated(write: &Write, of: &'static Type, old: &Value, new: &Value, managed: &mut Vec<Entry>) {
    let reset = Set::of_paths(write.resets);
    let changes = compare(old, new, Place::of_type(of)).without(&reset);
    // As if nothing were written (managedfields/internal/structuredmerge.go Update).
    if changes.nameless {
        return;
    }
    disown(managed, &changes);
    let set = changes.modified.union(changes.added).difference(&STRIPPED);
    if set.is_empty() {
        return;
    }
    let mine = entry(write, Operation::Update, set);
    match managed.iter_mut().find(|e| e.is_same(&mine)) {
        Some(before) => {
            *before = Entry { owns: Owned::Set(mine.set().into_owned().union(before.set().into_owned())), ..mine }
        }
        None => managed.push(mine),
    }
}

/// Takes what changed from its managers; those that own nothing then go.
fn disown(managed: &mut Vec<Entry>, changes: &Difference) {
    if managed.is_empty() {
        return;
    }
    let changed = Set::all([&changes.modified, &changes.added, &changes.removed].map(Set::clone));
    managed.iter_mut().for_each(|entry| entry.disown(&changed));
    managed.retain(|entry| !entry.is_empty());
}

type Merged = (Value, Vec<Entry>);

fn applied_over(
    write: &Write,
    of: &'static Type,
    live: &Value,
    applied: &Value,
    managed: &[Entry],
    force: bool,
) -> Result<Merged, Vec<Conflict>> {
    let place = Place::of_type(of);
    let reset = Set::of_paths(write.resets);
    let set = fields(applied, place).without(&reset);
    let mut mine = entry(write, Operation::Apply, set.clone().difference(&STRIPPED));
    let last = managed.iter().find(|e| e.is_same(&mine));
    let mut managed: Vec<Entry> = managed.iter().filter(|e| !e.is_same(&mine)).cloned().collect();
    let merged = merge::merge(Some(live), Some(applied), place).unwrap_or_default();
    let object = match last {
        Some(last) => pruned(&merged, place, &last.set(), &managed, &set),
        None => merged,
    };
    let changes = compare(live, &object, place).without(&reset);
    let conflicts = conflicts(&managed, &changes);
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    disown(&mut managed, &changes);
    // Upstream keeps the time of an apply that changed nothing.
    if *live == object {
        mine.time = last.and_then(|last| last.time.clone());
    }
    if !mine.is_empty() {
        managed.push(mine);
    }
    Ok((object, managed))
}

/// Without what the manager applied last and not this time, unless others own it, or nobody did.
fn pruned(merged: &Value, place: Place, last: &Set, others: &[Entry], mine: &Set) -> Value {
    let removed = |items: &Set| merge::remove(merged, items, place).unwrap_or_default();
    let all = fields(merged, place).with_named_fields(place);
    let last = last.clone().with_named_fields(place);
    let owned = Set::all(others.iter().map(|e| e.set().into_owned()).chain([mine.clone()]));
    let left = fields(&removed(&last), place).with_named_fields(place);
    let with_owned = removed(&all.clone().difference(&left.union(owned.with_named_fields(place))));
    let left = fields(&with_owned, place).with_named_fields(place);
    removed(&all.difference(&left).intersection(&last))
}

fn conflicts(managed: &[Entry], changes: &Difference) -> Vec<Conflict> {
    let changed = changes.modified.clone().union(changes.added.clone());
    let mut sorted: Vec<&Entry> = managed.iter().collect();
    sorted.sort_by_key(|e| (printed(e), e.time.clone()));
    let of = |e: &Entry| {
        let with = printed(e);
        let paths = e.set().intersection(&changed).paths();
        paths.into_iter().map(move |path| Conflict { with: with.clone(), path }).collect::<Vec<_>>()
    };
    sorted.into_iter().flat_map(of).collect()
}

fn printed(entry: &Entry) -> String {
    let mut text = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", entry.subresource));
    }
    if entry.operation == Operation::Update {
        text.push_str(&format!(" using {}", entry.api_version));
    }
    text
}

/// Client-side apply's annotation allows kubectl to take over what it applied (lastappliedmanager.go).
fn upgraded(
    write: &Write,
    of: &'static Type,
    live: &Value,
    applied: &Value,
    managed: &[Entry],
    conflicts: Vec<Conflict>,
) -> Result<Merged, Status> {
    let allowed = || {
        let last: Value = serde_json::from_str(last_applied(live)?).ok()?;
        let place = Place::of_type(of);
        let same_version = last["apiVersion"] == write.api_version && check::check(of, &last).is_empty();
        let changed = same_version.then(|| compare(&last, live, place))?;
        Some(fields(&last, place).difference(&changed.modified).difference(&changed.added).difference(&changed.removed))
    };
    let allowed = if write.manager == "kubectl" { allowed() } else { None };
    let Some(allowed) = allowed else { return Err(conflict_status(&conflicts)) };
    let paths: BTreeSet<Path> = allowed.paths().into_iter().collect();
    let left: Vec<Conflict> = conflicts.into_iter().filter(|c| !paths.contains(&c.path)).collect();
    if !left.is_empty() {
        return Err(conflict_status(&left));
    }
    applied_over(write, of, live, applied, managed, true).map_err(|conflicts| conflict_status(&conflicts))
}

/// Upstream's NewConflictError (managedfields/internal/conflict.go).
fn conflict_status(conflicts: &[Conflict]) -> Status {
    let message = match conflicts {
        [one] => format!("Apply failed with 1 conflict: conflict with {}: {}", one.with, one.path),
        many => {
            let mut lines: Vec<String> = Vec::new();
            for (at, conflict) in many.iter().enumerate() {
                if at == 0 || many[at - 1].with != conflict.with {
                    lines.push(format!("conflicts with {}:", conflict.with));
                }
                lines.push(format!("- {}", conflict.path));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let mut status = Status::new(Reason::Conflict, message);
    let cause = |c: &Conflict| Cause {
        reason: "FieldManagerConflict".into(),
        message: format!("conflict with {}", c.with),
        field: c.path.to_string(),
    };
    status.causes = conflicts.iter().map(cause).collect();
    status
}

/// Whether a configuration can be applied: its version and kind, and that the schema knows all of it.
///
/// # Errors
/// 400, or 500 as upstream has it (structuredmerge.go Apply).
pub fn check_applied(write: &Write, applied: &Value) -> Result<(), Status> {
    let Some(of) = schema::get(write.schema) else { return Ok(()) };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let (version, kind) = (text(&applied["apiVersion"]), text(&applied["kind"]));
    let qualified = if version.contains('/') { version.clone() } else { format!("/{version}") };
    if version != write.api_version || kind != of.short_name() {
        return Err(Status::bad_request(format!("invalid object type: {qualified}, Kind={kind}")));
    }
    let metadata = &applied["metadata"];
    // What is no list is told by its type.
    if metadata["managedFields"].is_array() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let wrong = check::check(of, applied);
    if wrong.is_empty() {
        return Ok(());
    }
    let listed = match &wrong[..] {
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    let object = format!("{namespace}/{name}; {qualified}, Kind={kind}");
    Err(Status::unknown(format!("failed to create typed patch object ({object}): {listed}")))
}

fn last_applied(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|text| !text.is_empty())
}

/// kubectl's own server-side apply keeps client-side apply's annotation in step (lastappliedupdater.go).
fn set_last_applied(object: &mut Value, applied: &Value) {
    let mut applied = applied.clone();
    let annotations = |object: &mut Value, set: Option<Value>| {
        let Some(map) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
        map.remove(LAST_APPLIED);
        map.extend(set.map(|value| (LAST_APPLIED.to_string(), value)));
    };
    annotations(&mut applied, None);
    let text = format!("{applied}\n");
    annotations(object, Some(text.into()));
}
