//! How an agent far away gets its credentials: a token once, then a certificate that it keeps.
//!
//! The token carries the fingerprint of the server's authority, so the first answer can be held
//! against it before anything is believed. The key is made before anything is asked, and stays: the
//! server knows the node by it, and lets it ask again whatever was lost on the way.

use std::path::PathBuf;
use std::sync::Arc;

use ::node::certificates::{Certificate, Purpose};
use bytes::Bytes;
use client::https::Bearer;
use client::{Client, Https, HttpsConfig};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::node::{Credentials, Machine};
use super::serving;
use crate::instance::{Instance, write_private};
use kubectl::failure::{Context, Result, failure};

/// The certificate of an earlier start, or a new one for this token; the agent renews it. `beside`: the server is on
/// this machine, and known by whatever the machine is.
pub async fn credentials(
    instance: &Instance,
    server: &str,
    token: impl FnOnce() -> Result<Option<String>>,
    machine: Arc<Machine>,
    beside: bool,
    clock: &api::Clock,
) -> Result<Credentials> {
    let kept = Kept::of(instance);
    let now = clock().as_second();
    let texts = match kept.read()? {
        Some(texts) if wire::tls::ends(&texts.pair.certificate).is_ok_and(|end| now < end) => texts,
        found => {
            let Some(token) = token()? else {
                let why = if found.is_some() { "again: the node's certificate has ended" } else { "the first time" };
                return Err(failure(format!(
                    "--token-file is needed {why}; `gousse server` writes DATA/token, `gousse token create` makes another"
                )));
            };
            let texts = joined(server, &token, &machine, &kept.key()?).await?;
            kept.write(&texts)?;
            texts
        }
    };
    serving::keep_first(instance, &texts.pair.certificate).context("keeping the node's first certificate")?;
    let config = HttpsConfig {
        server: server.to_string(),
        ca: Some(texts.authority.clone()),
        identity: Some(texts.pair.clone()),
        ..HttpsConfig::default()
    };
    let https = Arc::new(Https::new(config).context(format_args!("connecting to {server}"))?);
    let client = Client::new(https.clone()).named("kubelet");
    let known = machine.clone();
    let bears = move |host: &str| !beside || !known.is_known_by(host);
    let (certificate, mut serves) = serving::begin(instance, texts.pair.clone(), &texts.authority, bears)?;
    let (asking, key) = (client.clone(), texts.pair.key.clone());
    // One that is called as the server's machine is has no name of its own.
    serves.nameless = Some(Box::new(move || {
        let (client, machine, key) = (asking.clone(), machine.clone(), key.clone());
        Box::pin(async move {
            let pair = certified(&client, &machine.name, &machine.hosts(), &key).await;
            pair.map(|pair| pair.certificate).map_err(|why| why.to_string())
        })
    }));
    let authority = texts.authority.clone();
    let own = vec![asks(kept, texts, https), serves];
    Ok(Credentials { client, certificate, authority, within: None, own })
}

/// How a node's own certificate at the server is replaced.
fn asks(kept: Kept, texts: Texts, https: Arc<Https>) -> Certificate {
    let (key, file) = (texts.pair.key.clone(), kept.folder.join("certificate.pem"));
    let take = move |certificate: &str| {
        serving::write(&file, certificate)?;
        https.present(&wire::Pair { certificate: certificate.into(), key: key.clone() })
    };
    Certificate {
        purpose: Purpose::Asking,
        key: texts.pair.key,
        held: texts.pair.certificate,
        take: Box::new(take),
        bears: Box::new(|_| false),
        nameless: None,
    }
}

