//! Event: something that happened to an object. One stored form, served in two groups.
//!
//! The stored form is core/v1; events.k8s.io/v1 only names the fields otherwise
//! (pkg/apis/events/v1/conversion.go). Events expire; the server sees to that.

use serde_json::{Value, json};

use super::shared::*;
use crate::kind::{Column, DeleteStrategy, FieldSelector, Hooks, Kind, Version};
use crate::validate::event;
use crate::{age, tree};

pub static EVENT: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    schema: "io.k8s.api.core.v1.Event",
    verbs: ALL_VERBS,
    subresources: &[],
    columns: &[
        column("Last Seen", "The time since it last happened.", |event, now| json!(last_seen(event, now))),
        column("Type", "Normal or Warning.", |event, _| json!(tree::text(event, "type"))),
        column("Reason", "Why, in one word.", |event, _| json!(tree::text(event, "reason"))),
        column("Object", "What it happened to.", |event, _| json!(target(event))),
        wide("Subobject", "The part of the object.", |event, _| json!(tree::text(event, "involvedObject.fieldPath"))),
        wide("Source", "Who reported it.", |event, _| json!(source(event))),
        column("Message", "What happened.", |event, _| json!(tree::text(event, "message").trim())),
        wide("First Seen", "The time since it first happened.", |event, now| json!(first_seen(event, now))),
        wide("Count", "How often it happened.", |event, _| json!(count(event))),
        Column { priority: 1, ..NAME },
    ],
    field_selectors: &[
        field("involvedObject.kind"),
        field("involvedObject.namespace"),
        field("involvedObject.name"),
        field("involvedObject.uid"),
        field("involvedObject.apiVersion"),
        field("involvedObject.resourceVersion"),
        field("involvedObject.fieldPath"),
        field("reason"),
        field("reportingComponent"),
        FieldSelector { name: "source", value: source_field },
        field("type"),
        // The names in events.k8s.io.
        FieldSelector { name: "regarding.kind", value: |e| tree::text(e, "involvedObject.kind").into() },
        FieldSelector { name: "regarding.namespace", value: |e| tree::text(e, "involvedObject.namespace").into() },
        FieldSelector { name: "regarding.name", value: |e| tree::text(e, "involvedObject.name").into() },
        FieldSelector { name: "regarding.uid", value: |e| tree::text(e, "involvedObject.uid").into() },
        FieldSelector { name: "regarding.apiVersion", value: |e| tree::text(e, "involvedObject.apiVersion").into() },
        FieldSelector {
            name: "regarding.resourceVersion",
            value: |e| tree::text(e, "involvedObject.resourceVersion").into(),
        },
        FieldSelector { name: "regarding.fieldPath", value: |e| tree::text(e, "involvedObject.fieldPath").into() },
        FieldSelector { name: "reportingController", value: |e| tree::text(e, "reportingComponent").into() },
    ],
    versions: &[Version {
        group: "events.k8s.io",
        version: "v1",
        schema: "io.k8s.api.events.v1.Event",
        from_stored,
        to_stored,
    }],
    hooks: Hooks {
        prepare: prepare_nothing,
        // Upstream writes these two even if they are empty.
        default: |event| {
            tree::set_default(event, "reportingComponent", "");
            tree::set_default(event, "reportingInstance", "");
        },
        validate: event::validate_event,
        warnings: warn_nothing,
    },
    delete: DeleteStrategy::Immediate,
};

/// The same field in core/v1 and in events.k8s.io/v1.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn from_stored(event: &mut Value) {
    rename(event, RENAMED.iter().copied(), "events.k8s.io/v1");
}

fn to_stored(event: &mut Value) {
    rename(event, RENAMED.iter().map(|(core, new)| (*new, *core)), "v1");
}

fn rename(event: &mut Value, names: impl Iterator<Item = (&'static str, &'static str)>, api_version: &str) {
    let Some(map) = event.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.into(), value);
        }
    }
    map.insert("apiVersion".into(), json!(api_version));
}

/// A selector whose name is its path.
const fn field(name: &'static str) -> FieldSelector {
    // A function pointer cannot close over the name, so each name has its own arm.
    FieldSelector {
        name,
        value: match name.as_bytes() {
            b"involvedObject.kind" => |e| tree::text(e, "involvedObject.kind").into(),
            b"involvedObject.namespace" => |e| tree::text(e, "involvedObject.namespace").into(),
            b"involvedObject.name" => |e| tree::text(e, "involvedObject.name").into(),
            b"involvedObject.uid" => |e| tree::text(e, "involvedObject.uid").into(),
            b"involvedObject.apiVersion" => |e| tree::text(e, "involvedObject.apiVersion").into(),
            b"involvedObject.resourceVersion" => |e| tree::text(e, "involvedObject.resourceVersion").into(),
            b"involvedObject.fieldPath" => |e| tree::text(e, "involvedObject.fieldPath").into(),
            b"reason" => |e| tree::text(e, "reason").into(),
            b"reportingComponent" => |e| tree::text(e, "reportingComponent").into(),
            _ => |e| tree::text(e, "type").into(),
        },
    }
}

fn source_field(event: &Value) -> String {
    match tree::text(event, "source.component") {
        "" => tree::text(event, "reportingComponent").into(),
        component => component.into(),
    }
}

fn first_seen(event: &Value, now: &str) -> String {
    match tree::text(event, "firstTimestamp") {
        "" => age::since(tree::text(event, "eventTime"), now),
        time => age::since(time, now),
    }
}

fn last_seen(event: &Value, now: &str) -> String {
    if tree::has(event, "series") {
        return age::since(tree::text(event, "series.lastObservedTime"), now);
    }
    match tree::text(event, "lastTimestamp") {
        "" => first_seen(event, now),
        time => age::since(time, now),
    }
}

/// Events of the new API carry no count until they repeat.
fn count(event: &Value) -> i64 {
    match tree::int(event, "series.count") {
        Some(count) => count,
        None => tree::int(event, "count").unwrap_or(0).max(1),
    }
}

fn target(event: &Value) -> String {
    let kind = tree::text(event, "involvedObject.kind").to_lowercase();
    match tree::text(event, "involvedObject.name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let instance = match tree::text(event, "source.host") {
        "" => tree::text(event, "reportingInstance"),
        host => host,
    };
    match (source_field(event), instance) {
        (component, "") => component,
        (component, instance) => format!("{component}, {instance}"),
    }
}
