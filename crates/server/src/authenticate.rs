//! From what a request shows to who it is: a client certificate, a token, or nobody.
//!
//! A verified certificate is read once per connection. A bearer token is a service account's (its
//! signature is remembered, what it is bound to is looked up every time) or a bootstrap token from a
//! Secret in kube-system. A token that does not hold is refused, never taken for anonymous.

use std::collections::BTreeMap;

use api::{Reason, Status};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use serde_json::Value;

use crate::identity::{BOOTSTRAPPERS, Identity, SERVICE_ACCOUNTS};
use crate::records::Snapshot;
use crate::tokens::{Claims, ISSUER, Tokens};

/// Who a request comes from. `certificate` is what the connection proved.
pub fn authenticate(
    headers: &HeaderMap,
    certificate: Option<&Identity>,
    tokens: &Tokens,
    snapshot: &Snapshot,
    now: i64,
) -> Result<Identity, Status> {
    if let Some(identity) = certificate {
        return Ok(identity.clone());
    }
    match bearer(headers) {
        Some(token) => by_token(&token, &[ISSUER.to_string()], tokens, snapshot, now)
            .map(|(identity, _)| identity)
            .map_err(|_| unauthorized()),
        None => Ok(Identity::anonymous()),
    }
}

/// 401, as every refused credential gets it: the reason is for the log only.
pub fn unauthorized() -> Status {
    Status::new(Reason::Unauthorized, "Unauthorized")
}

/// The user behind a token and the audiences it and the caller have in common.
pub fn by_token(
    token: &str,
    audiences: &[String],
    tokens: &Tokens,
    snapshot: &Snapshot,
    now: i64,
) -> Result<(Identity, Vec<String>), String> {
    if let Some(identity) = bootstrap(token, snapshot, now) {
        return Ok((identity, audiences.to_vec()));
    }
    let claims = tokens.check(token, now)?;
    let common: Vec<String> = audiences.iter().filter(|a| claims.aud.contains(a)).cloned().collect();
    if common.is_empty() {
        return Err(format!("token audiences {:?} is invalid for the target audiences {:?}", claims.aud, audiences));
    }
    still_bound(&claims, snapshot)?;
    let bound = &claims.bound;
    let namespace = &bound.namespace;
    let groups = vec![SERVICE_ACCOUNTS.into(), format!("{SERVICE_ACCOUNTS}:{namespace}")];
    let mut extra = BTreeMap::new();
    extra.insert("authentication.kubernetes.io/credential-id".into(), vec![format!("JTI={}", claims.jti)]);
    for (key, named) in [("pod", &bound.pod), ("node", &bound.node)] {
        if let Some(named) = named {
            extra.insert(format!("authentication.kubernetes.io/{key}-name"), vec![named.name.clone()]);
            if !named.uid.is_empty() {
                extra.insert(format!("authentication.kubernetes.io/{key}-uid"), vec![named.uid.clone()]);
            }
        }
    }
    let name = format!("system:serviceaccount:{namespace}:{}", bound.serviceaccount.name);
    Ok((Identity::authenticated(name, &bound.serviceaccount.uid, groups).with_extra(extra), common))
}

/// A bearer token, from its header or from the websocket subprotocol that browsers must use.
fn bearer(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_string());
    }
    // apiserver pkg/authentication/request/websocket/protocol.go
    let protocols = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    let encoded = protocols
        .flat_map(|v| v.split(','))
        .find_map(|p| p.trim().strip_prefix("base64url.bearer.authorization.k8s.io."))?;
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(encoded).ok()?;
    String::from_utf8(token).ok()
}

/// What the token is bound to exists, and is the same as then (serviceaccount/claims.go).
fn still_bound(claims: &Claims, snapshot: &Snapshot) -> Result<(), String> {
    let bound = &claims.bound;
    let checks = [
        ("serviceaccounts", Some(&bound.serviceaccount)),
        ("pods", bound.pod.as_ref()),
        ("secrets", bound.secret.as_ref()),
        ("nodes", bound.node.as_ref().filter(|_| bound.pod.is_none())),
    ];
    for (resource, named) in checks {
        let Some(named) = named else { continue };
        let namespace = if resource == "nodes" { "" } else { &bound.namespace };
        let object = snapshot.object(resource, namespace, &named.name);
        if object.is_none_or(|o| o.meta().uid != named.uid) {
            return Err("service account token has been invalidated".into());
        }
    }
    Ok(())
}

/// `id.secret`, held against the Secret `bootstrap-token-id` in kube-system.
fn bootstrap(token: &str, snapshot: &Snapshot, now: i64) -> Option<Identity> {
    let (id, secret) = token.split_once('.')?;
    if id.len() != 6 || secret.len() != 16 {
        return None;
    }
    let stored = snapshot.value("secrets", "kube-system", &format!("bootstrap-token-{id}"))?;
    if stored["type"] != "bootstrap.kubernetes.io/token" || stored["metadata"].get("deletionTimestamp").is_some() {
        return None;
    }
    let field = |name: &str| decoded(&stored["data"][name]).unwrap_or_default();
    let alive = match field("expiration").as_str() {
        "" => true,
        text => text.parse::<jiff::Timestamp>().is_ok_and(|end| end.as_second() > now),
    };
    let matches = field("token-id") == id && same(field("token-secret").as_bytes(), secret.as_bytes());
    if !(matches && alive && field("usage-bootstrap-authentication") == "true") {
        return None;
    }
    let mut groups = vec![BOOTSTRAPPERS.to_string()];
    groups.extend(field("auth-extra-groups").split(',').filter(|g| !g.is_empty()).map(String::from));
    Some(Identity::authenticated(format!("system:bootstrap:{id}"), "", groups))
}

/// Takes as long for a wrong first byte as for a wrong last one.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn decoded(value: &Value) -> Option<String> {
    String::from_utf8(STANDARD.decode(value.as_str()?).ok()?).ok()
}
