//! POST of an object: decode, judge, write; with another name or on other grounds again.

use api::Status;
use http::StatusCode;
use kinds::Kind;
use serde_json::{Value, json};
use store::{Entry, Error, Expect, Revision, Room, Step};

use crate::admission::Operation;
use crate::answer::{Payload, Reply};
use crate::rendition::Rendition;
use crate::verbs::options::WriteOptions;
use crate::verbs::{Call, judge};
use crate::{Server, allocations, charges, write};

/// Tries to find a free generated name (registry/generic/registry/store.go).
const NAME_TRIES: usize = 8;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

pub async fn create(call: Call<'_>) -> Result<Reply, Status> {
    let WriteOptions { manager, dry_run, validation, .. } = WriteOptions::of(&call)?;
    let decoded = call.decode(call.served.schema(), validation)?;
    let mut object = decoded.value;
    let mut warnings = decoded.warnings;
    check_kind(&call, &object).and_then(|()| place(&call, &mut object)).map_err(|status| status.warned(&warnings))?;
    warnings.extend(judge::unite_owners(&mut object, ""));
    call.to_stored(&mut object);
    let entry = insert(&call, object, Some(&manager), dry_run, &mut warnings).await;
    let entry = entry.map_err(|status| status.warned(&warnings))?;
    let rendition = match dry_run {
        true => std::sync::Arc::new(Rendition::new(entry)),
        false => call.server.0.renditions.of(&entry),
    };
    let payload = Payload::Object { served: call.served.clone(), rendition };
    Ok(Reply::new(StatusCode::CREATED, payload).warned(warnings))
}

/// Writes a decoded object in its stored form for the first time.
pub async fn insert(
    call: &Call<'_>,
    mut object: Value,
    manager: Option<&str>,
    dry_run: bool,
    warnings: &mut Vec<String>,
) -> Result<Entry, Status> {
    let entropy = &call.server.0.config.entropy;
    let prefix = write::text(&object, "generateName").to_string();
    let generated = write::text(&object, "name").is_empty() && !prefix.is_empty();
    unset(&mut object);
    await_needed(call, &object).await;
    let ask = call.ask(Operation::Create, "", dry_run);
    let mut mutated = None;
    let mut room = Room::Free;
    for attempt in 1.. {
        let (mut object, mut findings) = match mutated.take() {
            Some(mutated) => mutated,
            None => {
                let mut object = object.clone();
                let findings = judge::mutate(&ask, manager, &mut object).await?;
                (object, findings)
            }
        };
        if generated {
            mutated = Some((object.clone(), findings.clone()));
            object["metadata"]["name"] = match call.kind().writes.named_as_asked {
                true => prefix.as_str().into(),
                false => write::generated(&prefix, entropy).into(),
            };
            // Some defaults are made from the name.
            call.kind().default(&mut object);
        }
        if let Err(status) = judge::admit(&ask, &mut object, &mut findings).await {
            warnings.extend(findings.warnings);
            return Err(status);
        }
        let name = write::text(&object, "name").to_string();
        let key = call.key(&name);
        let store = &call.server.0.store;
        let exists = || {
            let mut status = Status::already_exists(call.served.group(), &call.kind().plural, &name);
            if generated {
                status.message += ", the server was not able to generate a unique name for the object";
            }
            let there: Option<Value> =
                store.get(key.as_str()).and_then(|entry| serde_json::from_slice(&entry.bytes).ok());
            // It may be waiting for its finalizers (registry/store.go create).
            if there.is_some_and(|there| there["metadata"].get("deletionTimestamp").is_some()) {
                status.message.insert_str(0, "object is being deleted: ");
            }
            status
        };
        // Of what is only tried upstream asks nothing, and answers with what was sent (etcd3/store.go Create).
        if !dry_run {
            if write::text(&object, "resourceVersion").parse::<u64>().is_ok_and(|revision| revision != 0) {
                return Err(Status::unknown("resourceVersion should not be set on objects to be created"));
            }
            write::metadata(&mut object).remove("resourceVersion");
        }
        if dry_run {
            warnings.extend(findings.warnings);
            if store.get(key.as_str()).is_some() {
                return Err(exists());
            }
            return Ok(unwritten(key, &object));
        }
        let put = write::put(call.kind(), key.clone(), Expect::Absent, &object)?;
        let mut steps = vec![write::with_room(put, room)];
        steps.extend(findings.claims);
        steps.extend(allocations::steps(call.server, call.kind(), None, Some(&object), nothing_ends)?);
        match charges::write(store, steps, &findings.bill).await {
            Ok(written) => {
                warnings.extend(findings.warnings);
                return Ok(write::first(written));
            }
            // Another name needs no other object (store.go, create with RetryGenerateName).
            Err(Error::Conflict { key: at, .. }) if at == key && generated && attempt < NAME_TRIES => {}
            Err(Error::Conflict { key: at, .. }) if at == key => {
                warnings.extend(findings.warnings);
                return Err(exists());
            }
            // On a full disk: how it ends is told all the same.
            Err(Error::Refused(_)) if room == Room::Free && is_of_an_end(call, &object) => room = Room::Kept,
            // What admission relied on has changed meanwhile: decide again.
            Err(Error::Conflict { .. }) if attempt < NAME_TRIES => mutated = None,
            Err(e) => return Err(write::failed(&e)),
        }
    }
    unreachable!("the loop returns")
}

