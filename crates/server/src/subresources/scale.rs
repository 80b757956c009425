//! `scale`: how many pods there shall be, as a Scale, of any kind whose row has it.
//!
//! A write is one of the object itself: of its fields only `spec.replicas` changes, and is owned
//! (pkg/registry/apps/deployment/storage ScaleREST; apimachinery util/managedfields/scalehandler.go).

use std::sync::Arc;

use api::managed::{self, Write};
use api::patch::{self, PatchKind};
use api::{Status, decode};
use http::StatusCode;
use kinds::autoscaling::scale;
use serde_json::{Value, json};
use store::Entry;

use crate::answer::{Payload, Reply};
use crate::rendition::Rendition;
use crate::route::method_not_allowed;
use crate::verbs::Call;
use crate::verbs::create::unwritten;
use crate::verbs::options::WriteOptions;
use crate::verbs::update::{Update, check_name};
use crate::{slow, write};

pub async fn perform(call: Call<'_>, verb: &str) -> Result<Reply, Status> {
    match verb {
        "get" => get(&call),
        "update" => put(&call).await,
        "patch" => match PatchKind::of(call.content_type()) {
            Some(PatchKind::Apply) => apply(&call).await,
            Some(kind) => patch(&call, kind).await,
            None => Err(crate::verbs::unsupported()),
        },
        _ => Err(method_not_allowed()),
    }
}

fn get(call: &Call<'_>) -> Result<Reply, Status> {
    let entry = call.server.0.store.get(call.key(call.name()).as_str()).ok_or_else(|| call.not_found(call.name()))?;
    reply(call, &entry, Vec::new())
}

async fn put(call: &Call<'_>) -> Result<Reply, Status> {
    let asked = WriteOptions::of(call)?;
    let decoded = call.decode(scale::SCHEMA, asked.validation)?;
    let new = decoded.value;
    check_kind(&new)?;
    check_name(call, &new)?;
    run(call, &asked, Some(&asked.manager), decoded.warnings, |object| taken(call, &new, object)).await
}

async fn patch(call: &Call<'_>, kind: PatchKind) -> Result<Reply, Status> {
    let asked = WriteOptions::of(call)?;
    run(call, &asked, Some(&asked.manager), Vec::new(), |object| {
        let old = scale::of(call.kind(), object)?;
        let new = patch::patched(kind, scale::SCHEMA, &old, &call.body, asked.validation)?.value;
        check_kind(&new)?;
        taken(call, &new, object)
    })
    .await
}

/// A configuration of a Scale owns the replicas of the object, and nothing else.
async fn apply(call: &Call<'_>) -> Result<Reply, Status> {
    let asked = WriteOptions::of(call)?;
    let decoded = match decode::applied_json(&call.body) {
        Some(decoded) => decoded,
        None => slow::reading_yaml(&call.body, || decode::applied(&call.body, asked.validation))?,
    };
    let applied = decoded.value;
    let version = applied["apiVersion"].as_str().unwrap_or_default();
    // The object itself is of a version that is known here (managedfields/scalehandler.go), and no Scale.
    if version == call.served.api_version() {
        let slash = if version.contains('/') { "" } else { "/" };
        let kind = applied["kind"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!("invalid object type: {slash}{version}, Kind={kind}")));
    }
    if version != scale::API_VERSION {
        let want = scale::API_VERSION;
        return Err(Status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {want}"
        )));
    }
    check_kind(&applied)?;
    let mut warnings = decoded.warnings;
    let typed = decode::tree(applied, scale::SCHEMA, asked.validation)?;
    warnings.extend(typed.warnings);
    let (given, api_version, time) = (typed.value, call.served.api_version(), call.server.now());
    let write = Write {
        schema: call.served.schema(),
        api_version: &api_version,
        manager: &asked.manager,
        subresource: "scale",
        time: &time,
        resets: call.kind().resets("scale"),
    };
    let mut config = json!({"apiVersion": api_version, "kind": call.kind().kind,
        "metadata": {"name": call.name(), "namespace": call.namespace()}, "spec": {}});
    for field in ["resourceVersion", "uid"] {
        api::tree::keep(&mut config["metadata"], &given["metadata"], field);
    }
    api::tree::keep(&mut config["spec"], &given["spec"], "replicas");
    run(call, &asked, None, warnings, |object| {
        check(call, &given)?;
        let merged = managed::apply(&write, Some(&call.in_version(object)), &config, asked.force)?;
        let mut merged = decode::tree(merged, call.served.schema(), decode::FieldValidation::Ignore)?.value;
        call.to_stored(&mut merged);
        Ok(merged)
    })
    .await
}

async fn run(
    call: &Call<'_>,
    asked: &WriteOptions,
    manager: Option<&str>,
    warnings: Vec<String>,
    make: impl FnMut(&Value) -> Result<Value, Status>,
) -> Result<Reply, Status> {
    let (name, dry_run) = (call.name(), asked.dry_run);
    let mut update = Update { call, name, subresource: "scale", manager, verbatim: false, dry_run, warnings };
    let entry = update.run(make).await?;
    reply(call, &entry, update.warnings)
}

/// The object with what a Scale says.
fn taken(call: &Call<'_>, new: &Value, object: &Value) -> Result<Value, Status> {
    check(call, new)?;
    Ok(scale::into(new, object))
}

fn check(call: &Call<'_>, new: &Value) -> Result<(), Status> {
    let name = write::text(new, "name");
    if !name.is_empty() && name != call.name() {
        let message = format!("the name of the object ({name}) does not match the name on the URL ({})", call.name());
        return Err(Status::bad_request(message));
    }
    match &scale::validate(new)[..] {
        [] => Ok(()),
        errors => Err(Status::invalid("autoscaling", "Scale", call.name(), errors)),
    }
}

fn check_kind(new: &Value) -> Result<(), Status> {
    let (version, kind) = (new["apiVersion"].as_str().unwrap_or(""), new["kind"].as_str().unwrap_or(""));
    if matches!(version, "" | scale::API_VERSION) && matches!(kind, "" | "Scale") {
        return Ok(());
    }
    let is_known = api::schema::of_kind(version, kind).is_some();
    let version = version.rsplit('/').next().unwrap_or_default();
    let why = match is_known {
        true => format!(": converting ({version}.{kind}) to (autoscaling.Scale): unknown conversion"),
        false => String::new(),
    };
    Err(Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a Scale{why}")))
}

fn reply(call: &Call<'_>, entry: &Entry, warnings: Vec<String>) -> Result<Reply, Status> {
    let object: Value = serde_json::from_slice(&entry.bytes).map_err(|e| Status::internal(e.to_string()))?;
    let rendition = Arc::new(Rendition::new(unwritten(entry.key.clone(), &scale::of(call.kind(), &object)?)));
    Ok(Reply::new(StatusCode::OK, Payload::Object { served: scale::served(), rendition }).warned(warnings))
}

#[cfg(test)]
mod tests;
