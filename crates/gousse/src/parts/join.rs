//! How an agent far away gets its credentials: a token once, then a certificate that it keeps.
//!
//! The token carries the fingerprint of the server's authority, so the first answer can be held
//! against it before anything is believed.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use client::https::Bearer;
use client::{Client, Https, HttpsConfig};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::node::{Credentials, Machine};
use crate::failure::{Context, Result, failure};
use crate::instance::{Instance, write_private};

/// The certificate of an earlier start, or a new one for this token.
pub async fn credentials(
    instance: &Instance,
    server: &str,
    token: Option<&str>,
    machine: &Machine,
) -> Result<Credentials> {
    let kept = Kept::of(instance);
    if let Some(credentials) = kept.read(server)? {
        return Ok(credentials);
    }
    let Some(token) = token else {
        return Err(failure("--token is needed the first time: `gousse server` prints it"));
    };
    let (fingerprint, bearer) = token
        .split_once('.')
        .filter(|(fingerprint, bearer)| fingerprint.len() == 64 && bearer.contains('.'))
        .ok_or_else(|| failure("--token has the form FINGERPRINT.ID.SECRET, as `gousse server` prints it"))?;
    let authority = authority(server, fingerprint).await?;
    let key = rcgen::KeyPair::generate().context("making a key")?;
    let request = rcgen::CertificateParams::new(machine.hosts()).context("making a request for a certificate")?;
    let request = request.serialize_request(&key).context("making a request for a certificate")?;
    let request = request.pem().context("making a request for a certificate")?;
    let config = HttpsConfig {
        server: server.to_string(),
        ca: Some(authority.clone()),
        bearer: Some(Bearer::Token(bearer.to_string())),
        ..HttpsConfig::default()
    };
    let client = Client::new(Arc::new(Https::new(config).context(format_args!("connecting to {server}"))?));
    let body = json!({"name": machine.name, "hosts": machine.hosts(), "request": request});
    let reply = client.call(Method::POST, server::JOIN_PATH, &[], Some(("application/json", &body))).await?;
    let answer: Value = serde_json::from_slice(&reply.bytes().await?).context("reading the server's answer")?;
    let certificate = answer["certificate"].as_str().ok_or_else(|| failure("the server sent no certificate"))?;
    kept.write(&authority, certificate, &key.serialize_pem())?;
    kept.read(server)?.ok_or_else(|| failure("the certificate that was just written is gone"))
}

/// Asks without trust, believes only what has the fingerprint.
async fn authority(server: &str, fingerprint: &str) -> Result<String> {
    let config = HttpsConfig { server: server.to_string(), insecure: true, ..HttpsConfig::default() };
    let client = Client::new(Arc::new(Https::new(config).context(format_args!("connecting to {server}"))?));
    let bytes: Bytes = client.call(Method::GET, server::AUTHORITY_PATH, &[], None).await?.bytes().await?;
    pinned(String::from_utf8_lossy(&bytes).into_owned(), fingerprint)
        .map_err(|why| failure(format!("{server} is not the server of this token: {why}")))
}

/// All of the text becomes what we trust, so that one certificate must be all of it: whoever stands
/// between could add an own one to the real.
fn pinned(pem: String, fingerprint: &str) -> Result<String, String> {
    let chain = wire::tls::chain(&pem).map_err(|error| format!("its authority cannot be read: {error}"))?;
    let [certificate] = &chain[..] else {
        return Err(format!("its authority is {} certificates, not one", chain.len()));
    };
    let found: String = Sha256::digest(certificate).iter().map(|b| format!("{b:02x}")).collect();
    if found == fingerprint { Ok(pem) } else { Err("its authority has another fingerprint".into()) }
}

/// Three files, 0600, below `<data_dir>/agent`.
struct Kept {
    folder: PathBuf,
}

impl Kept {
    fn of(instance: &Instance) -> Kept {
        Kept { folder: instance.data_dir.join("agent") }
    }

    fn read(&self, server: &str) -> Result<Option<Credentials>> {
        let text = |name: &str| -> Result<Option<String>> {
            let path = self.folder.join(name);
            match std::fs::read_to_string(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                read => read.map(Some).context(format_args!("reading {}", path.display())),
            }
        };
        let (Some(authority), Some(certificate), Some(key)) =
            (text("authority.pem")?, text("certificate.pem")?, text("key.pem")?)
        else {
            return Ok(None);
        };
        let pair = wire::Pair { certificate, key };
        let config = HttpsConfig {
            server: server.to_string(),
            ca: Some(authority.clone()),
            identity: Some(pair.clone()),
            ..HttpsConfig::default()
        };
        let transport = Https::new(config).context(format_args!("connecting to {server}"))?;
        let client = Client::new(Arc::new(transport)).named("kubelet");
        Ok(Some(Credentials { client, serving: pair, authority }))
    }

    fn write(&self, authority: &str, certificate: &str, key: &str) -> Result<()> {
        std::fs::create_dir_all(&self.folder).context(format_args!("making {}", self.folder.display()))?;
        for (name, text) in [("key.pem", key), ("authority.pem", authority), ("certificate.pem", certificate)] {
            write_private(&self.folder.join(name), text.as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_certificate_of_the_token_is_believed() {
        let authority = || rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap().cert;
        let (real, other) = (authority(), authority());
        let fingerprint: String = Sha256::digest(real.der()).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(pinned(real.pem(), &fingerprint), Ok(real.pem()));
        assert_eq!(pinned(other.pem(), &fingerprint), Err("its authority has another fingerprint".into()));
        for both in [real.pem() + &other.pem(), other.pem() + &real.pem()] {
            assert_eq!(pinned(both, &fingerprint), Err("its authority is 2 certificates, not one".into()));
        }
        assert!(pinned("nothing".into(), &fingerprint).is_err());
    }
}
