//! How a node joins: a token, then a certificate for the node's own key.
//!
//! A token is `FINGERPRINT.ID.SECRET`: the SHA-256 of the authority's certificate, and a bootstrap
//! token, which ends. The agent fetches the authority over an unverified connection, holds it against the
//! fingerprint, and from then on verifies. A token certifies names that nobody has; a node renews with its
//! own certificate. Also the kubeconfig, which is made of the same parts.

use std::io;
use std::net::IpAddr;

use api::{Reason, Status};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::answer::{Reply, Response};
use crate::certificates::Subject;
use crate::identity::{Component, Identity, MASTERS, NODE_PREFIX, NODES};
use crate::route::{Target, no_such_resource};
use crate::verbs::{self, Call};
use crate::{Server, addresses, authenticate, node_keys, own_write, write};

/// The authority's certificate.
pub fn authority(server: &Server) -> Reply {
    Reply::ready(Response::bytes(StatusCode::OK, "application/x-pem-file", server.authority().to_string()))
}

/// How long a token holds unless somebody says otherwise (kubeadm token create --ttl).
pub const TOKEN_LIFETIME: SignedDuration = SignedDuration::from_hours(24);
/// What the names of their Secrets begin with, in kube-system.
const TOKEN_PREFIX: &str = "bootstrap-token-";

/// A token that nodes join with.
pub struct JoinToken {
    /// `FINGERPRINT.ID.SECRET`
    pub text: String,
    /// RFC 3339.
    pub ends: String,
}

/// Makes a new one.
pub async fn token(server: &Server, lifetime: SignedDuration) -> Result<JoinToken, Status> {
    let entropy = &server.0.config.entropy;
    let (id, secret) = (write::suffix(6, entropy), write::suffix(16, entropy));
    let ends = api::seconds((server.0.config.clock)() + lifetime);
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    own_write(server, Method::POST, secrets, token_secret(&id, &secret, &ends)).await?;
    let fingerprint = fingerprint(server.authority()).map_err(|e| Status::internal(e.to_string()))?;
    Ok(JoinToken { text: format!("{fingerprint}.{id}.{secret}"), ends })
}

/// The Secret behind a token, as kubeadm would make it.
pub fn token_secret(id: &str, secret: &str, ends: &str) -> Value {
    let field = |text: &str| STANDARD.encode(text);
    json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("{TOKEN_PREFIX}{id}"), "namespace": "kube-system"},
        "data": {"token-id": field(id), "token-secret": field(secret), "usage-bootstrap-authentication": field("true"),
            "expiration": field(ends), "description": field("How nodes join this cluster (gousse agent --token-file).")}})
}

/// Removes tokens that are over, and the one that earlier versions made, which never ended. Nobody is
/// believed for them anyway; this keeps them from piling up (controller/bootstrap/tokencleaner.go).
pub async fn forget_tokens(server: &Server) -> Result<(), Status> {
    let endless = server.0.config.data_dir.join("pki").join("token");
    let left = std::fs::read_to_string(&endless).ok();
    let left = left.as_deref().and_then(|text| text.trim().split_once('.')).map(|(id, _)| id.to_string());
    let now = (server.0.config.clock)().as_second();
    for entry in server.0.snapshot.all("secrets", "kube-system") {
        let Ok(secret) = serde_json::from_slice::<Value>(&entry.bytes) else { continue };
        let name = secret["metadata"]["name"].as_str().unwrap_or_default();
        let Some(id) = name.strip_prefix(TOKEN_PREFIX) else { continue };
        if left.as_deref() == Some(id) || authenticate::has_ended(&secret, now) {
            let path = format!("/api/v1/namespaces/kube-system/secrets/{name}");
            own_write(server, Method::DELETE, &path, Value::Null).await?;
        }
    }
    match std::fs::remove_file(&endless) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Status::internal(format!("removing {}: {error}", endless.display())))
        }
        _ => Ok(()),
    }
}

/// The SHA-256 of a certificate, in lower-case hexadecimal digits.
fn fingerprint(pem: &str) -> io::Result<String> {
    let der = &wire::tls::chain(pem)?[0];
    Ok(Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect())
}

