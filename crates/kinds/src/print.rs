//! Tables (`meta.k8s.io/v1`): the rows that `kubectl get` prints, and the metadata-only form.
//!
//! Matches apiserver pkg/registry/rest/table.go and endpoints/handlers/response.go. The caller adds
//! list metadata and, for objects of a converted version, converts the row's object itself.

use serde_json::{Map, Value, json};

use crate::Kind;

/// What a row carries beside its cells: the `includeObject` of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

impl Include {
    /// The query's value; None if it is none of upstream's.
    pub fn parse(text: &str) -> Option<Include> {
        match text {
            "" | "Metadata" => Some(Include::Metadata),
            "None" => Some(Include::None),
            "Object" => Some(Include::Object),
            _ => None,
        }
    }
}

/// A `Table` of objects in their stored form; `now` is RFC 3339.
pub fn table<'a>(kind: &Kind, objects: impl IntoIterator<Item = &'a Value>, now: &str, include: Include) -> Value {
    let rows: Vec<Value> = objects.into_iter().map(|object| row(kind, object, now, include)).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": columns(kind),
        "rows": rows,
    })
}

/// The columns alone: later events of a watch leave them out.
pub fn columns(kind: &Kind) -> Value {
    let column = |c: &crate::kind::Column| {
        json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description,
            "priority": c.priority})
    };
    kind.columns.iter().map(column).collect()
}

pub fn row(kind: &Kind, object: &Value, now: &str, include: Include) -> Value {
    let cells: Vec<Value> = kind.columns.iter().map(|c| c.of(object, now)).collect();
    let mut row = json!({ "cells": cells });
    match include {
        Include::None => row["object"] = Value::Null,
        Include::Metadata => row["object"] = partial(object),
        Include::Object => row["object"] = object.clone(),
    }
    if let Some(condition) = (kind.hooks.row_condition)(object) {
        row["conditions"] = json!([condition]);
    }
    row
}

/// `PartialObjectMetadata`: the object's metadata and nothing else.
pub fn partial(object: &Value) -> Value {
    let metadata = object.get("metadata").cloned().unwrap_or_else(|| Value::Object(Map::new()));
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// `PartialObjectMetadataList`; the caller adds list metadata.
pub fn partial_list<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Value {
    let items: Vec<Value> = objects.into_iter().map(partial).collect();
    json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items})
}
