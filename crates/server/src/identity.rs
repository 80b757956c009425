//! Who asks: a user name with its groups, or one of our own components.
//!
//! Everything that authenticates ends in an `Identity`. A component's identity is made by the server
//! alone (`Server::internal`), so that nobody outside can pretend to be the scheduler.

use std::collections::BTreeMap;

use api::names::{dns_label, dns_subdomain};

/// An authenticated user, as upstream's user.Info.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
    /// Of a node's certificate, the hash of its key (`node_keys`).
    key: Option<String>,
}

/// The parts of Gousse that speak to the server inside its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Component {
    Scheduler,
    /// What the controllers share.
    Controllers,
    /// One of them, by its account in kube-system.
    Controller(String),
    /// What serves Ingresses beside the server.
    Ingress,
    /// The agent of the node of this name; as restricted as one far away.
    Node(String),
    /// The administrator's own command line (`gousse up`).
    Admin,
}

pub const AUTHENTICATED: &str = "system:authenticated";
pub const MASTERS: &str = "system:masters";
pub const NODES: &str = "system:nodes";
pub const NODE_PREFIX: &str = "system:node:";
pub const ANONYMOUS: &str = "system:anonymous";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
pub const SCHEDULER: &str = "system:kube-scheduler";
pub const CONTROLLERS: &str = "system:kube-controller-manager";
pub const INGRESS: &str = "gousse:ingress";
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// The namespace of what belongs to the cluster itself.
const SYSTEM: &str = "kube-system";

impl Component {
    /// The controllers' own part for an account of kube-system, or what they share for none.
    pub fn controller(account: &str) -> Component {
        match account {
            "" => Component::Controllers,
            account => Component::Controller(account.into()),
        }
    }
}

impl Identity {
    /// A user who proved who they are: `system:authenticated` is added to the groups.
    pub(crate) fn authenticated(name: impl Into<String>, uid: impl Into<String>, groups: Vec<String>) -> Identity {
        let mut groups = groups;
        if !groups.iter().any(|g| g == AUTHENTICATED) {
            groups.push(AUTHENTICATED.into());
        }
        Identity { name: name.into(), uid: uid.into(), groups, ..Identity::default() }
    }

    pub(crate) fn anonymous() -> Identity {
        Identity { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Identity::default() }
    }

    pub(crate) fn component(component: Component) -> Identity {
        match component {
            Component::Scheduler => Identity::authenticated(SCHEDULER, "", vec![]),
            Component::Controllers => Identity::authenticated(CONTROLLERS, "", vec![]),
            Component::Controller(account) => {
                let name = format!("system:serviceaccount:{SYSTEM}:{account}");
                Identity::authenticated(name, "", account_groups(SYSTEM))
            }
            Component::Ingress => Identity::authenticated(INGRESS, "", vec![]),
            Component::Admin => Identity::authenticated("kubernetes-admin", "", vec![MASTERS.into()]),
            Component::Node(name) => Identity::authenticated(format!("{NODE_PREFIX}{name}"), "", vec![NODES.into()]),
        }
    }

    pub(crate) fn with_extra(mut self, extra: BTreeMap<String, Vec<String>>) -> Identity {
        self.extra = extra;
        self
    }

    pub(crate) fn with_uid(mut self, uid: String) -> Identity {
        self.uid = uid;
        self
    }

    pub(crate) fn with_key(mut self, key: String) -> Identity {
        self.key = Some(key);
        self
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Exactly this user in exactly these groups: what a review, or who impersonates, asks for.
    pub(crate) fn as_given(name: String, groups: Vec<String>) -> Identity {
        Identity { name, groups, ..Identity::default() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn uid(&self) -> &str {
        &self.uid
    }

    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    pub fn extra(&self) -> &BTreeMap<String, Vec<String>> {
        &self.extra
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node whose agent this is (name `system:node:…` in group `system:nodes`).
    pub fn node(&self) -> Option<&str> {
        // Without a name it is no node's (auth/nodeidentifier/default.go).
        let node = self.name.strip_prefix(NODE_PREFIX).filter(|node| !node.is_empty())?;
        self.is_in(NODES).then_some(node)
    }

    /// The `UserInfo` of reviews.
    pub(crate) fn to_value(&self) -> serde_json::Value {
        let mut user = serde_json::json!({"username": self.name, "groups": self.groups});
        if !self.uid.is_empty() {
            user["uid"] = self.uid.clone().into();
        }
        if !self.extra.is_empty() {
            user["extra"] = serde_json::json!(self.extra);
        }
        user
    }
}

/// Namespace and name of `system:serviceaccount:NAMESPACE:NAME` (authentication/serviceaccount/util.go
/// SplitUsername): what has any other form is a user like others.
pub(crate) fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (dns_label(namespace).is_empty() && dns_subdomain(name).is_empty()).then_some((namespace, name))
}

/// The groups of an account (MakeGroupNames).
pub(crate) fn account_groups(namespace: &str) -> Vec<String> {
    vec![SERVICE_ACCOUNTS.into(), format!("{SERVICE_ACCOUNTS}:{namespace}")]
}
