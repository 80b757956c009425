//! Gadget: a thing of parts, which may be counted anew; what it is made of stays.

use api::{FieldError, tree};
use serde_json::Value;

use crate::row::*;
use crate::validate::at::At;
use crate::validate::meta;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS],
        hooks: Hooks {
            prepare: |_, gadget, old, _| count_generation(gadget, old),
            default: |_, gadget| tree::set_default_text(&mut gadget["spec"], "material", "brass"),
            validate,
            warnings: |_, gadget, _| match tree::text(gadget, "spec.material") {
                "lead" => vec!["spec.material: lead is deprecated; use tin".to_string()],
                _ => Vec::new(),
            },
            ..HOOKS
        },
        ..Kind::namespaced("example.com/v1", "Gadget", "gadgets")
    }
}

fn validate(kind: &Kind, gadget: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, gadget, old);
    let spec = At::root(gadget).get("spec");
    let parts = spec.get("parts");
    if parts.int().is_some_and(|count| count < 0) {
        errors.push(parts.invalid("must be greater than or equal to 0"));
    }
    if let Some(old) = old {
        meta::immutable(&spec.get("material"), &At::root(old).get("spec").get("material"), &mut errors);
    }
    errors
}
