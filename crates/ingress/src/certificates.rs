//! Certificates of TLS Secrets, and which of them a handshake is shown.
//!
//! A Secret holds a chain and its key as PEM (`tls.crt`, `tls.key` of type `kubernetes.io/tls`). One that cannot be
//! used is refused as a whole, with a reason for people that shows nothing of the key.

use std::fmt;
use std::sync::Arc;

use api::Object;
use arc_swap::ArcSwap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::Deserialize;
use wire::Pair;

use crate::heads;
use crate::table::Table;

/// The only type of Secret that is read: a node that serves Ingresses is let to no other.
pub const TLS: &str = "kubernetes.io/tls";

/// A chain and its key, ready for handshakes.
pub struct Certificate {
    /// `default/web-tls`
    pub name: String,
    /// The version of the Secret.
    pub version: String,
    key: Arc<CertifiedKey>,
}

impl Certificate {
    /// Of a Secret; or why it cannot be used.
    pub fn read(secret: &Object) -> Result<Certificate, String> {
        #[derive(Deserialize)]
        struct Secret {
            #[serde(default)]
            r#type: String,
            #[serde(default)]
            data: Option<Pem>,
        }
        #[derive(Default, Deserialize)]
        struct Pem {
            #[serde(default, rename = "tls.crt")]
            certificate: String,
            #[serde(default, rename = "tls.key")]
            key: String,
        }
        let Secret { r#type, data } = secret.view().map_err(|why| why.to_string())?;
        if r#type != TLS {
            return Err(format!("it is of type {:?}, not {TLS}", if r#type.is_empty() { "Opaque" } else { &r#type }));
        }
        let data = data.unwrap_or_default();
        let text = |name: &str, encoded: &str| {
            let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| format!("{name} is not base64"))?;
            String::from_utf8(bytes).map_err(|_| format!("{name} is not PEM"))
        };
        let pair = Pair { certificate: text("tls.crt", &data.certificate)?, key: text("tls.key", &data.key)? };
        let key = wire::tls::certified(&pair).map_err(|why| format!("its certificate or key cannot be used: {why}"))?;
        if key.keys_match().is_err() {
            return Err("tls.key is not the key of the certificate in tls.crt".into());
        }
        let meta = secret.meta();
        let name = format!("{}/{}", meta.namespace, meta.name);
        Ok(Certificate { name, version: meta.resource_version.clone(), key })
    }
}

/// Without the key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What each handshake asks: the table as it is then. A name for which there is none ends the handshake.
pub struct Shown(pub Arc<ArcSwap<Table>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(heads::plain);
        self.0.load().certificate(name.as_deref()).map(|certificate| certificate.key.clone())
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

#[cfg(test)]
pub mod tests;
