//! RBAC: who has which rules, where. A view of the four kinds, indexed by whom a binding names.
//!
//! kubernetes plugin/pkg/auth/authorizer/rbac and pkg/registry/rbac/validation/rule.go. A decision looks up the
//! user and their groups in two places, among all and in the namespace: what others are bound to costs nothing.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use kinds::rbac::GROUP;
use serde::Deserialize;
use store::{Change, Key, Revision, Store};

use super::Attributes;
use super::rule::{Rule, or_none};
use crate::identity::Identity;
use crate::view::View;

/// How many missing roles a refusal names.
const ERRORS_MAX: usize = 20;

/// All roles and bindings, as one revision of the store has them.
#[derive(Clone, Default)]
pub struct Access {
    /// By their key in the store, of both kinds.
    roles: HashMap<Key, Arc<Role>>,
    /// By namespace; of ClusterRoleBindings under the empty one.
    scopes: HashMap<Box<str>, Arc<Scope>>,
}

/// The bindings of one namespace under each name that they bind, in the order of their keys.
#[derive(Clone, Default)]
struct Scope {
    /// Accounts as well, by the names that they have as users.
    users: Bound,
    groups: Bound,
}

/// The bindings of each name.
type Bound = HashMap<Box<str>, Vec<Arc<Binding>>>;

pub struct Role {
    revision: Revision,
    pub rules: Vec<Rule>,
}

pub struct Binding {
    key: Key,
    revision: Revision,
    namespace: Box<str>,
    name: Box<str>,
    role: RoleRef,
    /// Where the role lies; it may not be there.
    role_key: Key,
    subjects: Vec<Subject>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct RoleRef {
    pub kind: String,
    pub name: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

/// Why somebody may: a binding that names them.
#[derive(Clone)]
pub struct Grant(Arc<Binding>, usize);

/// The fields that are read of a role or a binding.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stored {
    #[serde(deserialize_with = "or_none")]
    rules: Vec<Rule>,
    role_ref: RoleRef,
    #[serde(deserialize_with = "or_none")]
    subjects: Vec<Subject>,
}

const KINDS: [&str; 4] = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];

/// All of it, kept fresh.
pub fn access(store: &Arc<Store>) -> View<Access> {
    let prefixes = KINDS.map(|plural| format!("{plural}.{GROUP}/"));
    View::of(store, prefixes.to_vec(), Access::take)
}

impl Access {
    fn take(&mut self, change: &Change) {
        let key = &change.entry.key;
        let mut path = key.as_str().split('/');
        let plural = path.next().unwrap_or_default().split('.').next().unwrap_or_default();
        let (first, second) = (path.next().unwrap_or_default(), path.next());
        let (namespace, name) = second.map_or(("", first), |name| (first, name));
        let read = |bytes: &[u8]| serde_json::from_slice::<Stored>(bytes).unwrap_or_default();
        if plural.ends_with("roles") {
            match change.deleted {
                true => drop(self.roles.remove(key)),
                false => {
                    let rules = read(&change.entry.bytes).rules;
                    self.roles.insert(key.clone(), Arc::new(Role { revision: change.entry.revision, rules }));
                }
            }
            return;
        }
        if let Some(previous) = &change.previous {
            self.unbind(key, namespace, &read(&previous.bytes).subjects);
        }
        if !change.deleted {
            let Stored { role_ref: role, subjects, .. } = read(&change.entry.bytes);
            let role_key = role_key(&role, namespace);
            let revision = change.entry.revision;
            let (namespace, name) = (namespace.into(), name.into());
            self.bind(Binding { key: key.clone(), revision, namespace, name, role, role_key, subjects });
        }
    }

    fn bind(&mut self, binding: Binding) {
        let scope = Arc::make_mut(self.scopes.entry(binding.namespace.clone()).or_default());
        let binding = Arc::new(binding);
        for subject in &binding.subjects {
            let Some((names, name)) = scope.place(subject, &binding.namespace) else { continue };
            let bindings = names.entry(name).or_default();
            // Whoever is named twice is bound once.
            if let Err(place) = bindings.binary_search_by(|known| known.key.as_str().cmp(binding.key.as_str())) {
                bindings.insert(place, binding.clone());
            }
        }
    }

    fn unbind(&mut self, key: &Key, namespace: &str, subjects: &[Subject]) {
        let Some(scope) = self.scopes.get_mut(namespace).map(Arc::make_mut) else { return };
        for subject in subjects {
            let Some((names, name)) = scope.place(subject, namespace) else { continue };
            let Some(bindings) = names.get_mut(&name) else { continue };
            bindings.retain(|known| known.key != *key);
            if bindings.is_empty() {
                names.remove(&name);
            }
        }
        if scope.users.is_empty() && scope.groups.is_empty() {
            self.scopes.remove(namespace);
        }
    }

