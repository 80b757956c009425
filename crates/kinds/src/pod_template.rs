//! PodTemplate: a template that stands alone. Nobody acts on one, here as upstream.

use api::{FieldError, tree};
use serde_json::{Value, json};

use crate::pod::{defaults, disabled, validate};
use crate::row::*;
use crate::validate::at::At;
use crate::workload::joined;

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![
            NAME,
            computed("Containers", "The names of its containers.", |object, _| {
                json!(joined(&object["template"], "name"))
            }),
            computed("Images", "Their images.", |object, _| json!(joined(&object["template"], "image"))),
            computed("Pod Labels", "The labels of its pods.", |object, _| {
                json!(labels_text(object, "template.metadata.labels"))
            }),
        ],
        hooks: Hooks { prepare: |_, object, old, _| count(object, old), default, validate, warnings, ..HOOKS },
        writes: Writes { returns_deleted: true, ..WRITES },
        ..Kind::namespaced("v1", "PodTemplate", "podtemplates")
    }
}

/// The template is what counts.
fn count(object: &mut Value, old: Option<&Value>) {
    if let Some(template) = object.get_mut("template") {
        disabled::drop_disabled(template, old.map(|old| &old["template"]));
    }
    let generation = match old {
        None => 1,
        Some(old) => {
            let before = tree::int(old, "metadata.generation").unwrap_or(0);
            before + i64::from(object["template"] != old["template"])
        }
    };
    if let Some(metadata) = tree::child(object, "metadata") {
        metadata["generation"] = json!(generation);
    }
}

fn default(_: &Kind, object: &mut Value) {
    if let Some(template) = tree::child(object, "template") {
        defaults::template(template);
    }
}

fn validate(kind: &Kind, object: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, object, old);
    validate::template(&At::root(object).get("template"), context, &mut errors);
    errors
}

fn warnings(_: &Kind, object: &Value, old: Option<&Value>) -> Vec<String> {
    match old {
        Some(old) if old["template"] == object["template"] => Vec::new(),
        _ => validate::warnings::template(&At::root(object).get("template")),
    }
}

#[cfg(test)]
mod tests;
