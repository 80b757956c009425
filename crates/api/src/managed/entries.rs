//! `metadata.managedFields` as data: who owns which fields, since when.
//!
//! Upstream: apimachinery util/managedfields/internal (managedfields.go, capmanagers.go).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Operation;
use super::set::Set;

/// More updaters than this are merged into one.
const UPDATERS_MAX: usize = 10;
const OLD_UPDATES: &str = "ancient-changes";

/// What one manager owns by one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub manager: String,
    pub operation: Operation,
    pub api_version: String,
    pub subresource: String,
    /// RFC 3339.
    pub time: Option<String>,
    pub owns: Owned,
}

/// What an entry owns: as it was stored, until somebody needs more of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Owned {
    /// FieldsV1.
    Stored(Value),
    Set(Set),
}

impl Entry {
    /// Whether they are one manager's: an applier is the same in every version.
    pub fn is_same(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    pub fn set(&self) -> Cow<'_, Set> {
        match &self.owns {
            Owned::Stored(fields) => Cow::Owned(Set::from_fields(fields)),
            Owned::Set(set) => Cow::Borrowed(set),
        }
    }

    /// Takes fields from it; what it does not own costs no decoding.
    pub fn disown(&mut self, changed: &Set) {
        let touched = match &self.owns {
            Owned::Stored(fields) => changed.meets(fields),
            Owned::Set(_) => true,
        };
        if touched {
            self.owns = Owned::Set(self.set().into_owned().difference(changed));
        }
    }

    pub fn is_empty(&self) -> bool {
        match &self.owns {
            Owned::Stored(fields) => fields.as_object().is_none_or(Map::is_empty),
            Owned::Set(set) => set.is_empty(),
        }
    }

    fn read(value: &Value) -> Option<Entry> {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_string();
        let operation = match value["operation"].as_str() {
            Some("Apply") => Operation::Apply,
            Some("Update") => Operation::Update,
            _ => return None,
        };
        if text("apiVersion").is_empty() || text("fieldsType") != "FieldsV1" {
            return None;
        }
        Some(Entry {
            manager: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: value["time"].as_str().map(str::to_string),
            owns: Owned::Stored(value["fieldsV1"].clone()),
        })
    }

    fn write(&self) -> Value {
        let mut entry = Map::new();
        for (key, text) in [("manager", &self.manager), ("subresource", &self.subresource)] {
            if !text.is_empty() {
                entry.insert(key.into(), json!(text));
            }
        }
        if let Some(time) = &self.time {
            entry.insert("time".into(), json!(time));
        }
        entry.insert("operation".into(), json!(self.operation.as_str()));
        entry.insert("apiVersion".into(), json!(self.api_version));
        entry.insert("fieldsType".into(), json!("FieldsV1"));
        let fields = match &self.owns {
            Owned::Stored(fields) => fields.clone(),
            Owned::Set(set) => set.to_fields(),
        };
        entry.insert("fieldsV1".into(), fields);
        Value::Object(entry)
    }
}

/// The entries of an object; None: they cannot be read.
pub fn read(object: &Value) -> Option<Vec<Entry>> {
    match &object["metadata"]["managedFields"] {
        Value::Array(entries) => entries.iter().map(Entry::read).collect(),
        _ => Some(Vec::new()),
    }
}

/// An empty list, or a single empty entry, asks for all ownership to be forgotten.
pub fn is_reset(object: &Value) -> bool {
    match object["metadata"]["managedFields"].as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

pub fn take(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Appliers first, then by time, manager, version and subresource.
pub fn write(object: &mut Value, mut entries: Vec<Entry>) {
    take(object);
    if entries.is_empty() {
        return;
    }
    entries.sort_by(|a, b| {
        let key = |e: &Entry| (e.operation.as_str(), e.time.clone(), e.manager.clone());
        key(a).cmp(&key(b)).then_with(|| (&a.api_version, &a.subresource).cmp(&(&b.api_version, &b.subresource)))
    });
    let metadata = object.as_object_mut().map(|o| o.entry("metadata").or_insert_with(|| json!({})));
    if let Some(metadata) = metadata.and_then(Value::as_object_mut) {
        metadata.insert("managedFields".into(), entries.iter().map(Entry::write).collect());
    }
}

/// Merges the oldest updaters of each version while there are too many.
pub fn cap(entries: &mut Vec<Entry>) {
    let is_updater = |e: &Entry| e.operation == Operation::Update;
    let mut updaters: Vec<Entry> = entries.iter().filter(|e| is_updater(e)).cloned().collect();
    if updaters.len() <= UPDATERS_MAX {
        return;
    }
    entries.retain(|e| !is_updater(e));
    updaters.sort_by(|a, b| (&a.time, &a.manager).cmp(&(&b.time, &b.manager)));
    let mut excess = updaters.len() - UPDATERS_MAX;
    // By version, the oldest entry and what it takes over: united at the end, there may be thousands.
    let mut oldest: BTreeMap<String, (usize, Vec<Set>)> = BTreeMap::new();
    let mut kept: Vec<Entry> = Vec::new();
    for entry in updaters {
        match oldest.get_mut(&entry.api_version) {
            Some((at, sets)) if excess > 0 => {
                let oldest = &mut kept[*at];
                oldest.manager = OLD_UPDATES.into();
                oldest.subresource.clear();
                oldest.time = entry.time.clone();
                sets.push(entry.set().into_owned());
                excess -= 1;
            }
            found => {
                if found.is_none() {
                    oldest.insert(entry.api_version.clone(), (kept.len(), Vec::new()));
                }
                kept.push(entry);
            }
        }
    }
    for (at, mut sets) in oldest.into_values().filter(|(_, sets)| !sets.is_empty()) {
        sets.push(kept[at].set().into_owned());
        kept[at].owns = Owned::Set(Set::all(sets));
    }
    entries.extend(kept);
}
