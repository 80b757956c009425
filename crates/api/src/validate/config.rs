//! Rules of the config family.

use serde_json::Value;

use crate::FieldError;
use crate::kind::Context;

pub fn validate_config_map(_: &Value, _: Option<&Value>, _: &Context) -> Vec<FieldError> {
    Vec::new()
}

pub fn validate_secret(_: &Value, _: Option<&Value>, _: &Context) -> Vec<FieldError> {
    Vec::new()
}

pub fn validate_service_account(_: &Value, _: Option<&Value>, _: &Context) -> Vec<FieldError> {
    Vec::new()
}
