//! HTTP connections to registries: names, TLS, one request at a time, reuse within a pull.
//!
//! Names resolve through IP literals, /etc/hosts and DNS (hickory), never getaddrinfo: a static glibc
//! has none. Roots are the system's CA files plus what `registries.yaml` adds. Every wait is bounded.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::engine::Duplex;
use crate::images::registries::{Registries, Tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const HEADERS_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two pieces of a body.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: usize = 10;
/// Where distributions keep their CA certificates; the first that exists is read.
const CA_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

type Sender = SendRequest<Full<Bytes>>;

/// The connections of one pull.
pub struct Http {
    registries: Registries,
    idle: Mutex<HashMap<String, Vec<Sender>>>,
    tls: Mutex<HashMap<Tls, Arc<rustls::ClientConfig>>>,
}

/// An answer whose body is still to be read.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    /// Goes back to the idle ones once the body is read.
    sender: Option<(String, Sender)>,
}

impl Http {
    pub fn new(registries: Registries) -> Http {
        Http { registries, idle: Mutex::default(), tls: Mutex::default() }
    }

    /// Sends a request without a body or with a small one, and follows redirects. `Authorization` is not
    /// shown to another host than the first.
    pub async fn send(
        &self,
        method: http::Method,
        url: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Reply, String> {
        let mut uri: Uri = url.parse().map_err(|e| format!("{url:?} is no URL: {e}"))?;
        for _ in 0..=REDIRECTS_MAX {
            let reply =
                self.once(&method, &uri, &headers, &body).await.map_err(|e| format!("{}: {e}", origin(&uri)))?;
            let redirect = matches!(reply.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = reply.headers.get(header::LOCATION).filter(|_| redirect) else { return Ok(reply) };
            let location = location.to_str().map_err(|_| "a redirect to no URL".to_string())?.to_string();
            let next = joined(&uri, &location)?;
            if next.scheme_str() == Some("http") && uri.scheme_str() == Some("https") {
                return Err(format!("{} redirects from HTTPS to plain HTTP", origin(&uri)));
            }
            if next.authority() != uri.authority() {
                headers.remove(header::AUTHORIZATION);
            }
            self.drained(reply).await;
            uri = next;
        }
        Err(format!("{url}: more than {REDIRECTS_MAX} redirects"))
    }

    /// The whole body, if it is no larger than said.
    pub async fn whole(&self, mut reply: Reply, size_max: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        while let Some(piece) = reply.piece().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > size_max {
                return Err(format!("the answer is larger than {size_max} bytes"));
            }
        }
        self.put_back(reply);
        Ok(bytes)
    }

    /// Gives the connection back; the body must have been read.
    pub fn put_back(&self, mut reply: Reply) {
        if let Some((origin, sender)) = reply.sender.take() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).entry(origin).or_default().push(sender);
        }
    }

    /// Reads what little an error or redirect says, so that its connection serves again.
    pub async fn drained(&self, reply: Reply) {
        let _ = self.whole(reply, 1 << 16).await;
    }

    async fn once(&self, method: &http::Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Result<Reply, String> {
        let authority = uri.authority().ok_or("a URL without host")?;
        let origin = origin(uri);
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let request = || {
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = method.clone();
            *request.uri_mut() = path.parse().map_err(|e| format!("{path:?} is no path: {e}"))?;
            *request.headers_mut() = headers.clone();
            let host = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host);
            request
                .headers_mut()
                .insert(header::HOST, host.parse().map_err(|_| "a host name with strange characters")?);
            Ok::<_, String>(request)
        };
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&origin).and_then(Vec::pop);
            let reused = idle.is_some();
            let mut sender = match idle {
                Some(sender) => sender,
                None => self.connect(uri).await?,
            };
            if sender.ready().await.is_err() {
                if reused {
                    continue;
                }
                return Err("the connection was closed at once".into());
            }
            let sent = timeout(HEADERS_TIMEOUT, sender.send_request(request()?)).await;
            match sent.map_err(|_| format!("no answer for {} s", HEADERS_TIMEOUT.as_secs()))? {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    let sender = Some((origin, sender));
                    return Ok(Reply { status: parts.status, headers: parts.headers, body, sender });
                }
                // The server closed an idle connection at the same moment.
                Err(_) if reused => {}
                Err(e) => return Err(chain(&e)),
            }
        }
    }

    async fn connect(&self, uri: &Uri) -> Result<Sender, String> {
        let host = uri.host().ok_or("a URL without host")?.trim_matches(['[', ']']);
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = dial(host, port).await?;
        let stream: Box<dyn Duplex> = if secure {
            let authority = uri.authority().map_or(host, |a| a.as_str());
            let config = self.tls_config(&self.registries.tls(authority))?;
            let name = ServerName::try_from(host.to_string()).map_err(|e| format!("{host:?}: {e}"))?;
            let connector = tokio_rustls::TlsConnector::from(config);
            let secured = timeout(CONNECT_TIMEOUT, connector.connect(name, stream)).await;
            Box::new(secured.map_err(|_| "the TLS handshake took too long")?.map_err(|e| format!("TLS: {e}"))?)
        } else {
            Box::new(stream)
        };
        handshake(stream).await
    }

    fn tls_config(&self, tls: &Tls) -> Result<Arc<rustls::ClientConfig>, String> {
        if let Some(config) = self.tls.lock().unwrap_or_else(PoisonError::into_inner).get(tls) {
            return Ok(config.clone());
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = if tls.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            let mut roots = system_roots().clone();
            if let Some(path) = &tls.ca_file {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|e| format!("{}: {e}", path.display()))?;
                }
            }
            builder.with_root_certificates(roots)
        };
        let config = match (&tls.cert_file, &tls.key_file) {
            (Some(cert), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("{}: {e}", key.display()))?;
                builder.with_client_auth_cert(certificates(cert)?, key).map_err(|e| e.to_string())?
            }
            (None, None) => builder.with_no_client_auth(),
            _ => return Err("registries.yaml: cert_file and key_file go together".into()),
        };
        let config = Arc::new(config);
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).insert(tls.clone(), config.clone());
        Ok(config)
    }
}

