//! AlwaysAdmit and AlwaysDeny (plugin/pkg/admission/{admit,deny}).

use api::Status;
use serde_json::Value;

use super::{Ask, NONE, Operation, Plugin};

pub const ADMIT: Plugin = Plugin { name: "AlwaysAdmit", by_default: false, ..NONE };
pub const DENY: Plugin = Plugin {
    name: "AlwaysDeny",
    operations: &[Operation::Create, Operation::Update, Operation::Delete, Operation::Connect],
    mutate: |ask, object, _| deny(ask, object),
    by_default: false,
    ..NONE
};

/// Nothing but what the server writes before it serves.
fn deny(ask: &Ask<'_>, object: &Value) -> Result<(), Status> {
    match ask.server.0.seeded.get() {
        Some(()) => Err(ask.forbidden(object, "admission control is denying all modifications")),
        None => Ok(()),
    }
}
