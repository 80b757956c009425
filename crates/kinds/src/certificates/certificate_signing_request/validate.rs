//! What is wrong with a signing request (pkg/apis/certificates/validation).
//!
//! What was stored by other rules stays as it is: each rule is skipped where the old object broke it.

use std::collections::BTreeSet;

use api::{FieldError, names, tree};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::VERDICTS;
use crate::certificates::{signer_name, x509};
use crate::row::{Context, Kind};
use crate::validate::at::{At, Errors};
use crate::validate::meta;

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Conditions that are true or absent.
const TRUE_ONLY: [&str; 3] = ["Approved", "Denied", "Failed"];
const LEGACY: &str = "kubernetes.io/legacy-unknown";
const DURATION_MIN: i64 = 600;

pub fn validate(kind: &Kind, request: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    if old.is_none() {
        meta::object(kind, request, old, names::path_segment, &mut errors);
    }
    let at = At::root(request);
    spec(&at.get("spec"), old.map(|old| At::root(old).get("spec")), &mut errors);
    let (conditions, certificate) = (at.get("status").get("conditions"), at.get("status").get("certificate"));
    judge_conditions(&conditions, old, &mut errors);
    let was = old.map_or("", |old| tree::text(old, "status.certificate"));
    if certificate.text() != was
        && (was.is_empty() || chain(was).is_ok())
        && let Err(why) = chain(certificate.text())
    {
        errors.push(certificate.invalid_as("<certificate data>", &why));
    }
    if let Some(old) = old {
        changes(&conditions, old, context.subresource == "approval", &mut errors);
        match (certificate.text() == was, context.subresource.as_str()) {
            (true, _) => {}
            (false, "status") if was.is_empty() => {}
            (false, "status") => {
                errors.push(certificate.forbidden("updates may not modify existing certificate content"));
            }
            (false, _) => errors.push(certificate.forbidden("updates may not set certificate content")),
        }
        meta::object(kind, request, Some(old), names::path_segment, &mut errors);
    }
    errors
}

fn spec(spec: &At, was: Option<At>, errors: &mut Errors) {
    let request = spec.get("request");
    let checked = STANDARD.decode(request.text()).map_err(|e| e.to_string()).and_then(|pem| {
        let der = x509::request_of(&pem)?;
        x509::check_signature(&x509::request(&der)?)
    });
    if let Err(why) = checked {
        errors.push(request.invalid_as(request.value.clone(), &why));
    }
    let usages = spec.get("usages");
    if usages.is_empty() {
        errors.push(usages.required(""));
    }
    let mut wrong = unknown(&usages);
    if was.as_ref().is_none_or(|was| unknown(&was.get("usages")).is_empty()) {
        errors.append(&mut wrong);
    }
    let mut twice = duplicates(usages.items());
    if was.as_ref().is_none_or(|was| duplicates(was.get("usages").items()).is_empty()) {
        errors.append(&mut twice);
    }
    let signer = spec.get("signerName");
    let legacy = was.is_some_and(|was| was.get("signerName").text() == LEGACY);
    match signer.text() == LEGACY && !legacy {
        true => errors.push(signer.invalid("the legacy signerName is not allowed via this API version")),
        false => signer_name(&signer, errors),
    }
    let duration = spec.get("expirationSeconds");
    if duration.int().is_some_and(|seconds| seconds < DURATION_MIN) {
        errors.push(duration.invalid("may not specify a duration less than 600 seconds (10 minutes)"));
    }
}

fn types<'a>(conditions: &At<'a>) -> Vec<At<'a>> {
    conditions.items().map(|condition| condition.get("type")).collect()
}

fn unknown(usages: &At) -> Errors {
    usages.items().filter(|usage| !USAGES.contains(&usage.text())).map(|usage| usage.not_supported(USAGES)).collect()
}

fn duplicates<'a>(items: impl Iterator<Item = At<'a>>) -> Errors {
    let mut seen = BTreeSet::new();
    items.filter(|item| !seen.insert(item.text())).map(|item| item.duplicate()).collect()
}

fn judge_conditions(at: &At, old: Option<&Value>, errors: &mut Errors) {
    let before = old.map(|old| At::root(old).get("status").get("conditions"));
    let before_was = |broken: &dyn Fn(&At) -> bool| before.as_ref().is_some_and(broken);
    let allow_empty = before_was(&|at| types(at).iter().any(|kind| kind.text().is_empty()));
    let allow_twice = before_was(&|at| !duplicates(types(at).into_iter()).is_empty());
    let has = |at: &At, wanted: &str| types(at).iter().any(|kind| kind.text() == wanted);
    for condition in at.items() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        if kind.text().is_empty() && !allow_empty {
            errors.push(kind.required(""));
        }
        let allowed: &[&str] = if TRUE_ONLY.contains(&kind.text()) { &["True"] } else { &["False", "True", "Unknown"] };
        match status.text() {
            "" => errors.push(status.required("")),
            text if !allowed.contains(&text) => errors.push(status.not_supported(allowed)),
            _ => {}
        }
    }
    if !allow_twice {
        errors.append(&mut duplicates(types(at).into_iter()));
    }
    let both = |at: &At| VERDICTS.iter().all(|kind| has(at, kind));
    if both(at) && !before_was(&both) {
        const NAMES: [&str; 2] = [r#"conditions[{"type": "Approved"}]"#, r#"conditions[{"type": "Denied"}]"#];
        let why = format!("must specify at most one of: `{}`, `{}`", NAMES[0], NAMES[1]);
        errors.push(at.invalid_as(format!("{{{}}}", NAMES.join(", ")), &why));
    }
}

/// A verdict stays, and only `approval` gives one.
fn changes(at: &At, old: &Value, approves: bool, errors: &mut Errors) {
    let before = At::root(old).get("status").get("conditions");
    let of = |at: &At, wanted: &str| {
        at.items().filter(|c| c.get("type").text() == wanted).map(|c| c.value.clone()).collect::<Vec<_>>()
    };
    for kind in TRUE_ONLY {
        if of(at, kind).len() < of(&before, kind).len() {
            errors.push(at.forbidden(&format!("updates may not remove a condition of type {kind:?}")));
        }
    }
    for kind in VERDICTS.into_iter().filter(|_| !approves) {
        let (new, was) = (of(at, kind), of(&before, kind));
        if new.len() > was.len() {
            errors.push(at.forbidden(&format!("updates may not add a condition of type {kind:?}")));
        } else if new.len() == was.len() && new != was {
            errors.push(at.forbidden(&format!("updates may not modify a condition of type {kind:?}")));
        }
    }
}

/// Certificates and nothing else, at least one (validateCertificate).
fn chain(certificate: &str) -> Result<(), String> {
    if certificate.is_empty() {
        return Ok(());
    }
    let pem = STANDARD.decode(certificate).map_err(|e| e.to_string())?;
    let blocks = x509::blocks(&String::from_utf8_lossy(&pem));
    if blocks.is_empty() {
        return Err("must contain at least one CERTIFICATE PEM block".into());
    }
    for block in blocks {
        if block.tag() != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.tag()));
        }
        if block.headers().iter().next().is_some() {
            return Err("no PEM block headers are permitted".into());
        }
        if block.contents().is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".into());
        }
        x509::certificate(block.contents())?;
    }
    Ok(())
}