impl Reply {
    /// The next piece of the body; None at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let frame = timeout(STALL_TIMEOUT, self.body.frame()).await;
            match frame.map_err(|_| format!("nothing came for {} s", STALL_TIMEOUT.as_secs()))? {
                None => return Ok(None),
                Some(Err(e)) => return Err(chain(&e)),
                // Trailers say nothing here.
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    pub fn text_header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Sender, String> {
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| chain(&e))?;
    // Ends when its sender is dropped or the server closes.
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!("registry connection: {e}");
        }
    });
    Ok(sender)
}

async fn dial(host: &str, port: u16) -> Result<tokio::net::TcpStream, String> {
    let mut last = format!("{host} has no address");
    for address in addresses(host).await? {
        let address = SocketAddr::new(address, port);
        match timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(e)) => last = format!("dial {address}: {e}"),
            Err(_) => last = format!("dial {address}: no answer for {} s", CONNECT_TIMEOUT.as_secs()),
        }
    }
    Err(last)
}

async fn addresses(host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    if host == "localhost" {
        return Ok(vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
    }
    // Built anew for each look-up, so that a changed resolv.conf counts; /etc/hosts comes first.
    let resolver = hickory_resolver::TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(|e| format!("lookup {host}: /etc/resolv.conf: {e}"))?;
    let found = resolver.lookup_ip(host).await.map_err(|e| format!("lookup {host}: {e}"))?;
    Ok(found.iter().collect())
}

fn system_roots() -> &'static rustls::RootCertStore {
    static ROOTS: OnceLock<rustls::RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = rustls::RootCertStore::empty();
        let configured = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
        let file =
            configured.or_else(|| CA_FILES.iter().map(Into::into).find(|path: &std::path::PathBuf| path.exists()));
        match file.as_deref().map(certificates) {
            Some(Ok(certificates)) => {
                roots.add_parsable_certificates(certificates);
            }
            Some(Err(e)) => tracing::warn!("{e}"),
            None => tracing::warn!("no CA certificates are installed; registries need a ca_file in registries.yaml"),
        }
        roots
    })
}

fn certificates(path: impl AsRef<std::path::Path>) -> Result<Vec<CertificateDer<'static>>, String> {
    let path = path.as_ref();
    let context = |e: rustls::pki_types::pem::Error| format!("{}: {e}", path.display());
    CertificateDer::pem_file_iter(path).map_err(context)?.collect::<Result<_, _>>().map_err(context)
}

fn origin(uri: &Uri) -> String {
    format!("{}://{}", uri.scheme_str().unwrap_or("http"), uri.authority().map_or("", |a| a.as_str()))
}

fn joined(base: &Uri, location: &str) -> Result<Uri, String> {
    let bad = |e: http::uri::InvalidUri| format!("a redirect to {location:?}: {e}");
    if location.contains("://") {
        return location.parse().map_err(bad);
    }
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{}://{rest}", base.scheme_str().unwrap_or("https")).parse().map_err(bad);
    }
    let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = if location.starts_with('/') { location.to_string() } else { format!("{folder}/{location}") };
    format!("{}{path}", origin(base)).parse().map_err(bad)
}

/// An error with its causes: hyper's own text often says only "client error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// `insecure_skip_verify`: the operator's word for a registry of their own.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
