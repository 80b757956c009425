//! TLS configurations for both ends, made from PEM text with ring as the only provider.
//!
//! A client trusts a CA, a fingerprint (the first contact of a joining node) or, when told so,
//! nobody in particular. Either side's certificate can be replaced while it runs.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// A certificate chain with its private key, both PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// Whom a client believes.
#[derive(Clone, Copy)]
pub enum Trust<'a> {
    /// Servers with a certificate of these authorities (PEM).
    Authorities(&'a str),
    /// Servers with a certificate of the machine's own authorities, or of these beside them (PEM).
    Machine(Option<&'a str>),
    /// Whoever has a certificate of these authorities (PEM), whatever address or name it is for: who that is
    /// is looked at by whoever dials (`Connection::certificate`).
    Holders(&'a str),
    /// Anybody; the connection is encrypted but the peer is unknown (`insecure-skip-tls-verify`).
    Anybody,
    /// Whoever answers, without the key of the certificate it shows even: a probe asks whether, not who.
    Whatever,
}

/// Where distributions keep their authorities' certificates; the first that exists is read.
const AUTHORITIES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The certificate that a side shows; replaceable without a restart: handshakes from then on see the new one.
pub struct Presented(RwLock<Arc<CertifiedKey>>);

/// ring, and nothing else in the process.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}

/// A client's side. `alpn` in order of preference (`h2`, `http/1.1`); empty: none is offered, which
/// every HTTP/1.1 server takes.
pub fn client(trust: Trust<'_>, identity: Option<Arc<Presented>>, alpn: &[&str]) -> io::Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(bad)?;
    let builder = match trust {
        Trust::Authorities(pem) => builder.with_root_certificates(roots(pem)?),
        Trust::Machine(more) => builder.with_root_certificates(machines(more)?),
        Trust::Holders(pem) => {
            builder.dangerous().with_custom_certificate_verifier(Unnamed::of(Some(roots(pem)?), true))
        }
        Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(Unnamed::of(None, true)),
        Trust::Whatever => builder.dangerous().with_custom_certificate_verifier(Unnamed::of(None, false)),
    };
    let mut config = match identity {
        Some(presented) => builder.with_client_cert_resolver(presented),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// A server's side. With `clients` (PEM) certificates of these authorities are accepted, not demanded.
pub fn server(presented: Arc<Presented>, clients: Option<&str>, alpn: &[&str]) -> io::Result<Arc<ServerConfig>> {
    choosing(presented, clients, alpn)
}

/// The same where each handshake is shown a certificate of its own.
pub fn choosing(
    shown: Arc<dyn ResolvesServerCert>,
    clients: Option<&str>,
    alpn: &[&str],
) -> io::Result<Arc<ServerConfig>> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(bad)?;
    let builder = match clients {
        Some(pem) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(pem)?), provider())
                .allow_unauthenticated()
                .build()
                .map_err(bad)?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(shown);
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(bad)?;
    // One ticket is what a client keeps; each further one costs an encryption per handshake.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

impl Presented {
    pub fn new(pair: &Pair) -> io::Result<Arc<Presented>> {
        Ok(Arc::new(Presented(RwLock::new(certified(pair)?))))
    }

    fn now(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub fn replace(&self, pair: &Pair) -> io::Result<()> {
        let certified = certified(pair)?;
        *self.0.write().unwrap_or_else(|e| e.into_inner()) = certified;
        Ok(())
    }
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Presented")
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

impl ResolvesClientCert for Presented {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The certificates of a PEM text, in order.
pub fn chain(pem: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(bad)?;
    match chain.is_empty() {
        true => Err(bad("no certificate in the PEM text")),
        false => Ok(chain),
    }
}

/// Common name and organizations of a certificate: user and groups, as Kubernetes reads them. Of several names the
/// last counts (Go's crypto/x509/pkix FillFromRDNSequence): what approves requests reads the same one.
pub fn subject(certificate: &CertificateDer<'_>) -> Option<(String, Vec<String>)> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let text = |part: &x509_parser::x509::AttributeTypeAndValue<'_>| part.as_str().ok().map(String::from);
    let name = subject.iter_common_name().last().and_then(text)?;
    Some((name, subject.iter_organization().filter_map(text).collect()))
}

/// When the first certificate of a PEM text ends, in seconds of the Unix epoch.
pub fn ends(pem: &str) -> io::Result<i64> {
    Ok(Facts::of(pem)?.until)
}

/// What a certificate says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Seconds of the Unix epoch.
    pub from: i64,
    pub until: i64,
    /// DNS names, and addresses in their canonical form.
    pub hosts: Vec<String>,
    /// Whether it is for a server (`serverAuth`), and for a client (`clientAuth`).
    pub serves: bool,
    pub asks: bool,
}

impl Facts {
    /// Of the first certificate of a PEM text.
    pub fn of(pem: &str) -> io::Result<Facts> {
        Facts::of_der(&chain(pem)?[0])
    }

    pub fn of_der(certificate: &CertificateDer<'_>) -> io::Result<Facts> {
        use x509_parser::prelude::{FromDer, X509Certificate};
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(bad)?;
        let purposes = certificate.extended_key_usage().map_err(bad)?;
        Ok(Facts {
            from: certificate.validity().not_before.timestamp(),
            until: certificate.validity().not_after.timestamp(),
            hosts: hosts(&certificate),
            serves: purposes.as_ref().is_some_and(|purposes| purposes.value.server_auth),
            asks: purposes.as_ref().is_some_and(|purposes| purposes.value.client_auth),
        })
    }
}

/// Names and addresses of a certificate.
fn hosts(certificate: &x509_parser::prelude::X509Certificate<'_>) -> Vec<String> {
    use x509_parser::prelude::{GeneralName, ParsedExtension};
    let names = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    let address = |bytes: &[u8]| {
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
    };
    let names = names.flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_string()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    names.collect()
}

/// Whether an authority (PEM) has signed the first certificate of a PEM text; nothing else is looked at.
pub fn is_signed_by(pem: &str, authority: &str) -> bool {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (Ok(own), Ok(authority)) = (chain(pem), chain(authority)) else { return false };
    let parsed = (X509Certificate::from_der(&own[0]), X509Certificate::from_der(&authority[0]));
    let (Ok((_, own)), Ok((_, authority))) = parsed else { return false };
    own.verify_signature(Some(authority.public_key())).is_ok()
}

/// Errors where the key is not that of the certificate.
pub fn belong_together(pair: &Pair) -> io::Result<()> {
    certified(pair)?.keys_match().map_err(bad)
}

fn key(pem: &str) -> io::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(bad)
}

/// A chain with its key, ready for handshakes; whether they belong together is not looked at.
pub fn certified(pair: &Pair) -> io::Result<Arc<CertifiedKey>> {
    let signer = provider().key_provider.load_private_key(key(&pair.key)?).map_err(bad)?;
    Ok(Arc::new(CertifiedKey::new(chain(&pair.certificate)?, signer)))
}

fn roots(pem: &str) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in chain(pem)? {
        store.add(certificate).map_err(bad)?;
    }
    Ok(store)
}

/// What the machine trusts, read once, and what is given beside it.
fn machines(more: Option<&str>) -> io::Result<RootCertStore> {
    static OWN: std::sync::OnceLock<RootCertStore> = std::sync::OnceLock::new();
    let own = OWN.get_or_init(|| {
        let mut store = RootCertStore::empty();
        let named = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
        let file = named.or_else(|| AUTHORITIES.iter().map(std::path::PathBuf::from).find(|path| path.exists()));
        if let Some(file) = file {
            match CertificateDer::pem_file_iter(&file) {
                // Some distributions carry ones that no longer parse.
                Ok(certificates) => {
                    store.add_parsable_certificates(certificates.flatten());
                }
                Err(error) => tracing::warn!("{}: {error}", file.display()),
            }
        }
        store
    });
    let mut store = own.clone();
    for certificate in more.map(chain).transpose()?.unwrap_or_default() {
        store.add(certificate).map_err(bad)?;
    }
    match store.is_empty() {
        true => {
            let none = "no certificate authority is given, and this machine has none of its own";
            Err(io::Error::new(io::ErrorKind::NotFound, none))
        }
        false => Ok(store),
    }
}

fn bad(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
}

/// Checks that authorities have signed the certificate, if they are known, and that the peer holds its key,
/// where that matters; not what it is called.
#[derive(Debug)]
struct Unnamed {
    provider: Arc<CryptoProvider>,
    authorities: Option<RootCertStore>,
    holds_key: bool,
}

impl Unnamed {
    fn of(authorities: Option<RootCertStore>, holds_key: bool) -> Arc<Unnamed> {
        Arc::new(Unnamed { provider: provider(), authorities, holds_key })
    }
}

impl ServerCertVerifier for Unnamed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(authorities) = &self.authorities {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, authorities, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if !self.holds_key {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if !self.holds_key {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
