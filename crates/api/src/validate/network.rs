//! Rules of the network family.

use serde_json::Value;

use crate::FieldError;
use crate::kind::Context;

pub fn validate_endpoints(_: &Value, _: Option<&Value>, _: &Context) -> Vec<FieldError> {
    Vec::new()
}

pub fn validate_service(_: &Value, _: Option<&Value>, _: &Context) -> Vec<FieldError> {
    Vec::new()
}

pub fn endpoints_warnings(_: &Value, _: Option<&Value>) -> Vec<String> {
    Vec::new()
}

pub fn service_warnings(_: &Value, _: Option<&Value>) -> Vec<String> {
    Vec::new()
}
