//! PUT and PATCH: the next version of an object, or of the part that a subresource owns.
//!
//! A write is computed again when somebody was quicker; one that names a revision holds only for that one. A write that changes nothing writes nothing. An update that takes the last finalizer
//! from a deleted object deletes it (generic/registry/store.go Update).

use api::decode::FieldValidation;
use api::patch::{self, PatchKind};
use api::{FieldError, Status};
use http::StatusCode;
use serde_json::{Value, json};
use store::{Entry, Error, Expect};

use crate::admission::{Ask, Findings, Operation};
use crate::answer::{Payload, Reply};
use crate::rendition::Rendition;
use crate::verbs::create::{self, check_kind, place, unwritten};
use crate::verbs::delete::{ending, goes_with};
use crate::verbs::options::{WriteOptions, go_words};
use crate::verbs::{Call, judge};
use crate::{allocations, charges, write};

/// How often a write is computed.
const TRIES: usize = 32;
pub const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// An update under way: what is asked, beside the new content itself.
pub struct Update<'a> {
    pub call: &'a Call<'a>,
    pub name: &'a str,
    pub subresource: &'a str,
    /// None: the managed fields are as they shall be.
    pub manager: Option<&'a str>,
    /// The new content is the server's own and needs no judging.
    pub verbatim: bool,
    pub dry_run: bool,
    pub warnings: Vec<String>,
}

/// PUT.
pub async fn put(call: Call<'_>, subresource: &str) -> Result<Reply, Status> {
    let WriteOptions { manager, dry_run, validation, .. } = WriteOptions::of(&call)?;
    let mut decoded = call.decode(call.served.schema(), validation)?;
    let mut object = decoded.value;
    let refused = |status: Status| status.warned(&decoded.warnings);
    check_kind(&call, &object).map_err(refused)?;
    place(&call, &mut object).map_err(refused)?;
    check_name(&call, &object).map_err(refused)?;
    decoded.warnings.extend(judge::unite_owners(&mut object, ""));
    call.to_stored(&mut object);
    let missing = call.server.0.store.get(call.key(call.name()).as_str()).is_none();
    if missing && subresource.is_empty() && call.kind().writes.put_creates {
        // Who makes something must be allowed to (handlers/update.go withAuthorization).
        call.authorize("create")?;
        if !write::text(&object, "uid").is_empty() {
            return Err(other_uid(&call, call.name(), write::text(&object, "uid"), "", dry_run));
        }
        // A revision is no hindrance, but must be one (registry/store.go Update).
        named(&object)?;
        write::metadata(&mut object).remove("resourceVersion");
        let mut warnings = decoded.warnings;
        let entry = create::insert(&call, object, Some(&manager), dry_run, &mut warnings).await;
        let entry = entry.map_err(|status| status.warned(&warnings))?;
        let rendition = std::sync::Arc::new(Rendition::new(entry));
        let payload = Payload::Object { served: call.served.clone(), rendition };
        return Ok(Reply::new(StatusCode::CREATED, payload).warned(warnings));
    }
    let mut update = Update {
        call: &call,
        name: call.name(),
        subresource,
        manager: Some(&manager),
        verbatim: false,
        dry_run,
        warnings: decoded.warnings,
    };
    let entry = update.run(|_| Ok(object.clone())).await.map_err(|status| status.warned(&update.warnings))?;
    Ok(reply(&call, entry, update.warnings, dry_run))
}

/// PATCH, but for what is applied.
pub async fn patch(call: Call<'_>, kind: PatchKind, subresource: &str) -> Result<Reply, Status> {
    let WriteOptions { manager, dry_run, validation, .. } = WriteOptions::of(&call)?;
    patch::read(&call.body)?;
    let mut update = Update {
        call: &call,
        name: call.name(),
        subresource,
        manager: Some(&manager),
        verbatim: false,
        dry_run,
        warnings: vec![],
    };
    let mut warnings = Vec::new();
    let entry = update
        .run(|old| {
            let (object, warned) = patched(&call, kind, old, validation)?;
            warnings = warned;
            Ok(object)
        })
        .await;
    warnings.append(&mut update.warnings);
    let entry = entry.map_err(|status| status.warned(&warnings))?;
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
    // What a strategic patch makes is of the kind whatever it says (handlers/patch.go strategicPatchObject).
    if kind != PatchKind::Strategic {
        check_kind(call, &object)?;
    }
    place(call, &mut object)?;
    check_name(call, &object)?;
    call.to_stored(&mut object);
    Ok((object, decoded.warnings))
}

