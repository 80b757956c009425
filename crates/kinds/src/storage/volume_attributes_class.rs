//! VolumeAttributesClass: what of a volume may change while it is used. Its drivers come from elsewhere.

use api::FieldError;
use serde_json::Value;

use super::{parameters, provisioner};
use crate::row::*;
use crate::validate::at::At;

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![NAME, text("DriverName", "The driver that it is for.", "driverName"), AGE],
        hooks: Hooks { validate, ..HOOKS },
        writes: Writes { returns_deleted: true, ..WRITES },
        ..Kind::cluster("storage.k8s.io/v1", "VolumeAttributesClass", "volumeattributesclasses")
            .judged_as_new()
            .short("vac")
    }
}

fn validate(kind: &Kind, class: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, class, old);
    let at = At::root(class);
    if let Some(was) = old.map(At::root) {
        for field in ["driverName", "parameters"].into_iter().filter(|f| at.get(f).value != was.get(f).value) {
            errors.push(at.get(field).forbidden(&format!("updates to {field} are forbidden.")));
        }
    }
    let (driver, told) = (at.get("driverName"), at.get("parameters"));
    match driver.text() {
        "" => errors.push(driver.required("")),
        _ => provisioner(&driver, &mut errors),
    }
    parameters(&told, &mut errors);
    if told.is_empty() {
        errors.push(told.required("must contain at least one key/value pair"));
    }
    errors
}

#[cfg(test)]
mod tests;