    /// The bindings that name an identity: in all the cluster, then in the namespace unless it is empty.
    fn bindings<'a>(&'a self, identity: &'a Identity, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Binding>> {
        let scopes = [Some(""), Some(namespace).filter(|namespace| !namespace.is_empty())];
        let scopes = scopes.into_iter().flatten().filter_map(|namespace| self.scopes.get(namespace));
        scopes.flat_map(|scope| {
            let groups = identity.groups().iter().filter_map(|group| scope.groups.get(group.as_str()));
            scope.users.get(identity.name()).into_iter().chain(groups).flatten()
        })
    }

    /// Why an identity may do what it asks; else what is wrong with its bindings, if anything is.
    pub fn decide(&self, identity: &Identity, asked: &Attributes) -> Result<Grant, String> {
        for binding in self.bindings(identity, &asked.namespace) {
            let Some(role) = self.roles.get(&binding.role_key) else { continue };
            if role.rules.iter().any(|rule| rule.allows(asked)) {
                let subject = binding.subjects.iter().position(|s| s.is(identity, &binding.namespace));
                return Ok(Grant(binding.clone(), subject.unwrap_or_default()));
            }
        }
        let errors = self.errors(identity, &asked.namespace);
        Err(if errors.is_empty() { String::new() } else { format!("RBAC: {errors}") })
    }

    /// Every rule that an identity has, and what is wrong with its bindings.
    pub fn rules<'a>(&'a self, identity: &'a Identity, namespace: &'a str) -> (Vec<&'a Rule>, String) {
        let roles = self.bindings(identity, namespace).filter_map(|binding| self.roles.get(&binding.role_key));
        (roles.flat_map(|role| &role.rules).collect(), self.errors(identity, namespace))
    }

    /// Roles that bindings of an identity name and that are not there; of many the first.
    fn errors(&self, identity: &Identity, namespace: &str) -> String {
        let unbound = self.bindings(identity, namespace).filter(|binding| !self.roles.contains_key(&binding.role_key));
        let mut seen = BTreeSet::new();
        let missing = unbound.map(|binding| no_role(&binding.role)).filter(|missing| seen.insert(missing.clone()));
        let errors: Vec<String> = missing.take(ERRORS_MAX).collect();
        // As Go prints several errors at once (util/errors aggregate).
        match &errors[..] {
            [one] => one.clone(),
            [] => String::new(),
            _ => format!("[{}]", errors.join(", ")),
        }
    }

    /// The rules of a role that a binding of a namespace gives, or of all the cluster (an empty one).
    pub fn role(&self, role: &RoleRef, namespace: &str) -> Option<&Role> {
        self.roles.get(&role_key(role, namespace)).map(Arc::as_ref)
    }

    /// What an identity's rules rest upon, as it is now: its bindings and their roles.
    pub fn grounds<'a>(
        &'a self,
        identity: &'a Identity,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Key, Revision)> {
        self.bindings(identity, namespace).flat_map(|binding| {
            let role = self.roles.get(&binding.role_key).map(|role| (&binding.role_key, role.revision));
            [Some((&binding.key, binding.revision)), role].into_iter().flatten()
        })
    }
}

impl Scope {
    /// Where a subject stands, and under which name; None for what binds nobody.
    fn place(&mut self, subject: &Subject, namespace: &str) -> Option<(&mut Bound, Box<str>)> {
        match subject.kind.as_str() {
            "User" => Some((&mut self.users, subject.name.as_str().into())),
            "Group" => Some((&mut self.groups, subject.name.as_str().into())),
            "ServiceAccount" => Some((&mut self.users, subject.account(namespace)?.into())),
            _ => None,
        }
    }
}

impl Subject {
    /// The user that an account is. Its namespace is the binding's if it says none.
    fn account(&self, namespace: &str) -> Option<String> {
        let namespace = if self.namespace.is_empty() { namespace } else { &self.namespace };
        (!namespace.is_empty()).then(|| format!("system:serviceaccount:{namespace}:{}", self.name))
    }

    fn is(&self, identity: &Identity, namespace: &str) -> bool {
        match self.kind.as_str() {
            "User" => identity.name() == self.name,
            "Group" => identity.is_in(&self.name),
            _ => self.account(namespace).is_some_and(|name| name == identity.name()),
        }
    }
}

/// `RBAC: allowed by RoleBinding "b/n" of Role "r" to ServiceAccount "a/n"` (rbac.go, rule.go String)
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Grant(binding, subject) = self;
        let Binding { namespace, name, role, subjects, .. } = &**binding;
        let (kind, name) = match namespace.is_empty() {
            true => ("ClusterRoleBinding", name.to_string()),
            false => ("RoleBinding", format!("{name}/{namespace}")),
        };
        write!(f, "RBAC: allowed by {kind} {name:?} of {} {:?} to ", role.kind, role.name)?;
        match subjects.get(*subject) {
            Some(account) if account.kind == "ServiceAccount" => {
                let of = if account.namespace.is_empty() { namespace } else { account.namespace.as_str() };
                write!(f, "ServiceAccount {:?}", format!("{}/{of}", account.name))
            }
            Some(subject) => write!(f, "{} {:?}", subject.kind, subject.name),
            None => Ok(()),
        }
    }
}

impl Role {
    pub fn revision(&self) -> Revision {
        self.revision
    }
}

pub fn role_key(role: &RoleRef, namespace: &str) -> Key {
    Key::new(match role.kind.as_str() {
        "Role" => format!("roles.{GROUP}/{namespace}/{}", role.name),
        _ => format!("clusterroles.{GROUP}/{}", role.name),
    })
}

/// The error of a role that is not there, as upstream's lister words it.
pub fn no_role(role: &RoleRef) -> String {
    format!("{}.{GROUP} {:?} not found", role.kind.to_lowercase(), role.name)
}

#[cfg(test)]
mod tests;
