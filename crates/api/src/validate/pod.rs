//! Rules of the pod family.

use serde_json::Value;

use crate::FieldError;
use crate::kind::Context;

pub fn validate(_: &Value, _: Option<&Value>, _: &Context) -> Vec<FieldError> {
    Vec::new()
}

pub fn warnings(_: &Value, _: Option<&Value>) -> Vec<String> {
    Vec::new()
}
