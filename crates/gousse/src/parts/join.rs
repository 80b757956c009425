//! How an agent far away gets its credentials: a token once, then a certificate that it keeps.
//!
//! The token carries the fingerprint of the server's authority, so the first answer can be held
//! against it before anything is believed. The key is made before anything is asked, and stays: the
//! server knows the node by it, and lets it ask again whatever was lost on the way.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::https::Bearer;
use client::{Client, Https, HttpsConfig};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wire::tls::Presented;

use super::node::{Credentials, Machine};
use crate::instance::{Instance, write_private};
use kubectl::failure::{Context, Result, failure};

/// Before its end by this much a certificate is replaced, as the server does with its own.
const RENEW_BEFORE: i64 = 60 * 24 * 3600;
const DAY: i64 = 24 * 3600;
const HOUR: i64 = 3600;

/// The certificate of an earlier start, or a new one for this token; replaced in time from then on.
pub async fn credentials(
    instance: &Instance,
    server: &str,
    token: impl FnOnce() -> Result<Option<String>>,
    machine: &Machine,
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
            let texts = joined(server, &token, machine, &kept.key()?).await?;
            kept.write(&texts)?;
            texts
        }
    };
    let certificate = Presented::new(&texts.pair).context("reading the node's certificate")?;
    let config = HttpsConfig {
        server: server.to_string(),
        ca: Some(texts.authority.clone()),
        identity: Some(texts.pair.clone()),
        ..HttpsConfig::default()
    };
    let https = Arc::new(Https::new(config).context(format_args!("connecting to {server}"))?);
    let client = Client::new(https.clone()).named("kubelet");
    let renewal = Renewal {
        kept,
        https,
        client: client.clone(),
        certificate: certificate.clone(),
        name: machine.name.clone(),
        hosts: machine.hosts(),
        clock: clock.clone(),
    };
    let authority = texts.authority.clone();
    tokio::spawn(renewal.run(texts));
    Ok(Credentials { client, certificate, authority })
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

/// Keeps a node's certificate from ending while the agent runs.
struct Renewal {
    kept: Kept,
    https: Arc<Https>,
    client: Client,
    certificate: Arc<Presented>,
    name: String,
    hosts: Vec<String>,
    clock: api::Clock,
}

impl Renewal {
    async fn run(self, mut texts: Texts) {
        loop {
            let mut wait = self.rest(&texts);
            if wait <= 0 {
                match self.renewed(&texts).await {
                    Ok(newer) => {
                        texts = newer;
                        wait = self.rest(&texts);
                    }
                    Err(error) => {
                        tracing::error!("the node's certificate cannot be renewed: {error}");
                        wait = HOUR;
                    }
                }
            }
            // In steps of a day: a clock that was set wrong is noticed. Never at once: beside a server whose
            // clock is far behind, a new certificate is due as soon as it is made.
            tokio::time::sleep(Duration::from_secs(wait.clamp(60, DAY).unsigned_abs())).await;
        }
    }

    /// Seconds until a certificate is due.
    fn rest(&self, texts: &Texts) -> i64 {
        let end = wire::tls::ends(&texts.pair.certificate).unwrap_or_default();
        end - RENEW_BEFORE - (self.clock)().as_second()
    }

    async fn renewed(&self, old: &Texts) -> Result<Texts> {
        let pair = certified(&self.client, &self.name, &self.hosts, &old.pair.key).await?;
        let texts = Texts { authority: old.authority.clone(), pair };
        self.kept.write(&texts)?;
        self.https.present(&texts.pair).context("showing the new certificate")?;
        self.certificate.replace(&texts.pair).context("showing the new certificate")?;
        Ok(texts)
    }
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use client::transport::Boxed;
    use client::{Body, Reply, Transport};

    use super::*;

    /// A server that signs what is due already.
    struct Behind(wire::Pair, Arc<AtomicUsize>);

    impl Transport for Behind {
        fn call(&self, _: http::Request<Bytes>) -> Boxed<'_, std::result::Result<Reply, api::Status>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            let body = Body::Bytes(json!({"certificate": self.0.certificate}).to_string().into());
            let (status, headers) = (http::StatusCode::OK, http::HeaderMap::new());
            Box::pin(std::future::ready(Ok(Reply { status, headers, body })))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_whose_clock_is_behind_is_not_asked_without_a_pause() {
        let made = rcgen::generate_simple_self_signed(vec!["n1".into()]).unwrap();
        let pair = wire::Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() };
        let end = wire::tls::ends(&pair.certificate).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let folder = tempfile::tempdir().unwrap();
        let config = HttpsConfig { server: "https://localhost".into(), insecure: true, ..HttpsConfig::default() };
        let renewal = Renewal {
            kept: Kept { folder: folder.path().into() },
            https: Arc::new(Https::new(config).unwrap()),
            client: Client::new(Arc::new(Behind(pair.clone(), asked.clone()))),
            certificate: Presented::new(&pair).unwrap(),
            name: "n1".into(),
            hosts: vec!["n1".into()],
            clock: Arc::new(move || jiff::Timestamp::from_second(end).unwrap()),
        };
        let texts = Texts { authority: String::new(), pair };
        let ended = tokio::time::timeout(Duration::from_secs(310), renewal.run(texts)).await;
        assert!(ended.is_err());
        assert!((1..=10).contains(&asked.load(Ordering::Relaxed)));
    }

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