/// Takes away what a client may not say of a new object.
fn unset(object: &mut Value) {
    let metadata = write::metadata(object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(field);
    }
}

/// Whether an object tells of another one that is deleted or has ended.
fn is_of_an_end(call: &Call<'_>, object: &Value) -> bool {
    let Some(told) = (call.kind().writes.tells_of)(object) else { return false };
    let kinds = call.server.kinds();
    let Some(kind) = kinds.by_kind(told.api_version, told.kind) else { return false };
    let other = call.server.0.snapshot.value(&kind.qualified(), told.namespace, told.name);
    other.is_some_and(|other| write::text(&other, "uid") == told.uid && write::leads_to_less(kind, &other))
}

/// What comes with every namespace comes a moment after it: who needs it and is quicker waits for it.
async fn await_needed(call: &Call<'_>, object: &Value) {
    let (snapshot, namespace) = (&call.server.0.snapshot, call.namespace());
    let Some((resource, name)) = (call.kind().writes.awaits)(object) else { return };
    if snapshot.entry(resource, namespace, name).is_some() {
        return;
    }
    if snapshot.namespace(namespace).is_none() {
        return;
    }
    let store = &call.server.0.store;
    let Ok(mut watch) = store.watch(&format!("{resource}/{namespace}/{name}"), store.revision()) else { return };
    // It may have come between the look and the watch.
    if snapshot.entry(resource, namespace, name).is_none() {
        let _ = tokio::time::timeout(PATIENCE, watch.next()).await;
    }
}

/// The body must be what the path says (handlers/create.go, and what apimachinery's scheme knows of other kinds).
pub fn check_kind(call: &Call<'_>, object: &Value) -> Result<(), Status> {
    let (given, want) = (object["apiVersion"].as_str().unwrap_or(""), call.served.api_version());
    let api_version = if given.is_empty() { &want } else { given };
    let kind = object["kind"].as_str().filter(|kind| !kind.is_empty()).unwrap_or(&call.kind().kind);
    if kind == call.kind().kind && api_version == want {
        return Ok(());
    }
    let is_known = api::schema::of_kind(api_version, kind).is_some();
    if is_known && kind == call.kind().kind {
        let message =
            format!("the API version in the data ({api_version}) does not match the expected API version ({want})");
        return Err(Status::bad_request(message));
    }
    let own = &call.kind().kind;
    let unnamed = |why: &str| api::decode::unrecognized(own, why, &call.body);
    let (group, version) = match api_version.split_once('/') {
        Some((_, version)) if version.contains('/') => {
            return Err(unnamed(&format!("unexpected GroupVersion string: {api_version}")));
        }
        Some((group, version)) => (group, version),
        None => ("", api_version),
    };
    // Go's name of a type: of the package that its group is in.
    let package = call.served.package();
    let unlike =
        (kind != own).then(|| format!("converting ({version}.{kind}) to ({package}.{own}): unknown conversion"));
    let why = match unlike {
        Some(why) if is_known || (api_version == "v1" && UNVERSIONED.contains(&kind)) => why,
        _ if version.is_empty() && !group.is_empty() => {
            format!("Object 'apiVersion' is missing in '{}'", String::from_utf8_lossy(&call.body))
        }
        _ => format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\""
        ),
    };
    Err(Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {own}: {why}")))
}

/// Kinds that every group's scheme knows (apimachinery, pkg/apis/meta/v1/register.go).
const UNVERSIONED: &[&str] = &["Status", "APIVersions", "APIGroupList", "APIGroup", "APIResourceList"];

/// Kind, apiVersion and namespace as the path says them.
pub fn place(call: &Call<'_>, object: &mut Value) -> Result<(), Status> {
    object["apiVersion"] = json!(call.served.api_version());
    object["kind"] = json!(call.kind().kind);
    let namespace = call.namespace().to_string();
    let metadata = write::metadata(object);
    if !call.kind().namespaced {
        // What is in none says of none (registry/rest/meta.go EnsureObjectNamespaceMatchesRequestNamespace).
        metadata.remove("namespace");
    }
    if call.kind().namespaced {
        let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or("");
        if namespace.is_empty() {
            // POST over all namespaces.
            return Err(Status::bad_request("an empty namespace may not be set during creation"));
        }
        if !given.is_empty() && given != namespace {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(message));
        }
        metadata.insert("namespace".into(), namespace.into());
    }
    Ok(())
}

/// What a dry run answers with: an entry that is nowhere.
pub fn unwritten(key: store::Key, object: &Value) -> Entry {
    let mut object = object.clone();
    let revision = write::text(&object, "resourceVersion").to_string();
    if revision.is_empty() {
        write::metadata(&mut object).remove("resourceVersion");
        let bytes = serde_json::to_vec(&object).expect("a tree is written to memory");
        return Entry { key, revision: Revision(0), created: Revision(0), bytes: bytes.into() };
    }
    let bytes = crate::encode::joined(&object, &revision);
    Entry { key, revision: Revision(0), created: Revision(0), bytes }
}

/// What is created frees nothing.
fn nothing_ends(_: &Server, _: &Kind, _: &Entry, _: Value) -> Result<Option<Step>, Status> {
    Ok(None)
}
