//! What a write must pass beside its kind's rules: steps that complete, refuse, warn or rely on others.
//!
//! One table in upstream's order (kubeapiserver/options/plugins.go), gone through twice: `mutate` before the
//! kind validates, `validate` after it (`verbs::judge` holds the whole order). A step is a file with a
//! `PLUGIN` and a line here (docs/adding-an-admission-step). Built-in ones are pure over the question and a
//! snapshot; what they relied on becomes a claim of the write. Webhooks and policies stand at `Row::Outside`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use api::Status;
use kinds::{Context, Kind, Served};
use serde_json::Value;
use store::{Expect, Step};

use crate::Server;
use crate::charges::Bill;
use crate::held::Held;
use crate::identity::Identity;
use crate::records::{Snapshot, each, is_mirror};

pub use chosen::Admission;
pub use outside::All as OutsideAll;
#[cfg(test)]
pub use outside::Outside;
pub use priority::{Class, Classes, classes};

/// Tokens that lie in Secrets.
mod account_token;
mod always;
mod always_pull_images;
mod certificates;
/// Which steps are on.
mod chosen;
mod claim_resize;
mod default_ingress_class;
mod default_storage_class;
mod devices;
/// Rights that are handed out.
mod escalation;
mod extended_resources;
mod external_ips;
mod hard_anti_affinity;
mod limit_ranger;
mod namespace;
mod namespace_exists;
mod node;
/// Steps outside of the program.
mod outside;
mod owner_permissions;
mod pod_node_selector;
mod pod_resize;
mod pod_security;
mod pod_tolerations;
mod policies;
mod priority;
/// What quotas are charged.
mod quota;
mod runtime_class;
mod service_account;
mod storage_in_use;
mod taint;
mod tolerations;

/// In upstream's order.
static ADMISSION: &[Row] = &[
    Row::BuiltIn(always::ADMIT),
    Row::Provision,
    Row::BuiltIn(namespace::PLUGIN),
    Row::BuiltIn(namespace_exists::EXISTS),
    Row::BuiltIn(hard_anti_affinity::PLUGIN),
    Row::BuiltIn(limit_ranger::PLUGIN),
    Row::BuiltIn(service_account::PLUGIN),
    Row::BuiltIn(account_token::PLUGIN),
    Row::BuiltIn(node::PLUGIN),
    Row::BuiltIn(taint::PLUGIN),
    Row::BuiltIn(always_pull_images::PLUGIN),
    Row::BuiltIn(pod_security::PLUGIN),
    Row::BuiltIn(pod_node_selector::PLUGIN),
    Row::BuiltIn(priority::PLUGIN),
    Row::BuiltIn(tolerations::PLUGIN),
    Row::BuiltIn(pod_tolerations::PLUGIN),
    Row::BuiltIn(extended_resources::PLUGIN),
    Row::BuiltIn(default_storage_class::PLUGIN),
    Row::BuiltIn(storage_in_use::PLUGIN),
    Row::BuiltIn(owner_permissions::PLUGIN),
    Row::BuiltIn(claim_resize::PLUGIN),
    Row::BuiltIn(runtime_class::PLUGIN),
    Row::BuiltIn(certificates::APPROVAL),
    Row::BuiltIn(certificates::SIGNING),
    Row::BuiltIn(certificates::ATTEST),
    Row::BuiltIn(certificates::SUBJECT),
    Row::BuiltIn(default_ingress_class::PLUGIN),
    Row::BuiltIn(external_ips::PLUGIN),
    Row::BuiltIn(pod_resize::PLUGIN),
    Row::BuiltIn(devices::PLUGIN),
    Row::BuiltIn(policies::PLUGIN),
    Row::Outside,
    // In upstream's registry, which is after all that mutate: what it judges is what is written.
    Row::BuiltIn(escalation::PLUGIN),
    Row::Quota,
    Row::BuiltIn(always::DENY),
];

enum Row {
    BuiltIn(Plugin),
    /// NamespaceAutoProvision, which writes.
    Provision,
    /// Policies and webhooks, as many as there are.
    Outside,
    /// Counts what is really written; it waits for its turn.
    Quota,
}

