//! ResourceQuota: what is written is charged to the quotas of its namespace, or refused.
//!
//! apiserver pkg/admission/plugin/resourcequota. It comes last and waits: of a namespace one write is charged
//! at a time, in the order of their coming. A charge is a claim of the write: both are durable or none is, so
//! that no two writes exceed a quota together (`charges`). What goes is given back by the quota controller.

use std::collections::BTreeMap;

use api::managed::{self, Write};
use api::pod::{Amounts, add, amounts};
use api::quantity::Quantity;
use api::{Status, quota, tree};
use jiff::Timestamp;
use serde_json::{Value, json};
use store::Entry;

use super::{Ask, Findings, Operation};
use crate::charges::Charge;

const MANAGER: &str = "kube-apiserver";

/// Judges the finished object, and leaves in `findings` what it is charged.
pub async fn charge(ask: &Ask<'_>, object: &Value, findings: &mut Findings) -> Result<(), Status> {
    let resource = ask.kind().qualified();
    let asked =
        Asked { resource: &resource, operation: ask.operation, subresource: ask.subresource, old: ask.old, object };
    if ask.namespace.is_empty() || !asked.is_handled() || !read(ask).iter().any(|(_, quota)| asked.is_tracked(quota)) {
        return Ok(());
    }
    findings.bill.turn = Some(ask.server.0.turns.wait(ask.namespace).await);
    let now = (ask.server.0.config.clock)();
    let quotas = read(ask);
    let charged = asked.charged(quotas.iter().map(|(_, quota)| quota), now);
    let charged = charged.map_err(|why| {
        tracing::debug!(plugin = "ResourceQuota", why, dry_run = ask.dry_run, "refused");
        ask.forbidden(object, &why)
    })?;
    for (place, used) in charged {
        let (entry, quota) = &quotas[place];
        findings.bill.charges.push(Charge::new(ask.server, entry, quota, next(ask, quota, &used))?);
    }
    Ok(())
}

/// The quotas of the namespace, by name.
fn read(ask: &Ask<'_>) -> Vec<(Entry, Value)> {
    let all = ask.snapshot().all("resourcequotas", ask.namespace).into_iter();
    all.filter_map(|entry| Some((serde_json::from_slice(&entry.bytes).ok()?, entry))).map(|(q, e)| (e, q)).collect()
}

/// The quota's next version, as its status would be written by a client.
fn next(ask: &Ask<'_>, quota: &Value, used: &Amounts) -> Value {
    let mut next = quota.clone();
    next["status"]["used"] = used.iter().map(|(name, amount)| (name.clone(), json!(amount.to_string()))).collect();
    let (time, resets) = (ask.server.now(), &[["spec"].as_slice()]);
    let schema = "io.k8s.api.core.v1.ResourceQuota";
    let write = Write { schema, api_version: "v1", manager: MANAGER, subresource: "status", time: &time, resets };
    managed::update(&write, Some(quota), &mut next);
    managed::keep_times(quota, &mut next);
    next
}

/// What is to be charged.
struct Asked<'a> {
    resource: &'a str,
    operation: Operation,
    subresource: &'a str,
    old: Option<&'a Value>,
    object: &'a Value,
}

impl Asked<'_> {
    /// Whether it can change what is used: new objects, and what changes of those that are measured.
    fn is_handled(&self) -> bool {
        if !quota::is_counted(self.resource) {
            return false;
        }
        let Some(old) = self.old.filter(|_| self.operation == Operation::Update) else {
            return self.operation == Operation::Create && self.subresource.is_empty();
        };
        match (self.resource, self.subresource) {
            ("pods", "") => quota::is_terminating(old) != quota::is_terminating(self.object),
            ("pods", "resize") => true,
            ("persistentvolumeclaims", "status") => quota::claim_status_counts(old, self.object),
            ("services" | "persistentvolumeclaims" | "resourceclaims.resource.k8s.io", "") => true,
            _ => false,
        }
    }

    fn is_tracked(&self, quota: &Value) -> bool {
        self.tracked(quota).next().is_some()
    }

    /// The names of the quota that it counts for.
    fn tracked<'q>(&self, quota: &'q Value) -> impl Iterator<Item = &'q str> {
        let names = tree::entries(quota, "status.hard").map(|(name, _)| name.as_str());
        names.filter(|name| quota::tracks(self.resource, name))
    }

    /// Of each quota that changes its place and what is used of it then; or why it is not to be. Pure.
    fn charged<'q>(
        &self,
        quotas: impl Iterator<Item = &'q Value>,
        now: Timestamp,
    ) -> Result<BTreeMap<usize, Amounts>, String> {
        let matches = |quota: &Value, object: &Value| quota::selects(quota, self.resource, object);
        let all = quotas.enumerate().filter(|(_, quota)| self.is_tracked(quota) && matches(quota, self.object));
        let concerned: Vec<(usize, &Value)> = all.collect();
        for (_, quota) in &concerned {
            self.check(quota)?;
        }
        let usage = |object: &Value| quota::usage(self.resource, object, now);
        let asked = usage(self.object);
        let negative: Vec<&str> =
            asked.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name.as_str()).collect();
        if !negative.is_empty() {
            return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
        }
        let old = self.old.map(|old| (old, usage(old)));
        let mut charged = BTreeMap::new();
        for (place, quota) in concerned {
            let before = old.as_ref().filter(|(old, _)| matches(quota, old)).map(|(_, usage)| usage);
            let more = asked.iter().map(|(name, amount)| {
                let before = before.and_then(|usage| usage.get(name));
                (name.clone(), before.map_or(*amount, |before| amount.minus(*before)))
            });
            let hard = amounts(&quota["status"]["hard"]);
            let more: Amounts = more.filter(|(name, more)| *more > Quantity::ZERO && hard.contains_key(name)).collect();
            if !more.is_empty() {
                charged.insert(place, self.used(quota, &hard, &more)?);
            }
        }
        Ok(charged)
    }

    fn check(&self, quota: &Value) -> Result<(), String> {
        let name = tree::text(quota, "metadata.name");
        if self.resource == "pods"
            && let Some(why) = quota::unspecified(self.tracked(quota), self.object)
        {
            return Err(format!("failed quota: {name}: {why}"));
        }
        let used = &quota["status"]["used"];
        if self.tracked(quota).any(|name| used.get(name).is_none()) {
            let names: Vec<&str> = self.tracked(quota).collect();
            return Err(format!("status unknown for quota: {name}, resources: {}", names.join(",")));
        }
        Ok(())
    }

    /// What is used of a quota with more of it.
    fn used(&self, quota: &Value, hard: &Amounts, more: &Amounts) -> Result<Amounts, String> {
        let before = amounts(&quota["status"]["used"]);
        let mut used = before.clone();
        add(&mut used, more);
        let exceeded: Vec<&String> = more.keys().filter(|name| used.get(*name) > hard.get(*name)).collect();
        if exceeded.is_empty() || self.subresource == "status" {
            return Ok(used);
        }
        let shown = |all: &Amounts| {
            let of = |name: &&String| all.get(*name).map(|amount| format!("{name}={amount}"));
            exceeded.iter().filter_map(of).collect::<Vec<_>>().join(",")
        };
        Err(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            tree::text(quota, "metadata.name"),
            shown(more),
            shown(&before),
            shown(hard)
        ))
    }
}

#[cfg(test)]
mod tests;
