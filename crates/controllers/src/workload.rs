//! What all controllers of pods share: whose pods they are, how they are made and ended.
//!
//! Law: a decision is made on what the caches show, and a controller that wrote waits until its cache shows that, so
//! that what was counted before is not made twice (no expectations to keep, none to lose).

/// Whose an object is: adoption and release.
pub mod claim;
/// Names for what a template says.
pub mod hash;
/// What of a pod counts for its controller.
pub mod pod;
/// Pods are made of a template, and ended.
pub mod pods;
/// Whom to end first.
pub mod rank;
/// Histories of templates.
pub mod revisions;

use api::Object;
use serde_json::{Value, json};

/// A number, or a percentage of the whole, rounded up or down.
pub fn share(value: &Value, whole: i64, up: bool) -> Result<i64, String> {
    match value {
        Value::String(text) => {
            let digits =
                text.strip_suffix('%').filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
            // What is beyond any number is as good as the highest.
            let percent = digits.map(|digits| digits.parse::<i64>().unwrap_or(i64::MAX));
            let percent = percent.ok_or("invalid value for IntOrString: invalid type: string is not a percentage")?;
            Ok(percent.saturating_mul(whole).saturating_add(if up { 99 } else { 0 }).div_euclid(100))
        }
        number => Ok(number.as_i64().unwrap_or(0)),
    }
}

/// What a dependent says of the one that manages it.
pub fn controller_of(owner: &Object) -> Value {
    let meta = owner.meta();
    json!({"apiVersion": meta.api_version, "kind": meta.kind, "name": meta.name, "uid": meta.uid,
        "controller": true, "blockOwnerDeletion": true})
}
