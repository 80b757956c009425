//! certificates.k8s.io: requests to sign, and the anchors that signers are trusted by.

use api::names;

use crate::validate::at::{At, Errors};
use crate::validate::meta;

pub(crate) mod certificate_signing_request;
pub(crate) mod cluster_trust_bundle;
pub(crate) mod pod_certificate_request;
/// PEM, PKCS#10 and X.509.
pub mod x509;

const DOMAIN_MAX: usize = 253;
const SIGNER_MAX: usize = DOMAIN_MAX + 1 + 63 + 1 + 253;

/// The longest life of a certificate in seconds that a pod asks of a signer of Kubernetes, and of any other.
pub const LIFE_MIN: i64 = 60 * 60;
const LIFE_MAX_KUBERNETES: i64 = 24 * 60 * 60;
const LIFE_MAX: i64 = 91 * 24 * 60 * 60;

/// How long a certificate may live that a pod asks of the signer, in seconds.
pub fn life_max(signer: &str) -> i64 {
    if is_of_kubernetes(signer) { LIFE_MAX_KUBERNETES } else { LIFE_MAX }
}

/// Whether a signer's name is reserved for the project (pkg/apis/core/validation/names.go).
fn is_of_kubernetes(signer: &str) -> bool {
    let host = signer.split('/').next().unwrap_or_default();
    host == "kubernetes.io" || host.ends_with(".kubernetes.io")
}

/// `example.com/signer` (pkg/apis/core/validation/names.go ValidateSignerName).
pub fn signer_name(at: &At, errors: &mut Errors) {
    let name = at.text();
    if name.is_empty() {
        errors.push(at.required(""));
        return;
    }
    let [domain, path] = name.split('/').collect::<Vec<_>>()[..] else {
        errors.push(at.invalid("must be a fully qualified domain and path of the form 'example.com/signer-name'"));
        return;
    };
    if domain.len() > DOMAIN_MAX {
        errors.push(at.too_long(DOMAIN_MAX));
    }
    labels(at, domain, names::dns_label, errors);
    if !domain.contains('.') {
        errors.push(at.invalid_as(domain, "should be a domain with at least two segments separated by dots"));
    }
    labels(at, path, names::dns_subdomain, errors);
    if name.len() > SIGNER_MAX {
        errors.push(at.too_long(SIGNER_MAX));
    }
}

/// The complaints about the first bad part between dots.
fn labels(at: &At, text: &str, rule: fn(&str) -> Vec<String>, errors: &mut Errors) {
    let bad = text.split('.').map(|label| (label, rule(label))).find(|(_, complaints)| !complaints.is_empty());
    if let Some((label, complaints)) = bad {
        errors.extend(complaints.iter().map(|m| at.invalid_as(text, &format!("validating label {label:?}: {m}"))));
    }
}

/// The name of a bundle: of a signer's one `example.com:signer:` and a name, of any other a name.
pub fn bundle_name(signer: &str, name: &str) -> Vec<String> {
    if signer.is_empty() {
        return match name.contains(':') {
            true => vec!["ClusterTrustBundle without signer name must not have \":\" in its name".into()],
            false => names::dns_subdomain(name),
        };
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => names::dns_subdomain(rest),
        None => vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}")],
    }
}

/// The signer that a bundle's name speaks of; empty: none.
pub fn signer_of_bundle(name: &str) -> String {
    name.rsplit_once(':').map(|(front, _)| front.replace(':', "/")).unwrap_or_default()
}

/// What a pod tells its signer, unverified: like annotations, but each key has a domain.
pub fn user_annotations(at: &At, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in at.entries() {
        size += key.len() + value.text().len();
        // The case does not matter.
        let key = key.to_lowercase();
        let mut complaints = names::qualified(&key);
        if complaints.is_empty() && !key.contains('/') {
            complaints.push("must be a domain-prefixed key (such as \"acme.io/foo\")".into());
        }
        match key.as_str() {
            "" => errors.push(at.required("")),
            key => errors.extend(complaints.iter().map(|m| at.invalid_as(key, m))),
        }
    }
    if size > meta::ANNOTATIONS_MAX {
        errors.push(at.too_long(meta::ANNOTATIONS_MAX));
    }
}

#[cfg(test)]
mod tests;
