//! Leases: an object that one holder renews; others see by its age whether the holder lives.
//!
//! `renew` is a node's heartbeat (upstream: component-helpers/apimachinery/lease). `hold` is a
//! leader's election (client-go tools/leaderelection): work runs only while the lease is ours.

use std::time::Duration;

use api::{Clock, Kind, Object, Reason, Status};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Client;
use crate::backoff::{Backoff, seed_of};
use crate::recorder::micros;

/// Whose lease, and how long it is good for.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    pub namespace: String,
    pub name: String,
    pub holder: String,
    /// `leaseDurationSeconds`: a holder silent for longer is gone.
    pub duration: Duration,
    /// Between two renewals.
    pub period: Duration,
    /// `metadata.ownerReferences`, if the lease goes with an object.
    pub owners: Vec<Value>,
}

/// Creates the lease and renews it every period, for ever; failures are tried again sooner.
pub async fn renew(client: &Client, clock: &Clock, config: &LeaseConfig) -> ! {
    let mut known = None;
    loop {
        known = Some(renew_once(client, clock, config, known).await);
        tokio::time::sleep(config.period).await;
    }
}

/// Waits until the lease is ours, then runs `work` while it stays so. Ends with the work's result,
/// or with None when the lease was lost, which drops the work.
pub async fn hold<T>(client: &Client, clock: &Clock, config: &LeaseConfig, work: impl Future<Output = T>) -> Option<T> {
    let mut lease = acquire(client, clock, config).await;
    tracing::info!("{} holds the lease {}/{}", config.holder, config.namespace, config.name);
    tokio::pin!(work);
    let mut renewed = Instant::now();
    loop {
        tokio::select! {
            biased;
            result = &mut work => {
                release(client, clock, config, &lease).await;
                return Some(result);
            }
            () = tokio::time::sleep(config.period) => {}
        }
        match claim(client, clock, config, &lease).await {
            Ok(newer) => {
                lease = newer;
                renewed = Instant::now();
            }
            Err(status) => {
                tracing::warn!("the lease {}/{} is not renewed: {status}", config.namespace, config.name);
                let stolen = match client.get(lease_kind(), &config.namespace, &config.name).await {
                    Ok(now) if holder_of(&now) == config.holder => {
                        lease = now;
                        false
                    }
                    Ok(_) => true,
                    Err(_) => false,
                };
                // Given up well before others may take it.
                if stolen || renewed.elapsed() + config.period >= config.duration {
                    return None;
                }
            }
        }
    }
}

async fn renew_once(client: &Client, clock: &Clock, config: &LeaseConfig, mut known: Option<Object>) -> Object {
    let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(7), seed: seed_of(&config.name) };
    let mut failures = 0;
    loop {
        let result = match &known {
            Some(lease) => claim(client, clock, config, lease).await,
            None => match client.get(lease_kind(), &config.namespace, &config.name).await {
                Ok(lease) => claim(client, clock, config, &lease).await,
                Err(status) if status.reason == Reason::NotFound => create(client, clock, config).await,
                Err(status) => Err(status),
            },
        };
        match result {
            Ok(lease) => return lease,
            Err(status) => {
                known = None;
                failures += 1;
                tracing::debug!("the lease {}/{} is not renewed: {status}", config.namespace, config.name);
                // A conflict is somebody else's write: looked at anew, at once.
                if status.reason != Reason::Conflict || failures > 3 {
                    tokio::time::sleep(backoff.after(failures)).await;
                }
            }
        }
    }
}

/// Waits for the lease: takes a fresh one, a released one, or one whose holder was silent for its
/// whole duration by our own clock (the holder's may be wrong).
async fn acquire(client: &Client, clock: &Clock, config: &LeaseConfig) -> Object {
    let backoff = Backoff { min: config.period / 2, max: config.period, seed: seed_of(&config.holder) };
    let mut seen: Option<(Object, Instant)> = None;
    let mut tries = 0;
    loop {
        let result = match client.get(lease_kind(), &config.namespace, &config.name).await {
            Err(status) if status.reason == Reason::NotFound => create(client, clock, config).await,
            Err(status) => Err(status),
            Ok(lease) => {
                let since = match &seen {
                    Some((known, since)) if known.revision() == lease.revision() => *since,
                    _ => Instant::now(),
                };
                seen = Some((lease.clone(), since));
                let holder = holder_of(&lease);
                let free = holder.is_empty() || holder == config.holder || since.elapsed() >= duration_of(&lease);
                match free {
                    true => claim(client, clock, config, &lease).await,
                    false => Err(Status::new(Reason::Conflict, format!("held by {holder}"))),
                }
            }
        };
        match result {
            Ok(lease) => return lease,
            Err(status) => tracing::debug!("waiting for the lease {}: {status}", config.name),
        }
        tries += 1;
        tokio::time::sleep(backoff.after(tries)).await;
    }
}

async fn create(client: &Client, clock: &Clock, config: &LeaseConfig) -> Result<Object, Status> {
    let mut body = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": config.name, "namespace": config.namespace},
        "spec": spec(config, clock()),
    });
    body["spec"]["acquireTime"] = body["spec"]["renewTime"].clone();
    if !config.owners.is_empty() {
        body["metadata"]["ownerReferences"] = json!(config.owners);
    }
    client.create(lease_kind(), &config.namespace, &body).await
}

/// Writes our name and the time into the lease, if nobody wrote it since `lease`.
async fn claim(client: &Client, clock: &Clock, config: &LeaseConfig, lease: &Object) -> Result<Object, Status> {
    let mut body = lease.value();
    let ours = holder_of(lease) == config.holder;
    let fresh = spec(config, clock());
    for (field, value) in fresh.as_object().into_iter().flatten() {
        body["spec"][field] = value.clone();
    }
    if !ours {
        body["spec"]["acquireTime"] = fresh["renewTime"].clone();
        let before = body["spec"]["leaseTransitions"].as_i64().unwrap_or(0);
        body["spec"]["leaseTransitions"] = json!(before + 1);
    }
    if !config.owners.is_empty() {
        body["metadata"]["ownerReferences"] = json!(config.owners);
    }
    client.update(lease_kind(), &config.namespace, &config.name, &body).await
}

/// Lets the next one in at once.
async fn release(client: &Client, clock: &Clock, config: &LeaseConfig, lease: &Object) {
    let mut body = lease.value();
    body["spec"]["holderIdentity"] = json!("");
    body["spec"]["leaseDurationSeconds"] = json!(1);
    body["spec"]["renewTime"] = json!(micros(clock()));
    if let Err(status) = client.update(lease_kind(), &config.namespace, &config.name, &body).await {
        tracing::debug!("the lease {}/{} is not released: {status}", config.namespace, config.name);
    }
}

fn spec(config: &LeaseConfig, now: Timestamp) -> Value {
    json!({
        "holderIdentity": config.holder,
        "leaseDurationSeconds": config.duration.as_secs(),
        "renewTime": micros(now),
    })
}

fn holder_of(lease: &Object) -> String {
    lease.value()["spec"]["holderIdentity"].as_str().unwrap_or_default().to_string()
}

fn duration_of(lease: &Object) -> Duration {
    Duration::from_secs(lease.value()["spec"]["leaseDurationSeconds"].as_u64().unwrap_or(0))
}

fn lease_kind() -> &'static Kind {
    api::kind::by_kind("coordination.k8s.io/v1", "Lease").expect("the kind table has Lease")
}

#[cfg(test)]
mod tests;
