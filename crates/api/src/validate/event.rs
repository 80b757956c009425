//! Rules of the event family.

use serde_json::Value;

use crate::FieldError;
use crate::kind::Context;

pub fn validate_event(_: &Value, _: Option<&Value>, _: &Context) -> Vec<FieldError> {
    Vec::new()
}
