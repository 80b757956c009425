//! ClusterTrustBundle: certificates by which a signer's work is known, or anybody's.

use std::collections::BTreeMap;

use api::{FieldError, tree};
use serde_json::{Value, json};

use super::{bundle_name, signer_name, x509};
use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

const SIZE_MAX: usize = 1024 * 1024;

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![NAME, computed("SignerName", "Whose anchors they are.", |bundle, _| json!(signer(bundle)))],
        field_selectors: vec![field("spec.signerName")],
        hooks: Hooks { validate, ..HOOKS },
        writes: Writes { conditional: true, resets: &[], ..WRITES },
        ..Kind::cluster("certificates.k8s.io/v1", "ClusterTrustBundle", "clustertrustbundles").kept_as("v1beta1")
    }
}

/// The signer of a bundle or a request, as columns show it.
pub(super) fn signer(object: &Value) -> &str {
    match tree::text(object, "spec.signerName") {
        "" => "<none>",
        name => name,
    }
}

fn validate(kind: &Kind, bundle: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let at = At::root(bundle);
    let (signer, anchors) = (at.get("spec").get("signerName"), at.get("spec").get("trustBundle"));
    let rule = |name: &str| bundle_name(signer.text(), name);
    if old.is_some() {
        let name = at.get("metadata").get("name");
        invalid_each(&name, rule(name.text()), &mut errors);
    }
    meta::object(kind, bundle, old, rule, &mut errors);
    if !signer.text().is_empty() {
        signer_name(&signer, &mut errors);
    }
    let was = old.map(|old| At::root(old).get("spec"));
    // What is not changed was judged before, perhaps by other rules.
    if was.as_ref().is_none_or(|was| was.get("trustBundle").text() != anchors.text()) {
        trust(&anchors, &mut errors);
    }
    if let Some(was) = was
        && was.get("signerName").text() != signer.text()
    {
        errors.push(signer.invalid("field is immutable"));
    }
    errors
}

/// Certificates of authorities, each once, and nothing else (validateTrustBundle).
fn trust(at: &At, errors: &mut Errors) {
    if at.text().len() > SIZE_MAX {
        errors.push(at.too_long(SIZE_MAX));
        return;
    }
    let (mut seen, mut wrong) = (BTreeMap::<Vec<u8>, Vec<usize>>::new(), Vec::new());
    for (i, block) in x509::blocks(at.text()).into_iter().enumerate() {
        match complaint(&block) {
            Some(why) => wrong.push(format!("entry {i} {why}")),
            None => seen.entry(block.into_contents()).or_default().push(i),
        }
    }
    if wrong.is_empty() && seen.is_empty() {
        wrong.push("at least one trust anchor must be provided".into());
    } else if wrong.is_empty() {
        wrong.extend(seen.values().filter(|indices| indices.len() > 1).map(|indices| {
            let list = indices.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
            format!("duplicate trust anchor (indices [{list}])")
        }));
    }
    errors.extend(wrong.iter().map(|why| at.invalid_as("<value omitted>", why)));
}

fn complaint(block: &pem::Pem) -> Option<String> {
    if block.tag() != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.tag()));
    }
    if block.headers().iter().next().is_some() {
        return Some("has PEM block headers".into());
    }
    let Ok(certificate) = x509::certificate(block.contents()) else {
        return Some("does not parse as X.509".into());
    };
    match certificate.basic_constraints() {
        Ok(Some(constraints)) if constraints.value.ca => None,
        Err(_) => Some("has invalid basic constraints".into()),
        _ => Some("does not have the CA bit set".into()),
    }
}

#[cfg(test)]
mod tests;
