//! PUT and PATCH: the next version of an object, or of the part that a subresource owns.
//!
//! A write that names a revision holds only for that one; any other is computed again when somebody
//! was quicker. A write that changes nothing writes nothing. An update that takes the last finalizer
//! from a deleted object deletes it (generic/registry/store.go Update).

use api::decode::FieldValidation;
use api::patch::{self, PatchKind};
use api::{FieldError, Status};
use http::StatusCode;
use serde_json::{Value, json};
use store::{Entry, Error, Expect};

use crate::admission::{self, Ask, Operation};
use crate::answer::{Payload, Reply};
use crate::rendition::Rendition;
use crate::verbs::Call;
use crate::verbs::create::{self, check_kind, place, unwritten};
use crate::verbs::delete::goes_with;
use crate::verbs::options::WriteOptions;
use crate::{managed, write};

/// How often a write that names no revision is computed again.
const TRIES: usize = 32;
pub const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// A change under way: what is asked, beside the new content itself.
pub struct Change<'a> {
    pub call: &'a Call<'a>,
    pub name: &'a str,
    pub subresource: &'a str,
    /// None: the managed fields are as they shall be.
    pub manager: Option<&'a str>,
    /// The new content is the server's own and needs no judging.
    pub verbatim: bool,
    pub dry_run: bool,
    /// A conflict ends it: the new content was made from one revision.
    pub once: bool,
    pub warnings: Vec<String>,
}

/// PUT.
pub async fn update(call: Call<'_>, subresource: &str) -> Result<Reply, Status> {
    let WriteOptions { manager, dry_run, validation, .. } = WriteOptions::of(&call)?;
    let decoded = call.decode(call.served.schema(), validation)?;
    let mut object = decoded.value;
    check_kind(&call, &object)?;
    place(&call, &mut object)?;
    check_name(&call, &mut object)?;
    call.to_stored(&mut object);
    let revision = write::text(&object, "resourceVersion").to_string();
    let missing = call.server.0.store.get(call.key(call.name()).as_str()).is_none();
    if missing && subresource.is_empty() && call.kind().writes.put_creates && revision.is_empty() {
        let mut warnings = decoded.warnings;
        let entry = create::insert(&call, object, Some(&manager), dry_run, &mut warnings).await?;
        let rendition = std::sync::Arc::new(Rendition::new(entry));
        let payload = Payload::Object { served: call.served.clone(), rendition };
        return Ok(Reply::new(StatusCode::CREATED, payload).warned(warnings));
    }
    if revision.is_empty() && call.kind().writes.conditional {
        let error = FieldError::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
        return Err(Status::invalid(call.served.group(), &call.kind().kind, call.name(), &[error]));
    }
    let mut change = Change {
        call: &call,
        name: call.name(),
        subresource,
        manager: Some(&manager),
        verbatim: false,
        dry_run,
        once: !revision.is_empty(),
        warnings: decoded.warnings,
    };
    let entry = change.run(|_| Ok(object.clone())).await?;
    Ok(reply(&call, entry, change.warnings, dry_run))
}

/// PATCH, by its content type.
pub async fn patch(call: Call<'_>, subresource: &str) -> Result<Reply, Status> {
    let kind = PatchKind::of(call.content_type()).ok_or_else(|| unsupported(call.content_type()))?;
    if kind == PatchKind::Apply {
        return managed::apply(call, subresource).await;
    }
    let WriteOptions { manager, dry_run, validation, .. } = WriteOptions::of(&call)?;
    let mut change = Change {
        call: &call,
        name: call.name(),
        subresource,
        manager: Some(&manager),
        verbatim: false,
        dry_run,
        once: false,
        warnings: vec![],
    };
    let mut warnings = Vec::new();
    let entry = change
        .run(|old| {
            let (object, warned) = patched(&call, kind, old, validation)?;
            warnings = warned;
            Ok(object)
        })
        .await?;
    warnings.append(&mut change.warnings);
    Ok(reply(&call, entry, warnings, dry_run))
}

pub fn reply(call: &Call<'_>, entry: Entry, warnings: Vec<String>, dry_run: bool) -> Reply {
    let rendition = match dry_run {
        true => std::sync::Arc::new(Rendition::new(entry)),
        false => call.server.0.renditions.of(&entry),
    };
    Reply::new(StatusCode::OK, Payload::Object { served: call.served.clone(), rendition }).warned(warnings)
}

