//! What a signer may answer: one final condition, with Issued a certificate as it was asked for.
//!
//! pkg/apis/certificates/validation ValidatePodCertificateRequestStatusUpdate.

use api::FieldError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use x509_parser::prelude::{GeneralName, X509Certificate};

use crate::certificates::{LIFE_MIN, x509};
use crate::validate::at::{At, Errors};
use crate::validate::condition;

/// The conditions that end a request.
pub const FINAL: [&str; 3] = ["Denied", "Failed", "Issued"];

const CHAIN_MAX: usize = 100 * 1024;
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// So far from both ends of its life a certificate is renewed.
const REFRESH_MARGIN: SignedDuration = SignedDuration::from_mins(10);

/// Stops at the first group of errors, as upstream does.
pub fn answer(at: &At, old: &At, now: &str, errors: &mut Errors) {
    let (status, was) = (at.get("status"), old.get("status"));
    conditions(&status, errors);
    if !errors.is_empty() {
        return;
    }
    let mut frozen = |why: &str| {
        if semantic(status.value) != semantic(was.value) {
            errors.push(status.invalid_unshown(why));
        }
    };
    if FINAL.iter().any(|kind| is_true(&was, kind)) {
        frozen("immutable after PodCertificateRequest is issued, denied, or failed");
    } else if is_true(&status, "Denied") || is_true(&status, "Failed") {
        let others = |(field, _): &(&String, &Value)| field.as_str() != "conditions";
        if semantic(status.value).as_object().is_some_and(|map| map.iter().any(|entry| others(&entry))) {
            const WHY: &str = "non-condition status fields must be empty when denying or failing the \
                               PodCertificateRequest";
            errors.push(status.invalid_unshown(WHY));
        }
    } else if is_true(&status, "Issued") {
        if let Err(mut wrong) = issued(at, now) {
            errors.append(&mut wrong);
        }
    } else {
        frozen("status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"");
    }
}

/// Without what is absent in another way.
fn semantic(status: &Value) -> Value {
    let entries = status.as_object().into_iter().flatten();
    let said = entries.filter(|(_, value)| !value.is_null() && **value != json!("") && **value != json!([]));
    Value::Object(said.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn is_true(status: &At, kind: &str) -> bool {
    status.get("conditions").items().any(|c| c.get("type").text() == kind && c.get("status").text() == "True")
}

fn conditions(status: &At, errors: &mut Errors) {
    let list = status.get("conditions");
    let mut known = 0;
    for (i, condition) in list.items().enumerate() {
        // Upstream's path has a dot before the index.
        let path = |field: &str| format!("status.conditions.[{i}].{field}");
        let (kind, status) = (condition.get("type"), condition.get("status"));
        if !FINAL.contains(&kind.text()) {
            let known = ["Issued", "Denied", "Failed"];
            errors.push(FieldError::not_supported(&path("type"), &json!(kind.text()), &known));
            continue;
        }
        known += 1;
        if known > 1 {
            const WHY: &str = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            errors.push(FieldError::invalid(&path("type"), kind.value, WHY));
        }
        if status.text() != "True" {
            errors.push(FieldError::not_supported(&path("status"), &json!(status.text()), &["True"]));
        }
    }
    condition::conditions(&list, errors);
}

fn issued(at: &At, now: &str) -> Result<(), Errors> {
    let (spec, status) = (at.get("spec"), at.get("status"));
    let chain = status.get("certificateChain");
    let wrong = |why: &str| vec![chain.invalid(why)];
    if chain.text().len() > CHAIN_MAX {
        return Err(vec![chain.too_long(CHAIN_MAX)]);
    }
    let blocks = x509::blocks(chain.text());
    let Some((leaf, others)) = blocks.split_first() else {
        return Err(wrong("issued certificate chain must contain at least one certificate"));
    };
    if leaf.tag() != "CERTIFICATE" {
        return Err(wrong("issued certificate chain must consist entirely of CERTIFICATE PEM blocks"));
    }
    let leaf =
        x509::certificate(leaf.contents()).map_err(|_| wrong("leaf certificate does not parse as valid X.509"))?;
    let mut errors = names(&leaf, &chain);
    let asked = STANDARD.decode(spec.get("stubPKCS10Request").text()).unwrap_or_default();
    let asked = x509::request(&asked)
        .map_err(|_| vec![spec.get("stubPKCS10Request").invalid_unshown("must be a valid PKCS#10 CSR")])?;
    if asked.certification_request_info.subject_pki.raw != leaf.public_key().raw {
        errors.push(chain.invalid("leaf certificate was not issued to the requested public key"));
        return Err(errors);
    }
    let times = ["notBefore", "notAfter", "beginRefreshAt"].map(|field| status.get(field));
    let (of_leaf, in_between) = (
        "must be present and consistent with the issued certificate",
        "must be present and in the range [notbefore+10min, notafter-10min]",
    );
    for (time, why) in times.iter().zip([of_leaf, of_leaf, in_between]) {
        if time.text().is_empty() {
            errors.push(time.required(why));
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    span(&leaf, &times, &spec, &chain, now).map_err(|error| vec![error])?;
    for block in others {
        if block.tag() != "CERTIFICATE" {
            return Err(wrong("issued certificate chain must consist entirely of CERTFICATE PEM blocks"));
        }
        x509::certificate(block.contents())
            .map_err(|_| wrong("intermediate certificate does not parse as valid X.509"))?;
    }
    Ok(())
}

/// Names that no client could compare with.
fn names(leaf: &X509Certificate<'_>, chain: &At) -> Errors {
    let mut errors = Errors::new();
    let found = leaf.subject_alternative_name().ok().flatten();
    for name in found.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(dns) => {
                let rules = [
                    (dns.is_empty(), "leaf certificate should not contain empty DNSName"),
                    (dns.contains(".."), "leaf certificate's DNSName should not contain '..'"),
                    (
                        dns.starts_with('.') || dns.ends_with('.'),
                        "leaf certificate's DNSName should not start or end with '.'",
                    ),
                ];
                errors.extend(rules.iter().filter(|(bad, _)| *bad).map(|(_, why)| chain.invalid_as(*dns, why)));
            }
            GeneralName::RFC822Name(mail) if !is_mail(mail) => {
                errors.push(chain.invalid_as(*mail, "leaf certificate should not contain invalid EmailAddress"));
            }
            _ => {}
        }
    }
    errors
}

/// One `@` that stands between something.
fn is_mail(text: &str) -> bool {
    let bare = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c == '@');
    text.rsplit_once('@').is_some_and(|(user, host)| bare(user) && bare(host))
}

/// The times of the answer are those of the certificate, and those that were asked for.
fn span(leaf: &X509Certificate<'_>, times: &[At; 3], spec: &At, chain: &At, now: &str) -> Result<(), FieldError> {
    let [before, after, refresh] = times;
    let read = |at: &At| at.text().parse::<Timestamp>().map_err(|e| at.invalid(&e.to_string()));
    let (from, until, renewed) = (read(before)?, read(after)?, read(refresh)?);
    let validity = leaf.validity();
    if from.as_second() != validity.not_before.timestamp() {
        return Err(before.invalid("must be set to the NotBefore time encoded in the leaf certificate"));
    }
    let now: Timestamp = now.parse().map_err(|_| before.invalid("no time to compare with"))?;
    if from.duration_since(now).abs() >= SKEW {
        return Err(before.invalid("must be set to within 5 minutes of kube-apiserver's current time"));
    }
    if until.as_second() != validity.not_after.timestamp() {
        return Err(after.invalid("must be set to the NotAfter time encoded in the leaf certificate"));
    }
    let life = until.as_second() - from.as_second();
    // Go shows a duration in nanoseconds.
    let shown = life.saturating_mul(1_000_000_000);
    if life < LIFE_MIN {
        return Err(chain.invalid_as(shown, "leaf certificate lifetime must be >= 1 hour"));
    }
    let most = spec.get("maxExpirationSeconds").number();
    if life > most {
        let why = format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({most})");
        return Err(chain.invalid_as(shown, &why));
    }
    if renewed < from + REFRESH_MARGIN {
        return Err(refresh.invalid("must be at least 10 minutes after status.notBefore"));
    }
    if renewed > until - REFRESH_MARGIN {
        return Err(refresh.invalid("must be at least 10 minutes before status.notAfter"));
    }
    Ok(())
}
