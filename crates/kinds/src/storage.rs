//! The kinds of storage.k8s.io, and what more than one of them is judged by.
//!
//! Matches pkg/apis/storage/validation of Kubernetes 1.37.

use api::{FieldError, names};
use serde_json::json;

use crate::validate::at::{At, Errors};

pub(crate) mod csi_driver;
pub(crate) mod csi_node;
pub(crate) mod csi_storage_capacity;
pub mod storage_class;
pub(crate) mod volume_attachment;
pub(crate) mod volume_attributes_class;

const PARAMETERS_MAX: usize = 512;
/// Bytes of all keys and values together.
const PARAMETERS_SIZE_MAX: usize = 256 * 1024;

/// Who makes volumes: a qualified name, in whatever case. Upstream shows it in lower case.
fn provisioner(at: &At, errors: &mut Errors) {
    let name = at.text().to_lowercase();
    errors.extend(names::qualified(&name).iter().map(|m| at.invalid_as(name.as_str(), m)));
}

/// What a class says to its provisioner.
fn parameters(at: &At, errors: &mut Errors) {
    if at.len() > PARAMETERS_MAX {
        errors.push(at.too_long(PARAMETERS_MAX));
        return;
    }
    if at.entries().any(|(key, _)| key.is_empty()) {
        errors.push(at.invalid_as("", "field can not be empty."));
    }
    if bytes(at) > PARAMETERS_SIZE_MAX {
        errors.push(at.too_long(PARAMETERS_SIZE_MAX));
    }
}

/// Of all keys and values of a map of texts.
fn bytes(at: &At) -> usize {
    at.entries().map(|(key, value)| key.len() + value.text().len()).sum()
}

/// `Duplicate value: ""`, of what upstream shows nothing.
fn unshown_duplicate(at: &At) -> FieldError {
    FieldError::duplicate(&at.path(), &json!(""))
}
