//! What else a node may write: its own leases, volumes, devices and certificates.
//!
//! plugin/pkg/admission/noderestriction.

use api::Status;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::{Ask, Operation, certificate};
use crate::identity::NODE_PREFIX;

/// Of a claim's status what a node tells: how far it has grown.
const GROWTH: [&str; 4] = ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"];
/// Signers whose certificates speak for a node.
const SIGNERS: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

pub fn judge(ask: &Ask<'_>, object: &Value, node: &str) -> Result<(), Status> {
    let refuse = |why: &str| Err(ask.forbidden(object, why));
    let creates = ask.operation == Operation::Create;
    match (ask.kind().group.as_str(), ask.kind().plural.as_str()) {
        ("", "persistentvolumeclaims") => claim(ask, object, node),
        ("coordination.k8s.io", "leases") if ask.namespace != "kube-node-lease" => {
            refuse("can only access leases in the \"kube-node-lease\" system namespace")
        }
        ("coordination.k8s.io", "leases") if ask.name_of(object) != node => {
            refuse("can only access node lease with the same name as the requesting node")
        }
        ("storage.k8s.io", "csinodes") if ask.name_of(object) != node => {
            refuse("can only access CSINode with the same name as the requesting node")
        }
        ("storage.k8s.io", "csinodes") if ask.subresource == "status" => {
            refuse("CSIVolumeHealth feature gate is disabled")
        }
        ("resource.k8s.io", "resourceslices") => {
            let slice = if creates { Some(object) } else { ask.old };
            let own = slice.is_some_and(|slice| slice["spec"]["nodeName"] == node);
            match ask.operation {
                Operation::Create if !own => {
                    refuse("can only create ResourceSlice with the same NodeName as the requesting node")
                }
                Operation::Delete if !own => {
                    refuse("can only delete ResourceSlice with the same NodeName as the requesting node")
                }
                _ => Ok(()),
            }
        }
        ("certificates.k8s.io", "certificatesigningrequests") if creates => signing_request(ask, object, node),
        ("certificates.k8s.io", "podcertificaterequests") => certificate::asked(ask, object, node),
        _ => Ok(()),
    }
}

fn claim(ask: &Ask<'_>, object: &Value, node: &str) -> Result<(), Status> {
    let (Operation::Update, "status", Some(old)) = (ask.operation, ask.subresource, ask.old) else {
        return Err(ask.forbidden(object, "may only update PVC status"));
    };
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for (part, fields) in [("metadata", &["resourceVersion", "managedFields"][..]), ("status", &GROWTH)] {
            if let Some(part) = claim[part].as_object_mut() {
                fields.iter().for_each(|field| drop(part.remove(*field)));
            }
        }
        claim
    };
    match rest(old) == rest(object) {
        true => Ok(()),
        false => {
            let why = format!(
                "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
            );
            Err(ask.forbidden(object, &why))
        }
    }
}

/// A request for a certificate that speaks for a node names the one that asks (admitCSR).
fn signing_request(ask: &Ask<'_>, object: &Value, node: &str) -> Result<(), Status> {
    if !SIGNERS.iter().any(|signer| object["spec"]["signerName"] == *signer) {
        return Ok(());
    }
    let name = common_name(object["spec"]["request"].as_str().unwrap_or_default());
    let name =
        name.ok_or_else(|| ask.forbidden(object, "unable to parse csr: PEM block type must be CERTIFICATE REQUEST"))?;
    match name == format!("{NODE_PREFIX}{node}") {
        true => Ok(()),
        false => Err(ask.forbidden(object, &format!("can only create a node CSR with CN={NODE_PREFIX}{node}"))),
    }
}

/// The only common name of a PEM request, which stands in base64. Of two nobody knows which one a signer takes.
fn common_name(request: &str) -> Option<String> {
    let pem = STANDARD.decode(request).ok()?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
    if pem.label != "CERTIFICATE REQUEST" {
        return None;
    }
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let mut names = request.certification_request_info.subject.iter_common_name();
    match (names.next(), names.next()) {
        (Some(name), None) => name.as_str().ok().map(String::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
