//! Evicts (or deletes) a node's pods at once, and waits until each is gone.
//!
//! One watch tells of all the node's pods. A pod that a budget holds back is asked for again when a budget
//! of its namespace allows something new, or the pod itself changes: never by the clock, unless the server
//! named a time (kubectl asks every five seconds: pkg/drain/drain.go, evictPods).

use std::collections::BTreeMap;
use std::time::Duration;

use api::{Object, Reason, Resource, Status, WatchEvent};
use client::{DeleteOptions, ListOptions, WatchOptions};
use futures::StreamExt;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::verdicts::{deleted_at, is_skipped};
use crate::change::DryRun;
use crate::failure::{Failure, Result, failure};
use crate::output;
use crate::session::Session;

/// The pods of a node that are to go.
pub(super) struct Leaving<'s> {
    pub session: &'s Session,
    pub pods: Resource,
    pub node: &'s str,
    /// Evictions, which ask the budgets; else plain deletions.
    pub evicts: bool,
    /// Seconds; negative: the pod's own.
    pub grace: i64,
    /// Zero: none.
    pub timeout: Duration,
    /// Seconds of being deleted after which a pod is not waited for; 0 or less: never.
    pub skip_after: i64,
    pub dry_run: DryRun,
}

/// The node's pods as last heard of, by namespace and name.
type Present = BTreeMap<(String, String), Object>;

/// kubectl's own pause, where the server names none and there is nothing to watch.
const RETRY: Duration = Duration::from_secs(5);

