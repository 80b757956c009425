//! DeviceClass: which devices a name stands for, and how they are set up.

use api::FieldError;
use serde_json::Value;

use super::validate::{LIST_MAX, configuration, extended_resource, limited, selectors};
use crate::row::*;
use crate::validate::at::At;
use crate::validate::meta;

pub(crate) fn row() -> Kind {
    Kind {
        hooks: Hooks { prepare: |_, class, old, _| count_generation(class, old), validate, ..HOOKS },
        writes: Writes { returns_deleted: true, ..WRITES },
        ..Kind::cluster("resource.k8s.io/v1", "DeviceClass", "deviceclasses").dormant(super::UNCOMPILED)
    }
}

fn validate(kind: &Kind, class: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = Vec::new();
    meta::object_by_bytes(kind, class, old, &mut errors);
    let spec = At::root(class).get("spec");
    let is_stored = |field: &str| old.is_some_and(|old| old["spec"][field] == class["spec"][field]);
    selectors(&spec.get("selectors"), is_stored("selectors"), &mut errors);
    if limited(&spec.get("config"), LIST_MAX, &mut errors) {
        spec.get("config").items().for_each(|config| configuration(&config, is_stored("config"), &mut errors));
    }
    if spec.has_field("extendedResourceName") {
        extended_resource(&spec.get("extendedResourceName"), &mut errors);
    }
    errors
}

#[cfg(test)]
mod tests;
