//! Who owns which top-level field: a write changes what is its own, and nothing else (law 3).
//!
//! The row's subresources say it (`owns`, `shares`); no hook does. Metadata belongs to every write,
//! within what the server keeps of it, unless the subresource resets it.

use api::tree;
use serde_json::Value;

use crate::kind::{Context, Kind};

impl Kind {
    /// Puts back what the write may not change: first what other parts of the object own (law 3), then
    /// what the row's hook knows of.
    pub fn prepare(&self, object: &mut Value, old: Option<&Value>, context: &Context) {
        keep(self, object, old, &context.subresource);
        (self.hooks.prepare)(self, object, old, context);
    }
}

/// Puts every field that the write does not own back as it stands in `old`; at create (`old` is None)
/// drops what subresources own. An empty `subresource` is the object itself.
fn keep(kind: &Kind, object: &mut Value, old: Option<&Value>, subresource: &str) {
    match (old, kind.subresource(subresource)) {
        (None, _) => {
            let Some(map) = object.as_object_mut() else { return };
            for part in kind.subresources.iter().filter(|part| !part.at_create) {
                map.retain(|field, _| !part.owns.contains(&field.as_str()));
            }
            // A client sees the empty status that upstream's types always write.
            if let Some(of) = api::schema::get(&kind.schema) {
                of.complete(map);
            }
        }
        (Some(old), None) => {
            for field in kind.subresources.iter().flat_map(|part| part.owns) {
                tree::keep(object, old, field);
            }
        }
        (Some(old), Some(part)) => {
            let own = |field: &str| field == "metadata" || part.owns.contains(&field) || part.shares.contains(&field);
            if part.resets.contains(&["metadata"].as_slice()) {
                keep_metadata(object, old);
            }
            let Some(map) = object.as_object_mut() else { return };
            map.retain(|field, _| own(field) || old.get(field).is_some());
            for (field, value) in old.as_object().into_iter().flatten().filter(|(field, _)| !own(field)) {
                map.insert(field.clone(), value.clone());
            }
        }
    }
}

/// All of it but who manages which field, which tells of this write too (metav1.ResetObjectMetaForStatus).
fn keep_metadata(object: &mut Value, old: &Value) {
    let managers = object["metadata"].get("managedFields").cloned();
    tree::keep(object, old, "metadata");
    if let Some(managers) = managers {
        object["metadata"]["managedFields"] = managers;
    }
}

#[cfg(test)]
mod tests;
