//! Addresses and ports of nodes that services have, as claims of their writes: never of two.
//!
//! What a service holds is written down with it, in one transaction, and freed with it: `allocations/10.96.0.1`
//! and `allocations/30080` name their service, and an address has its IPAddress beside. The store decides who is
//! first, so that neither two requests nor two servers give the same; whoever deletes an IPAddress frees nothing.
//! What is chosen is held until its write is done, so that the requests of one server do not choose the same.
//! (A service has one address, as a cluster has one family: of two, one IPAddress would have to be a write of its
//! own, for those who watch them.)

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::managed::{self, Write};
use api::{Status, tree};
use bytes::Bytes;
use kinds::Kind;
use kinds::service::allocation::{self, Holding, Refusal, Supply};
use kinds::validate::address::Range;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Change, Entry, Error, Expect, Key, Revision, Room, Step, Store, Sync};

use crate::admission::{Ask, Findings};
use crate::held::{Held, Pending, lock};
use crate::view::View;
use crate::{Server, addresses, records, tokens, write};

const SERVICES: &str = "services";
const RANGES: &str = "servicecidrs.networking.k8s.io/";
const PREFIX: &str = "allocations/";
const IP_SCHEMA: &str = "io.k8s.api.networking.v1.IPAddress";
/// Who wrote what a stock server writes by itself.
const MANAGER: &str = "kube-apiserver";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
/// Another server may start at the same time.
const TRIES: usize = 8;

/// How an object ends: the step of its deletion, or of the mark for who must let go first.
pub type Ending = fn(&Server, &Kind, &Entry, Value) -> Result<Option<Step>, Status>;

/// What there is to give, and what is about to be given.
pub struct Allocations {
    sources: View<Sources>,
    pending: Arc<Pending>,
}

type Sources = BTreeMap<String, Source>;

/// A ServiceCIDR.
#[derive(Clone)]
struct Source {
    key: Key,
    revision: Revision,
    ranges: Vec<Range>,
    /// Nothing is given of one that is not, or is being deleted.
    is_ready: bool,
}

impl Allocations {
    pub fn new(store: &Arc<Store>) -> Allocations {
        Allocations { sources: View::new(store, RANGES, note), pending: Arc::default() }
    }
}

/// Gives a service that is written what it lacks, and lets the write rely on the range that it is of.
pub fn assign(ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
    if !ask.is(SERVICES) || !ask.subresource.is_empty() {
        return Ok(());
    }
    // The rules say what is wrong.
    if !kinds::service::has_families(object, ask.old, &ask.context()) {
        return Ok(());
    }
    let server = &ask.server.0;
    let sources = server.allocations.sources.now();
    let is_v4 = addresses::family(&server.config.service_cidr) == "IPv4";
    let of_family = |range: &&Range| range.is_ipv4() == is_v4;
    let ready = || sources.values().filter(|source| source.is_ready);
    let ranges: Vec<Range> = ready().flat_map(|source| source.ranges.iter().filter(of_family)).copied().collect();
    let store = &server.store;
    let is_taken = |holding: Holding| is_taken(store, holding);
    let pending = &server.allocations.pending;
    let held = &mut findings.held;
    let mut reserve = |holding: Holding| {
        // In this order: what another write took is in the store before it is no longer pending.
        if !lock(pending).insert(holding) {
            return false;
        }
        let one = Held { pending: pending.clone(), holding };
        let is_free = !is_taken(holding);
        if is_free {
            held.push(Arc::new(one));
        }
        is_free
    };
    let mut random = |below: u64| {
        let mut bytes = [0; 8];
        (server.config.entropy)(&mut bytes);
        u64::from_le_bytes(bytes) % below
    };
    let mut supply = Supply {
        ranges: &ranges,
        ports: server.config.node_ports,
        is_taken: &is_taken,
        reserve: &mut reserve,
        random: &mut random,
        dry_run: ask.dry_run,
    };
    allocation::assign(object, ask.old, &mut supply).map_err(|refusal| match refusal {
        Refusal::Invalid(error) => Status::invalid("", "Service", ask.name_of(object), &[error]),
        Refusal::Internal(why) => Status::internal(why),
        Refusal::Unknown(why) => Status::unknown(why),
    })?;
    let before = ask.old.map(allocation::holdings).unwrap_or_default();
    for holding in allocation::holdings(object).difference(&before) {
        let Holding::Address(address) = *holding else { continue };
        if let Some(source) = ready().find(|source| source.ranges.iter().any(|range| range.gives(address))) {
            findings.claim_at(&source.key, source.revision);
        }
    }
    Ok(())
}

