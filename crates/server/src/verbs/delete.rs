//! DELETE of one object or a collection: preconditions, grace, finalizers, then gone.
//!
//! Matches apiserver pkg/registry/rest/delete.go and generic/registry/store.go: an object may record its
//! grace first, finalizers hold any object, some are emptied before they go.

use api::decode::FieldValidation;
use api::{Status, later};
use http::StatusCode;
use jiff::Timestamp;
use kinds::Kind;
use kinds::kind::DeleteStrategy;
use serde_json::{Value, json};
use store::{Entry, Error, Expect, Key, Step, Store};

use crate::admission::{Ask, Findings, Operation};
use crate::answer::{Payload, Reply};
use crate::rendition::Rendition;
use crate::verbs::options::ListOptions;
use crate::verbs::{Call, create, judge, options, read};
use crate::{Server, allocations, write};

const OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// `DeleteOptions`, from the body or the query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub grace: Option<i64>,
    pub uid: Option<String>,
    pub revision: Option<String>,
    pub propagation: Option<Propagation>,
    pub dry_run: bool,
    /// Only what cannot be read is meant (`ignoreStoreReadErrorWithClusterBreakingPotential`).
    pub unreadable_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// What became of the object.
pub enum Deleted {
    /// It is still there: it ends gracefully, or finalizers hold it.
    Pending(Entry),
    Gone(Entry),
}

pub async fn delete(call: Call<'_>) -> Result<Reply, Status> {
    let options = Options::of(&call)?;
    let mut findings = Findings::default();
    let deleted = remove(&call, call.name(), &options, Some(&mut findings)).await;
    warn_of_orphans(&call, &options, &mut findings);
    let warnings = findings.warnings;
    let deleted = deleted.map_err(|status| status.warned(&warnings))?;
    let (entry, gone) = match deleted {
        Deleted::Pending(entry) => (entry, false),
        Deleted::Gone(entry) => (entry, true),
    };
    if gone && !call.kind().writes.returns_deleted {
        let uid = serde_json::from_slice::<Value>(&entry.bytes).ok().map(|o| o["metadata"]["uid"].clone());
        let mut details = json!({"name": call.name(), "kind": call.kind().plural, "uid": uid});
        if !call.served.group().is_empty() {
            details["group"] = call.served.group().into();
        }
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        return Ok(Reply::ok(status).warned(warnings));
    }
    let rendition = std::sync::Arc::new(Rendition::new(entry));
    Ok(Reply::new(StatusCode::OK, Payload::Object { served: call.served.clone(), rendition }).warned(warnings))
}

/// Before anything else that is told.
fn warn_of_orphans(call: &Call<'_>, options: &Options, findings: &mut Findings) {
    let warning = call.kind().writes.orphan_warning;
    // Of what cannot be read nobody asks that (rest/delete.go, the unsafe deleter).
    if !warning.is_empty() && options.propagation.is_none() && !options.unreadable_only {
        findings.warnings.insert(0, warning.into());
    }
}

/// Deletes what the selectors match, and answers with the list of it.
pub async fn delete_collection(call: Call<'_>) -> Result<Reply, Status> {
    let options = Options::of(&call)?;
    let asked = ListOptions::of(&call, false)?;
    let filter = call.filter()?;
    // With a limit one page of them, else all (registry/store.go DeleteCollection).
    let mut all = Findings::default();
    let page = match read::page(&call, &asked, &filter).await {
        Ok(Ok(page)) => page,
        Ok(Err(expired)) => return Ok(expired),
        Err(status) => {
            warn_of_orphans(&call, &options, &mut all);
            return Err(status.warned(&all.warnings));
        }
    };
    for item in &page.items {
        let Some(object) = item.object() else { continue };
        let meta = object.meta().clone();
        let target = crate::route::Target { namespace: meta.namespace, name: meta.name.clone(), ..call.target.clone() };
        let one = Call { target: &target, body: call.body.clone(), served: call.served.clone(), ..call };
        let mut findings = Findings::default();
        match remove(&one, &meta.name, &options, Some(&mut findings)).await {
            // Somebody else was quicker.
            Err(status) if status.code == 404 => {}
            Err(status) => {
                warn_of_orphans(&call, &options, &mut all);
                return Err(status.warned(&all.warnings));
            }
            Ok(_) => {}
        }
        findings.warnings.into_iter().for_each(|warning| all.warn(warning));
    }
    warn_of_orphans(&call, &options, &mut all);
    Ok(Reply::new(StatusCode::OK, Payload::List(page)).warned(all.warnings))
}