/// A built-in step. Both functions are pure, and none but what they say.
struct Plugin {
    /// Upstream's name.
    name: &'static str,
    /// It is asked about no others.
    operations: &'static [Operation],
    mutate: fn(&Ask<'_>, &mut Value, &mut Findings) -> Result<(), Status>,
    validate: fn(&Ask<'_>, &Value, &mut Findings) -> Result<(), Status>,
    /// Whether it is on unless somebody says otherwise.
    by_default: bool,
}

/// Does nothing; a step names what it does.
const NONE: Plugin =
    Plugin { name: "", operations: &[], mutate: |_, _, _| Ok(()), validate: |_, _, _| Ok(()), by_default: true };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// exec, attach, portforward, proxy.
    Connect,
}

/// What is asked: all that a step may look at beside the object.
pub struct Ask<'a> {
    pub server: &'a Server,
    pub identity: &'a Identity,
    pub served: &'a Served,
    pub operation: Operation,
    /// As authorization names it: `update` or `patch`, where the operation is one.
    pub verb: &'static str,
    /// Empty: the object itself.
    pub subresource: &'a str,
    /// Of the object: the kind's own, or of the body that its subresource takes (a Binding).
    pub schema: &'a str,
    pub namespace: &'a str,
    /// As the path says; empty at a POST to a collection.
    pub name: &'a str,
    /// As it is stored, at an update or a deletion.
    pub old: Option<&'a Value>,
    pub dry_run: bool,
}

/// What the steps leave beside the object.
#[derive(Clone, Default)]
pub struct Findings {
    /// Must hold when the object is written.
    pub claims: Vec<Step>,
    /// What quotas are charged with it.
    pub bill: Bill,
    /// What the object got of what others want too.
    pub held: Vec<Arc<Held>>,
    pub warnings: Vec<String>,
}

/// Everything that changes the object, once; and once more if something outside has changed it (admission
/// reinvocation.go). At a deletion the object is null.
pub async fn mutate(ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
    let name = ask.name_of(object);
    tracing::trace!(target: "walk", verb = "admit", kind = ask.kind().kind, name);
    let outside = ask.server.0.outside.load_full();
    let mut rounds = outside::Rounds::new(&outside);
    loop {
        for row in ask.server.0.config.admission.rows() {
            match row {
                Row::BuiltIn(plugin) => plugin.judge(ask, |plugin| (plugin.mutate)(ask, object, findings))?,
                Row::Provision => namespace_exists::provide(ask, object).await?,
                Row::Outside if outside.is_empty() => {}
                Row::Quota => {}
                Row::Outside => rounds.mutate(ask, object, findings).await?,
            }
        }
        if !rounds.again() {
            return Ok(());
        }
    }
}

/// Everything that judges the finished object.
pub async fn validate(ask: &Ask<'_>, object: &Value, findings: &mut Findings) -> Result<(), Status> {
    let outside = ask.server.0.outside.load_full();
    for row in ask.server.0.config.admission.rows() {
        match row {
            Row::BuiltIn(plugin) => plugin.judge(ask, |plugin| (plugin.validate)(ask, object, findings))?,
            Row::Provision => {}
            Row::Outside if outside.is_empty() => {}
            Row::Outside => outside::validate(&outside, ask, object, findings).await?,
            Row::Quota => quota::charge(ask, object, findings).await?,
        }
    }
    Ok(())
}

impl Row {
    /// Upstream's name; empty: it has several.
    fn name(&self) -> &'static str {
        match self {
            Row::BuiltIn(plugin) => plugin.name,
            Row::Provision => namespace_exists::AUTO_PROVISION,
            Row::Outside => "",
            Row::Quota => "ResourceQuota",
        }
    }

    fn by_default(&self) -> bool {
        match self {
            Row::BuiltIn(plugin) => plugin.by_default,
            Row::Provision => false,
            Row::Outside | Row::Quota => true,
        }
    }
}

