//! The group resource.k8s.io: devices, and who claims which. Nobody allocates them yet.

pub(crate) mod device_class;
pub(crate) mod device_taint_rule;
pub(crate) mod resource_claim;
pub(crate) mod resource_claim_template;
pub(crate) mod resource_slice;

/// Requests of claims and of their templates.
mod requests;
/// Rules that several of them share.
mod validate;

const DORMANT: &str = "the scheduler does not allocate devices yet";
const UNCOMPILED: &str = "the scheduler does not allocate devices yet; its expressions are not compiled";