/// Deletes one object, in as many writes as its watchers must see. What admission finds is left in `findings`;
/// without them the deletion was admitted as something else.
pub async fn remove(
    call: &Call<'_>,
    name: &str,
    options: &Options,
    mut findings: Option<&mut Findings>,
) -> Result<Deleted, Status> {
    let key = call.key(name);
    let store = &call.server.0.store;
    // As this request marked it, to go at once: whoever makes it go then, the request has succeeded.
    let mut left: Option<Entry> = None;
    loop {
        let Some(entry) = store.get(key.as_str()) else {
            return left.map(Deleted::Gone).ok_or_else(|| call.not_found(name));
        };
        let mut object: Value = serde_json::from_slice(&entry.bytes).map_err(|e| Status::internal(e.to_string()))?;
        check_preconditions(call, name, &object, options)?;
        if options.unreadable_only {
            let why = "unsafe deletion is not allowed because the object is decodable from storage";
            return Err(call.conflict(name, &call.invalid_object(name, options.dry_run, why)));
        }
        if let Some(findings) = &mut findings {
            let ask = Ask { name, old: Some(&object), ..call.ask(Operation::Delete, "", options.dry_run) };
            **findings = judge::bystander(&ask, &mut Value::Null).await?;
        }
        let step = next(call.kind(), &mut object, options, (call.server.0.config.clock)());
        let expect = Expect::At(entry.revision);
        let (write, goes) = match step {
            Next::Keep => return Ok(Deleted::Pending(entry)),
            Next::Mark { then_gone } => (write::mark(call.kind(), key.clone(), expect, &object)?, then_gone),
            Next::Go => (write::delete(key.clone(), expect, &object), true),
        };
        if options.dry_run {
            let entry = create::unwritten(key, &object);
            return Ok(if goes { Deleted::Gone(entry) } else { Deleted::Pending(entry) });
        }
        let marked = matches!(step, Next::Mark { .. });
        let claims = findings.iter().flat_map(|findings| &findings.claims).cloned();
        let mut steps: Vec<Step> = [write].into_iter().chain(claims).collect();
        if let Next::Go = step {
            steps.extend(allocations::steps(call.server, call.kind(), Some(&object), None, ending)?);
        }
        let written = match store.write(steps).await {
            Ok(written) => write::first(written),
            Err(Error::Conflict { .. }) => continue,
            Err(e) => return Err(write::failed(&e)),
        };
        if !goes {
            return Ok(Deleted::Pending(written));
        }
        if !marked {
            return Ok(Deleted::Gone(written));
        }
        // Watchers have seen it marked; now it goes. If somebody wrote in between, look again.
        left = Some(written.clone());
        if let Some(gone) = go(store, key.clone(), written, &object).await? {
            return Ok(Deleted::Gone(gone));
        }
    }
}

/// The last write of a deletion whose mark is `marked`; None: somebody changed the object since.
async fn go(store: &Store, key: Key, marked: Entry, object: &Value) -> Result<Option<Entry>, Status> {
    let last = write::delete(key.clone(), Expect::At(marked.revision), object);
    match store.write(vec![last]).await {
        Ok(written) => Ok(Some(write::first(written))),
        Err(Error::Conflict { .. }) => {
            let uid = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok().map(|o| o["metadata"]["uid"].clone());
            let now = store.get(key.as_str());
            // The node saw the mark and was quicker: gone is what was asked for, and a new object of the name stays.
            let gone = now.is_none_or(|now| uid(&now.bytes) != uid(&marked.bytes));
            Ok(gone.then_some(marked))
        }
        Err(e) => Err(write::failed(&e)),
    }
}

/// The next write of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing to write: it already ends at least as soon.
    Keep,
    /// Write the object with its deletion marks; `then_gone`: and delete it.
    Mark {
        then_gone: bool,
    },
    Go,
}

/// How an object ends that goes with another's write, without options.
pub fn ending(server: &Server, kind: &Kind, entry: &Entry, mut object: Value) -> Result<Option<Step>, Status> {
    let (key, expect) = (entry.key.clone(), Expect::At(entry.revision));
    Ok(match next(kind, &mut object, &Options::default(), (server.0.config.clock)()) {
        Next::Keep => None,
        Next::Mark { .. } => Some(write::mark(kind, key, expect, &object)?),
        Next::Go => Some(write::delete(key, expect, &object)),
    })
}

