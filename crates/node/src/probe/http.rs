//! An HTTP probe: 200 to 399 is well; certificates are not verified; redirects stay on the host.

use std::time::Duration;

use runtime::engine::Boxed;

use crate::view::{HTTPGetAction, LifecycleHandler, Probe};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{Error, InvalidMessage};

use super::tcp::dial;
use super::{Answer, Target, address};

const BODY_MAX: usize = 10 * 1024;
const REDIRECTS_MAX: usize = 10;

/// What the server said.
enum Reply {
    Status(u16),
    /// It sends elsewhere, which is not followed; its body.
    Elsewhere(String),
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
enum Silence {
    /// Plain HTTP where TLS was asked for. The text is Go's, which clients know.
    #[error("http: server gave HTTP response to HTTPS client")]
    PlainHttp,
    #[error("{0}")]
    Else(String),
}

impl From<String> for Silence {
    fn from(text: String) -> Silence {
        Silence::Else(text)
    }
}

pub(super) fn probe<'a>(probe: &'a Probe, target: &'a Target<'a>, limit: Duration) -> Option<Boxed<'a, Answer>> {
    let action = probe.http_get.as_ref()?;
    Some(Box::pin(async move {
        match address(action.host.as_deref(), &action.port, target) {
            Ok((host, port)) => judge(action, host, port, limit).await,
            Err(error) => Answer::Error(error),
        }
    }))
}

/// Any reply is a success. HTTPS to a server that speaks plain HTTP is asked again so, without its
/// credentials; the warning says it (kubelet/lifecycle/handlers.go runHTTPHandler).
pub(super) fn hook<'a>(
    handler: &'a LifecycleHandler,
    target: &'a Target<'a>,
    limit: Duration,
) -> Option<Boxed<'a, Answer>> {
    let action = handler.http_get.as_ref()?;
    Some(Box::pin(async move {
        let (host, port) = match address(action.host.as_deref(), &action.port, target) {
            Ok(asked) => asked,
            Err(error) => return Answer::Error(error),
        };
        const AGENT: &str = "kube-lifecycle/1.37";
        let begun = tokio::time::Instant::now();
        let silence = match get(action, host, port, AGENT, limit).await {
            Ok(_) => return Answer::Success,
            Err(silence) => silence,
        };
        if matches!(silence, Silence::PlainHttp) {
            let mut plain = HTTPGetAction { scheme: Some("HTTP".into()), ..action.clone() };
            let is_credential = |name: &str| name.eq_ignore_ascii_case("authorization");
            plain.http_headers.iter_mut().for_each(|headers| headers.retain(|h| !is_credential(&h.name)));
            if get(&plain, host, port, AGENT, limit.saturating_sub(begun.elapsed())).await.is_ok() {
                return Answer::Warning(format!(
                    "request to HTTPS lifecycle hook {host}:{port} got HTTP response, retry with HTTP succeeded"
                ));
            }
        }
        Answer::Failure(told(action, host, port, &silence))
    }))
}

pub(super) async fn judge(action: &HTTPGetAction, host: &str, port: u16, limit: Duration) -> Answer {
    match get(action, host, port, "kube-probe/1.37", limit).await {
        Ok(Reply::Status(200..400)) => Answer::Success,
        Ok(Reply::Status(status)) => Answer::Failure(format!("HTTP probe failed with statuscode: {status}")),
        Ok(Reply::Elsewhere(body)) => Answer::Warning(format!("Probe terminated redirects, Response body: {body}")),
        Err(silence) => Answer::Failure(told(action, host, port, &silence)),
    }
}

fn told(action: &HTTPGetAction, host: &str, port: u16, silence: &Silence) -> String {
    format!("Get {:?}: {silence}", url_of(action, host, port))
}

async fn get(action: &HTTPGetAction, host: &str, port: u16, agent: &str, limit: Duration) -> Result<Reply, Silence> {
    let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    let asked = tokio::time::timeout(limit, follow(action, host, port, agent)).await;
    asked.unwrap_or_else(|_| Err(Silence::Else(late.into())))
}

