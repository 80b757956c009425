//! Whether an identity may do what it asks: the seam at which RBAC objects will come in.
//!
//! `system:masters` may do everything; components and built-in groups have rules as data, named
//! after upstream's bootstrap policy; a node is further held to what its own pods need
//! (`authorize::node`). Everybody else is refused with upstream's text.

use api::{Reason, Status};

use crate::identity::{AUTHENTICATED, BOOTSTRAPPERS, CONTROLLERS, Identity, MASTERS, NODES, SCHEDULER};
use crate::identity::{SERVICE_ACCOUNTS, UNAUTHENTICATED};
use crate::records::Snapshot;

mod node;

/// What is asked for. For a path outside the API only `verb` and `path` are set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub path: String,
    /// The field selector of a list or watch, as written.
    pub fields: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// With a reason for the client, or none.
    Deny(String),
}

/// One rule of a built-in policy. `*` matches all.
pub struct Rule {
    pub verbs: &'static [&'static str],
    pub groups: &'static [&'static str],
    /// `pods`, `pods/status`
    pub resources: &'static [&'static str],
    /// Paths outside the API; a trailing `*` matches the rest.
    pub paths: &'static [&'static str],
}

/// Whom a policy binds. A user who bears a group's name is not in that group, nor the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    User(&'static str),
    Group(&'static str),
}

pub static POLICIES: &[(Whom, &[Rule])] = &[
    (Whom::Group(MASTERS), &[ALL, resources(&["*"], &["*"], &["*"])]),
    (Whom::User(CONTROLLERS), &[ALL, resources(&["*"], &["*"], &["*"])]),
    (Whom::User(SCHEDULER), SCHEDULING),
    (Whom::Group(NODES), node::RULES),
    (Whom::Group(AUTHENTICATED), USER),
    (Whom::Group(UNAUTHENTICATED), PUBLIC),
    (Whom::Group(SERVICE_ACCOUNTS), &[paths(&["get"], &["/.well-known/openid-configuration", "/openid/v1/jwks"])]),
    (Whom::Group(BOOTSTRAPPERS), &[paths(&["post"], &[crate::route::JOIN_PATH])]),
];

const ALL: Rule = paths(&["*"], &["*"]);

/// system:kube-scheduler
const SCHEDULING: &[Rule] = &[
    resources(&["create", "patch", "update"], &["", "events.k8s.io"], &["events"]),
    resources(&["create", "get", "list", "watch", "update"], &["coordination.k8s.io"], &["leases"]),
    resources(&["get", "list", "watch"], &[""], &["nodes", "namespaces", "services", "endpoints"]),
    resources(&["get", "list", "watch", "delete"], &[""], &["pods"]),
    resources(&["create"], &[""], &["pods/binding", "bindings"]),
    resources(&["patch", "update"], &[""], &["pods/status"]),
    resources(&["get", "list", "watch"], &["scheduling.k8s.io", "node.k8s.io"], &["priorityclasses", "runtimeclasses"]),
];

/// system:discovery and system:basic-user
const USER: &[Rule] = &[
    paths(&["get"], &["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/livez/*", "/healthz/*"]),
    paths(&["get"], &["/openapi", "/openapi/*", "/readyz", "/readyz/*", "/version", "/version/"]),
    resources(&["create"], &["authorization.k8s.io"], &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
    resources(&["create"], &["authentication.k8s.io"], &["selfsubjectreviews"]),
];

/// system:public-info-viewer, and the certificate that a joining node checks by its fingerprint.
const PUBLIC: &[Rule] =
    &[paths(&["get"], &["/healthz", "/livez", "/readyz", "/version", "/version/", crate::route::AUTHORITY_PATH])];

/// Decides. Pure over the snapshot.
pub fn authorize(identity: &Identity, asked: &Attributes, snapshot: &Snapshot) -> Decision {
    for (whom, rules) in POLICIES {
        if !whom.binds(identity) || !rules.iter().any(|rule| rule.covers(asked)) {
            continue;
        }
        if *whom != Whom::Group(NODES) {
            return Decision::Allow;
        }
        if let Some(node) = identity.node() {
            match node::authorize(node, asked, snapshot) {
                Decision::Allow => return Decision::Allow,
                denied => return denied,
            }
        }
    }
    Decision::Deny(String::new())
}

/// The rules that bind an identity, for SelfSubjectRulesReview.
pub fn rules_of(identity: &Identity) -> impl Iterator<Item = &'static Rule> {
    let bound = POLICIES.iter().filter(|(whom, _)| whom.binds(identity));
    bound.flat_map(|(_, rules)| rules.iter())
}

/// The 403 that a refused client gets (apiserver pkg/endpoints/handlers/responsewriters/errors.go).
pub fn refusal(identity: &Identity, asked: &Attributes, why: &str) -> Status {
    let user = identity.name();
    let because = if why.is_empty() { String::new() } else { format!(": {why}") };
    if !asked.path.is_empty() {
        let message = format!("forbidden: User \"{user}\" cannot {} path \"{}\"{because}", asked.verb, asked.path);
        return Status::new(Reason::Forbidden, message);
    }
    let resource = asked.resource_path();
    let scope = match asked.namespace.as_str() {
        "" => "at the cluster scope".to_string(),
        namespace => format!("in the namespace \"{namespace}\""),
    };
    let text = format!(
        "User \"{user}\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}{because}",
        asked.verb, asked.group
    );
    Status::forbidden(&asked.group, &asked.resource, &asked.name, &text)
}

pub const fn resources(
    verbs: &'static [&'static str],
    groups: &'static [&'static str],
    resources: &'static [&'static str],
) -> Rule {
    Rule { verbs, groups, resources, paths: &[] }
}

pub const fn paths(verbs: &'static [&'static str], paths: &'static [&'static str]) -> Rule {
    Rule { verbs, groups: &[], resources: &[], paths }
}

impl Whom {
    fn binds(self, identity: &Identity) -> bool {
        match self {
            Whom::User(name) => identity.name() == name,
            Whom::Group(name) => identity.is_in(name),
        }
    }
}

impl Attributes {
    /// `pods`, `pods/log`
    pub fn resource_path(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            sub => format!("{}/{sub}", self.resource),
        }
    }
}

impl Rule {
    fn covers(&self, asked: &Attributes) -> bool {
        let one_of = |list: &[&str], word: &str| list.iter().any(|w| *w == "*" || *w == word);
        if !one_of(self.verbs, &asked.verb) {
            return false;
        }
        if !asked.path.is_empty() {
            return self.paths.iter().any(|path| match path.strip_suffix('*') {
                Some(start) => asked.path.starts_with(start),
                None => *path == asked.path,
            });
        }
        let resource = |list: &[&str]| {
            list.iter().any(|entry| match (entry.split_once('/'), asked.subresource.as_str()) {
                _ if *entry == "*" => true,
                (None, "") => *entry == asked.resource,
                (Some((resource, sub)), asked_sub) => resource == asked.resource && sub == asked_sub,
                (None, _) => false,
            })
        };
        one_of(self.groups, &asked.group) && resource(self.resources)
    }
}

#[cfg(test)]
mod tests;
