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
use crate::verbs::create::{check_kind, insert, place};
use crate::verbs::options::WriteOptions;
use crate::verbs::update::{Update, check_name, reply};
use crate::{slow, write};

/// An apply patch.
pub async fn apply(call: Call<'_>, subresource: &str) -> Result<Reply, Status> {
    let WriteOptions { manager, dry_run, validation, force } = WriteOptions::of(&call)?;
    let decode::Decoded { value: mut applied, mut warnings } = match decode::applied_json(&call.body) {
        Some(decoded) => decoded,
        None => slow::reading_yaml(&call.body, || decode::applied(&call.body, validation))?,
    };
    check_version(&call, &applied)?;
    let (api_version, time) = (call.served.api_version(), call.server.now());
    let (schema, resets) = (call.served.schema(), call.kind().resets(subresource));
    let write = Write { schema, api_version: &api_version, manager: &manager, subresource, time: &time, resets };
    // What the configuration itself gets wrong is told before it is merged.
    managed::check_applied(&write, &applied)?;
    check_kind(&call, &applied)?;
    place(&call, &mut applied)?;
    let missing = call.server.0.store.get(call.key(call.name()).as_str()).is_none();
    // What is there has its name already.
    if !missing && write::text(&applied, "name").is_empty() {
        write::metadata(&mut applied).insert("name".into(), call.name().into());
    }
    check_name(&call, &applied)?;
    warnings.extend(decode::tree(applied.clone(), call.served.schema(), validation)?.warnings);
    let merge = |live: Option<&Value>| -> Result<Value, Status> {
        let merged = managed::apply(&write, live, &applied, force)?;
        let mut object = decode::tree(merged, call.served.schema(), decode::FieldValidation::Ignore)?.value;
        call.to_stored(&mut object);
        Ok(object)
    };
    if missing && subresource.is_empty() {
        call.authorize("create")?;
        let uid = write::text(&applied, "uid");
        if !uid.is_empty() {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(call.conflict(call.name(), &why));
        }
        let entry = insert(&call, merge(None)?, None, dry_run, &mut warnings).await?;
        let payload =
            Payload::Object { served: call.served.clone(), rendition: std::sync::Arc::new(Rendition::new(entry)) };
        return Ok(Reply::new(StatusCode::CREATED, payload).warned(warnings));
    }
    let name = call.name();
    let mut update = Update { call: &call, name, subresource, manager: None, verbatim: false, dry_run, warnings };
    let entry = update.run(|old| merge(Some(&call.in_version(old)))).await?;
    let warnings = std::mem::take(&mut update.warnings);
    Ok(reply(&call, entry, warnings, dry_run))
}

/// A configuration names its own version and kind (managedfields/internal/{structuredmerge,typeconverter}.go).
fn check_version(call: &Call<'_>, applied: &Value) -> Result<(), Status> {
    if !matches!(applied, Value::Object(_) | Value::Null) {
        let why = "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go \
                   value of type map[string]interface {}";
        return Err(Status::bad_request(why));
    }
    let text = |field: &str| applied[field].as_str().unwrap_or_default();
    let (version, kind, want) = (text("apiVersion"), text("kind"), call.served.api_version());
    if version.is_empty() || kind.is_empty() {
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(Status::bad_request(format!("invalid object type: {slash}{version}, Kind={kind}")));
    }
    if version != want {
        return Err(Status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {want}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
