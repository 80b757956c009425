//! PodCertificateRequest: a node asks a signer for a certificate of one of its pods.
//!
//! What is asked never changes, and what is answered is final: the first of Issued, Denied and Failed
//! (pkg/registry/certificates/podcertificaterequest/strategy.go).

use api::{FieldError, names, tree};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::x509::{self, Key};
use super::{LIFE_MIN, life_max, signer_name, user_annotations};
use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

/// What a signer may answer.
mod answer;

const UID_MAX: usize = 128;
const REQUEST_MAX: usize = 10 * 1024;

pub(crate) fn row() -> Kind {
    let status = Subresource { resets: &[&["metadata"], &["spec"]], ..STATUS };
    Kind {
        subresources: vec![status],
        columns: vec![
            NAME,
            text("PodName", "The pod that gets the certificate.", "spec.podName"),
            text("ServiceAccountName", "As whom the pod runs.", "spec.serviceAccountName"),
            text("NodeName", "Where the pod runs.", "spec.nodeName"),
            text("SignerName", "Who is asked to sign.", "spec.signerName"),
            computed("State", "How far it is.", |request, _| json!(state(request))),
            computed("UnverifiedUserAnnotations", "What the pod's author tells the signer.", |request, _| {
                json!(labels_text(request, "spec.unverifiedUserAnnotations"))
            }),
        ],
        field_selectors: vec![field("spec.signerName"), field("spec.podName"), field("spec.nodeName")],
        hooks: Hooks { prepare, validate, ..HOOKS },
        writes: Writes { conditional: true, ..WRITES },
        ..Kind::namespaced("certificates.k8s.io/v1", "PodCertificateRequest", "podcertificaterequests")
            .kept_as("v1beta1")
            .found_anywhere()
    }
}

fn state(request: &Value) -> &str {
    let last = tree::list(request, "status.conditions").iter().rev().map(|c| tree::text(c, "type"));
    last.into_iter().find(|kind| answer::FINAL.contains(kind)).unwrap_or("Pending")
}

/// A write of the status leaves the metadata (metav1.ResetObjectMetaForStatus).
fn prepare(_: &Kind, request: &mut Value, old: Option<&Value>, context: &Context) {
    let Some(old) = old else {
        request["status"] = json!({});
        return;
    };
    if let ("status", Some(new)) = (context.subresource.as_str(), tree::child(request, "metadata")) {
        for field in ["annotations", "finalizers", "labels", "ownerReferences"] {
            tree::keep(new, tree::at(old, "metadata"), field);
        }
    }
}

fn validate(kind: &Kind, request: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, request, old);
    let at = At::root(request);
    match old {
        None => spec(&at.get("spec"), &mut errors),
        Some(old) if context.subresource == "status" => {
            if errors.is_empty() {
                answer::answer(&at, &At::root(old), &context.now, &mut errors);
            }
        }
        Some(old) => meta::immutable(&at.get("spec"), &At::root(old).get("spec"), &mut errors),
    }
    errors
}

fn spec(spec: &At, errors: &mut Errors) {
    let signer = spec.get("signerName");
    signer_name(&signer, errors);
    user_annotations(&spec.get("unverifiedUserAnnotations"), errors);
    for (name, uid) in [("podName", "podUID"), ("serviceAccountName", "serviceAccountUID"), ("nodeName", "nodeUID")] {
        let (name, uid) = (spec.get(name), spec.get(uid));
        invalid_each(&name, names::dns_subdomain(name.text()), errors);
        match uid.text().len() {
            0 => errors.push(uid.invalid("must not be empty")),
            long if long > UID_MAX => errors.push(uid.too_long(UID_MAX)),
            _ => {}
        }
    }
    let life = spec.get("maxExpirationSeconds");
    let Some(seconds) = life.int() else {
        errors.push(life.required("must be set"));
        return;
    };
    let most = life_max(signer.text());
    if !(LIFE_MIN..=most).contains(&seconds) {
        errors.push(life.invalid(&format!("must be in the range [{LIFE_MIN}, {most}]")));
    }
    let stub = spec.get("stubPKCS10Request");
    if stub.text().is_empty() {
        const WHY: &str = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set";
        errors.push(spec.invalid_unshown(WHY));
        return;
    }
    request(&stub, errors);
}

/// A request by a key of the known types that is signed by it; what else it says is the signer's business.
fn request(at: &At, errors: &mut Errors) {
    let der = STANDARD.decode(at.text()).unwrap_or_default();
    if der.len() > REQUEST_MAX {
        errors.push(at.too_long(REQUEST_MAX));
        return;
    }
    let Ok(request) = x509::request(&der) else {
        errors.push(at.invalid_unshown("must be a valid PKCS#10 CSR"));
        return;
    };
    match Key::of(&request.certification_request_info.subject_pki) {
        Key::Ed25519 | Key::P256 | Key::P384 | Key::P521 | Key::Rsa(3072 | 4096) => {
            if x509::check_signature(&request).is_err() {
                errors.push(at.invalid_unshown("invalid signature"));
            }
        }
        Key::P224 => {
            errors.push(at.invalid_as("curve P-224", "elliptic public keys must use curve P256, P384, or P521"));
        }
        Key::Rsa(bits) => {
            let shown = format!("{bits}-bit modulus");
            errors.push(at.invalid_as(shown, "RSA keys must have modulus size 3072 or 4096"));
        }
        Key::Unknown => {
            const WHY: &str = "unknown public key type; supported types are Ed25519, ECDSA, and RSA";
            errors.push(at.invalid_unshown(WHY));
        }
    }
}

#[cfg(test)]
mod tests;
