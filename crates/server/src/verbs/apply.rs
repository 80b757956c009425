//! Server-side apply: a configuration, merged with what others own; it creates what is not there.
//!
//! The sets of fields are computed by `api::managed`, as at every write (`judge`); handlers/patch.go.

use api::Status;
use api::decode;
use api::managed::{self, Write};
use http::StatusCode;
use serde_json::Value;

use crate::answer::{Payload, Reply};
use crate::rendition::Rendition;
use crate::verbs::Call;
use crate::verbs::create::{insert, place};
use crate::verbs::options::WriteOptions;
use crate::verbs::update::{Update, check_name, named, reply};
use crate::{slow, write};

/// An apply patch.
pub async fn apply(call: Call<'_>, subresource: &str) -> Result<Reply, Status> {
    let WriteOptions { manager, dry_run, validation, force } = WriteOptions::of(&call)?;
    let decode::Decoded { value: applied, mut warnings } = match decode::applied_json(&call.body) {
        Some(decoded) => decoded,
        None => slow::reading_yaml(&call.body, || decode::applied(&call.body, validation))?,
    };
    check_version(&applied)?;
    let (api_version, time) = (call.served.api_version(), call.server.now());
    let (of, resets) = (call.served.schema(), call.kind().resets(subresource));
    let write = Write { schema: of, api_version: &api_version, manager: &manager, subresource, time: &time, resets };
    // What the configuration itself gets wrong is told before it is merged.
    managed::check_applied(&write, &applied)?;
    let missing = call.server.0.store.get(call.key(call.name()).as_str()).is_none();
    // The configuration is merged as it came; what the path says counts for what was made of it (handlers/patch.go).
    let merge = |live: Option<&Value>| -> Result<Value, Status> {
        let merged = managed::apply(&write, live, &applied, force)?;
        let mut object = decode::converted(merged, of).map_err(|why| unconverted(&applied, &why))?;
        place(&call, &mut object)?;
        check_name(&call, &object)?;
        call.to_stored(&mut object);
        Ok(object)
    };
    if missing && subresource.is_empty() {
        call.authorize("create")?;
        let mut object = merge(None)?;
        // A revision is no hindrance, but must be one (registry/store.go Update).
        named(&object)?;
        write::metadata(&mut object).remove("resourceVersion");
        let uid = write::text(&object, "uid");
        if !uid.is_empty() {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(call.conflict(call.name(), &why));
        }
        let entry = insert(&call, object, None, dry_run, &mut warnings).await;
        let entry = entry.map_err(|status| status.warned(&warnings))?;
        let payload =
            Payload::Object { served: call.served.clone(), rendition: std::sync::Arc::new(Rendition::new(entry)) };
        return Ok(Reply::new(StatusCode::CREATED, payload).warned(warnings));
    }
    let name = call.name();
    let mut update = Update { call: &call, name, subresource, manager: None, verbatim: false, dry_run, warnings };
    let entry = update.run(|old| merge(Some(&call.in_version(old)))).await;
    let entry = entry.map_err(|status| status.warned(&update.warnings))?;
    let warnings = std::mem::take(&mut update.warnings);
    Ok(reply(&call, entry, warnings, dry_run))
}

/// A configuration names its own version and kind (managedfields/internal/{structuredmerge,typeconverter}.go).
fn check_version(applied: &Value) -> Result<(), Status> {
    if !matches!(applied, Value::Object(_) | Value::Null) {
        let why = "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go \
                   value of type map[string]interface {}";
        return Err(Status::bad_request(why));
    }
    let text = |field: &str| applied[field].as_str().unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version.is_empty() || kind.is_empty() {
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(Status::bad_request(format!("invalid object type: {slash}{version}, Kind={kind}")));
    }
    Ok(())
}

/// What was merged has a value that its field cannot hold (managedfields/internal/structuredmerge.go Apply).
fn unconverted(applied: &Value, why: &str) -> Status {
    let version = applied["apiVersion"].as_str().unwrap_or_default();
    let slash = if version.contains('/') { "" } else { "/" };
    let kind = format!("{slash}{version}, Kind={}", applied["kind"].as_str().unwrap_or_default());
    let (namespace, name) = (write::text(applied, "namespace"), write::text(applied, "name"));
    Status::unknown(format!(
        "failed to convert new object ({namespace}/{name}; {kind}) to proper version: unable to convert unstructured \
         object to {kind}: {why}"
    ))
}

#[cfg(test)]
mod tests;
