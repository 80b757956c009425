//! Whom `Impersonate-*` headers ask to be; every attribute is authorized by itself.
//!
//! Matches apiserver pkg/endpoints/filters/impersonation (mode.go): constrained impersonation
//! (KEP-5284, on by default since 1.36) is tried first, mode by mode, then the old verb. A user, a group,
//! an extra or a uid that the caller may not be refuses the request.

use std::collections::BTreeMap;

use api::names::dns_subdomain;
use api::{Status, go};
use http::{HeaderMap, header};

use crate::authorize::{self, Attributes, Decision};
use crate::identity::{self, ANONYMOUS, AUTHENTICATED, Identity, MASTERS, NODE_PREFIX, NODES, UNAUTHENTICATED};

const AUTHENTICATION: &str = "authentication.k8s.io";
/// What a token bound to a node, or to a pod on one, says of it.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// From so many values on, one question about all of them comes first (manyAuthorizationChecksInLoop).
const MANY: usize = 4;

/// What the headers ask for, as they say it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Wanted {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// A way to be somebody else: `impersonate:NAME`, and for each verb `impersonate-on:NAME:VERB`.
struct Mode {
    name: &'static str,
    suits: fn(&Wanted, &Identity) -> bool,
}

/// In the order in which they are tried (mode.go allImpersonationModes).
static MODES: &[Mode] = &[
    Mode {
        name: "associated-node",
        suits: |wanted, caller| {
            let own = caller.extra().get(NODE_NAME).map(Vec::as_slice);
            let node = node_of(&wanted.user).filter(|_| identity::service_account(caller.name()).is_some());
            wanted.is_name_only() && node.is_some_and(|node| matches!(own, Some([own]) if own == node))
        },
    },
    Mode { name: "arbitrary-node", suits: |wanted, _| wanted.is_name_only() && node_of(&wanted.user).is_some() },
    Mode {
        name: "serviceaccount",
        suits: |wanted, _| wanted.is_name_only() && identity::service_account(&wanted.user).is_some(),
    },
    Mode {
        name: "user-info",
        suits: |wanted, _| node_of(&wanted.user).is_none() && identity::service_account(&wanted.user).is_none(),
    },
];

/// The identity that the headers ask for; None if they ask for none. `request` is what is to be done.
///
/// # Errors
/// 400 for headers that cannot be meant, 403 for what the caller may not be.
pub fn impersonated(
    caller: &Identity,
    headers: &HeaderMap,
    request: impl FnOnce() -> Attributes,
    decide: &dyn Fn(&Identity, &Attributes) -> Decision,
) -> Result<Option<Identity>, Status> {
    // Most requests have no such header: one look at the names.
    if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(None);
    }
    let Some(wanted) = Wanted::of(headers)? else { return Ok(None) };
    let request = request();
    let may = |asked: &Attributes| match decide(caller, asked) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(why) => Err(authorize::refusal(caller, asked, &why)),
    };
    let mut first = None;
    for mode in MODES.iter().filter(|mode| (mode.suits)(&wanted, caller)) {
        let on = Attributes { verb: format!("impersonate-on:{}:{}", mode.name, request.verb), ..request.clone() };
        match may(&on).and_then(|()| wanted.constrained(mode, &may)) {
            Ok(identity) => return Ok(Some(identity)),
            Err(refused) => first = first.or(Some(refused)),
        }
    }
    wanted.unconstrained(&may).map(Some).map_err(|refused| first.unwrap_or(refused))
}

/// Takes what says who the caller is, or would be, out of the headers that go on
/// (endpoints/filters/authentication.go, request/websocket/protocol.go).
pub fn forget(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    let told = |name: &str| ["impersonate-", "x-remote-"].iter().any(|start| name.starts_with(start));
    if headers.keys().any(|name| told(name.as_str())) {
        let names: Vec<_> = headers.keys().filter(|name| told(name.as_str())).cloned().collect();
        names.into_iter().for_each(|name| drop(headers.remove(name)));
    }
    if headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        crate::authenticate::forget_protocol(headers);
    }
}

type May<'m> = &'m dyn Fn(&Attributes) -> Result<(), Status>;

impl Wanted {
    fn of(headers: &HeaderMap) -> Result<Option<Wanted>, Status> {
        let mut wanted = Wanted::default();
        for (name, value) in headers {
            let Some(what) = name.as_str().strip_prefix("impersonate-") else { continue };
            // What cannot be read is not passed over: without one of its groups a user is another user.
            let text = std::str::from_utf8(value.as_bytes())
                .map_err(|_| Status::bad_request(format!("the header {name} is not UTF-8")))?;
            match (what, what.strip_prefix("extra-")) {
                ("user", _) if wanted.user.is_empty() => wanted.user = text.into(),
                ("uid", _) if wanted.uid.is_empty() => wanted.uid = text.into(),
                ("group", _) => {
                    wanted.groups.push(text.into());
                }
                (_, Some(key)) => {
                    let key = wire::query::decoded(key).into_owned();
                    wanted.extra.entry(key).or_default().push(text.into());
                }
                _ => {}
            }
        }
        if !wanted.user.is_empty() {
            return Ok(Some(wanted));
        }
        match wanted == Wanted::default() {
            true => Ok(None),
            // constrained_impersonation.go processImpersonationHeaders.
            false => {
                let what = wanted.in_go();
                Err(Status::bad_request(format!("requested {what} without impersonating a user name")))
            }
        }
    }

