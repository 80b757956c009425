//! ResourceClaimTemplate: the claim that each pod which names it gets.

use api::FieldError;
use serde_json::Value;

use super::requests;
use crate::row::*;
use crate::validate::at::{At, Errors};
use crate::validate::meta;

pub(crate) fn row() -> Kind {
    Kind {
        hooks: Hooks {
            default: |_, template| {
                if let Some(spec) = template.get_mut("spec").and_then(|spec| spec.get_mut("spec")) {
                    requests::default(spec);
                }
            },
            validate,
            ..HOOKS
        },
        writes: Writes { returns_deleted: true, ..WRITES },
        ..Kind::namespaced("resource.k8s.io/v1", "ResourceClaimTemplate", "resourceclaimtemplates")
            .judged_as_new()
            .dormant("no controller makes claims of it yet; its expressions are not compiled")
    }
}

fn validate(kind: &Kind, template: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, template, old);
    let spec = At::root(template).get("spec");
    template_metadata(&spec.get("metadata"), &mut errors);
    requests::validate(&spec.get("spec"), &mut errors);
    if let Some(old) = old {
        meta::immutable(&spec, &At::root(old).get("spec"), &mut errors);
    }
    errors
}

/// Fields and how upstream's path names them (ValidateTemplateObjectMeta).
const NOT_OF_TEMPLATES: [(&str, &str); 13] = [
    ("name", "name"),
    ("generateName", "generateName"),
    ("namespace", "namespace"),
    ("selfLink", "selfLink"),
    ("uid", "uID"),
    ("resourceVersion", "resourceVersion"),
    ("generation", "generation"),
    ("creationTimestamp", "creationTimestamp"),
    ("deletionTimestamp", "deletionTimestamp"),
    ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
    ("ownerReferences", "ownerReferences"),
    ("finalizers", "finalizers"),
    ("managedFields", "managedFields"),
];

fn template_metadata(at: &At, errors: &mut Errors) {
    meta::annotations(&at.get("annotations"), errors);
    meta::labels(&at.get("labels"), errors);
    for (field, shown) in NOT_OF_TEMPLATES {
        let value = at.get(field).value;
        let is_set =
            !value.is_null() && value != "" && value != 0 && value.as_array().is_none_or(|list| !list.is_empty());
        if is_set {
            errors.push(at.get(shown).forbidden("cannot be set"));
        }
    }
}

#[cfg(test)]
mod tests;
