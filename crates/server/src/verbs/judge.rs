//! What every write goes through, in upstream's order, until the object may be written.
//!
//! decode (the verbs) → default → managed fields → **mutate** → prepare → validate → **admit** → write with
//! claims. PUT, PATCH, apply and POST come by here alike (handlers/{create,update,patch}.go,
//! registry/rest/{create,update}.go), so do bodies of subresources, deletions and connections, as far as it
//! concerns them. Who decides again, because somebody was quicker, begins again at the first step that saw
//! what has changed.

use api::Status;
use api::managed::{self, Write};
use serde_json::Value;

use crate::admission::{self, Ask, Findings};
use crate::{allocations, tokens, write};

/// The first half: the object as its sender means it, and as others complete it.
pub async fn mutate(ask: &Ask<'_>, manager: Option<&str>, object: &mut Value) -> Result<Findings, Status> {
    let mut findings = Findings::default();
    ask.default(object);
    if let Some(manager) = manager {
        record(ask, manager, object);
    }
    admission::mutate(ask, object, &mut findings).await?;
    if let Some(warning) = unite_owners(object, " after mutating admission happens") {
        findings.warn(warning);
    }
    Ok(findings)
}

/// Each owner is named once (handlers/rest.go dedupOwnerReferencesAndAddWarning): of a body before anything else,
/// of anything after `when`. What is said of those that were named again.
pub fn unite_owners(object: &mut Value, when: &str) -> Option<String> {
    let owners = object.get_mut("metadata")?.get_mut("ownerReferences")?.as_array_mut()?;
    let (mut once, mut again) = (Vec::with_capacity(owners.len()), Vec::new());
    for owner in owners.drain(..) {
        match once.contains(&owner) {
            true => again.push(owner["uid"].as_str().unwrap_or_default().to_owned()),
            false => once.push(owner),
        }
    }
    *owners = once;
    (!again.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and \
             may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            again.join(", ")
        )
    })
}

/// The second half: what no client sets, then everything that is wrong. It has a name by now.
pub async fn admit(ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
    let (kind, context) = (ask.kind(), ask.context());
    match ask.old {
        None => give_birth(ask, object),
        Some(old) => keep_metadata(old, object),
    }
    kind.prepare(object, ask.old, &context);
    // What was given for an attempt before is free again.
    findings.held.clear();
    allocations::assign(ask, object, findings)?;
    let errors = kind.validate(object, ask.old, &context);
    if !errors.is_empty() {
        return Err(Status::invalid(&kind.group, &kind.kind, ask.name_of(object), &errors));
    }
    if let Some(old) = ask.old {
        managed::keep_times(old, object);
    }
    let own = match ask.subresource {
        "" => kind.warnings(object, ask.old),
        "status" => (kind.hooks.status_warnings)(kind, object),
        _ => Vec::new(),
    };
    // Of what is refused after this it is said too (registry/rest/{create,update}.go).
    own.into_iter().for_each(|warning| findings.warn(warning));
    admission::validate(ask, object, findings).await
}

/// Both halves at once, of what is not written itself: null for a deletion (registry/rest
/// AdmissionToValidateObjectDeleteFunc), a subresource's body of another kind (a Binding), the options of a
/// connection (handlers/rest.go ConnectResource).
pub async fn bystander(ask: &Ask<'_>, body: &mut Value) -> Result<Findings, Status> {
    let mut findings = Findings::default();
    admission::mutate(ask, body, &mut findings).await?;
    admission::validate(ask, body, &mut findings).await?;
    Ok(findings)
}

/// Records the manager of what a write changes, as its sender sent it: in the version that was spoken.
fn record(ask: &Ask<'_>, manager: &str, object: &mut Value) {
    let (served, time) = (ask.served, ask.server.now());
    let api_version = served.api_version();
    let (subresource, resets) = (ask.subresource, ask.kind().resets(ask.subresource));
    let write = Write { schema: served.schema(), api_version: &api_version, manager, subresource, time: &time, resets };
    if served.index().is_none() {
        return managed::update(&write, ask.old, object);
    }
    let spoken = |stored: &Value| {
        let mut stored = stored.clone();
        served.of_stored(&mut stored);
        stored
    };
    let (old, mut new) = (ask.old.map(spoken), spoken(object));
    managed::update(&write, old.as_ref(), &mut new);
    match new["metadata"].get("managedFields") {
        Some(fields) => write::metadata(object).insert("managedFields".into(), fields.clone()),
        None => write::metadata(object).remove("managedFields"),
    };
}

/// A new object is somebody else than any before it (registry/rest/meta.go).
fn give_birth(ask: &Ask<'_>, object: &mut Value) {
    let metadata = write::metadata(object);
    metadata.insert("uid".into(), tokens::uuid(&ask.server.0.config.entropy).into());
    metadata.insert("creationTimestamp".into(), ask.server.now().into());
    let field = ask.kind().writes.requester;
    if let (false, Some(part)) = (field.is_empty(), object.get_mut(field).and_then(Value::as_object_mut)) {
        part.retain(|key, _| !REQUESTER.contains(&key.as_str()));
        if let Value::Object(user) = ask.identity.to_value() {
            part.extend(user);
        }
    }
}

/// What an object that names its requester says of them (certificates/strategy.go PrepareForCreate).
const REQUESTER: &[&str] = &["extra", "groups", "uid", "username"];

/// What no update changes; of what may not be set it is said so (registry/rest/update.go BeforeUpdate).
fn keep_metadata(old: &Value, object: &mut Value) {
    let metadata = write::metadata(object);
    for field in ["generation", "resourceVersion", "creationTimestamp"] {
        match old["metadata"].get(field) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
    if let Some(value) = old["metadata"].get("deletionTimestamp") {
        metadata.insert("deletionTimestamp".into(), value.clone());
    }
    for field in ["uid", "deletionGracePeriodSeconds"] {
        if old["metadata"].get(field).is_some() && metadata.get(field).is_none_or(|given| given == "") {
            metadata.insert(field.into(), old["metadata"][field].clone());
        }
    }
}