    /// As Go prints its structure.
    fn in_go(&self) -> String {
        let texts = |texts: &[String]| {
            let texts: Vec<String> = texts.iter().map(|text| go::quoted(text)).collect();
            format!("[]string{{{}}}", texts.join(", "))
        };
        let groups = if self.groups.is_empty() { "[]string(nil)".to_owned() } else { texts(&self.groups) };
        let extra: Vec<String> =
            self.extra.iter().map(|(key, values)| format!("{}:{}", go::quoted(key), texts(values))).collect();
        let extra = match extra.is_empty() {
            true => "map[string][]string(nil)".to_owned(),
            false => format!("map[string][]string{{{}}}", extra.join(", ")),
        };
        let uid = go::quoted(&self.uid);
        format!("&user.DefaultInfo{{Name:\"\", UID:{uid}, Groups:{groups}, Extra:{extra}}}")
    }

    fn is_name_only(&self) -> bool {
        self.uid.is_empty() && self.groups.is_empty() && self.extra.is_empty()
    }

    /// Every attribute under the mode's verb (impersonationModeState.check).
    fn constrained(&self, mode: &Mode, may: May) -> Result<Identity, Status> {
        let verb = format!("impersonate:{}", mode.name);
        let ask = |resource: &str, name: &str| attributes(&verb, AUTHENTICATION, resource, name);
        let mut groups = self.groups.clone();
        if let Some(node) = node_of(&self.user) {
            // The grant is for the node that the caller stands on, whichever that is.
            let name = if mode.name == "associated-node" { "*" } else { node };
            may(&ask("nodes", name))?;
            groups = vec![NODES.into()];
        } else if let Some((namespace, name)) = identity::service_account(&self.user) {
            may(&Attributes { namespace: namespace.into(), ..ask("serviceaccounts", name) })?;
            groups = identity::account_groups(namespace);
        } else {
            may(&ask("users", &self.user))?;
        }
        if !self.uid.is_empty() {
            may(&ask("uids", &self.uid))?;
        }
        self.check_constrained(&ask)?;
        let all = self.groups.len() >= MANY && may(&ask("groups", "*")).is_ok();
        for group in self.groups.iter().filter(|_| !all) {
            may(&ask("groups", group))?;
        }
        let one = |key: &str, value: &str| Attributes { subresource: key.into(), ..ask("userextras", value) };
        let all = self.values().count() >= MANY && may(&one("*", "*")).is_ok();
        for (key, value) in self.values().filter(|_| !all) {
            may(&one(key, value))?;
        }
        Ok(self.identity(groups))
    }

    /// What the new way never grants (authorizeGroups, validateExtra).
    fn check_constrained(&self, ask: &dyn Fn(&str, &str) -> Attributes) -> Result<(), Status> {
        let refuse =
            |asked: Attributes, why: &str| Err(Status::forbidden(&asked.group, &asked.resource, &asked.name, why));
        if self.groups.iter().any(String::is_empty) {
            return refuse(ask("groups", ""), "impersonating the empty string group is not allowed");
        }
        if self.groups.iter().any(|group| group == MASTERS) {
            return refuse(ask("groups", MASTERS), "impersonating the system:masters group is not allowed");
        }
        let plain = |key: &str| !key.is_empty() && key == key.to_lowercase();
        if !self.extra.keys().all(|key| plain(key)) {
            return refuse(ask("userextras", ""), "impersonating an invalid key in extra is not allowed");
        }
        if self.values().any(|(_, value)| value.is_empty()) {
            return refuse(ask("userextras", ""), "impersonating the empty string value in extra is not allowed");
        }
        Ok(())
    }

    /// Every attribute under the old verb.
    fn unconstrained(&self, may: May) -> Result<Identity, Status> {
        let ask = |group: &str, resource: &str, name: &str| attributes("impersonate", group, resource, name);
        let mut groups = self.groups.clone();
        match identity::service_account(&self.user) {
            Some((namespace, name)) => {
                may(&Attributes { namespace: namespace.into(), ..ask("", "serviceaccounts", name) })?;
                if groups.is_empty() {
                    groups = identity::account_groups(namespace);
                }
            }
            None => may(&ask("", "users", &self.user))?,
        }
        if !self.uid.is_empty() {
            may(&ask(AUTHENTICATION, "uids", &self.uid))?;
        }
        for group in &self.groups {
            may(&ask("", "groups", group))?;
        }
        for (key, value) in self.values() {
            may(&Attributes { subresource: key.into(), ..ask(AUTHENTICATION, "userextras", value) })?;
        }
        Ok(self.identity(groups))
    }

    fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.extra.iter().flat_map(|(key, values)| values.iter().map(move |value| (key.as_str(), value.as_str())))
    }

    /// With the group that everybody, or nobody, is in.
    fn identity(&self, mut groups: Vec<String>) -> Identity {
        let implied = match self.user == ANONYMOUS {
            true => Some(UNAUTHENTICATED),
            false if groups.iter().any(|group| group == UNAUTHENTICATED) => None,
            false => Some(AUTHENTICATED),
        };
        if let Some(group) = implied.filter(|implied| !groups.iter().any(|group| group == implied)) {
            groups.push(group.into());
        }
        Identity::as_given(self.user.clone(), groups).with_uid(self.uid.clone()).with_extra(self.extra.clone())
    }
}

fn attributes(verb: &str, group: &str, resource: &str, name: &str) -> Attributes {
    Attributes {
        verb: verb.into(),
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

/// The node of `system:node:NAME` (mode.go isNodeUsername).
fn node_of(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_PREFIX).filter(|node| dns_subdomain(node).is_empty())
}

#[cfg(test)]
mod tests;
