//! ConfigMap: settings as key and value, text or bytes.

use api::FieldError;
use serde_json::{Value, json};

use crate::keys::{SIZE_MAX, decoded_len, frozen, key_name, keys};
use crate::row::*;
use crate::validate::at::At;

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![
            NAME,
            computed("Data", "The number of keys.", |map, _| json!(keys(map, "data") + keys(map, "binaryData"))),
            AGE,
        ],
        hooks: Hooks { validate, ..HOOKS },
        ..Kind::namespaced("v1", "ConfigMap", "configmaps").judged_as_new().short("cm")
    }
}

fn validate(kind: &Kind, map: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, map, old);
    if let Some(old) = old {
        frozen(map, old, &["data", "binaryData"], &mut errors);
    }
    let at = At::root(map);
    let (text, bytes) = (at.get("data"), at.get("binaryData"));
    let mut size = 0;
    for (key, value) in text.entries() {
        key_name(key, &value, &mut errors);
        if bytes.value.get(key).is_some() {
            errors.push(value.invalid_as(key.as_str(), "duplicate of key present in binaryData"));
        }
        size += value.text().len();
    }
    for (key, value) in bytes.entries() {
        key_name(key, &value, &mut errors);
        size += decoded_len(value.text());
    }
    if size > SIZE_MAX {
        errors.push(FieldError::too_long("", SIZE_MAX));
    }
    errors
}