impl Leaving<'_> {
    /// Lets all of them go; `revision` is that of the list that they stood in. Why each did not.
    pub async fn all(&self, pods: Vec<Object>, revision: u64) -> Result<(), Vec<Failure>> {
        let key = |pod: &Object| (pod.meta().namespace.clone(), pod.meta().name.clone());
        let present: Present = pods.iter().map(|pod| (key(pod), pod.clone())).collect();
        let (told, heard) = watch::channel(present);
        let deadline = (!self.timeout.is_zero()).then(|| Instant::now() + self.timeout);
        let going = async {
            match self.evicts {
                true => {
                    let each = pods.iter().map(|pod| self.evicted(pod, heard.clone(), deadline));
                    join_all(each).await.into_iter().filter_map(Result::err).collect()
                }
                false => self.deleted(&pods, &heard, deadline).await.err().into_iter().collect(),
            }
        };
        let failed: Vec<Failure> = tokio::select! {
            failed = going => failed,
            why = self.heard(&told, revision) => vec![why],
        };
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// Keeps `present` as the server has it; ends only with what the server refuses.
    async fn heard(&self, present: &watch::Sender<Present>, revision: u64) -> Failure {
        let field_selector = format!("spec.nodeName={}", self.node);
        let mut revision = revision;
        loop {
            let options = WatchOptions {
                field_selector: field_selector.clone(),
                resource_version: revision.to_string(),
                ..WatchOptions::default()
            };
            match self.session.client.watch(&self.pods, "", &options).await {
                Ok(mut watch) => {
                    while let Some(event) = watch.next().await {
                        match event {
                            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => present.send_modify(|present| {
                                present.insert((pod.meta().namespace.clone(), pod.meta().name.clone()), pod);
                            }),
                            WatchEvent::Deleted(pod) => present.send_modify(|present| {
                                present.remove(&(pod.meta().namespace.clone(), pod.meta().name.clone()));
                            }),
                            WatchEvent::Error(_) => break,
                            WatchEvent::Bookmark { .. } => {}
                        }
                    }
                }
                // The revision is too old: the list below brings a new one.
                Err(status) if matches!(status.reason, Reason::Expired | Reason::Gone) => {}
                Err(status) => return status.into(),
            }
            let options = ListOptions { field_selector: field_selector.clone(), ..ListOptions::default() };
            match self.session.client.list(&self.pods, "", &options).await {
                Ok(listed) => {
                    revision = listed.revision;
                    let key = |pod: &Object| (pod.meta().namespace.clone(), pod.meta().name.clone());
                    present.send_replace(listed.objects.into_iter().map(|pod| (key(&pod), pod)).collect());
                }
                Err(status) => return status.into(),
            }
        }
    }

    /// Evicts one pod and waits for its end.
    async fn evicted(
        &self,
        pod: &Object,
        mut heard: watch::Receiver<Present>,
        deadline: Option<Instant>,
    ) -> Result<()> {
        let (namespace, name) = (&pod.meta().namespace, &pod.meta().name);
        let is_taken = match within(deadline, self.taken(pod, &mut heard)).await {
            Some(taken) => taken?,
            None => {
                let limit = go_duration(self.timeout);
                return Err(failure(format!(
                    "error when evicting pods/{name:?} -n {namespace:?}: global timeout reached: {limit}"
                )));
            }
        };
        if !is_taken || self.dry_run == DryRun::Server {
            return Ok(());
        }
        let wrong = |why: &str| {
            failure(format!("error when waiting for pod {name:?} in namespace {namespace:?} to terminate: {why}"))
        };
        match within(deadline, self.gone(pod, &mut heard)).await {
            Some(Ok(true)) => output::line(format_args!("pod/{name} evicted")),
            Some(Ok(false)) => Ok(()),
            Some(Err(why)) => Err(wrong(&why.message)),
            None => Err(wrong("context deadline exceeded")),
        }
    }

    /// Asks until the eviction is taken; false: the pod was gone already.
    async fn taken(&self, pod: &Object, heard: &mut watch::Receiver<Present>) -> Result<bool> {
        let (namespace, name) = (pod.meta().namespace.as_str(), pod.meta().name.as_str());
        let mut budgets: Option<Budgets> = None;
        let mut is_told = false;
        loop {
            if !std::mem::take(&mut is_told) {
                output::line(format_args!("evicting pod {namespace}/{name}{}", self.dry_run.suffix()))?;
            }
            let key = (namespace.to_string(), name.to_string());
            let then = heard.borrow_and_update().get(&key).cloned();
            let status = match self.evict(namespace, name).await {
                Ok(()) => return Ok(true),
                Err(status) => status,
            };
            let has_cause = |reason: &str| status.causes.iter().any(|cause| cause.reason == reason);
            match status.reason {
                Reason::NotFound => return Ok(false),
                Reason::TooManyRequests if has_cause("DisruptionBudget") && budgets.is_none() => {
                    budgets = Budgets::of(self.session, namespace).await;
                    // A budget may have changed before its watch began: once more at once.
                    is_told = budgets.is_some();
                    if budgets.is_none() {
                        let after = named(&status);
                        told_retry(name, namespace, &status, after);
                        pause(heard, after).await;
                    }
                }
                Reason::TooManyRequests if has_cause("DisruptionBudget") => {
                    output::note(format_args!(
                        "error when evicting pods/{name:?} -n {namespace:?} (will retry when its budget changes): {status}"
                    ));
                    let changed = async {
                        match &mut budgets {
                            Some(open) => open.changed().await,
                            None => std::future::pending().await,
                        }
                    };
                    let goes_on = tokio::select! {
                        goes_on = changed => goes_on,
                        _ = heard.wait_for(|present| has_changed(then.as_ref(), present.get(&key))) => true,
                    };
                    if !goes_on {
                        budgets = None;
                        pause(heard, RETRY).await;
                    }
                }
                // Too many requests altogether: the server says when.
                Reason::TooManyRequests => {
                    let after = named(&status);
                    told_retry(name, namespace, &status, after);
                    pause(heard, after).await;
                }
                Reason::Forbidden
                    if has_cause("NamespaceTerminating")
                        && then.as_ref().is_some_and(|pod| pod.meta().is_deleting()) =>
                {
                    return Ok(true);
                }
                Reason::Forbidden if has_cause("NamespaceTerminating") => {
                    output::note(format_args!(
                        "error when evicting pod {name:?} from terminating namespace {namespace:?} (will retry when it is deleted): {status}"
                    ));
                    // Whoever tells of the pods ends this too.
                    let _ =
                        heard.wait_for(|present| present.get(&key).is_none_or(|pod| pod.meta().is_deleting())).await;
                }
                _ => {
                    return Err(failure(format!("error when evicting pods/{name:?} -n {namespace:?}: {status}")));
                }
            }
        }
    }

    async fn evict(&self, namespace: &str, name: &str) -> Result<(), Status> {
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": self.options().to_value(),
        });
        self.session.client.create_sub(&self.pods, namespace, name, "eviction", &eviction).await.map(|_| ())
    }

    fn options(&self) -> DeleteOptions {
        DeleteOptions {
            grace_period_seconds: (self.grace >= 0).then_some(self.grace),
            dry_run: self.dry_run == DryRun::Server,
            ..DeleteOptions::default()
        }
    }

    /// Deletes all of them, and waits for their end.
    async fn deleted(
        &self,
        pods: &[Object],
        heard: &watch::Receiver<Present>,
        deadline: Option<Instant>,
    ) -> Result<()> {
        for pod in pods {
            let (namespace, name) = (&pod.meta().namespace, &pod.meta().name);
            match self.session.client.delete(&self.pods, namespace, name, &self.options()).await {
                Err(status) if status.reason != Reason::NotFound => return Err(failure(status.message)),
                _ => {}
            }
        }
        if self.dry_run == DryRun::Server {
            return Ok(());
        }
        let ends = pods.iter().map(|pod| async move {
            let mut heard = heard.clone();
            match self.gone(pod, &mut heard).await? {
                true => output::line(format_args!("pod/{} deleted", pod.meta().name)),
                false => Ok(()),
            }
        });
        match within(deadline, join_all(ends)).await {
            Some(ended) => ended.into_iter().collect(),
            None => Err(failure("context deadline exceeded")),
        }
    }

    /// Returns when this very pod is gone: true; or has been going for too long to be waited for: false.
    async fn gone(&self, pod: &Object, heard: &mut watch::Receiver<Present>) -> Result<bool> {
        let (uid, key) = (&pod.meta().uid, (pod.meta().namespace.clone(), pod.meta().name.clone()));
        loop {
            let now = (self.session.clock)();
            let left = {
                let present = heard.borrow_and_update();
                let Some(current) = present.get(&key).filter(|current| current.meta().uid == *uid) else {
                    return Ok(true);
                };
                let value = current.value();
                if is_skipped(&value, self.skip_after, now) {
                    let (name, seconds) = (&pod.meta().name, self.skip_after);
                    output::line(format_args!(
                        "pod {name:?} has DeletionTimestamp older than {seconds} seconds, skipping"
                    ))?;
                    return Ok(false);
                }
                self.left(&value, now)
            };
            let skipped = async {
                match left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = heard.changed() => changed.map_err(|_| failure("the watch of the pods ended"))?,
                () = skipped => {}
            }
        }
    }

    /// How long a pod is still waited for; None: until it is gone.
    fn left(&self, pod: &Value, now: jiff::Timestamp) -> Option<Duration> {
        let at = deleted_at(pod).filter(|_| self.skip_after > 0)?;
        let ends = api::seam::later(at, self.skip_after.saturating_add(1));
        Some(Duration::try_from(ends.duration_since(now)).unwrap_or(Duration::ZERO))
    }
}

