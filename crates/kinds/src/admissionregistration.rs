//! The group admissionregistration.k8s.io: who else judges and changes what is written.
//!
//! Nobody asks them yet, so that nothing is kept out by them; expressions are not compiled.

pub(crate) mod mutating_admission_policy;
pub(crate) mod mutating_admission_policy_binding;
pub(crate) mod mutating_webhook_configuration;
pub(crate) mod validating_admission_policy;
pub(crate) mod validating_admission_policy_binding;
pub(crate) mod validating_webhook_configuration;

/// What bindings of both kinds of policies hold.
mod bindings;
/// What policies of both kinds hold.
mod policies;
/// Which requests are meant.
mod rules;
/// Webhooks of both kinds.
mod webhooks;

/// Names that only files of the server may bear.
const STATIC_SUFFIX: &str = ".static.k8s.io";

/// What is said of such a name.
fn reserved() -> String {
    format!(
        "names ending with {STATIC_SUFFIX:?} are reserved for static manifest-based configurations and cannot be managed \
         via the API"
    )
}
