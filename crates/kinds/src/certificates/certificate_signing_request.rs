//! CertificateSigningRequest: somebody asks a signer for a certificate; others approve, and sign.
//!
//! What is asked never changes. `approval` writes the conditions, `status` the certificate and what else
//! there is to say (pkg/registry/certificates/certificates/strategy.go).

use api::{age, tree};
use serde_json::{Value, json};

use super::cluster_trust_bundle::signer;
use crate::row::*;

/// How it is judged.
mod validate;

/// Types that only `approval` writes.
const VERDICTS: [&str; 2] = ["Approved", "Denied"];

pub(crate) fn row() -> Kind {
    let part = Subresource { owns: &["status"], ..PART };
    let approval = Subresource { name: "approval", resets: &[&["spec"], &["status", "certificate"]], ..part };
    let status = Subresource { name: "status", resets: &[&["spec"], &["status", "conditions"]], ..part };
    Kind {
        subresources: vec![approval, status],
        columns: vec![
            NAME,
            AGE,
            computed("SignerName", "Who is asked to sign.", |request, _| json!(signer(request))),
            text("Requestor", "Who asks.", "spec.username"),
            computed("RequestedDuration", "How long the certificate should be valid.", |request, _| {
                let seconds = tree::int(request, "spec.expirationSeconds");
                json!(seconds.map_or("<none>".into(), age::human))
            }),
            computed("Condition", "How far it is.", |request, _| json!(condition(request))),
        ],
        field_selectors: vec![field("spec.signerName")],
        hooks: Hooks { prepare, validate: validate::validate, ..HOOKS },
        writes: Writes { resets: &[&["spec"], &["status"]], requester: "spec", ..WRITES },
        ..Kind::cluster("certificates.k8s.io/v1", "CertificateSigningRequest", "certificatesigningrequests")
            .short("csr")
    }
}

/// `Approved,Issued` (printers.go extractCSRStatus).
fn condition(request: &Value) -> String {
    let has = |kind: &str| tree::list(request, "status.conditions").iter().any(|c| c["type"] == kind);
    let verdict = match () {
        _ if has("Denied") => "Denied",
        _ if has("Approved") => "Approved",
        _ => "Pending",
    };
    let issued = !tree::text(request, "status.certificate").is_empty();
    [(true, verdict), (has("Failed"), "Failed"), (issued, "Issued")]
        .iter()
        .filter_map(|(is, word)| is.then_some(*word))
        .collect::<Vec<_>>()
        .join(",")
}

fn prepare(_: &Kind, request: &mut Value, old: Option<&Value>, context: &Context) {
    let Some(old) = old else {
        request["status"] = json!({});
        return;
    };
    match context.subresource.as_str() {
        "approval" => {
            date(request, old, &context.now);
            if let Some(status) = tree::child(request, "status") {
                tree::keep(status, tree::at(old, "status"), "certificate");
            }
        }
        "status" => {
            VERDICTS.iter().for_each(|kind| keep_verdict(request, old, kind));
            date(request, old, &context.now);
        }
        _ => tree::keep(request, old, "spec"),
    }
}

/// Of a type that there is as often as before nothing changes.
fn keep_verdict(request: &mut Value, old: &Value, kind: &str) {
    let of_kind = |condition: &&Value| condition["type"] == kind;
    let kept: Vec<&Value> = tree::list(old, "status.conditions").iter().filter(of_kind).collect();
    let new = tree::each(&mut request["status"], "conditions").filter(|condition| of_kind(&&**condition));
    let new: Vec<&mut Value> = new.collect();
    if new.len() == kept.len() {
        new.into_iter().zip(kept).for_each(|(new, kept)| *new = kept.clone());
    }
}

/// The times that a condition does not bring (populateConditionTimestamps).
fn date(request: &mut Value, old: &Value, now: &str) {
    let Some(status) = request.get_mut("status") else { return };
    for condition in tree::each(status, "conditions") {
        tree::set_default_text(condition, "lastUpdateTime", now);
        let same = |one: &&Value| {
            ["type", "status"].iter().all(|field| one[*field] == condition[*field])
                && !tree::text(one, "lastTransitionTime").is_empty()
        };
        let before = tree::list(old, "status.conditions").iter().find(same);
        let since = before.map_or(now, |one| tree::text(one, "lastTransitionTime"));
        tree::set_default_text(condition, "lastTransitionTime", since);
    }
}

#[cfg(test)]
mod tests;
