//! Requests to a node's own HTTPS API: where it listens, how it is verified, what comes back.
//!
//! The address and port are those of the Node's status: what a node wrote there. It must not be the server's
//! own, unless the node is part of this process; the certificate must be of our authority and be that
//! node's, whatever address it names. The server shows its own client certificate.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use api::{Reason, Status};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyStream, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde_json::Value;
use wire::upgrade::{self, Answer};

use crate::answer::{Body, Response};
use crate::identity::{NODE_PREFIX, NODES};
use crate::{Server, addresses, node_keys};

/// Addresses of a node in the order in which they are tried.
const PREFERRED: &[&str] = &["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"];
/// Waiting connections to one node.
const KEPT: usize = 16;
/// Of an error's body no more is read.
const ERROR_MAX: usize = 64 << 10;
/// Headers of one connection, which are not passed on (RFC 9110, 7.6.1).
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request that goes on.
pub struct Outgoing<'a> {
    pub method: Method,
    pub path: String,
    pub query: Vec<(&'a str, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The node's certificate is not looked at (a log's insecureSkipTLSVerifyBackend).
    pub unverified: bool,
}

/// Whether a node is there and says where it listens.
///
/// # Errors
/// As upstream's, where it is asked before anything is passed on (registry/core/node ResourceLocation).
pub fn locate(server: &Server, node: &str) -> Result<(), Status> {
    located(server, node).map(drop)
}

/// A node, and host and port of its API.
fn located(server: &Server, node: &str) -> Result<(Value, String, u16), Status> {
    let found = server.0.snapshot.value("nodes", "", node).ok_or_else(|| Status::not_found("", "nodes", node))?;
    let (host, port) = endpoint(&found).ok_or_else(|| nowhere(&found))?;
    Ok((found, host, port))
}

/// kubernetes pkg/util/node NoMatchError
fn nowhere(node: &Value) -> Status {
    let shown = |known: &Value| format!("{{{} {}}}", api::tree::text(known, "type"), api::tree::text(known, "address"));
    let known: Vec<String> = api::tree::list(&node["status"], "addresses").iter().map(shown).collect();
    Status::unknown(format!("no preferred addresses found; known addresses: [{}]", known.join(" ")))
}

/// Sends a request to a node's API.
pub async fn send(server: &Server, node: &str, outgoing: Outgoing<'_>, upgrades: bool) -> Result<Response, Status> {
    let (node_value, host, port) = located(server, node)?;
    let path = match outgoing.query.is_empty() {
        true => outgoing.path,
        false => format!("{}?{}", outgoing.path, encoded(&outgoing.query)),
    };
    let mut headers = outgoing.headers;
    // The node knows the server, not the client.
    headers.remove(header::AUTHORIZATION);
    let outgoing = Outgoing { path, query: Vec::new(), headers, ..outgoing };
    let authority = format!("{host}:{port}");
    let tls = if outgoing.unverified { &server.0.any_node_tls } else { &server.0.node_tls };
    let unverified = outgoing.unverified;
    let fresh = async || {
        let here = server.is_node_of_this_process(node);
        let connection = dial(&host, port, tls, here).await.map_err(|e| unreachable(&e))?;
        if !unverified {
            check(node, if here { None } else { node_keys::recorded(&node_value) }, &connection)?;
        }
        Ok::<_, Status>(connection)
    };
    if upgrades || outgoing.unverified || outgoing.method != Method::GET {
        let connection = fresh().await?;
        return exchange(connection.stream, &authority, outgoing, upgrades).await;
    }
    // Of who was called so before nothing is left.
    let there = format!("{} {authority}", api::tree::text(&node_value, "metadata.uid"));
    let request = prepared(outgoing, &authority, false)?;
    // One that waits may have been closed meanwhile: reading twice does no harm.
    while let Some(mut sender) = server.0.idle.take(node, &there) {
        if let Ok(response) = sender.send_request(request.clone()).await {
            server.0.idle.keep(node, &there, sender);
            return Ok(ordinary(response));
        }
    }
    let connection = fresh().await?;
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(connection.stream)).await;
    let (mut sender, connection) = shaken.map_err(|e| unreachable(&io::Error::other(e)))?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| unreachable(&io::Error::other(e)))?;
    server.0.idle.retain(|node| server.0.snapshot.entry("nodes", "", node).is_some());
    server.0.idle.keep(node, &there, sender);
    Ok(ordinary(response))
}