fn is_tls(action: &HTTPGetAction) -> bool {
    action.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https"))
}

fn url_of(action: &HTTPGetAction, host: &str, port: u16) -> String {
    let scheme = if is_tls(action) { "https" } else { "http" };
    let path = action.path.as_deref().unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
    format!("{scheme}://{host}:{port}{slash}{path}")
}

async fn follow(action: &HTTPGetAction, host: &str, port: u16, agent: &str) -> Result<Reply, Silence> {
    let mut url: http::Uri = url_of(action, host, port).parse().map_err(|e| format!("{e}"))?;
    let first = url.authority().cloned();
    for _ in 0..REDIRECTS_MAX {
        let (status, location, body) = one(&url, action, agent).await?;
        if let Some(location) = location.filter(|_| (300..400).contains(&status)) {
            let next = resolve(&url, &location).ok_or_else(|| format!("bad redirect {location:?}"))?;
            if next.host() != first.as_ref().map(|a| a.host()) {
                return Ok(Reply::Elsewhere(body));
            }
            url = next;
            continue;
        }
        return Ok(Reply::Status(status));
    }
    Err(Silence::Else(format!("stopped after {REDIRECTS_MAX} redirects")))
}

/// One request; its status, where it points on, and its body.
async fn one(url: &http::Uri, action: &HTTPGetAction, agent: &str) -> Result<(u16, Option<String>, String), Silence> {
    let tls = url.scheme_str() == Some("https");
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = dial(host, url.port_u16().unwrap_or(if tls { 443 } else { 80 })).await?;
    let mut request = http::Request::get(url.path_and_query().map_or("/", |p| p.as_str()));
    let given = action.http_headers.as_deref().unwrap_or_default();
    let names = |name: &str| given.iter().any(|h| h.name.eq_ignore_ascii_case(name));
    if !names("host") {
        request = request.header("Host", url.authority().map_or("", |a| a.as_str()));
    }
    if !names("user-agent") {
        request = request.header("User-Agent", agent);
    }
    if !names("accept") {
        request = request.header("Accept", "*/*");
    }
    // A header that is there without a value is not sent.
    for header in given.iter().filter(|h| !h.value.is_empty()) {
        request = request.header(&header.name, &header.value);
    }
    let request = request.header("Connection", "close").body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    if tls {
        let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
        // It asks whether somebody answers, not who: upstream skips verification too.
        let config = wire::tls::client(wire::Trust::Whatever, None, &[]).map_err(|e| e.to_string())?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(refusal)?;
        Ok(exchange(TokioIo::new(stream), request).await?)
    } else {
        Ok(exchange(TokioIo::new(stream), request).await?)
    }
}

/// Why no TLS came about. Whoever answers with no record of TLS is taken for a server of plain HTTP.
fn refusal(error: std::io::Error) -> Silence {
    let no_record = Error::InvalidMessage(InvalidMessage::InvalidContentType);
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) == Some(&no_record) {
        true => Silence::PlainHttp,
        false => Silence::Else(error.to_string()),
    }
}

async fn exchange<S>(
    io: TokioIo<S>,
    request: http::Request<Empty<Bytes>>,
) -> Result<(u16, Option<String>, String), String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // As Go writes them: `X-Custom`. Some servers only know them so.
    let (mut sender, connection) =
        http1::Builder::new().title_case_headers(true).handshake(io).await.map_err(|e| e.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let (head, body) = response.into_parts();
        let location = head.headers.get("location").and_then(|l| l.to_str().ok()).map(str::to_string);
        // A body that is too long or breaks off does not change the status.
        let body = Limited::new(body, BODY_MAX).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        Ok((head.status.as_u16(), location, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        answered = &mut answer => answered,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

fn resolve(from: &http::Uri, location: &str) -> Option<http::Uri> {
    if location.contains("://") {
        return location.parse().ok();
    }
    let path = if location.starts_with('/') { location.to_string() } else { format!("/{location}") };
    let mut parts = from.clone().into_parts();
    parts.path_and_query = path.parse().ok();
    http::Uri::from_parts(parts).ok()
}
