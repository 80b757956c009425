//! Who may approve, sign and attest: a signer is a resource, its domain's `*` stands for all.
//!
//! plugin/pkg/admission/certificates; of a PodCertificateRequest registry/certificates/podcertificaterequest.

use api::{FieldError, Status};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kinds::certificates::x509;
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin};
use crate::authorize::Attributes;
use crate::identity::MASTERS;

pub const APPROVAL: Plugin =
    Plugin { name: "CertificateApproval", operations: &[Operation::Update], validate: approval, ..NONE };
pub const SIGNING: Plugin =
    Plugin { name: "CertificateSigning", operations: &[Operation::Update], validate: signing, ..NONE };
pub const ATTEST: Plugin = Plugin {
    name: "ClusterTrustBundleAttest",
    operations: &[Operation::Create, Operation::Update],
    validate: attest,
    ..NONE
};
pub const SUBJECT: Plugin =
    Plugin { name: "CertificateSubjectRestriction", operations: &[Operation::Create], validate: subject, ..NONE };

const GROUP: &str = "certificates.k8s.io";
/// Its certificates are users of this cluster.
const CLIENTS: &str = "kubernetes.io/kube-apiserver-client";

fn approval(ask: &Ask<'_>, request: &Value, _: &mut Findings) -> Result<(), Status> {
    if !is(ask, "certificatesigningrequests", "approval") || may(ask, "approve", asked_of(ask)) {
        return Ok(());
    }
    let why = format!("user not permitted to approve requests with signerName {:?}", asked_of(ask));
    Err(ask.forbidden(request, &why))
}

fn signing(ask: &Ask<'_>, request: &Value, _: &mut Findings) -> Result<(), Status> {
    let old = ask.old.unwrap_or(&Value::Null);
    if is(ask, "podcertificaterequests", "status") && request["status"] != old["status"] {
        return sign_for_pod(ask);
    }
    let changed = ["certificate", "conditions"].iter().any(|field| request["status"][*field] != old["status"][*field]);
    if !is(ask, "certificatesigningrequests", "status") || !changed || may(ask, "sign", asked_of(ask)) {
        return Ok(());
    }
    Err(ask.forbidden(request, &format!("user not permitted to sign requests with signerName {:?}", asked_of(ask))))
}

/// Upstream asks while it validates.
fn sign_for_pod(ask: &Ask<'_>) -> Result<(), Status> {
    let (user, signer) = (ask.identity.name(), asked_of(ask));
    if may(ask, "sign", signer) {
        return Ok(());
    }
    let why = format!("User {user:?} is not permitted to \"sign\" for signer {signer:?}");
    let error = FieldError::forbidden("spec.signerName", &why);
    Err(Status::invalid(GROUP, &ask.kind().kind, ask.name, &[error]))
}

fn attest(ask: &Ask<'_>, bundle: &Value, _: &mut Findings) -> Result<(), Status> {
    let signer = signer(bundle);
    // What only leads to its end, or to another form in the store, needs no right (IsOnlyMutatingGCFields).
    let same = |old: &Value| without_bookkeeping(old) == without_bookkeeping(bundle);
    if !is(ask, "clustertrustbundles", "")
        || signer.is_empty()
        || ask.old.is_some_and(same)
        || may(ask, "attest", signer)
    {
        return Ok(());
    }
    Err(ask.forbidden(bundle, &format!("user not permitted to attest for signerName {signer:?}")))
}

/// Nobody becomes an administrator by a certificate.
fn subject(ask: &Ask<'_>, request: &Value, _: &mut Findings) -> Result<(), Status> {
    if !is(ask, "certificatesigningrequests", "") || signer(request) != CLIENTS {
        return Ok(());
    }
    let organizations = || {
        let pem = STANDARD.decode(request["spec"]["request"].as_str().unwrap_or_default());
        let der = x509::request_of(&pem.map_err(|e| e.to_string())?)?;
        x509::organizations(&x509::request(&der)?.certification_request_info.subject)
    };
    match organizations() {
        Err(why) => Err(ask.forbidden(request, &format!("failed to parse CSR: {why}"))),
        Ok(groups) if groups.iter().any(|group| group == MASTERS) => {
            Err(ask.forbidden(request, &format!("use of {CLIENTS} signer with {MASTERS} group is not allowed")))
        }
        Ok(_) => Ok(()),
    }
}

fn is(ask: &Ask<'_>, plural: &str, subresource: &str) -> bool {
    ask.kind().group == GROUP && ask.kind().plural == plural && ask.subresource == subresource
}

fn signer(object: &Value) -> &str {
    object["spec"]["signerName"].as_str().unwrap_or_default()
}

/// The signer of the stored request: that of the new one is anybody's word.
fn asked_of<'a>(ask: &Ask<'a>) -> &'a str {
    ask.old.map(signer).unwrap_or_default()
}

/// Whether the user may do this for the signer, or for all of its domain (pkg/certauthorization).
fn may(ask: &Ask<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    [signer, &format!("{domain}/*")].into_iter().any(|name| {
        let asked = Attributes {
            verb: verb.into(),
            group: GROUP.into(),
            version: "*".into(),
            resource: "signers".into(),
            name: name.into(),
            ..Attributes::default()
        };
        ask.server.authorize(ask.identity, &asked).is_ok()
    })
}

fn without_bookkeeping(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| !["finalizers", "managedFields", "ownerReferences"].contains(&field.as_str()));
    }
    object
}

#[cfg(test)]
mod tests;
