//! HTTP connections to registries: names, TLS, one request at a time, reuse within a pull.
//!
//! Trusted are the machine's authorities and what `registries.yaml` adds. Every wait is bounded.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use wire::tls::Presented;

use crate::images::registries::{Registries, Tls};

const HEADERS_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two pieces of a body.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECTS_MAX: usize = 10;
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
        let authority = uri.authority().map_or(host, |a| a.as_str());
        let tls = secure.then(|| self.tls_config(&self.registries.tls(authority))).transpose()?;
        let connection = wire::dial(host, port, tls).await.map_err(|e| chain(&e))?;
        handshake(connection.stream).await
    }

    fn tls_config(&self, tls: &Tls) -> Result<Arc<rustls::ClientConfig>, String> {
        if let Some(config) = self.tls.lock().unwrap_or_else(PoisonError::into_inner).get(tls) {
            return Ok(config.clone());
        }
        let read = |path: &PathBuf| std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
        let more = tls.ca_file.as_ref().filter(|_| !tls.insecure_skip_verify).map(read).transpose()?;
        // `insecure_skip_verify` is the operator's word for a registry of their own.
        let trust = match tls.insecure_skip_verify {
            true => wire::Trust::Anybody,
            false => wire::Trust::Machine(more.as_deref()),
        };
        let identity = match (&tls.cert_file, &tls.key_file) {
            (Some(certificate), Some(key)) => {
                let pair = wire::Pair { certificate: read(certificate)?, key: read(key)? };
                Some(Presented::new(&pair).map_err(|e| format!("{}: {e}", certificate.display()))?)
            }
            (None, None) => None,
            _ => return Err("registries.yaml: cert_file and key_file go together".into()),
        };
        let config = wire::tls::client(trust, identity, &[]).map_err(|e| match &tls.ca_file {
            Some(path) => format!("{}: {e}", path.display()),
            None => format!("{e}; registries.yaml names one with ca_file"),
        })?;
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
