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
use crate::{tokens, write};

/// The first half: the object as its sender means it, and as others complete it.
pub async fn mutate(ask: &Ask<'_>, manager: Option<&str>, object: &mut Value) -> Result<Findings, Status> {
    let mut findings = Findings::default();
    ask.default(object);
    if let Some(manager) = manager {
        record(ask, manager, object);
    }
    admission::mutate(ask, object, &mut findings).await?;
    Ok(findings)
}

/// The second half: what no client sets, then everything that is wrong. It has a name by now.
pub async fn admit(ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
    let (kind, context) = (ask.kind(), ask.context());
    match ask.old {
        None => give_birth(ask, object),
        Some(old) => keep_metadata(old, object),
    }
    kind.prepare(object, ask.old, &context);
    let errors = kind.validate(object, ask.old, &context);
    if !errors.is_empty() {
        return Err(Status::invalid(ask.served.group(), &kind.kind, ask.name_of(object), &errors));
    }
    if let Some(old) = ask.old {
        managed::keep_times(old, object);
    }
    let own = kind.warnings(object, ask.old);
    admission::validate(ask, object, findings).await?;
    findings.warnings.splice(..0, own);
    Ok(())
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

/// Records the manager of what a write changes, as its sender sent it.
fn record(ask: &Ask<'_>, manager: &str, object: &mut Value) {
    let (kind, time) = (ask.kind(), ask.server.now());
    let api_version = kind.api_version();
    let (subresource, resets) = (ask.subresource, kind.resets(ask.subresource));
    let write = Write { schema: &kind.schema, api_version: &api_version, manager, subresource, time: &time, resets };
    managed::update(&write, ask.old, object);
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

/// What no update changes: identity, times, deletion (registry/rest/update.go BeforeUpdate).
fn keep_metadata(old: &Value, object: &mut Value) {
    let metadata = write::metadata(object);
    const KEPT: &[&str] = &[
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generateName",
        "generation",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    ];
    for field in KEPT {
        match old["metadata"].get(*field) {
            Some(value) => metadata.insert((*field).into(), value.clone()),
            None => metadata.remove(*field),
        };
    }
}