/// What a write of a service changes beside it: what the new version holds and the old one does not is claimed, and
/// the other way round freed. None: there is no such version.
pub fn steps(
    server: &Server,
    kind: &Kind,
    old: Option<&Value>,
    new: Option<&Value>,
    ending: Ending,
) -> Result<Vec<Step>, Status> {
    let mut steps = Vec::new();
    if kind.plural != SERVICES || !kind.group.is_empty() {
        return Ok(steps);
    }
    let Some(service) = new.or(old) else { return Ok(steps) };
    let owner = Owner { namespace: write::text(service, "namespace"), name: write::text(service, "name") };
    let held = |version: Option<&Value>| version.map(allocation::holdings).unwrap_or_default();
    let (before, after) = (held(old), held(new));
    for holding in after.difference(&before) {
        steps.push(owner.claim(*holding));
        if let Holding::Address(address) = holding {
            steps.push(owner.ip_address(server, *address)?);
        }
    }
    for holding in before.difference(&after) {
        steps.extend(owner.free(&server.0.store, *holding));
        if let Holding::Address(address) = holding {
            steps.extend(owner.free_ip_address(server, *address, ending)?);
        }
    }
    Ok(steps)
}

/// Writes down what stored services hold, as an earlier version did not, and forgets what none holds.
pub async fn adopt(server: &Server) -> Result<(), Status> {
    let store = &server.0.store;
    for _ in 0..TRIES {
        match store.write(missing(store)?).await {
            Ok(_) => return Ok(()),
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(write::failed(&error)),
        }
    }
    Err(Status::internal("what services hold is written by somebody else all the time"))
}

/// The steps of `adopt`, of one moment; the first of several services that hold the same has it. There is one at
/// least, that of a check.
fn missing(store: &Store) -> Result<Vec<Step>, Status> {
    let at = Some(store.revision());
    let all = |prefix: &str| store.list(prefix, None, usize::MAX, at).map_err(|error| write::failed(&error));
    let mut noted: BTreeMap<Key, Entry> = all(PREFIX)?.entries.into_iter().map(|e| (e.key.clone(), e)).collect();
    let mut steps = vec![Step::Check { key: Key::new(PREFIX), expect: Expect::Absent }];
    let mut claimed = BTreeSet::new();
    let services = all("services/")?.entries;
    let read = services.iter().filter_map(|entry| serde_json::from_slice::<Value>(&entry.bytes).ok());
    let services: Vec<Value> = read.collect();
    for service in &services {
        let owner = Owner { namespace: write::text(service, "namespace"), name: write::text(service, "name") };
        for holding in allocation::holdings(service) {
            let is_noted = noted.get(&key(holding)).is_some_and(|entry| owner.has(entry));
            if is_noted {
                noted.remove(&key(holding));
                claimed.insert(holding);
            }
        }
    }
    for service in &services {
        let owner = Owner { namespace: write::text(service, "namespace"), name: write::text(service, "name") };
        for holding in allocation::holdings(service).into_iter().filter(|holding| claimed.insert(*holding)) {
            let mut step = owner.claim(holding);
            if let (Some(stale), Step::Put { expect, .. }) = (noted.remove(&key(holding)), &mut step) {
                *expect = Expect::At(stale.revision);
            }
            steps.push(step);
        }
    }
    let gone = |entry: Entry| Step::Delete { key: entry.key, expect: Expect::At(entry.revision), last: nobody() };
    steps.extend(noted.into_values().map(gone));
    Ok(steps)
}

/// Whose something is.
struct Owner<'a> {
    namespace: &'a str,
    name: &'a str,
}

#[derive(Deserialize)]
struct Noted<'a> {
    #[serde(borrow)]
    owner: std::borrow::Cow<'a, str>,
}

