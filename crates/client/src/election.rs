//! Of several candidates for one Lease, one leads.
//!
//! A candidate watches the lease and makes no requests while another renews it. Whether the holder is
//! silent, it judges by when it saw the last renewal, never by the times in the lease: clocks differ. Law:
//! at most one leads, as long as clocks run at one pace (client-go/tools/leaderelection).

use std::time::Duration;

use api::resource::LEASES;
use api::{Clock, Object, Reason, Status};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::backoff::{Backoff, seed_of};
use crate::leases::{LeaseConfig, claim, create, holder_of};
use crate::{Cache, Client, Scope};

/// Another may lead by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// Waits to be elected, then does the work and renews the lease beside it; the lease is let go at the work's
/// end. Work whose leader could not renew for two thirds of the lease's duration is dropped: it has to have
/// stopped before another begins.
pub async fn lead<T>(
    client: &Client,
    clock: &Clock,
    config: &LeaseConfig,
    work: impl Future<Output = T>,
) -> Result<T, Lost> {
    let (lease, since) = elected(client, clock, config).await;
    let mut held = Held { client, clock, config, lease, since };
    tokio::select! {
        done = work => {
            held.let_go().await;
            Ok(done)
        }
        () = held.renew() => Err(Lost),
    }
}

/// The lease as we wrote it, and since when.
async fn elected(client: &Client, clock: &Clock, config: &LeaseConfig) -> (Object, Instant) {
    let field_selector = format!("metadata.name={}", config.name);
    let scope = Scope { namespace: config.namespace.clone(), field_selector, ..Scope::default() };
    let cache = Cache::start(client.clone(), &LEASES, scope);
    cache.synced().await;
    let mut changes = cache.subscribe();
    let backoff = backoff(config);
    let (mut seen, mut failures) = (None, 0);
    let mut free_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            change = changes.next() => {
                seen = change.and_then(|change| change.new);
                failures = 0;
                free_at = Instant::now() + seen.as_ref().map_or(Duration::ZERO, |lease| patience(config, lease));
            }
            () = sleep_until(free_at) => {
                let since = Instant::now();
                let taken = match &seen {
                    Some(lease) => claim(client, clock, config, lease).await,
                    None => create(client, clock, config).await,
                };
                match taken {
                    Ok(lease) => return (lease, since),
                    // Somebody was faster, whose change comes; or the server is away.
                    Err(status) => {
                        tracing::debug!("the lease {}/{} is not ours: {status}", config.namespace, config.name);
                        failures += 1;
                        free_at = Instant::now() + backoff.after(failures);
                    }
                }
            }
        }
    }
}

/// How long a lease is respected from when it was seen; not at all where it is ours or nobody's.
fn patience(config: &LeaseConfig, lease: &Object) -> Duration {
    let holder = holder_of(lease);
    if holder.is_empty() || holder == config.holder {
        return Duration::ZERO;
    }
    let seconds = lease.value()["spec"]["leaseDurationSeconds"].as_u64();
    seconds.map_or(config.duration, Duration::from_secs)
}

fn backoff(config: &LeaseConfig) -> Backoff {
    Backoff { min: Duration::from_millis(100), max: config.period, seed: seed_of(&config.holder) }
}

/// A lease of ours.
struct Held<'a> {
    client: &'a Client,
    clock: &'a Clock,
    config: &'a LeaseConfig,
    lease: Object,
    /// When the request that renewed it last was sent: others saw it no earlier.
    since: Instant,
}

impl Held<'_> {
    /// Renews every period; returns when the lease is another's, or may soon be.
    async fn renew(&mut self) {
        loop {
            sleep_until(self.since + self.config.period).await;
            let limit = self.since + self.config.duration * 2 / 3;
            match timeout_at(limit, self.renewed()).await {
                Ok(Ok(())) => {}
                Ok(Err(Lost)) | Err(_) => return,
            }
        }
    }

    async fn renewed(&mut self) -> Result<(), Lost> {
        let backoff = backoff(self.config);
        let mut failures = 0;
        loop {
            let sent = Instant::now();
            match claim(self.client, self.clock, self.config, &self.lease).await {
                Ok(lease) => {
                    (self.lease, self.since) = (lease, sent);
                    return Ok(());
                }
                Err(status) if status.reason == Reason::Conflict => self.look().await?,
                Err(status) if status.reason == Reason::NotFound => return Err(Lost),
                Err(_) => {}
            }
            failures += 1;
            sleep(backoff.after(failures)).await;
        }
    }

    /// Somebody wrote into it: still ours, or another's.
    async fn look(&mut self) -> Result<(), Lost> {
        let found: Result<Object, Status> = self.client.get(&LEASES, &self.config.namespace, &self.config.name).await;
        match found {
            Ok(lease) if holder_of(&lease) == self.config.holder => self.lease = lease,
            Ok(_) => return Err(Lost),
            // The next attempt tells.
            Err(_) => {}
        }
        Ok(())
    }

    /// Nobody's, so that the next one need not wait. Where that fails, it runs out.
    async fn let_go(&self) {
        let nobody = LeaseConfig { holder: String::new(), duration: Duration::from_secs(1), ..self.config.clone() };
        if let Err(status) = claim(self.client, self.clock, &nobody, &self.lease).await {
            tracing::debug!("the lease {}/{} is not let go: {status}", self.config.namespace, self.config.name);
        }
    }
}

#[cfg(test)]
mod tests;
