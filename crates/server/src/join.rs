//! How a node joins: a token, then a certificate for the node's own key.
//!
//! A token is `FINGERPRINT.ID.SECRET`: the SHA-256 of the authority's certificate, and a bootstrap
//! token. The agent fetches the authority over an unverified connection, holds it against the
//! fingerprint, and from then on verifies. Also the kubeconfig, which is made of the same parts.

use std::fs;
use std::io;
use std::net::IpAddr;

use api::Status;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::answer::{Reply, Response};
use crate::certificates::{Subject, write_private};
use crate::identity::{Identity, NODE_PREFIX, NODES};
use crate::{Config, Server, addresses, write};

/// POST `{"name", "hosts", "request"}` (a PEM signing request) answers `{"certificate", "authority"}`.
pub const PATH: &str = "/gousse/v1/nodes";
/// GET answers the authority's certificate, PEM, to anybody.
pub const AUTHORITY_PATH: &str = "/gousse/v1/authority";

/// Where a request to join comes from.
#[derive(Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The authority's certificate.
pub fn authority(server: &Server) -> Reply {
    Reply::ready(Response::bytes(StatusCode::OK, "application/x-pem-file", server.authority().to_string()))
}

/// A certificate for a node.
pub async fn perform(server: &Server, identity: &Identity, head: &Parts, body: &[u8]) -> Result<Reply, Status> {
    sign(server, identity, head.extensions.get().copied(), body)
}

/// The token that `agent --token` takes; the same after a restart.
pub fn token(server: &Server) -> io::Result<String> {
    let path = server.0.config.data_dir.join("pki").join("token");
    let secret = match fs::read_to_string(&path) {
        Ok(text) => text.trim().to_string(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let entropy = &server.0.config.entropy;
            let text = format!("{}.{}", write::suffix(6, entropy), write::suffix(16, entropy));
            write_private(&path, &text)?;
            text
        }
        Err(e) => return Err(e),
    };
    Ok(format!("{}.{secret}", fingerprint(server.authority())?))
}

/// The SHA-256 of a certificate, in lower-case hexadecimal digits.
fn fingerprint(pem: &str) -> io::Result<String> {
    let der = &wire::tls::chain(pem)?[0];
    Ok(Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect())
}

/// The Secret behind the token, as kubeadm would make it.
pub fn secret(server: &Server) -> io::Result<Value> {
    let token = token(server)?;
    let mut parts = token.split('.').skip(1);
    let (id, secret) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let field = |text: &str| STANDARD.encode(text);
    Ok(json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "data": {"token-id": field(id), "token-secret": field(secret), "usage-bootstrap-authentication": field("true"),
            "description": field("How nodes join this cluster (gousse agent --token).")}}))
}

fn sign(server: &Server, identity: &Identity, peer: Option<Peer>, body: &[u8]) -> Result<Reply, Status> {
    let body: Value = serde_json::from_slice(body).map_err(|e| Status::bad_request(e.to_string()))?;
    let name = body["name"].as_str().unwrap_or("");
    if !api::validate::names::dns_subdomain(name).is_empty() {
        return Err(Status::bad_request(format!("name: {name:?} is no node name")));
    }
    if identity.node().is_some_and(|node| node != name) {
        return Err(Status::forbidden("", "nodes", name, "a node gets a certificate for itself only"));
    }
    let hosts: Vec<String> =
        body["hosts"].as_array().into_iter().flatten().filter_map(|h| h.as_str().map(String::from)).collect();
    let here = peer.is_some_and(|peer| addresses::local().contains(&peer.0.to_canonical()));
    if let Some(host) = hosts.iter().find(|host| !may_bear(&server.0.config, name, host, here)) {
        let why = format!("a certificate for {host:?} is not this node's");
        return Err(Status::forbidden("", "nodes", name, &why));
    }
    let user = format!("{NODE_PREFIX}{name}");
    let subject = Subject::new(&user, &[NODES], hosts);
    let request = body["request"].as_str().unwrap_or("");
    let certificate = server.0.authority.sign(request, &subject);
    let certificate = certificate.map_err(|e| Status::bad_request(format!("request: {e}")))?;
    Ok(Reply::ok(json!({"certificate": certificate, "authority": server.authority()})))
}

/// Whether a node's certificate may name a host: itself, its loopback, its addresses; never what the server
/// is known by, or the node could pass for it. A node on the server's own machine shares its addresses.
fn may_bear(config: &Config, node: &str, host: &str, here: bool) -> bool {
    let address = host.parse::<IpAddr>();
    let own = address.is_ok() || host == node;
    match address {
        _ if host == "localhost" => true,
        Ok(address) if address.is_loopback() => true,
        _ => {
            own && !crate::names_of_service(config).iter().any(|name| name == host)
                && (here || !crate::hosts(config).iter().any(|name| name == host))
        }
    }
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