/// Connects to a node, under whichever name it wrote into its status: only to addresses that may be one's.
async fn dial(host: &str, port: u16, tls: &Arc<ClientConfig>, here: bool) -> io::Result<wire::Connection> {
    let mut last = io::Error::new(io::ErrorKind::PermissionDenied, format!("{host}: address not allowed"));
    for address in wire::resolve(host).await? {
        if !here && !addresses::is_far(address) {
            continue;
        }
        match wire::dial_as(&address.to_string(), port, host, Some(tls.clone())).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

/// Connections to nodes that wait for the next request: a handshake costs more than a log line.
#[derive(Default)]
pub struct Idle(Mutex<HashMap<String, Waiting>>);

/// Those to one node: it lives in one place, and to where it lived before none is kept.
#[derive(Default)]
struct Waiting {
    there: String,
    senders: Vec<Sender>,
}

impl Idle {
    fn take(&self, node: &str, there: &str) -> Option<Sender> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.get(node)?.there != there {
            idle.remove(node);
            return None;
        }
        let senders = &mut idle.get_mut(node)?.senders;
        senders.retain(|sender| !sender.is_closed());
        // Not ready: the answer before is still being read.
        let ready = senders.iter().position(Sender::is_ready);
        ready.map(|at| senders.swap_remove(at))
    }

    fn keep(&self, node: &str, there: &str, sender: Sender) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle.entry(node.into()).or_default();
        if waiting.there != there {
            *waiting = Waiting { there: there.into(), senders: Vec::new() };
        }
        waiting.senders.retain(|sender| !sender.is_closed());
        if waiting.senders.len() < KEPT {
            waiting.senders.push(sender);
        }
    }

    /// Drops those that nobody will take any more: closed ones, and those to nodes that are gone.
    fn retain(&self, is_there: impl Fn(&str) -> bool) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|node, waiting| {
            waiting.senders.retain(|sender| !sender.is_closed());
            !waiting.senders.is_empty() && is_there(node)
        });
    }
}

/// Sends one request over a connection and reads the head of the answer.
pub async fn exchange(
    stream: wire::Duplex,
    authority: &str,
    outgoing: Outgoing<'_>,
    upgrades: bool,
) -> Result<Response, Status> {
    let request = prepared(outgoing, authority, upgrades)?;
    let answer = upgrade::send(stream, request).await;
    match answer.map_err(|e| Status::new(Reason::ServiceUnavailable, format!("error trying to reach service: {e}")))? {
        Answer::Switched(head, stream) => Ok(Response {
            status: StatusCode::SWITCHING_PROTOCOLS,
            headers: head.headers().clone(),
            body: Body::Upgrade(stream),
        }),
        Answer::Ordinary(response) => Ok(ordinary(response)),
    }
}

/// The request as it goes out: without what concerned the client's own connection.
fn prepared(outgoing: Outgoing<'_>, authority: &str, upgrades: bool) -> Result<Request<Full<Bytes>>, Status> {
    let (target, long) = wire::heads::target(&outgoing.path);
    let mut request = Request::builder().method(outgoing.method).uri(target);
    if let (Some(long), Some(extensions)) = (long, request.extensions_mut()) {
        extensions.insert(long);
    }
    let headers = request.headers_mut().ok_or_else(|| Status::bad_request("the path cannot be forwarded"))?;
    for (name, value) in &outgoing.headers {
        let hop = HOP_BY_HOP.contains(&name.as_str());
        let upgrade = upgrades && matches!(name.as_str(), "connection" | "upgrade");
        if (!hop || upgrade) && name != header::HOST && name != header::CONTENT_LENGTH {
            headers.append(name, value.clone());
        }
    }
    headers.insert(header::HOST, authority.parse().map_err(|_| Status::internal("an address is no header"))?);
    request.body(Full::new(outgoing.body)).map_err(|e| Status::bad_request(e.to_string()))
}

