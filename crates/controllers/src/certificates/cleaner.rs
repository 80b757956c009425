//! What was asked long ago goes: requests to sign, and those of pods.
//!
//! pkg/controller/certificates/cleaner. Upstream looks every hour; here each goes when it is due.

use std::sync::Arc;
use std::time::Duration;

use api::resource::{CERTIFICATE_SIGNING_REQUESTS, POD_CERTIFICATE_REQUESTS};
use api::{Reason, Resource, Status, tree};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::reconcile::{self, Requeue};
use client::{DeleteOptions, Key};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use x509_cert::certificate::Certificate;
use x509_cert::der::Decode;

use super::{has_condition, is_issued};
use crate::Parts;

/// After a verdict or a certificate.
const DECIDED: SignedDuration = SignedDuration::from_hours(1);
/// Without one.
const PENDING: SignedDuration = SignedDuration::from_hours(24);
/// Whatever became of it.
const OF_POD: SignedDuration = SignedDuration::from_mins(15);

/// Requests to sign.
pub async fn requests(parts: Arc<Parts>) {
    run(parts, &CERTIFICATE_SIGNING_REQUESTS).await;
}

/// Requests of pods.
pub async fn of_pods(parts: Arc<Parts>) {
    run(parts, &POD_CERTIFICATE_REQUESTS).await;
}

async fn run(parts: Arc<Parts>, kind: &'static Resource) {
    let cache = parts.cache(kind);
    parts.synced(&[&*cache]).await;
    let work = |key: Key| {
        let parts = parts.clone();
        async move { clean(&parts, kind, &key).await }
    };
    reconcile::run(cache.subscribe().keys(), 4, work).await;
}

async fn clean(parts: &Parts, kind: &Resource, key: &Key) -> Result<Requeue, Status> {
    let Some(object) = parts.cache(kind).get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    let due = if kind.namespaced { of_pod(&object.value()) } else { due(&object.value()) };
    let Some(due) = due else { return Ok(Requeue::Done) };
    let rest = due.duration_since((parts.config.clock)());
    if let Ok(rest) = Duration::try_from(rest)
        && !rest.is_zero()
    {
        return Ok(Requeue::After(rest));
    }
    let options = DeleteOptions { uid: Some(object.meta().uid.clone()), ..DeleteOptions::default() };
    match parts.client.delete(kind, &key.namespace, &key.name, &options).await {
        Err(status) if status.reason != Reason::NotFound => Err(status),
        _ => Ok(Requeue::Done),
    }
}

/// When a request to sign goes; the first of all reasons.
fn due(request: &Value) -> Option<Timestamp> {
    let decided = tree::list(request, "status.conditions").iter().filter_map(|condition| {
        let since = time(tree::text(condition, "lastUpdateTime"))?;
        match tree::text(condition, "type") {
            "Approved" if is_issued(request) => Some(after(since, DECIDED)),
            "Approved" => Some(after(since, PENDING)),
            "Denied" | "Failed" => Some(after(since, DECIDED)),
            _ => None,
        }
    });
    let is_pending = tree::list(request, "status.conditions").is_empty();
    let created = time(tree::text(request, "metadata.creationTimestamp")).filter(|_| is_pending);
    let ends = end(request).filter(|_| has_condition(request, "Approved"));
    decided.chain(created.map(|at| after(at, PENDING))).chain(ends).min()
}

fn of_pod(request: &Value) -> Option<Timestamp> {
    Some(after(time(tree::text(request, "metadata.creationTimestamp"))?, OF_POD))
}

/// Times that others wrote may be the last there are.
fn after(time: Timestamp, rest: SignedDuration) -> Timestamp {
    time.saturating_add(rest).unwrap_or(Timestamp::MAX)
}

/// The end of the certificate.
fn end(request: &Value) -> Option<Timestamp> {
    let pem = STANDARD.decode(tree::text(request, "status.certificate")).ok()?;
    let certificate = Certificate::from_der(pem::parse(pem).ok()?.contents()).ok()?;
    let end = certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
    Timestamp::from_second(i64::try_from(end).ok()?).ok()
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests;
