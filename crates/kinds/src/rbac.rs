//! The kinds of rbac.authorization.k8s.io: who may do what.

use api::{FieldError, names};
use serde_json::Value;

use crate::row::*;
use crate::validate::meta;

pub(crate) mod binding;
pub(crate) mod role;

pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Names are what a segment of a path may be (ValidateRBACName).
fn metadata(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    meta::object(kind, object, old, names::path_segment, &mut errors);
    errors
}
