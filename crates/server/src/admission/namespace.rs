//! NamespaceLifecycle: nothing is created where there is no namespace, or in one that ends.
//!
//! plugin/namespace/lifecycle. The claim makes it exact: if the namespace changes before the object
//! is written, the decision is made again.

use api::{Cause, Status};
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin};

pub const PLUGIN: Plugin = Plugin {
    name: "NamespaceLifecycle",
    operations: &[Operation::Create, Operation::Update, Operation::Delete],
    mutate,
    ..NONE
};

/// Namespaces that cannot be deleted.
const IMMORTAL: &[&str] = &["default", "kube-public", "kube-system"];

fn mutate(ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
    if ask.is("namespaces") && ask.operation == Operation::Delete && IMMORTAL.contains(&ask.name) {
        return Err(ask.forbidden(object, "this namespace may not be deleted"));
    }
    if !ask.kind().namespaced || ask.operation != Operation::Create {
        return Ok(());
    }
    let namespace = ask.namespace;
    let found = ask.snapshot().namespace(namespace);
    let Some(entry) = found else { return Err(Status::not_found("", "namespaces", namespace)) };
    // Most namespaces are not ending: the word alone rules it out without a parse.
    let suspicious = memchr::memmem::find(&entry.bytes, b"\"deletionTimestamp\"").is_some();
    let ending = suspicious
        && api::Object::parse(entry.bytes.clone()).is_ok_and(|object| object.meta().deletion_timestamp.is_some());
    if ending {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = ask.forbidden(object, &why);
        status.causes.push(Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        });
        return Err(status);
    }
    findings.claim(&entry);
    Ok(())
}