impl Owner<'_> {
    fn claim(&self, holding: Holding) -> Step {
        let owner = json!(format!("{}/{}", self.namespace, self.name));
        let value = noted(&owner);
        Step::Put { key: key(holding), expect: Expect::Absent, value, ttl: None, sync: Sync::First, room: Room::Free }
    }

    /// None: it is not its, or nobody's.
    fn free(&self, store: &Store, holding: Holding) -> Option<Step> {
        let entry = store.get(key(holding).as_str()).filter(|entry| self.has(entry))?;
        Some(Step::Delete { key: entry.key, expect: Expect::At(entry.revision), last: nobody() })
    }

    fn has(&self, entry: &Entry) -> bool {
        let noted = serde_json::from_slice::<Noted<'_>>(&entry.bytes);
        noted.is_ok_and(|noted| noted.owner.split_once('/') == Some((self.namespace, self.name)))
    }

    /// As ipallocator.go createIPAddress writes it.
    fn ip_address(&self, server: &Server, address: IpAddr) -> Result<Step, Status> {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let labels = json!({FAMILY: family, MANAGED_BY: "ipallocator.k8s.io"});
        let parent = json!({"resource": SERVICES, "namespace": self.namespace, "name": self.name});
        let mut object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": {"name": address.to_string(), "labels": labels}, "spec": {"parentRef": parent}});
        let (time, api_version) = (server.now(), "networking.k8s.io/v1");
        let record =
            Write { schema: IP_SCHEMA, api_version, manager: MANAGER, subresource: "", time: &time, resets: &[] };
        managed::update(&record, None, &mut object);
        let metadata = write::metadata(&mut object);
        metadata.insert("uid".into(), tokens::uuid(&server.0.config.entropy).into());
        metadata.insert("creationTimestamp".into(), time.into());
        let kinds = server.kinds();
        let kind = kinds.by_kind(api_version, "IPAddress").expect("a built-in kind");
        write::put(kind, records::key(kind, "", &address.to_string()), Expect::Absent, &object)
    }

    /// Deletes it as anybody would; finalizers hold it, and the address with it.
    fn free_ip_address(&self, server: &Server, address: IpAddr, ending: Ending) -> Result<Option<Step>, Status> {
        let kinds = server.kinds();
        let kind = kinds.by_kind("networking.k8s.io/v1", "IPAddress").expect("a built-in kind");
        let Some(entry) = server.0.store.get(ip_key(address).as_str()) else { return Ok(None) };
        let object: Value = serde_json::from_slice(&entry.bytes).map_err(|e| Status::internal(e.to_string()))?;
        let parent = tree::at(&object, "spec.parentRef");
        let of = |field: &str| tree::text(parent, field);
        if [of("group"), of("resource"), of("namespace"), of("name")] != ["", SERVICES, self.namespace, self.name] {
            return Ok(None);
        }
        ending(server, kind, &entry, object)
    }
}

/// An address is taken also by whoever made an IPAddress of it.
fn is_taken(store: &Store, holding: Holding) -> bool {
    let other = |address| store.get(ip_key(address).as_str()).is_some();
    store.get(key(holding).as_str()).is_some() || matches!(holding, Holding::Address(address) if other(address))
}

fn key(holding: Holding) -> Key {
    match holding {
        Holding::Address(address) => Key::new(format!("{PREFIX}{address}")),
        Holding::Port(port) => Key::new(format!("{PREFIX}{port}")),
    }
}

fn ip_key(address: IpAddr) -> Key {
    Key::new(format!("ipaddresses.networking.k8s.io/{address}"))
}

fn noted(owner: &Value) -> store::Value {
    let head = Bytes::from(format!("{{\"owner\":{owner},\"revision\":\""));
    store::Value { head, tail: Bytes::from_static(b"\"}") }
}

fn nobody() -> store::Value {
    noted(&json!(""))
}

fn note(sources: &mut Sources, change: &Change) {
    let entry = &change.entry;
    let name = entry.key.as_str().strip_prefix(RANGES).unwrap_or_default().to_owned();
    if change.deleted {
        sources.remove(&name);
        return;
    }
    let Ok(object) = serde_json::from_slice::<Value>(&entry.bytes) else { return };
    let ranges = tree::list(&object, "spec.cidrs").iter().filter_map(|range| Range::sloppy(range.as_str()?));
    let mut conditions = tree::list(&object, "status.conditions").iter();
    let ready = conditions.find(|condition| tree::text(condition, "type") == "Ready");
    // Nobody may be there to say so (ipallocator/cidrallocator.go isReady).
    let is_ready = ready.is_none_or(|ready| tree::text(ready, "status") == "True");
    let source = Source {
        key: entry.key.clone(),
        revision: entry.revision,
        ranges: ranges.collect(),
        is_ready: is_ready && !tree::has(&object, "metadata.deletionTimestamp"),
    };
    sources.insert(name, source);
}

#[cfg(test)]
mod tests;
