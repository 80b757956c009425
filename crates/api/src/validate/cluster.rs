//! Rules of the cluster family.

use serde_json::Value;

use crate::FieldError;
use crate::kind::Context;

pub fn validate_lease(_: &Value, _: Option<&Value>, _: &Context) -> Vec<FieldError> {
    Vec::new()
}

pub fn validate_namespace(_: &Value, _: Option<&Value>, _: &Context) -> Vec<FieldError> {
    Vec::new()
}

pub fn validate_node(_: &Value, _: Option<&Value>, _: &Context) -> Vec<FieldError> {
    Vec::new()
}

pub fn validate_priority_class(_: &Value, _: Option<&Value>, _: &Context) -> Vec<FieldError> {
    Vec::new()
}

pub fn validate_runtime_class(_: &Value, _: Option<&Value>, _: &Context) -> Vec<FieldError> {
    Vec::new()
}

pub fn node_warnings(_: &Value, _: Option<&Value>) -> Vec<String> {
    Vec::new()
}
