//! DenyServiceExternalIPs: no Service takes an external address that it has not yet.
//!
//! plugin/pkg/admission/network/denyserviceexternalips.

use api::Status;
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin, each};

pub const PLUGIN: Plugin = Plugin {
    name: "DenyServiceExternalIPs",
    operations: &[Operation::Create, Operation::Update],
    validate,
    by_default: false,
    ..NONE
};

fn validate(ask: &Ask<'_>, object: &Value, _: &mut Findings) -> Result<(), Status> {
    let had = |address: &Value| ask.old.is_some_and(|old| each(&old["spec"]["externalIPs"]).any(|one| one == address));
    let is_new = || each(&object["spec"]["externalIPs"]).any(|address| !had(address));
    match ask.is("services") && ask.subresource.is_empty() && is_new() {
        true => Err(ask.forbidden(object, "Use of external IPs is denied by admission control")),
        false => Ok(()),
    }
}