/// The budgets of a namespace, watched since they were last found to forbid something.
struct Budgets(client::WatchStream);

impl Budgets {
    /// None where they cannot be watched: who may evict need not be one who may look at budgets.
    async fn of(session: &Session, namespace: &str) -> Option<Budgets> {
        let kind = session.kinds().await.ok()?.named("poddisruptionbudgets.policy").ok()?;
        let listed = session.client.list(&kind, namespace, &ListOptions::default()).await.ok()?;
        let options = WatchOptions { resource_version: listed.revision.to_string(), ..WatchOptions::default() };
        session.client.watch(&kind, namespace, &options).await.ok().map(Budgets)
    }

    /// Returns when one is gone or allows something; false: the watch ended, and with it what it saw.
    async fn changed(&mut self) -> bool {
        while let Some(event) = self.0.next().await {
            match event {
                WatchEvent::Deleted(_) => return true,
                WatchEvent::Added(budget) | WatchEvent::Modified(budget) if allows(&budget.value()) => return true,
                WatchEvent::Error(_) => return false,
                _ => {}
            }
        }
        false
    }
}

/// Whether a budget lets a pod go, as its status says of its spec as it is.
fn allows(budget: &Value) -> bool {
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let is_observed = number(&budget["status"]["observedGeneration"]) >= number(&budget["metadata"]["generation"]);
    is_observed && number(&budget["status"]["disruptionsAllowed"]) > 0
}

/// Whether a pod is another than it was as far as its eviction goes: gone, going, done, ready or not.
fn has_changed(then: Option<&Object>, now: Option<&Object>) -> bool {
    let looked_at = |pod: &Object| {
        let (is_going, pod) = (pod.meta().is_deleting(), pod.value());
        (pod["metadata"]["uid"].clone(), is_going, pod["status"]["phase"].clone(), api::pod::is_ready(&pod))
    };
    then.map(looked_at) != now.map(looked_at)
}

/// The time that the server named for coming back.
fn named(status: &Status) -> Duration {
    status.retry_after_seconds.map_or(RETRY, |seconds| Duration::from_secs(seconds.into()))
}

fn told_retry(name: &str, namespace: &str, status: &Status, after: Duration) {
    let after = go_duration(after);
    output::note(format_args!(
        "error when evicting pods/{name:?} -n {namespace:?} (will retry after {after}): {status}"
    ));
}

/// Waits for a time that the server named, or for news of the pods.
async fn pause(heard: &mut watch::Receiver<Present>, after: Duration) {
    // Either is a reason to ask again.
    let _ = tokio::time::timeout(after, heard.changed()).await;
}

/// None when the time is over.
async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

/// As Go prints a duration: `1m30s`, `500ms`.
fn go_duration(time: Duration) -> String {
    let (whole, fraction) = (time.as_secs(), time.subsec_nanos());
    if whole == 0 && fraction != 0 {
        return format!("{}ms", f64::from(fraction) / 1e6);
    }
    let seconds = (whole % 60) as f64 + f64::from(fraction) / 1e9;
    match (whole / 3600, whole / 60 % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests;
