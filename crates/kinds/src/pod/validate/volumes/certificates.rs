//! Sources of a projected volume that are about certificates.
//!
//! pkg/apis/core/validation validateProjectionSources.

use std::collections::BTreeSet;

use crate::certificates::{LIFE_MIN, bundle_name, life_max, signer_name, signer_of_bundle, user_annotations};
use crate::validate::at::{At, Errors};
use crate::validate::meta;
use crate::validate::paths::local_path;

const KEYS: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];

/// The bundle of a name, or those of a signer.
pub fn bundle(at: &At, volume: &At, paths: &mut BTreeSet<String>, errors: &mut Errors) {
    let (name, signer, labels) = (at.get("name"), at.get("signerName"), at.get("labelSelector"));
    match (name.has(), signer.has()) {
        (true, true) => errors.push(at.invalid("only one of name and signerName may be used")),
        (true, false) => {
            if name.text().is_empty() {
                errors.push(name.required("must be a valid object name"));
            }
            let complaints = bundle_name(&signer_of_bundle(name.text()), name.text());
            errors.extend(complaints.iter().map(|m| name.invalid(&format!("not a valid clustertrustbundlename: {m}"))));
            if labels.has() {
                errors.push(labels.invalid("labelSelector must be unset if name is specified"));
            }
        }
        (false, true) => {
            if signer.text().is_empty() {
                errors.push(signer.required("must be a valid signer name"));
            }
            signer_name(&signer, errors);
            meta::label_selector(&labels, errors);
        }
        (false, false) => errors.push(at.required("either name or signerName must be specified")),
    }
    let path = at.get("path");
    if path.text().is_empty() {
        errors.push(path.required(""));
    }
    place(&path, volume, paths, errors);
}

/// A certificate of the pod's own, in up to three files.
pub fn certificate(at: &At, volume: &At, paths: &mut BTreeSet<String>, errors: &mut Errors) {
    let (signer, kind, life) = (at.get("signerName"), at.get("keyType"), at.get("maxExpirationSeconds"));
    signer_name(&signer, errors);
    user_annotations(&at.get("userAnnotations"), errors);
    if !KEYS.contains(&kind.text()) {
        errors.push(kind.not_supported(KEYS));
    }
    if let Some(seconds) = life.int() {
        let most = life_max(signer.text());
        if seconds < LIFE_MIN {
            errors.push(life.invalid("if provided, maxExpirationSeconds must be >= 3600"));
        }
        if seconds > most {
            errors.push(life.invalid(&format!("if provided, maxExpirationSeconds must be <= {most}")));
        }
    }
    let files = ["credentialBundlePath", "keyPath", "certificateChainPath"].map(|field| at.get(field));
    let named: Vec<&At> = files.iter().filter(|file| !file.text().is_empty()).collect();
    if named.is_empty() {
        const WHY: &str = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(at.required(WHY));
    }
    for file in named {
        place(file, volume, paths, errors);
    }
}

fn place(path: &At, volume: &At, paths: &mut BTreeSet<String>, errors: &mut Errors) {
    local_path(path, errors);
    if !paths.insert(path.text().into()) {
        errors.push(volume.invalid_as(path.text(), "conflicting duplicate paths"));
    }
}