/// The body's name is the path's (handlers/rest.go checkName).
pub fn check_name(call: &Call<'_>, object: &Value) -> Result<(), Status> {
    let name = write::text(object, "name");
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.name()
        )));
    }
    if name != call.name() {
        let message = format!("the name of the object ({name}) does not match the name on the URL ({})", call.name());
        return Err(Status::bad_request(message));
    }
    Ok(())
}

/// The revision that a write holds for; 0 is none (storage/api_object_versioner.go).
pub fn named(object: &Value) -> Result<Option<&str>, Status> {
    let text = write::text(object, "resourceVersion");
    match text.parse::<u64>() {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(text)),
        Err(_) if text.is_empty() => Ok(None),
        Err(why) => Err(Status::unknown(format!("strconv.ParseUint: parsing {text:?}: {}", go_words(&why)))),
    }
}

impl Update<'_> {
    /// Makes new versions with `make` (from the stored one) until one is written.
    pub async fn run(&mut self, mut make: impl FnMut(&Value) -> Result<Value, Status>) -> Result<Entry, Status> {
        let call = self.call;
        let store = &call.server.0.store;
        let key = call.key(self.name);
        for attempt in 1.. {
            let entry = store.get(key.as_str()).ok_or_else(|| call.not_found(self.name))?;
            let old: Value = serde_json::from_slice(&entry.bytes).map_err(|e| Status::internal(e.to_string()))?;
            let object = make(&old)?;
            let (object, findings) = self.next(&old, object).await?;
            let Some(object) = object else {
                self.warnings.extend(findings.warnings);
                return Ok(entry);
            };
            if self.dry_run {
                self.warnings.extend(findings.warnings);
                return Ok(unwritten(key, &object));
            }
            let goes = goes_with(call.kind(), &object);
            let mut steps = vec![match goes {
                true => write::delete(key.clone(), Expect::At(entry.revision), &object),
                false => write::replace(call.kind(), &entry, &old, &object)?,
            }];
            steps.extend(findings.claims);
            let left = Some(&object).filter(|_| !goes);
            steps.extend(allocations::steps(call.server, call.kind(), Some(&old), left, ending)?);
            match charges::write(store, steps, &findings.bill).await {
                Ok(written) => {
                    self.warnings.extend(findings.warnings);
                    // Of what has gone the answer is what was asked for (registry/store.go deleteWithoutFinalizers).
                    return Ok(if goes { unwritten(key, &object) } else { write::first(written) });
                }
                // Decided again; of a write that names a revision that is no more, it is said there.
                Err(Error::Conflict { .. }) if attempt < TRIES => {}
                Err(Error::Conflict { .. }) => return Err(call.conflict(self.name, MODIFIED)),
                Err(e) => return Err(write::failed(&e)),
            }
        }
        unreachable!("the loop returns")
    }

    /// The finished next version; None if it is the same as the old one.
    async fn next(&mut self, old: &Value, mut object: Value) -> Result<(Option<Value>, Findings), Status> {
        let call = self.call;
        self.check_preconditions(old, &object)?;
        if self.verbatim {
            return Ok((Some(object), Findings::default()));
        }
        let ask = Ask { old: Some(old), ..call.ask(Operation::Update, self.subresource, self.dry_run) };
        let mut findings = judge::mutate(&ask, self.manager, &mut object).await?;
        if let Err(status) = judge::admit(&ask, &mut object, &mut findings).await {
            self.warnings.extend(findings.warnings);
            return Err(status);
        }
        let changed = object != *old;
        Ok((changed.then_some(object), findings))
    }

    fn check_preconditions(&self, old: &Value, new: &Value) -> Result<(), Status> {
        let (uid, asked) = (write::text(old, "uid"), write::text(new, "uid"));
        // Of a patch it is a change like any other, of what does not change (rest/update.go Preconditions).
        if !asked.is_empty() && asked != uid && *self.call.method != http::Method::PATCH {
            return Err(other_uid(self.call, self.name, asked, uid, self.dry_run));
        }
        match named(new)? {
            Some(asked) if asked != write::text(old, "resourceVersion") => Err(self.call.conflict(self.name, MODIFIED)),
            None if self.call.kind().writes.conditional && !self.verbatim => {
                let error =
                    FieldError::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
                // Upstream names the resource here (registry/store.go Update).
                Err(Status::invalid(self.call.served.group(), &self.call.kind().plural, self.name, &[error]))
            }
            _ => Ok(()),
        }
    }
}

/// Another object is meant (storage/interfaces.go Preconditions.Check).
fn other_uid(call: &Call<'_>, name: &str, asked: &str, uid: &str, dry_run: bool) -> Status {
    let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}");
    call.conflict(name, &call.invalid_object(name, dry_run, &why))
}