/// A certificate for a node.
pub async fn perform(server: &Server, identity: &Identity, body: Bytes) -> Result<Reply, Status> {
    let body: Value = serde_json::from_slice(&body).map_err(|e| Status::bad_request(e.to_string()))?;
    let name = body["name"].as_str().unwrap_or("");
    if !api::names::dns_subdomain(name).is_empty() {
        return Err(Status::bad_request(format!("name: {name:?} is no node name")));
    }
    if identity.node().is_some_and(|node| node != name) {
        return Err(Status::forbidden("", "nodes", name, "a node gets a certificate for itself only"));
    }
    let asked = body["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut hosts: Vec<String> = [name].into_iter().chain(asked).map(String::from).collect();
    let server_is = crate::hosts(&server.0.config);
    hosts.retain(|host| may_bear(&server.0.config.service_cidr, &server_is, name, host));
    hosts.sort();
    hosts.dedup();
    let user = format!("{NODE_PREFIX}{name}");
    // It serves whatever it names: the server knows its nodes by their own names.
    let subject = Subject { serves: true, ..Subject::new(&user, &[NODES], hosts) };
    let request = body["request"].as_str().unwrap_or("");
    let certificate = server.0.authority.sign(request, &subject);
    let certificate = certificate.map_err(|e| Status::bad_request(format!("request: {e}")))?;
    let key = wire::tls::chain(&certificate).ok().and_then(|chain| node_keys::of(&chain[0]));
    let key = key.ok_or_else(|| Status::internal("what was signed cannot be read"))?;
    // A node renews its own; an administrator may do anything; a token is for new names only.
    match identity.node().is_some() || identity.is_in(MASTERS) {
        true => node_keys::renew(server, identity, name, &key).await?,
        false => claim(server, name, &key).await?,
    }
    Ok(Reply::ok(json!({"certificate": certificate, "authority": server.authority()})))
}

/// Takes a name: the Node object is made here, in one write that fails where there is one. Of two that ask for
/// a name one gets it, the administrator sees what was taken, and deleting the Node gives the name free. Who
/// has the key that it was taken with may ask again: the answer, or the agent, may have been lost.
async fn claim(server: &Server, name: &str, key: &str) -> Result<(), Status> {
    let taken = || {
        let mut status = Status::already_exists("", "nodes", name);
        status.message += ": a join token is for new names only. If this machine is to join anew, delete the Node first \
                           (gousse delete node NAME); if not, choose another name (--node-name)";
        status
    };
    // The node of this process may not be registered yet.
    if server.is_node_of_this_process(name) {
        return Err(taken());
    }
    let annotations = json!({node_keys::ANNOTATION: key});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": annotations}});
    let identity = Identity::component(Component::Admin);
    let served = server.kinds().served("", "v1", "nodes").ok_or_else(no_such_resource)?;
    let target = Target { version: "v1".into(), resource: "nodes".into(), ..Target::default() };
    let (query, headers, uri) = Default::default();
    let call = Call {
        server,
        identity: &identity,
        served,
        target: &target,
        method: &Method::POST,
        query: &query,
        headers: &headers,
        body: Bytes::new(),
        uri: &uri,
        raw_query: "",
    };
    match verbs::create::insert(&call, node, Some("kube-apiserver"), false, &mut Vec::new()).await {
        Ok(_) => Ok(()),
        Err(status) if status.reason == Reason::AlreadyExists => {
            let there = server.0.snapshot.value("nodes", "", name);
            let own =
                there.as_ref().and_then(node_keys::recorded).is_some_and(|keys| node_keys::allows(Some(keys), key));
            if own { Ok(()) } else { Err(taken()) }
        }
        Err(status) => Err(status),
    }
}

/// Whether the certificate of a node may name a host (`may_bear`). One of this process is where the server is, and trusted as it is.
pub fn bears(server: &Server, node: &str, host: &str) -> bool {
    let config = &server.0.config;
    if !server.is_node_of_this_process(node) {
        return may_bear(&config.service_cidr, &crate::hosts(config), node, host);
    }
    let own = match address(host) {
        Some(address) => !address.is_loopback() && addresses::local().contains(&address),
        None => host == node,
    };
    own && !crate::names_of_service(config).iter().any(|name| covers(name, host))
}

/// Whether a node's certificate may name a host: itself, and an address that is no loopback, no Service's and
/// not the server's, whose node runs in its own process. Else the node could pass for what it is not. (Upstream's
/// signer takes any names, pkg/apis/certificates/helpers.go: whoever approves looks at them.)
fn may_bear(service_cidr: &str, server_is: &[String], node: &str, host: &str) -> bool {
    let own = match address(host) {
        Some(address) => addresses::is_far(address) && !addresses::is_in(service_cidr, address),
        None => host == node,
    };
    own && !server_is.iter().any(|name| covers(name, host))
}

/// Whether who is known by `name` is known by `host`, however the two are written.
fn covers(name: &str, host: &str) -> bool {
    if let (Some(name), Some(host)) = (address(name), address(host)) {
        return name == host;
    }
    let plain = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let (name, host) = (plain(name), plain(host));
    match name.strip_prefix("*.") {
        Some(domain) => name == host || host.split_once('.').is_some_and(|(_, rest)| rest == domain),
        None => name == host,
    }
}

/// ::ffff:10.0.0.1 is 10.0.0.1 to whoever verifies a certificate.
fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// A kubeconfig with one context.
pub fn kubeconfig(url: &str, context: &str, authority: &str, pair: &wire::Pair) -> String {
    let [authority, certificate, key] = [authority, &pair.certificate, &pair.key].map(|pem| STANDARD.encode(pem));
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {context}\nclusters:\n- name: {context}\n  cluster:\n    \
         server: {url}\n    certificate-authority-data: {authority}\nusers:\n- name: {context}\n  user:\n    \
         client-certificate-data: {certificate}\n    client-key-data: {key}\ncontexts:\n- name: {context}\n  \
         context:\n    cluster: {context}\n    user: {context}\n"
    )
}

#[cfg(test)]
mod tests;
