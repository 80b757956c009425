//! Leases: an object that one holder renews; others see by its age whether the holder lives.
//!
//! A node's heartbeat (upstream: component-helpers/apimachinery/lease).

use std::time::Duration;

use api::resource::LEASES;
use api::{Clock, Object, Reason, Status};
use jiff::Timestamp;
use serde_json::{Value, json};

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

async fn renew_once(client: &Client, clock: &Clock, config: &LeaseConfig, mut known: Option<Object>) -> Object {
    let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(7), seed: seed_of(&config.name) };
    let mut failures = 0;
    loop {
        let result = match &known {
            Some(lease) => claim(client, clock, config, lease).await,
            None => match client.get(&LEASES, &config.namespace, &config.name).await {
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

pub(crate) async fn create(client: &Client, clock: &Clock, config: &LeaseConfig) -> Result<Object, Status> {
    let mut body = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": config.name, "namespace": config.namespace},
        "spec": spec(config, clock()),
    });
    body["spec"]["acquireTime"] = body["spec"]["renewTime"].clone();
    if !config.owners.is_empty() {
        body["metadata"]["ownerReferences"] = json!(config.owners);
    }
    client.create(&LEASES, &config.namespace, &body).await
}

/// Writes our name and the time into the lease, if nobody wrote it since `lease`.
pub(crate) async fn claim(
    client: &Client,
    clock: &Clock,
    config: &LeaseConfig,
    lease: &Object,
) -> Result<Object, Status> {
    let mut body = lease.value();
    // Who lets go takes nothing over.
    let ours = config.holder.is_empty() || holder_of(lease) == config.holder;
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
    client.update(&LEASES, &config.namespace, &config.name, &body).await
}

fn spec(config: &LeaseConfig, now: Timestamp) -> Value {
    json!({
        "holderIdentity": (!config.holder.is_empty()).then_some(&config.holder),
        "leaseDurationSeconds": config.duration.as_secs(),
        "renewTime": micros(now),
    })
}

pub(crate) fn holder_of(lease: &Object) -> String {
    lease.value()["spec"]["holderIdentity"].as_str().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests;