/// Decides, and sets the marks. Pure.
pub fn next(kind: &Kind, object: &mut Value, options: &Options, now: Timestamp) -> Next {
    let grace = options.grace.map(|g| if g < 0 { 1 } else { g });
    let deleting = object["metadata"].get("deletionTimestamp").is_some();
    let recorded = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let mut graceful = None;
    if let DeleteStrategy::Emptied = kind.delete {
        return emptied(object, options, now);
    }
    if let DeleteStrategy::Graceful(grace_of) = kind.delete {
        match (deleting, recorded.unwrap_or(0)) {
            // Marked before with nothing left to wait for.
            (true, 0) => {}
            (true, recorded) => match grace {
                Some(grace) if grace < recorded => {
                    let end =
                        object["metadata"]["deletionTimestamp"].as_str().and_then(|t| t.parse().ok()).unwrap_or(now);
                    mark(object, later(later(end, -recorded), grace), grace);
                    graceful = Some(grace);
                }
                _ => return Next::Keep,
            },
            (false, _) => {
                let grace = grace_of(object, grace);
                mark(object, later(now, grace), grace);
                count(object);
                graceful = Some(grace);
            }
        }
    }
    // What expires is nobody's owner (registry/core/event/strategy.go DefaultGarbageCollectionPolicy).
    let asked = if kind.writes.ttl.is_some() { Some(Propagation::Background) } else { options.propagation };
    let finalizers_changed = propagate(object, asked.or(unasked(kind, object)));
    let held = object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    if let Some(grace) = graceful {
        return Next::Mark { then_gone: grace == 0 && !held };
    }
    if !held {
        return Next::Go;
    }
    if deleting && recorded == Some(0) && !finalizers_changed {
        return Next::Keep;
    }
    if !deleting {
        count(object);
        mark(object, now, 0);
    } else {
        object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
    }
    Next::Mark { then_gone: false }
}

/// Terminating until it is empty and its finalizers are gone (pkg/registry/core/namespace/storage).
fn emptied(object: &mut Value, options: &Options, now: Timestamp) -> Next {
    if object["metadata"].get("deletionTimestamp").is_none() {
        write::metadata(object).insert("deletionTimestamp".into(), api::seconds(now).into());
        object["status"]["phase"] = json!("Terminating");
        propagate(object, options.propagation);
        return Next::Mark { then_gone: false };
    }
    let any = |list: &Value| list.as_array().is_some_and(|l| !l.is_empty());
    if any(&object["spec"]["finalizers"]) || any(&object["metadata"]["finalizers"]) {
        return Next::Keep;
    }
    Next::Go
}

/// Whether an update has taken away the last thing that held a deleted object
/// (ShouldDeleteDuringUpdate).
pub fn goes_with(kind: &Kind, object: &Value) -> bool {
    let metadata = &object["metadata"];
    let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    metadata.get("deletionTimestamp").is_some()
        && none(&metadata["finalizers"])
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && (!matches!(kind.delete, DeleteStrategy::Emptied) || none(&object["spec"]["finalizers"]))
}

fn mark(object: &mut Value, end: Timestamp, grace: i64) {
    let metadata = write::metadata(object);
    metadata.insert("deletionTimestamp".into(), api::seconds(end).into());
    metadata.insert("deletionGracePeriodSeconds".into(), json!(grace));
}

/// The request for deletion counts as a change of the spec.
fn count(object: &mut Value) {
    if let Some(generation) = object["metadata"]["generation"].as_i64().filter(|g| *g > 0) {
        object["metadata"]["generation"] = json!(generation + 1);
    }
}

/// What becomes of dependents where nobody says it, then or before (shouldOrphanDependents).
fn unasked(kind: &Kind, object: &Value) -> Option<Propagation> {
    let mut finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    let is_said = finalizers.any(|f| f == "orphan" || f == "foregroundDeletion");
    (kind.writes.orphans && !is_said).then_some(Propagation::Orphan)
}

/// What happens to dependents is recorded as a finalizer, which the garbage collector takes away.
fn propagate(object: &mut Value, propagation: Option<Propagation>) -> bool {
    let Some(propagation) = propagation else { return false };
    let finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let mut wanted: Vec<Value> =
        finalizers.iter().filter(|f| *f != "orphan" && *f != "foregroundDeletion").cloned().collect();
    match propagation {
        Propagation::Orphan => wanted.push(json!("orphan")),
        Propagation::Foreground => wanted.push(json!("foregroundDeletion")),
        Propagation::Background => {}
    }
    if wanted == finalizers {
        return false;
    }
    match wanted.is_empty() {
        true => write::metadata(object).remove("finalizers"),
        false => write::metadata(object).insert("finalizers".into(), wanted.into()),
    };
    true
}