/// A first certificate, for a token.
async fn joined(server: &str, token: &str, machine: &Machine, key: &str) -> Result<Texts> {
    let (fingerprint, bearer) = token
        .split_once('.')
        .filter(|(fingerprint, bearer)| fingerprint.len() == 64 && bearer.contains('.'))
        .ok_or_else(|| {
            failure("a token has the form FINGERPRINT.ID.SECRET; this one has not (--token-file, $GOUSSE_TOKEN)")
        })?;
    let authority = authority(server, fingerprint).await?;
    let config = HttpsConfig {
        server: server.to_string(),
        ca: Some(authority.clone()),
        bearer: Some(Bearer::Token(bearer.to_string())),
        ..HttpsConfig::default()
    };
    let client = Client::new(Arc::new(Https::new(config).context(format_args!("connecting to {server}"))?));
    Ok(Texts { authority, pair: certified(&client, &machine.name, &machine.hosts(), key).await? })
}

/// The server's certificate for our key.
async fn certified(client: &Client, name: &str, hosts: &[String], key: &str) -> Result<wire::Pair> {
    let key = rcgen::KeyPair::from_pem(key).context("reading the node's key")?;
    let request = rcgen::CertificateParams::new(hosts).context("making a request for a certificate")?;
    let request = request.serialize_request(&key).context("making a request for a certificate")?;
    let request = request.pem().context("making a request for a certificate")?;
    let body = json!({"name": name, "hosts": hosts, "request": request});
    let reply = client.call(Method::POST, server::JOIN_PATH, &[], Some(("application/json", &body))).await?;
    let answer: Value = serde_json::from_slice(&reply.bytes().await?).context("reading the server's answer")?;
    let certificate = answer["certificate"].as_str().ok_or_else(|| failure("the server sent no certificate"))?;
    Ok(wire::Pair { certificate: certificate.into(), key: key.serialize_pem() })
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

/// Three files, 0600, below `<data_dir>/agent`; a fourth is what the node serves with.
struct Kept {
    folder: PathBuf,
}

/// What they hold.
struct Texts {
    authority: String,
    pair: wire::Pair,
}

impl Kept {
    fn of(instance: &Instance) -> Kept {
        Kept { folder: instance.data_dir.join("agent") }
    }

    fn read(&self) -> Result<Option<Texts>> {
        let text = |name: &str| -> Result<Option<String>> {
            let path = self.folder.join(name);
            match std::fs::read_to_string(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                read => read.map(Some).context(format_args!("reading {}", path.display())),
            }
        };
        let (authority, certificate, key) = (text("authority.pem")?, text("certificate.pem")?, text("key.pem")?);
        Ok(match (authority, certificate, key) {
            (Some(authority), Some(certificate), Some(key)) => {
                Some(Texts { authority, pair: wire::Pair { certificate, key } })
            }
            _ => None,
        })
    }

    /// The node's key, made if there is none yet; on the disk when this returns.
    fn key(&self) -> Result<String> {
        let path = self.folder.join("key.pem");
        match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            read => return read.context(format_args!("reading {}", path.display())),
        }
        let key = rcgen::KeyPair::generate().context("making a key")?.serialize_pem();
        std::fs::create_dir_all(&self.folder).context(format_args!("making {}", self.folder.display()))?;
        write_private(&path, key.as_bytes())?;
        Ok(key)
    }

    /// The certificate last: with it there is everything.
    fn write(&self, texts: &Texts) -> Result<()> {
        for (name, text) in [("authority.pem", &texts.authority), ("certificate.pem", &texts.pair.certificate)] {
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

    /// Its name would else be locked: the server has the key of the first time, and this agent another one.
    #[test]
    fn an_agent_that_ends_while_it_joins_asks_again_with_the_same_key() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        let kept = || Kept { folder: data.path().join("agent") };
        let first = kept().key().unwrap();
        let mode = std::fs::metadata(data.path().join("agent/key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(kept().read().unwrap().is_none(), "a key alone is no credential");
        assert_eq!(kept().key().unwrap(), first);
        let texts = Texts { authority: "a".into(), pair: wire::Pair { certificate: "c".into(), key: first.clone() } };
        kept().write(&texts).unwrap();
        assert_eq!(kept().read().unwrap().unwrap().pair.key, first);
    }
}