/// The object that a patch makes of a stored one, in its stored form; and warnings.
fn patched(
    call: &Call<'_>,
    kind: PatchKind,
    old: &Value,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let decoded = patch::patched(kind, call.served.schema(), &call.in_version(old), &call.body, validation)?;
    let mut object = decoded.value;
    check_kind(call, &object)?;
    place(call, &mut object)?;
    check_name(call, &mut object)?;
    call.to_stored(&mut object);
    Ok((object, decoded.warnings))
}

pub fn unsupported(media: &str) -> Status {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: \
         application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
         application/apply-patch+yaml (not {media:?})"
    );
    Status::new(api::Reason::UnsupportedMediaType, message)
}

/// The body's name is the path's (handlers/update.go).
pub fn check_name(call: &Call<'_>, object: &mut Value) -> Result<(), Status> {
    let name = write::text(object, "name").to_string();
    if name.is_empty() {
        write::metadata(object).insert("name".into(), call.name().into());
    } else if name != call.name() {
        let message = format!("the name of the object ({name}) does not match the name on the URL ({})", call.name());
        return Err(Status::bad_request(message));
    }
    Ok(())
}

impl Change<'_> {
    /// Makes new versions with `make` (from the stored one) until one is written.
    pub async fn run(&mut self, mut make: impl FnMut(&Value) -> Result<Value, Status>) -> Result<Entry, Status> {
        let call = self.call;
        let store = &call.server.0.store;
        let key = call.key(self.name);
        for attempt in 1.. {
            let entry = store.get(key.as_str()).ok_or_else(|| call.not_found(self.name))?;
            let old: Value = serde_json::from_slice(&entry.bytes).map_err(|e| Status::internal(e.to_string()))?;
            let object = make(&old)?;
            let (object, outcome, warnings) = self.next(&old, object)?;
            let Some(object) = object else { return Ok(entry) };
            if self.dry_run {
                self.warnings.extend(warnings);
                return Ok(unwritten(key, &object));
            }
            let mut steps = vec![match goes_with(call.kind(), &object) {
                true => write::delete(key.clone(), Expect::At(entry.revision), &object),
                false => write::replace(call.kind(), &entry, &old, &object)?,
            }];
            steps.extend(outcome.claims);
            match store.write(steps).await {
                Ok(written) => {
                    self.warnings.extend(warnings);
                    return Ok(write::first(written));
                }
                Err(Error::Conflict { .. }) if !self.once && attempt < TRIES => {}
                Err(Error::Conflict { .. }) => return Err(call.conflict(self.name, MODIFIED)),
                Err(e) => return Err(write::failed(&e)),
            }
        }
        unreachable!("the loop returns")
    }

    /// The finished next version; None if it is the same as the old one.
    fn next(&self, old: &Value, mut object: Value) -> Result<(Option<Value>, admission::Outcome, Vec<String>), Status> {
        let call = self.call;
        self.check_preconditions(old, &object)?;
        keep_metadata(old, &mut object);
        if self.verbatim {
            return Ok((Some(object), admission::Outcome::default(), Vec::new()));
        }
        let context = call.context(self.subresource);
        call.kind().prepare(&mut object, Some(old), &context);
        call.kind().default(&mut object);
        if let Some(manager) = self.manager {
            managed::update(&mut object, Some(old), manager, call, self.subresource);
        }
        let ask = Ask { call, operation: Operation::Update, subresource: self.subresource, old: Some(old) };
        let mut outcome = admission::admit(&ask, &mut object)?;
        let errors = call.kind().validate(&object, Some(old), &context);
        if !errors.is_empty() {
            return Err(Status::invalid(call.served.group(), &call.kind().kind, self.name, &errors));
        }
        admission::validate(&ask, &mut object, &mut outcome)?;
        let mut warnings = call.kind().warnings(&object, Some(old));
        warnings.extend(outcome.warnings.iter().cloned());
        api::managed::keep_times(old, &mut object);
        let changed = object != *old;
        Ok((changed.then_some(object), outcome, warnings))
    }

    fn check_preconditions(&self, old: &Value, new: &Value) -> Result<(), Status> {
        let (uid, asked) = (write::text(old, "uid"), write::text(new, "uid"));
        if !asked.is_empty() && asked != uid {
            let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}");
            return Err(self.call.conflict(self.name, &why));
        }
        let asked = write::text(new, "resourceVersion");
        if !asked.is_empty() && asked != write::text(old, "resourceVersion") {
            return Err(self.call.conflict(self.name, MODIFIED));
        }
        Ok(())
    }
}

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