impl Plugin {
    fn judge(&self, ask: &Ask<'_>, run: impl FnOnce(&Plugin) -> Result<(), Status>) -> Result<(), Status> {
        if !self.operations.contains(&ask.operation) {
            return Ok(());
        }
        run(self).inspect_err(|status| tracing::debug!(plugin = self.name, %status, dry_run = ask.dry_run, "refused"))
    }
}

impl Ask<'_> {
    pub fn kind(&self) -> &Kind {
        &self.served.kind
    }

    /// The defaults of the object's type.
    pub fn default(&self, object: &mut Value) {
        match self.schema == self.kind().schema {
            true => self.kind().default(object),
            false => api::schema::default(self.schema, object),
        }
    }

    /// What the kind's hooks may know of it.
    pub fn context(&self) -> Context {
        Context {
            now: self.server.now(),
            api_version: self.served.api_version(),
            subresource: self.subresource.into(),
            allow_privileged: self.server.0.config.allow_privileged,
            service_family: crate::addresses::family(&self.server.0.config.service_cidr),
        }
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.server.0.snapshot
    }

    pub fn classes(&self) -> Arc<BTreeMap<String, Class>> {
        self.server.0.classes.now()
    }

    /// Whether a core kind itself (no subresource) is created.
    pub fn creates(&self, plural: &str) -> bool {
        self.operation == Operation::Create && self.subresource.is_empty() && self.is(plural)
    }

    pub fn is(&self, plural: &str) -> bool {
        self.kind().plural == plural && self.kind().group.is_empty()
    }

    /// The class that objects get which name none, the newest of several: its name and what is claimed of it.
    pub fn default_class(&self, resource: &str, is_default: fn(&Value) -> bool) -> Option<(String, store::Entry)> {
        let classes = self.snapshot().all(resource, "").into_iter();
        let read = classes.filter_map(|entry| Some((serde_json::from_slice::<Value>(&entry.bytes).ok()?, entry)));
        let text = |class: &Value, field: &str| class["metadata"][field].as_str().unwrap_or_default().to_owned();
        let newest = read.filter(|(class, _)| is_default(class)).min_by_key(|(class, _)| {
            let made = text(class, "creationTimestamp").parse::<jiff::Timestamp>().ok();
            (Reverse(made), text(class, "name"))
        });
        newest.map(|(class, entry)| (text(&class, "name"), entry))
    }

    /// The object's name, or the start of it if it is to be generated.
    pub fn name_of<'v>(&'v self, object: &'v Value) -> &'v str {
        let text = |field: &str| object["metadata"][field].as_str().filter(|text| !text.is_empty());
        let of_path = Some(self.name).filter(|name| !name.is_empty());
        text("name").or(of_path).or(text("generateName")).unwrap_or_default()
    }

    /// `pods "x" is forbidden: why`
    pub fn forbidden(&self, object: &Value, why: &str) -> Status {
        Status::forbidden(&self.kind().group, &self.kind().plural, self.name_of(object), why)
    }
}

impl Findings {
    /// The write holds only while this entry is as it is now.
    pub fn claim(&mut self, entry: &store::Entry) {
        self.claim_at(&entry.key, entry.revision);
    }

    pub fn claim_at(&mut self, claimed: &store::Key, revision: store::Revision) {
        // A step that is asked again relies on what is there now.
        self.claims.retain(|step| !matches!(step, Step::Check { key, .. } if key == claimed));
        self.claims.push(Step::Check { key: claimed.clone(), expect: Expect::At(revision) });
    }

    /// Told to the client, once.
    pub fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// The containers of a pod of the given lists.
pub fn containers<'v>(pod: &'v Value, lists: &'v [&'v str]) -> impl Iterator<Item = &'v Value> {
    lists.iter().flat_map(|list| each(&pod["spec"][*list]))
}

/// A list under a key, made if it is absent.
pub fn list_mut<'v>(parent: &'v mut Value, key: &str) -> &'v mut Vec<Value> {
    let slot = &mut parent[key];
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    slot.as_array_mut().expect("made a list above")
}

#[cfg(test)]
mod tests;
