//! Event: something that happened to an object. One stored form, served in two groups.
//!
//! The stored form is core/v1; events.k8s.io/v1 only names the fields otherwise
//! (pkg/apis/events/v1/conversion.go). They expire.

use std::time::Duration;

use api::{Resource, age, tree};
use serde_json::{Value, json};

use crate::row::*;

mod validate;

/// How long one is kept after it was last written (upstream's --event-ttl).
const TTL: Duration = Duration::from_secs(3600);

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![
            computed("Last Seen", "The time since it last happened.", |event, now| json!(last_seen(event, now))),
            text("Type", "Normal or Warning.", "type"),
            text("Reason", "Why, in one word.", "reason"),
            computed("Object", "What it happened to.", |event, _| json!(target(event))),
            wide(text("Subobject", "The part of the object.", "involvedObject.fieldPath")),
            wide(computed("Source", "Who reported it.", |event, _| json!(source(event)))),
            computed("Message", "What happened.", |event, _| json!(tree::text(event, "message").trim())),
            wide(computed("First Seen", "The time since it first happened.", |event, now| {
                json!(first_seen(event, now))
            })),
            wide(computed("Count", "How often it happened.", |event, _| json!(count(event)))),
            wide(NAME),
        ],
        field_selectors: vec![
            field("involvedObject.kind"),
            field("involvedObject.namespace"),
            field("involvedObject.name"),
            field("involvedObject.uid"),
            field("involvedObject.apiVersion"),
            field("involvedObject.resourceVersion"),
            field("involvedObject.fieldPath"),
            field("reason"),
            field("reportingComponent"),
            made("source", source_field),
            field("type"),
            // The names in events.k8s.io.
            renamed("regarding.kind", "involvedObject.kind"),
            renamed("regarding.namespace", "involvedObject.namespace"),
            renamed("regarding.name", "involvedObject.name"),
            renamed("regarding.uid", "involvedObject.uid"),
            renamed("regarding.apiVersion", "involvedObject.apiVersion"),
            renamed("regarding.resourceVersion", "involvedObject.resourceVersion"),
            renamed("regarding.fieldPath", "involvedObject.fieldPath"),
            renamed("reportingController", "reportingComponent"),
        ],
        versions: vec![Version {
            resource: Resource::namespaced("events.k8s.io/v1", "Event", "events"),
            schema: "io.k8s.api.events.v1.Event".into(),
            from_stored,
            to_stored,
        }],
        hooks: Hooks {
            // Upstream writes these two even if they are empty.
            default: |_, event| {
                tree::set_default(event, "reportingComponent", "");
                tree::set_default(event, "reportingInstance", "");
            },
            validate: validate::validate,
            ..HOOKS
        },
        writes: Writes { put_creates: true, ttl: Some(TTL), tells_of, ..WRITES },
        ..Kind::namespaced("v1", "Event", "events").short("ev")
    }
}

/// How a pod ends is told on a full disk too.
fn tells_of(event: &Value) -> Option<Told<'_>> {
    let about = tree::at(event, "involvedObject");
    (about["kind"] == "Pod").then(|| Told {
        api_version: "v1",
        kind: "Pod",
        namespace: tree::text(about, "namespace"),
        name: tree::text(about, "name"),
        uid: tree::text(about, "uid"),
    })
}

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
    rename(event, RENAMED.iter().copied());
}

fn to_stored(event: &mut Value) {
    rename(event, RENAMED.iter().map(|(core, new)| (*new, *core)));
}

fn rename(event: &mut Value, names: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(map) = event.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.into(), value);
        }
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
