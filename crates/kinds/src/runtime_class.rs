//! RuntimeClass: a name for a way in which a node's runtime can run a pod.

use std::collections::BTreeSet;

use api::{FieldError, names};
use serde_json::Value;

use crate::pod::validate::{placement, requirements_below};
use crate::row::*;
use crate::validate::at::{At, invalid_each, shown_text};
use crate::validate::meta;

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![NAME, text("Handler", "The runtime's name for it.", "handler"), AGE],
        hooks: Hooks { validate, ..HOOKS },
        writes: Writes { conditional: true, put_creates: true, ..WRITES },
        ..Kind::cluster("node.k8s.io/v1", "RuntimeClass", "runtimeclasses")
    }
}

fn validate(kind: &Kind, class: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, class, old);
    meta::by_library(&mut errors);
    let at = At::root(class);
    let handler = at.get("handler");
    if let Some(old) = old {
        meta::fixed(&handler, &At::root(old).get("handler"), &mut errors);
    }
    match handler.text() {
        "" => errors.push(handler.required("")),
        // Judged by upstream's newer package, which counts bytes.
        text => {
            let complaints = names::dns_label(text).into_iter();
            let complaints = complaints.map(|m| m.replace("more than 63 characters", "more than 63 bytes"));
            invalid_each(&handler, complaints.collect(), &mut errors);
        }
    }
    requirements_below(&at.get("overhead").get("podFixed"), "overhead", &mut errors);
    let scheduling = at.get("scheduling");
    meta::labels(&scheduling.get("nodeSelector"), &mut errors);
    let tolerations = scheduling.get("tolerations");
    placement::tolerations(&tolerations, &mut errors);
    let mut seen = BTreeSet::new();
    for toleration in tolerations.items() {
        let key = ["key", "operator", "value", "effect"].map(|field| toleration.get(field).text().to_string());
        if !seen.insert(key) {
            let mut error = toleration.duplicate();
            let [key, operator, value, effect] =
                ["key", "operator", "value", "effect"].map(|f| shown_text(&toleration.get(f)));
            let seconds = toleration.get("tolerationSeconds").value;
            error.value = format!(
                "{{\"Key\":{key},\"Operator\":{operator},\"Value\":{value},\"Effect\":{effect},\"TolerationSeconds\":{seconds}}}"
            );
            errors.push(error);
        }
    }
    errors
}