/// An answer that is passed on as it comes.
fn ordinary(response: http::Response<Incoming>) -> Response {
    let (head, body) = response.into_parts();
    let mut headers = head.headers;
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
    let stream = BodyStream::new(body).map_err(io::Error::other);
    let stream = stream.filter_map(|frame| {
        std::future::ready(match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(e) => Some(Err(e)),
        })
    });
    Response { status: head.status, headers, body: Body::Stream(Box::pin(stream)) }
}

/// The start of an error's body as text.
pub async fn text_of(body: Body) -> String {
    let (bytes, _) = start_of(body, ERROR_MAX).await;
    String::from_utf8_lossy(&bytes).trim_end().to_string()
}

/// What a body begins with, up to the first piece with which it has more than `max` bytes, or up to what broke it off.
pub async fn start_of(body: Body, max: usize) -> (Vec<u8>, Option<io::Error>) {
    let mut all = Vec::new();
    match body {
        Body::Bytes(bytes) => all.extend_from_slice(&bytes),
        Body::Stream(mut stream) => {
            while all.len() <= max
                && let Some(bytes) = stream.next().await
            {
                match bytes {
                    Ok(bytes) => all.extend_from_slice(&bytes),
                    Err(why) => return (all, Some(why)),
                }
            }
        }
        _ => {}
    }
    (all, None)
}

/// `a=b&c=d`, percent-encoded.
fn encoded(pairs: &[(&str, String)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", wire::query::encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Host and port of a node's API.
fn endpoint(node: &Value) -> Option<(String, u16)> {
    let port =
        node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().filter(|p| *p != 0).unwrap_or(10250);
    let addresses = node["status"]["addresses"].as_array()?;
    let of = |kind: &&str| addresses.iter().find(|a| a["type"] == **kind).and_then(|a| a["address"].as_str());
    let host = PREFERRED.iter().find_map(of)?;
    Some((host.into(), u16::try_from(port).ok()?))
}

/// Who answers is that node's agent. An address alone proves nothing: a node writes its own, and with that of
/// another node, or of this server, it would send there what the server shows its own certificate with.
/// Nor does a certificate whose name has changed hands.
fn check(node: &str, keys: Option<&str>, connection: &wire::Connection) -> Result<(), Status> {
    let subject = connection.certificate.as_ref().and_then(wire::tls::subject);
    let key = connection.certificate.as_ref().and_then(|der| node_keys::of(der)).unwrap_or_default();
    match subject {
        Some((name, groups)) if name.strip_prefix(NODE_PREFIX) == Some(node) && groups.iter().any(|g| g == NODES) => {
            match node_keys::allows(keys, &key) {
                true => Ok(()),
                false => Err(unreachable(&io::Error::other(format!("node {node:?} has another key by now")))),
            }
        }
        subject => {
            let found = subject.map_or("nobody".into(), |(name, _)| format!("{name:?}"));
            let why = format!("at the address of node {node:?} answers {found}");
            Err(unreachable(&io::Error::other(why)))
        }
    }
}

fn unreachable(error: &io::Error) -> Status {
    Status::internal(format!("error dialing backend: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_wait_for_who_lives_where_they_lead() {
        let idle = Idle::default();
        let mut ends = Vec::new();
        let mut keep = async |node: &str, there: &str| {
            let (near, far) = tokio::io::duplex(64);
            ends.push(far);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
            tokio::spawn(connection);
            sender.ready().await.unwrap();
            idle.keep(node, there, sender);
        };
        let kept = || {
            let idle = idle.0.lock().unwrap();
            let mut kept: Vec<String> =
                idle.iter().map(|(node, w)| format!("{node} {} {}", w.there, w.senders.len())).collect();
            kept.sort();
            kept.join(", ")
        };
        for _ in 0..=KEPT {
            keep("n1", "a").await;
        }
        keep("n2", "a").await;
        assert_eq!(kept(), "n1 a 16, n2 a 1");
        assert!(idle.take("n1", "a").is_some() && idle.take("n3", "a").is_none());
        assert_eq!(kept(), "n1 a 15, n2 a 1");
        keep("n1", "b").await;
        assert_eq!(kept(), "n1 b 1, n2 a 1");
        assert!(idle.take("n1", "a").is_none());
        assert_eq!(kept(), "n2 a 1");
        idle.retain(|node| node == "n1");
        assert_eq!(kept(), "");
    }
}
