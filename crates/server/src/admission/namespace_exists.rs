//! NamespaceExists and NamespaceAutoProvision: what has no namespace is refused or gets one.
//!
//! plugin/pkg/admission/namespace/{exists,autoprovision}. The making is a write of its own, before the rest.

use api::Status;
use http::Method;
use serde_json::{Value, json};

use super::{Ask, Findings, NONE, Operation, Plugin};
use crate::own_write;

pub const EXISTS: Plugin = Plugin {
    name: "NamespaceExists",
    operations: &[Operation::Create, Operation::Update, Operation::Delete],
    validate,
    by_default: false,
    ..NONE
};
pub const AUTO_PROVISION: &str = "NamespaceAutoProvision";

fn validate(ask: &Ask<'_>, _: &Value, _: &mut Findings) -> Result<(), Status> {
    match is_missing(ask) {
        true => Err(Status::not_found("", "namespaces", ask.namespace)),
        false => Ok(()),
    }
}

/// Makes the namespace of what is created; of a dry run not.
pub async fn provide(ask: &Ask<'_>, object: &Value) -> Result<(), Status> {
    if ask.operation != Operation::Create || ask.dry_run || !is_missing(ask) {
        return Ok(());
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ask.namespace}});
    // Within a request itself: the two are of one type.
    let made = Box::pin(own_write(ask.server, Method::POST, "/api/v1/namespaces", namespace)).await;
    match made {
        Err(_) if !is_missing(ask) => Ok(()),
        Err(status) => Err(ask.forbidden(object, &status.message)),
        Ok(()) => Ok(()),
    }
}

fn is_missing(ask: &Ask<'_>) -> bool {
    let is_inside = ask.kind().namespaced && !ask.namespace.is_empty();
    is_inside && ask.snapshot().namespace(ask.namespace).is_none()
}
