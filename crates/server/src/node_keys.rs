//! Which keys speak for a node: those that its name was joined and renewed with, on its Node object.
//!
//! A certificate lasts a year, a name may change hands sooner: once a Node is deleted and its name joined
//! with another key, the certificate of the first counts no more. A Node without the annotation (of this
//! process, or of an earlier version) is spoken for by any certificate with its name, and so is a name without
//! a Node: its agent makes it again, as a kubelet does.

use std::sync::atomic::{AtomicU64, Ordering};

use api::Status;
use http::{Method, Request, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::Server;
use crate::authenticate::unauthorized;
use crate::identity::{Component, Identity};
use crate::records::Snapshot;

/// SHA-256 of one or two public keys in hexadecimal digits, with a comma: the newest, and the one before.
pub const ANNOTATION: &str = "gousse.dev/node-keys";

/// What a client's certificate says of it.
pub struct Certificate {
    pub identity: Identity,
    /// The revision of its Node at which it was last found to hold.
    held: AtomicU64,
}

impl Certificate {
    pub fn new(der: &[u8], name: String, groups: Vec<String>) -> Certificate {
        let identity = Identity::authenticated(name, "", groups);
        let key = identity.node().and_then(|_| of(der));
        let identity = match key {
            Some(key) => identity.with_key(key),
            None => identity,
        };
        Certificate { identity, held: AtomicU64::new(0) }
    }

    /// Whether it counts: looked up for every request, read again when the Node has changed.
    pub fn holds(&self, snapshot: &Snapshot) -> bool {
        let Some((node, key)) = self.identity.node().zip(self.identity.key()) else { return true };
        let Some(entry) = snapshot.entry("nodes", "", node) else { return true };
        if self.held.load(Ordering::Relaxed) == entry.revision.0 {
            return true;
        }
        let Ok(object) = api::Object::parse(entry.bytes) else { return false };
        let holds = allows(object.annotation(ANNOTATION).as_deref(), key);
        if holds {
            self.held.store(entry.revision.0, Ordering::Relaxed);
        }
        holds
    }
}

/// The hash of a certificate's public key.
pub fn of(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(Sha256::digest(certificate.public_key().raw).iter().map(|b| format!("{b:02x}")).collect())
}

/// What stands in a Node.
pub fn recorded(node: &Value) -> Option<&str> {
    node["metadata"]["annotations"][ANNOTATION].as_str()
}

/// Whether a key speaks for a Node in which this stands.
pub fn allows(recorded: Option<&str>, key: &str) -> bool {
    recorded.is_none_or(|keys| keys.split(',').any(|one| one == key))
}

/// A node is certified anew, by its own certificate or by an administrator. The key before counts as well:
/// the agent may end before it has kept the new certificate, and has connections with the old one.
pub async fn renew(server: &Server, identity: &Identity, name: &str, key: &str) -> Result<(), Status> {
    // Without a Node its agent will make it.
    let Some(node) = server.0.snapshot.value("nodes", "", name) else { return Ok(()) };
    let recorded = recorded(&node);
    // It may have changed hands since the request came.
    if identity.key().is_some_and(|own| !allows(recorded, own)) {
        return Err(unauthorized());
    }
    let before = identity.key().or_else(|| recorded?.split(',').next()).filter(|before| *before != key);
    let keys = before.map_or(key.to_string(), |before| format!("{key},{before}"));
    if recorded == Some(&keys) || recorded == Some(key) {
        return Ok(());
    }
    let version = &node["metadata"]["resourceVersion"];
    let patch = json!({"metadata": {"resourceVersion": version, "annotations": {ANNOTATION: keys}}});
    let request = Request::builder()
        .method(Method::PATCH)
        .uri(format!("/api/v1/nodes/{name}"))
        .header(header::USER_AGENT, "kube-apiserver/1.37")
        .header(header::CONTENT_TYPE, "application/merge-patch+json")
        .body(patch.to_string().into())
        .map_err(|error| Status::internal(error.to_string()))?;
    // Within a request itself: the two are of one type.
    let answer = Box::pin(server.handle(&Identity::component(Component::Admin), request)).await;
    match answer.status.is_success() {
        true => Ok(()),
        false => Err(Status::conflict("", "nodes", name, "it has changed meanwhile: ask again")),
    }
}
