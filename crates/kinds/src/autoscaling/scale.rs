//! Scale: how many pods of an object there shall be and are, whatever its kind.
//!
//! No row of the table: it is never stored, only made of an object and taken back into it
//! (pkg/registry/apps/deployment/storage, ScaleREST).

use std::sync::LazyLock;

use api::schema::{self, Of};
use api::{FieldError, Status, tree};
use serde_json::{Map, Value, json};

use crate::row::*;
use crate::validate::at::{At, Errors, non_negative};
use crate::validate::meta;
use crate::{Kinds, Served};

pub const SCHEMA: &str = "io.k8s.api.autoscaling.v1.Scale";
pub const API_VERSION: &str = "autoscaling/v1";

/// In which form a Scale is encoded and shown.
pub fn served() -> Served {
    static KINDS: LazyLock<Kinds> = LazyLock::new(|| Kinds::new([row()]));
    KINDS.served("autoscaling", "v1", "scales").expect("it is the only row")
}

fn row() -> Kind {
    Kind {
        columns: vec![
            NAME,
            count("Desired", "How many pods there shall be.", "spec.replicas"),
            count("Available", "How many there are.", "status.replicas"),
            AGE,
        ],
        ..Kind::namespaced(API_VERSION, "Scale", "scales")
    }
}

/// The Scale of a stored object.
///
/// # Errors
/// 400 where its selector cannot be read.
pub fn of(kind: &Kind, object: &Value) -> Result<Value, Status> {
    let kept = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];
    let metadata = object["metadata"].as_object().into_iter().flatten();
    let metadata: Map<String, Value> =
        metadata.filter(|(field, _)| kept.contains(&field.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
    let number = |path: &str| tree::int(object, path).unwrap_or(0);
    let mut scale = json!({"apiVersion": API_VERSION, "kind": "Scale", "metadata": metadata, "spec": {},
        "status": {"replicas": number("status.replicas")}});
    if number("spec.replicas") != 0 {
        scale["spec"]["replicas"] = json!(number("spec.replicas"));
    }
    let selector = tree::at(object, "spec.selector");
    let selector = match selects_by_map(kind) {
        true => json!({"matchLabels": selector}),
        false => selector.clone(),
    };
    let line = api::selector::line(&selector).map_err(|status| Status::bad_request(status.message))?;
    if !line.is_empty() {
        scale["status"]["selector"] = json!(line);
    }
    Ok(scale)
}

/// Labels, and no LabelSelector.
fn selects_by_map(kind: &Kind) -> bool {
    let spec = schema::get(&kind.schema).and_then(|of| of.field("spec")?.of.target());
    spec.and_then(|spec| spec.field("selector")).is_some_and(|field| matches!(field.of, Of::Map(_)))
}

/// What a Scale says, taken into the object that it is of. What it does not say of who the object is holds for any.
pub fn into(scale: &Value, object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(spec) = tree::child(&mut object, "spec") {
        spec["replicas"] = json!(tree::int(scale, "spec.replicas").unwrap_or(0));
    }
    if let Some(metadata) = tree::child(&mut object, "metadata") {
        for field in ["resourceVersion", "uid"] {
            tree::keep(metadata, &scale["metadata"], field);
        }
    }
    object
}

/// All that is wrong with a Scale: of its metadata nothing counts but the managers.
pub fn validate(scale: &Value) -> Vec<FieldError> {
    let at = At::root(scale);
    let mut errors = Errors::new();
    meta::managed_fields(&at.get("metadata"), &mut errors);
    non_negative(&at.get("spec").get("replicas"), &mut errors);
    errors
}

#[cfg(test)]
mod tests;
