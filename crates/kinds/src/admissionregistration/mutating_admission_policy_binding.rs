//! MutatingAdmissionPolicyBinding: where a policy changes objects.

use super::{bindings, rules};
use crate::row::*;
use crate::validate::at::At;

pub(crate) fn row() -> Kind {
    let row = bindings::row("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings");
    let validate: fn(&Kind, &_, Option<&_>, &Context) -> _ = |kind, binding, old, _| {
        let mut errors = bindings::validate(kind, binding, old);
        rules::mutating(&At::root(binding).get("spec").get("matchResources"), &mut errors);
        errors
    };
    Kind { hooks: Hooks { validate, ..row.hooks }, ..row }
        .dormant("no policy is evaluated yet: what it would change is stored as it comes")
}
