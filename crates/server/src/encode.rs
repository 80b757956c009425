//! From a tree to the bytes that are stored: canonical JSON, cut where the revision will stand.
//!
//! Maps are sorted bytewise, so `metadata.resourceVersion` has one place. Both halves share one
//! buffer; the store joins them with the revision between, once.

use bytes::Bytes;
use serde_json::{Map, Value};

const VERSION: &str = "resourceVersion";

/// Encodes an object; whatever resourceVersion the tree holds is left out.
pub fn split(object: &Value) -> store::Value {
    let mut out = Vec::with_capacity(1024);
    let empty = Map::new();
    let fields = object.as_object().unwrap_or(&empty);
    let mut cut = None;
    out.push(b'{');
    for (index, (key, value)) in fields.iter().enumerate() {
        name(&mut out, key, index == 0);
        match value {
            Value::Object(metadata) if key == "metadata" => cut = Some(self::metadata(&mut out, metadata)),
            _ => json(&mut out, value),
        }
    }
    out.push(b'}');
    let cut = cut.expect("an object that is written has metadata");
    let bytes = Bytes::from(out);
    store::Value { head: bytes.slice(..cut), tail: bytes.slice(cut..) }
}

/// The same, joined with a revision: what a dry run answers.
pub fn joined(object: &Value, revision: &str) -> Bytes {
    let value = split(object);
    [&value.head[..], revision.as_bytes(), &value.tail].concat().into()
}

/// Writes the metadata and returns where the revision goes.
fn metadata(out: &mut Vec<u8>, metadata: &Map<String, Value>) -> usize {
    let mut cut = None;
    let mut first = true;
    out.push(b'{');
    let slot = |out: &mut Vec<u8>, first: bool| {
        name(out, VERSION, first);
        out.push(b'"');
        let at = out.len();
        out.push(b'"');
        at
    };
    for (key, value) in metadata {
        if key == VERSION {
            continue;
        }
        if cut.is_none() && key.as_str() > VERSION {
            cut = Some(slot(out, first));
            first = false;
        }
        name(out, key, first);
        json(out, value);
        first = false;
    }
    let cut = cut.unwrap_or_else(|| slot(out, first));
    out.push(b'}');
    cut
}

fn name(out: &mut Vec<u8>, key: &str, first: bool) {
    if !first {
        out.push(b',');
    }
    serde_json::to_writer(&mut *out, key).expect("a string is written to memory");
    out.push(b':');
}

fn json(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a tree is written to memory");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_revision_stands_where_sorting_puts_it() {
        for metadata in [json!({"name": "a", "uid": "u"}), json!({"name": "a"}), json!({}), json!({"uid": "u"})] {
            let object = json!({"apiVersion": "v1", "kind": "X", "metadata": metadata, "spec": {"b": 1, "a": [null]}});
            let text = joined(&object, "42");
            let mut want = object.clone();
            want["metadata"]["resourceVersion"] = json!("42");
            assert_eq!(std::str::from_utf8(&text).unwrap(), want.to_string());
            // What was there before does not survive.
            assert_eq!(joined(&want, "42"), text);
        }
    }
}