pub fn check_preconditions(call: &Call<'_>, name: &str, object: &Value, options: &Options) -> Result<(), Status> {
    // Upstream names the kind here, not the resource (rest/delete.go BeforeDelete), in the group that it is kept in.
    let conflict = |why: &str| Status::conflict(&call.kind().group, &call.kind().kind, name, why);
    let (uid, revision) = (write::text(object, "uid"), write::text(object, "resourceVersion"));
    if let DeleteStrategy::Emptied = call.kind().delete {
        return of_emptied(call, name, options, [uid, revision]);
    }
    if let Some(asked) = &options.uid
        && asked != uid
    {
        let why = format!(
            "the UID in the precondition ({asked}) does not match the UID in record ({uid}). The object might have been \
             deleted and then recreated"
        );
        return Err(conflict(&why));
    }
    if let Some(asked) = &options.revision
        && asked != revision
    {
        let why = format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({revision}). \
             The object might have been modified"
        );
        return Err(conflict(&why));
    }
    Ok(())
}

/// In words of their own (pkg/registry/core/namespace/storage).
fn of_emptied(call: &Call<'_>, name: &str, options: &Options, is: [&str; 2]) -> Result<(), Status> {
    for ((what, asked), is) in [("UID", &options.uid), ("ResourceVersion", &options.revision)].into_iter().zip(is) {
        if let Some(asked) = asked.as_ref().filter(|asked| *asked != is) {
            let why = format!("Precondition failed: {what} in precondition: {asked}, {what} in object meta: {is}");
            return Err(call.conflict(name, &why));
        }
    }
    Ok(())
}

impl Options {
    /// The body wins over the query, as upstream has it.
    pub fn of(call: &Call<'_>) -> Result<Options, Status> {
        if call.body.is_empty() {
            return Options::read(&Value::Null, call);
        }
        // Nothing asked for (a body of null counts as an empty one).
        if call.body.trim_ascii() == b"null" {
            return Options::read(&json!({}), call);
        }
        let body = call.decode(OPTIONS, FieldValidation::Ignore)?.value;
        if body["kind"].as_str().is_some_and(|kind| !kind.is_empty() && kind != "DeleteOptions") {
            return Err(Status::bad_request("decoded object cannot be converted to DeleteOptions"));
        }
        Options::read(&body, call)
    }

    /// Of a typed body; null: there is none.
    pub fn read(body: &Value, call: &Call<'_>) -> Result<Options, Status> {
        let query = |name| Some(call.query.get(name)).filter(|v| !v.is_empty() && body.is_null());
        let grace = match query("gracePeriodSeconds") {
            Some(text) => Some(options::number(text).map_err(Status::bad_request)?),
            None => body["gracePeriodSeconds"].as_i64(),
        };
        let orphan = body["orphanDependents"].as_bool().or_else(|| query("orphanDependents").map(|v| v != "false"));
        let policy = query("propagationPolicy").or(body["propagationPolicy"].as_str());
        let propagation = match (policy, orphan) {
            (Some("Orphan"), None) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some("Background"), None) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), None) => Some(Propagation::Foreground),
            (None, None) => None,
            (Some(other), None) => {
                let supported = &["Foreground", "Background", "Orphan", "nil"];
                let error = api::FieldError::not_supported("propagationPolicy", &json!(other), supported);
                return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &[error]));
            }
            (Some(_), Some(_)) => {
                let detail = "orphanDependents and deletionPropagation cannot be both set";
                let error = api::FieldError::invalid("propagationPolicy", &json!(policy), detail);
                return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &[error]));
            }
        };
        let listed = body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let (dry_run, refused) = options::dry_run(call.query.all("dryRun").chain(listed));
        if let Some(error) = refused {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &[error]));
        }
        let unreadable_only = body["ignoreStoreReadErrorWithClusterBreakingPotential"].as_bool().unwrap_or(false);
        let text = |field: &str| body["preconditions"][field].as_str().map(String::from);
        Ok(Options {
            grace,
            uid: text("uid"),
            revision: text("resourceVersion"),
            propagation,
            dry_run,
            unreadable_only,
        })
    }
}

#[cfg(test)]
mod tests;
