//! From what a request shows to who it is: a client certificate, a token, or nobody.
//!
//! A verified certificate is read once per connection. A bearer token is a service account's (its
//! signature is remembered, what it is bound to is looked up every time) or a bootstrap token from a
//! Secret in kube-system. A token that does not hold is refused, never taken for anonymous.

use std::collections::BTreeMap;

use api::{Reason, Status};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use serde_json::Value;

use crate::identity::{BOOTSTRAPPERS, Identity, account_groups, service_account};
use crate::records::Snapshot;
use crate::tokens::{Claims, ISSUER, Legacy, SECRET_TYPE, Said, Tokens};

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
    match bearer(headers).map_err(|_| unauthorized())? {
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
    let said = tokens.check(token, now)?;
    // One that names none is for the server alone.
    let own = [ISSUER.to_string()];
    let named = match &*said {
        Said::Bound(claims) => &claims.aud[..],
        Said::Legacy(_) => &own,
    };
    let common: Vec<String> = audiences.iter().filter(|a| named.contains(a)).cloned().collect();
    if common.is_empty() {
        return Err(format!("token audiences {named:?} is invalid for the target audiences {audiences:?}"));
    }
    let claims = match &*said {
        Said::Bound(claims) => claims,
        Said::Legacy(claims) => return Ok((of_secret(claims, token, tokens, snapshot, now)?, common)),
    };
    still_bound(claims, snapshot, now)?;
    let bound = &claims.bound;
    let namespace = &bound.namespace;
    let groups = account_groups(namespace);
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

/// A label of a Secret whose token nobody used for long (legacy.go).
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// The account of a token that lies in a Secret: both are there, and are those that it names (legacy.go Validate).
fn of_secret(claims: &Legacy, token: &str, tokens: &Tokens, snapshot: &Snapshot, now: i64) -> Result<Identity, String> {
    let Legacy { namespace, secret, account, uid, sub, .. } = claims;
    if service_account(sub) != Some((namespace.as_str(), account.as_str())) || uid.is_empty() {
        return Err("sub claim is invalid".into());
    }
    let stored = snapshot.value("secrets", namespace, secret);
    let stored = stored.filter(|secret| secret["metadata"].get("deletionTimestamp").is_none());
    let stored = stored.ok_or("Token has been invalidated")?;
    let kept = decoded(&stored["data"]["token"]).unwrap_or_default();
    if stored["type"] != SECRET_TYPE || !same(kept.as_bytes(), token.as_bytes()) {
        return Err("Token does not match server's copy".into());
    }
    let known = snapshot.object("serviceaccounts", namespace, account);
    let known = known.ok_or_else(|| format!("serviceaccounts {account:?} not found"))?;
    if known.meta().deletion_timestamp.is_some() {
        return Err(format!("ServiceAccount {namespace}/{account} has been deleted"));
    }
    if known.meta().uid != *uid {
        return Err(format!("ServiceAccount UID ({}) does not match claim ({uid})", known.meta().uid));
    }
    tokens.used.note(&stored, now);
    if stored["metadata"]["labels"][INVALID_SINCE].as_str().is_some_and(|since| !since.is_empty()) {
        return Err(format!(
            "the token in secret {namespace}/{secret} for service account {namespace}/{account} has been marked invalid. \
             Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' \
             label from the secret to temporarily allow use of this token"
        ));
    }
    Ok(Identity::authenticated(sub, uid, account_groups(namespace)))
}

/// What a protocol begins with that is a bearer token (request/websocket/protocol.go).
const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// A bearer token, from its header or from the websocket subprotocol that browsers must use.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let words = value.to_str().ok().and_then(|value| value.trim().split_once(' '));
        let token = words.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        return Ok(token.map(|(_, token)| token.trim().to_string()));
    }
    if !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) || !wire::websocket::is_asked(headers) {
        return Ok(None);
    }
    let (tokens, others): (Vec<&str>, Vec<&str>) = protocols(headers).partition(|p| p.starts_with(BEARER_PROTOCOL));
    match (&tokens[..], &others[..]) {
        ([], _) => Ok(None),
        ([_], []) => Err("missing additional subprotocol"),
        ([one], _) => {
            let encoded = one.strip_prefix(BEARER_PROTOCOL).unwrap_or_default();
            let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(encoded).ok();
            let token = token.and_then(|token| String::from_utf8(token).ok());
            token.map(Some).ok_or("invalid base64.bearer.authorization token encoding")
        }
        _ => Err("multiple base64.bearer.authorization tokens specified"),
    }
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    all.flat_map(|v| v.split(',')).map(str::trim)
}

