//! Whether an identity may do what it asks: `system:masters`, then the node authorizer, then RBAC.
//!
//! The order and the texts are upstream's (kubeapiserver/authorizer, union.go): who is allowed by one is allowed;
//! who is by none hears what each had to say. Nothing beside `system:masters` is built in: the roles that every
//! cluster has are objects (`authorize::defaults`).

use std::fmt;
use std::sync::Arc;

use api::{Reason, Status};
use store::Store;

use crate::identity::{INGRESS, Identity, MASTERS};
use crate::records::Snapshot;
use crate::view::View;

/// Roles and bindings that every cluster has.
pub mod defaults;
/// What serving Ingresses takes.
mod edge;
/// What a node's agent may do.
mod node;
/// What NetworkPolicies let nodes read.
mod policies;
/// Roles and bindings.
pub mod rbac;
/// What one rule allows.
pub mod rule;

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

#[derive(Clone)]
pub enum Decision {
    /// By which binding, if by one.
    Allow(Option<rbac::Grant>),
    /// With a reason for the client, or none.
    Deny(String),
}

/// What decisions are made on.
pub struct Authorizer {
    snapshot: Snapshot,
    access: View<rbac::Access>,
}

impl Authorizer {
    pub fn new(store: &Arc<Store>) -> Authorizer {
        Authorizer { snapshot: Snapshot::new(store.clone()), access: rbac::access(store) }
    }

    /// All roles and bindings as they are now.
    pub fn access(&self) -> Arc<rbac::Access> {
        self.access.now()
    }

    pub fn decide(&self, identity: &Identity, asked: &Attributes) -> Decision {
        if identity.is_in(MASTERS) {
            return Decision::Allow(None);
        }
        let of_node = match identity.node() {
            Some(node) => node::authorize(node, asked, &self.snapshot),
            None if identity.name() == INGRESS && edge::shows(asked, &self.snapshot) => Decision::Allow(None),
            None => Decision::Deny(String::new()),
        };
        let Decision::Deny(mut why) = of_node else { return of_node };
        match self.access.now().decide(identity, asked) {
            Ok(grant) => Decision::Allow(Some(grant)),
            Err(also) => {
                if !why.is_empty() && !also.is_empty() {
                    why.push('\n');
                }
                Decision::Deny(why + &also)
            }
        }
    }
}

impl Decision {
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }
}

/// Why.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Allow(Some(grant)) => grant.fmt(f),
            Decision::Allow(None) => Ok(()),
            Decision::Deny(why) => f.write_str(why),
        }
    }
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

impl Attributes {
    /// `pods`, `pods/log`
    pub fn resource_path(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            sub => format!("{}/{sub}", self.resource),
        }
    }
}

#[cfg(test)]
mod tests;
