//! ServiceCIDRs: each is ready once it is known, and goes when no address would be left without one.
//!
//! pkg/controller/servicecidrs. Upstream waits ten seconds before one goes, as its servers learn late that nothing
//! is given of it any more; here an address that is given holds only while its range does, so that a look at what
//! the server has decides. Few there are: every change of one may concern all.

use std::net::IpAddr;
use std::sync::Arc;

use api::resource::{IP_ADDRESSES, SERVICE_CIDRS};
use api::{Object, Reason, Status};
use client::reconcile::{self, Requeue};
use client::{Cache, ListOptions, PatchKind};
use futures::stream::{self, select};
use futures::{Stream, StreamExt};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::json;

use crate::Parts;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGER: &str = "service-cidr-controller";
pub const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
pub const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// Who manages the addresses of services.
pub const ALLOCATOR: &str = "ipallocator.k8s.io";

/// What is said of a range: status, reason, message.
type Ready = (&'static str, &'static str, &'static str);

const IS_READY: Ready = ("True", "", "Kubernetes Service CIDR is ready");
const IS_USED: Ready = (
    "False",
    "Terminating",
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
);

pub async fn run(parts: Arc<Parts>) {
    let (ranges, addresses) = (parts.cache(&SERVICE_CIDRS), parts.cache(&IP_ADDRESSES));
    parts.synced(&[&ranges, &addresses]).await;
    let own = each(&ranges, ranges.subscribe(), |_| true);
    let freed = each(&ranges, addresses.subscribe(), |range| range.meta().is_deleting());
    let work = |name: String| {
        let parts = parts.clone();
        async move { keep(&parts, &name).await }
    };
    // One after the other: of two that go together one may have to stay.
    reconcile::run(select(own, freed), 1, work).await;
}

/// The names of those that are so, for each change.
fn each(
    ranges: &Arc<Cache>,
    changes: client::Changes,
    is_so: fn(&Object) -> bool,
) -> impl Stream<Item = String> + Send + Unpin + use<> {
    let ranges = ranges.clone();
    let names = move |_| {
        let name = |range: &Object| range.meta().name.clone();
        stream::iter(ranges.visit(|all| all.filter(|range| is_so(range)).map(name).collect::<Vec<_>>()))
    };
    Box::pin(changes.flat_map(names))
}

async fn keep(parts: &Parts, name: &str) -> Result<Requeue, Status> {
    let cache = parts.cache(&SERVICE_CIDRS);
    let Some(range) = cache.get("", name) else { return Ok(Requeue::Done) };
    let has_finalizer = range.meta().finalizers.iter().any(|one| one == FINALIZER);
    if !range.meta().is_deleting() {
        if !has_finalizer {
            let patch = json!({"metadata": {"finalizers": [FINALIZER]}});
            written(&cache, parts.client.patch(&SERVICE_CIDRS, "", name, "", PatchKind::Strategic, &patch).await)
                .await?;
        }
        let said = say(parts, &range, IS_READY).await;
        if said.is_err() {
            let message = "The ServiceCIDR Status can not be set to Ready=True";
            let recorder = parts.recorder(MANAGER);
            recorder.event(&range, "", client::recorder::Type::Warning, "KubernetesServiceCIDRError", message);
        }
        return said;
    }
    if !has_finalizer {
        return Ok(Requeue::Done);
    }
    let others: Vec<(String, Vec<IpNet>)> =
        cache.list().iter().map(|one| (one.meta().name.to_string(), ranges_of(one))).collect();
    let held = |addresses: &mut dyn Iterator<Item = &Object>| {
        is_held(name, &ranges_of(&range), &others, addresses.filter_map(managed))
    };
    if parts.cache(&IP_ADDRESSES).visit(held) {
        return say(parts, &range, IS_USED).await;
    }
    // The cache may be behind: the server decides.
    let options = ListOptions { label_selector: format!("{MANAGED_BY}={ALLOCATOR}"), ..ListOptions::default() };
    let addresses = parts.client.list(&IP_ADDRESSES, "", &options).await?;
    if held(&mut addresses.objects.iter()) {
        return say(parts, &range, IS_USED).await;
    }
    let patch = json!({"metadata": {"uid": range.meta().uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
    match parts.client.patch(&SERVICE_CIDRS, "", name, "", PatchKind::Strategic, &patch).await {
        Ok(_) => {
            // Whether another may go depends on this one being gone.
            let uid = &range.meta().uid;
            cache
                .until(|cache| {
                    cache.get("", name).is_none_or(|now| {
                        now.meta().uid != *uid || now.meta().finalizers.iter().all(|one| one != FINALIZER)
                    })
                })
                .await;
            Ok(Requeue::Done)
        }
        Err(status) if status.reason == Reason::NotFound => Ok(Requeue::Done),
        Err(status) => Err(status),
    }
}

async fn say(parts: &Parts, range: &Object, ready: Ready) -> Result<Requeue, Status> {
    let (status, reason, message) = ready;
    if said(range).is_some_and(|said| (&*said.status, &*said.reason, &*said.message) == ready) {
        return Ok(Requeue::Done);
    }
    let name = &range.meta().name;
    let condition = json!({"type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": parts.now()});
    let applied = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name},
        "status": {"conditions": [condition]}});
    let how = PatchKind::Apply { manager: MANAGER.into(), force: true };
    let patched = parts.client.patch(&SERVICE_CIDRS, "", name, "status", how, &applied).await;
    written(&parts.cache(&SERVICE_CIDRS), patched).await?;
    Ok(Requeue::Done)
}

/// Returns when the cache has it; what is gone is nobody's business.
async fn written(cache: &Cache, patched: Result<Object, Status>) -> Result<(), Status> {
    match patched {
        Ok(object) => cache.reached(object.revision()).await,
        Err(status) if status.reason == Reason::NotFound => {}
        Err(status) => return Err(status),
    }
    Ok(())
}

/// Whether addresses of services would be in no range without this one; all ranges by name, itself among them. Pure.
fn is_held(
    name: &str,
    ranges: &[IpNet],
    all: &[(String, Vec<IpNet>)],
    mut addresses: impl Iterator<Item = IpAddr>,
) -> bool {
    let others = || all.iter().filter(|(other, _)| other != name).flat_map(|(_, ranges)| ranges);
    if ranges.iter().all(|range| others().any(|other| other.contains(range))) {
        return false;
    }
    addresses
        .any(|address| ranges.iter().any(|range| gives(range, address)) && !others().any(|other| gives(other, address)))
}

/// Whether services may have an address of a range (pkg/api/servicecidr PrefixContainsIP).
pub fn gives(range: &IpNet, address: IpAddr) -> bool {
    range.contains(&address) && address != range.network() && (address.is_ipv6() || address != range.broadcast())
}

pub fn ranges_of(object: &Object) -> Vec<IpNet> {
    let ranges = object.view::<Ranged>().map(|ranged| ranged.spec.cidrs).unwrap_or_default();
    ranges.iter().filter_map(|range| range.parse().ok()).collect()
}

/// The address of a service.
fn managed(object: &Object) -> Option<IpAddr> {
    let meta = object.meta();
    let by = meta.labels.get(MANAGED_BY).is_some_and(|by| by == ALLOCATOR);
    by.then(|| meta.name.parse().ok()).flatten()
}

fn said(object: &Object) -> Option<Condition> {
    let conditions = object.view::<Ranged>().ok()?.status.conditions;
    conditions.into_iter().find(|condition| condition.kind == "Ready")
}

#[derive(Deserialize)]
struct Ranged {
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Told,
}

#[derive(Deserialize, Default)]
struct Spec {
    #[serde(default)]
    cidrs: Vec<String>,
}

#[derive(Deserialize, Default)]
struct Told {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_held_by_addresses_that_no_other_has() {
        let net = |text: &&str| text.parse::<IpNet>().unwrap();
        let held = |ranges: &[&str], others: &[&[&str]], addresses: &[&str]| {
            let ranges: Vec<IpNet> = ranges.iter().map(net).collect();
            let others =
                others.iter().enumerate().map(|(n, ranges)| (format!("o{n}"), ranges.iter().map(net).collect()));
            let all: Vec<_> = others.chain([("own".to_owned(), ranges.clone())]).collect();
            is_held("own", &ranges, &all, addresses.iter().map(|address| address.parse().unwrap()))
        };
        assert!(!held(&["10.0.0.0/24"], &[], &[]));
        assert!(held(&["10.0.0.0/24"], &[], &["10.0.0.9"]));
        assert!(!held(&["10.0.0.0/24"], &[], &["10.0.1.9", "fd00::1"]));
        assert!(!held(&["10.0.0.0/24"], &[&["10.0.0.0/16"]], &["10.0.0.9"]), "it lies in another");
        assert!(!held(&["10.0.0.0/24"], &[&["10.0.0.0/24"]], &["10.0.0.9"]), "it is there twice");
        assert!(!held(&["10.0.0.0/24"], &[&["10.0.0.8/30"]], &["10.0.0.9"]), "another has them all");
        assert!(held(&["10.0.0.0/24"], &[&["10.0.0.8/30"]], &["10.0.0.9", "10.0.0.12"]));
        assert!(held(&["10.0.0.0/24"], &[&["10.0.0.9/32"]], &["10.0.0.9"]), "of which nothing can be given");
        assert!(held(&["10.0.0.0/24", "fd00::/112"], &[&["10.0.0.0/16"]], &["fd00::1"]));
    }
}