/// Takes a token out of the websocket's protocols: nobody that the request is passed on to shall have it.
pub fn forget_protocol(headers: &mut HeaderMap) {
    if !protocols(headers).any(|p| p.starts_with(BEARER_PROTOCOL)) {
        return;
    }
    let others: Vec<&str> = protocols(headers).filter(|p| !p.starts_with(BEARER_PROTOCOL)).collect();
    match HeaderValue::from_str(&others.join(",")) {
        Ok(rest) if !rest.is_empty() => drop(headers.insert(header::SEC_WEBSOCKET_PROTOCOL, rest)),
        _ => drop(headers.remove(header::SEC_WEBSOCKET_PROTOCOL)),
    }
}

/// What was deleted longer ago than this is gone, whoever holds it still (go-jose jwt.DefaultLeeway).
const LEEWAY: i64 = 60;

/// What the token is bound to exists, and is the same as then (serviceaccount/claims.go).
fn still_bound(claims: &Claims, snapshot: &Snapshot, now: i64) -> Result<(), String> {
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
        let same = object.is_some_and(|object| {
            let meta = object.meta();
            // A pod's time of deletion is the end of its grace.
            let deleted = meta.deletion_timestamp.as_ref().is_some_and(|at| is_over(at, now - LEEWAY - 1));
            meta.uid == named.uid && !deleted
        });
        if !same {
            return Err("service account token has been invalidated".into());
        }
    }
    Ok(())
}

/// `id.secret`, held against the Secret `bootstrap-token-id` in kube-system (token/bootstrap/bootstrap.go).
fn bootstrap(token: &str, snapshot: &Snapshot, now: i64) -> Option<Identity> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if id.len() != 6 || secret.len() != 16 || !plain(id) || !plain(secret) {
        return None;
    }
    let stored = snapshot.value("secrets", "kube-system", &format!("bootstrap-token-{id}"))?;
    if stored["type"] != "bootstrap.kubernetes.io/token" || stored["metadata"].get("deletionTimestamp").is_some() {
        return None;
    }
    // What is there and cannot be read is no good, and not as if it were not there.
    let field = |name: &str| match &stored["data"][name] {
        Value::Null => Some(String::new()),
        value => decoded(value),
    };
    let matches = field("token-id")? == id && same(field("token-secret")?.as_bytes(), secret.as_bytes());
    if !matches || has_ended(&stored, now) || field("usage-bootstrap-authentication")? != "true" {
        return None;
    }
    let mut groups = vec![BOOTSTRAPPERS.to_string()];
    let extra = field("auth-extra-groups")?;
    if !extra.is_empty() {
        // One that is no bootstrappers' group, and the token is none (cluster-bootstrap GetGroups).
        let extra = extra.split(',').map(|group| is_bootstrappers(group).then(|| group.to_string()));
        groups.extend(extra.collect::<Option<Vec<_>>>()?);
        groups.sort();
        groups.dedup();
    }
    Some(Identity::authenticated(format!("system:bootstrap:{id}"), "", groups))
}

/// Whether a bootstrap token's Secret is over.
pub fn has_ended(secret: &Value, now: i64) -> bool {
    let end = &secret["data"]["expiration"];
    !end.is_null() && decoded(end).is_none_or(|end| !end.is_empty() && is_over(&end, now))
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]` (cluster-bootstrap token/api BootstrapGroupPattern).
fn is_bootstrappers(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=256).contains(&rest.len())
        && rest.bytes().all(|b| alphanumeric(b) || matches!(b, b':' | b'-'))
        && rest.bytes().last().is_some_and(alphanumeric)
}

/// Whether a time is past; what is no time is.
fn is_over(time: &str, now: i64) -> bool {
    time.parse::<jiff::Timestamp>().map_or(true, |time| time.as_second() <= now)
}

/// Takes as long for a wrong first byte as for a wrong last one.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn decoded(value: &Value) -> Option<String> {
    String::from_utf8(STANDARD.decode(value.as_str()?).ok()?).ok()
}

#[cfg(test)]
mod tests;
