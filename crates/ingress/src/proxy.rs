//! Requests in, answers out: each is looked up in the table as it is then, and sent to an endpoint.
//!
//! Clients speak HTTP/1.1, over TLS HTTP/2 too; endpoints HTTP/1.1, or HTTP/2 where their port says so. A request
//! that got no connection is tried at the next endpoint; one that may have been read is repeated only if it is safe
//! to and the connection was an old one. Waits have an end, heads and connections a bound (`wire::serve`,
//! `wire::places`); bodies are never held.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, uri};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use wire::places::{Place, Places};
use wire::serve::{self, TooLarge};

use crate::certificates::Shown;
use crate::heads::{self, Asked, Hop};
use crate::pool::{Lent, Pool};
use crate::table::{Backend, Protocol, Table};

/// Bodies on their way through.
pub mod bodies;

use bodies::{Sent, Taken};

/// How long an endpoint may take to begin its answer once it has the request (nginx proxy_read_timeout).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Endpoints that are tried for one request.
const TRIES: usize = 3;
/// How long requests may take to finish once the proxy ends.
const DRAIN: Duration = Duration::from_secs(5);

/// The table, and all connections.
pub struct Proxy {
    table: Arc<ArcSwap<Table>>,
    pool: Arc<Pool>,
    places: Arc<Places>,
    /// Proxies before us whose word counts.
    trusted: Vec<IpNet>,
}

/// One connection of a client.
struct Near {
    hop: Hop,
    /// What its certificate was asked by; None without TLS.
    asked_for: Option<Option<String>>,
    place: Arc<Place>,
    stop: watch::Receiver<bool>,
}

type Answer = Response<Taken>;

impl Proxy {
    /// `connections`: of clients, at most.
    pub fn new(trusted: Vec<IpNet>, connections: usize) -> Arc<Proxy> {
        // All are unknown to it, and those have a quarter.
        let places = Places::new(connections * 4, 100);
        Arc::new(Proxy { table: Arc::default(), pool: Arc::default(), places, trusted })
    }

    /// From now on requests and handshakes are judged by this one; those under way go on.
    pub fn replace(&self, table: Table) {
        self.pool.keep(table.endpoints());
        self.table.store(Arc::new(table));
    }

    /// TLS with the certificates of whatever table there is then.
    pub fn tls(&self) -> io::Result<Arc<ServerConfig>> {
        wire::tls::choosing(Arc::new(Shown(self.table.clone())), None, &["h2", "http/1.1"])
    }

    /// Serves until `stop`; then requests under way have a while to finish.
    pub async fn serve(
        self: Arc<Proxy>,
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let acceptor = tls.map(TlsAcceptor::from);
        let port = listener.local_addr().map_or(0, |address| address.port());
        let mut connections = JoinSet::new();
        let ended = stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = told(&mut stop) => break,
            };
            match accepted {
                Ok((stream, from)) => {
                    let near = self.near(from, port, ended.clone());
                    connections.spawn(connection(self.clone(), acceptor.clone(), stream, near));
                }
                // Out of descriptors, most likely: the next connection to close frees one.
                Err(error) => {
                    tracing::warn!(%error, "the ingress cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    }

    fn near(&self, from: SocketAddr, port: u16, stop: watch::Receiver<bool>) -> Near {
        // IPv4 comes to a listener for both as part of IPv6.
        let peer = from.ip().to_canonical();
        let trusted = self.trusted.iter().any(|range| range.contains(&peer));
        let hop = Hop { peer, tls: false, port, trusted };
        Near { hop, asked_for: None, place: self.places.enter(peer), stop }
    }
}

async fn connection(proxy: Arc<Proxy>, acceptor: Option<TlsAcceptor>, stream: TcpStream, mut near: Near) {
    let (place, mut stop) = (near.place.clone(), near.stop.clone());
    let stopped = async move { told(&mut stop).await };
    let too_large = TooLarge { content_type: "text/plain", body: "the head of the request is too large".into() };
    let served = async move {
        stream.set_nodelay(true)?;
        let Some(acceptor) = acceptor else {
            let near = Arc::new(near);
            return serve::plain(stream, move |r| respond(proxy.clone(), near.clone(), r), too_large, stopped).await;
        };
        let stream = serve::shake(&acceptor, stream).await?;
        near.hop.tls = true;
        near.asked_for = Some(stream.get_ref().1.server_name().map(heads::plain));
        let near = Arc::new(near);
        serve::http(stream, move |r| respond(proxy.clone(), near.clone(), r), too_large, stopped).await
    };
    let ended = tokio::select! {
        served = served => served,
        () = place.closed() => Err(io::Error::other("closed: there is no room for it")),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}

async fn respond(proxy: Arc<Proxy>, near: Arc<Near>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let method = head.method.clone();
    match Box::pin(pass(&proxy, &near, head, body)).await {
        Ok(answer) => answer,
        Err((status, why)) => {
            let text = if method == Method::HEAD { String::new() } else { format!("{status}: {why}\n") };
            let mut answer = Response::new(Taken::text(&text));
            *answer.status_mut() = status;
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            answer
        }
    }
}

async fn pass(proxy: &Proxy, near: &Arc<Near>, mut head: Parts, body: Incoming) -> Result<Answer, heads::Refused> {
    let asked = heads::judge(&head)?;
    let backend = find(&proxy.table.load(), near, &asked, &head)?;
    if backend.endpoints.is_empty() {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "no endpoint is ready"));
    }
    let multiplexed = backend.protocol == Protocol::H2c;
    let may_change = !multiplexed && head.version == Version::HTTP_11 && head.method == Method::GET;
    let protocol = if may_change { heads::upgrade(&head.headers) } else { None };
    let client = head.extensions.remove::<OnUpgrade>().filter(|_| protocol.is_some());
    let protocol = protocol.filter(|_| client.is_some());
    heads::forward(&mut head.headers, &asked, near.hop, protocol.clone(), multiplexed);
    let (body, sent) = Sent::of(body);
    let mut request = Request::new(body);
    *request.uri_mut() = target(&head.uri, &asked, &backend, multiplexed)?;
    *request.method_mut() = head.method;
    *request.headers_mut() = head.headers;
    let (mut answer, lent) = match multiplexed {
        true => (shared(proxy, &backend, request, sent).await?, None),
        false => ask(proxy, &backend, request, sent).await.map(|(answer, lent)| (answer, Some(lent)))?,
    };
    let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switches {
        let changed = answer.headers().get(header::UPGRADE);
        let same = |(a, b): (&HeaderValue, &HeaderValue)| a.as_bytes().eq_ignore_ascii_case(b.as_bytes());
        let (Some(client), true) = (client, protocol.as_ref().zip(changed).is_some_and(same)) else {
            return Err((StatusCode::BAD_GATEWAY, "the endpoint changes to a protocol that was not asked for"));
        };
        let endpoint = hyper::upgrade::on(&mut answer);
        tokio::spawn(tunnel(near.clone(), client, endpoint));
    }
    // The version is what each side speaks by itself.
    let (from, body) = answer.into_parts();
    let mut answer = Response::new(Taken::of(body, lent.filter(|_| !switches)));
    *answer.status_mut() = from.status;
    *answer.headers_mut() = from.headers;
    heads::answer(answer.headers_mut(), switches);
    Ok(answer)
}

fn find(table: &Table, near: &Near, asked: &Asked, head: &Parts) -> Result<Arc<Backend>, heads::Refused> {
    // A browser uses one connection for all names of a certificate, which we may have others for (RFC 9110 15.5.20).
    if let Some(name) = &near.asked_for {
        let (shown, own) = (table.certificate(name.as_deref()), table.certificate(Some(&asked.host)));
        if own.is_some_and(|own| shown.is_none_or(|shown| shown.name != own.name)) {
            return Err((StatusCode::MISDIRECTED_REQUEST, "this connection is for another host"));
        }
    }
    let found = table.find(&asked.host, head.uri.path()).cloned();
    found.ok_or((StatusCode::NOT_FOUND, "no Ingress has a rule for this host and path"))
}

/// As the endpoint is asked: by path, over HTTP/2 with the host.
fn target(asked: &Uri, judged: &Asked, backend: &Backend, multiplexed: bool) -> Result<Uri, heads::Refused> {
    let mut parts = uri::Parts::default();
    parts.path_and_query = asked.path_and_query().cloned().or(Some(uri::PathAndQuery::from_static("/")));
    if multiplexed {
        let authority = match judged.authority.as_str() {
            "" => backend.endpoints[0].to_string(),
            authority => authority.to_owned(),
        };
        let why = |_| (StatusCode::BAD_REQUEST, "Host is not a name");
        parts.authority = Some(authority.parse().map_err(why)?);
        parts.scheme = Some(uri::Scheme::HTTP);
    }
    Uri::from_parts(parts).map_err(|_| (StatusCode::BAD_REQUEST, "the URL cannot be read"))
}

/// Asks endpoints by turns until one has a connection.
async fn ask(
    proxy: &Proxy,
    backend: &Backend,
    mut request: Request<Sent>,
    mut sent: oneshot::Receiver<()>,
) -> Result<(Response<Incoming>, Lent), heads::Refused> {
    for endpoint in backend.turns().take(TRIES) {
        loop {
            let lent = match proxy.pool.take(endpoint) {
                Some(kept) => kept,
                None => match proxy.pool.connect(endpoint).await {
                    Ok(new) => new,
                    Err(error) => {
                        tracing::debug!(backend = backend.name, %endpoint, %error, "no connection");
                        break;
                    }
                },
            };
            let mut lent = lent;
            let copy = if lent.again { repeatable(&request) } else { None };
            let answered = in_time(lent.sender.try_send_request(request), &mut sent).await?;
            let mut why = match answered {
                Ok(answer) => return Ok((answer, lent)),
                Err(why) => why,
            };
            tracing::debug!(backend = backend.name, %endpoint, error = %why.error(), "no answer");
            // Either not a byte of it was sent, or it may be sent again.
            match why.take_message().or(copy) {
                Some(again) => request = again,
                None => return Err(broken(why.error())),
            }
            if !lent.again {
                break;
            }
        }
    }
    Err((StatusCode::BAD_GATEWAY, "no endpoint takes connections"))
}

/// The same over HTTP/2.
async fn shared(
    proxy: &Proxy,
    backend: &Backend,
    mut request: Request<Sent>,
    mut sent: oneshot::Receiver<()>,
) -> Result<Response<Incoming>, heads::Refused> {
    for endpoint in backend.turns().take(TRIES) {
        let mut sender = match proxy.pool.shared(endpoint).await {
            Ok(sender) => sender,
            Err(error) => {
                tracing::debug!(backend = backend.name, %endpoint, %error, "no connection");
                continue;
            }
        };
        let answered = in_time(sender.try_send_request(request), &mut sent).await?;
        let mut why = match answered {
            Ok(answer) => return Ok(answer),
            Err(why) => why,
        };
        tracing::debug!(backend = backend.name, %endpoint, error = %why.error(), "no answer");
        match why.take_message() {
            Some(again) => request = again,
            None => return Err(broken(why.error())),
        }
    }
    Err((StatusCode::BAD_GATEWAY, "no endpoint takes connections"))
}

/// Whose fault it is: a body that ends early, or is none, is the client's.
fn broken(why: &hyper::Error) -> heads::Refused {
    match why.is_user() {
        true => (StatusCode::BAD_REQUEST, "the request's body breaks off"),
        false => (StatusCode::BAD_GATEWAY, "the endpoint ended the connection"),
    }
}

/// Its time begins when the whole request is sent.
async fn in_time<T>(answer: impl Future<Output = T>, sent: &mut oneshot::Receiver<()>) -> Result<T, heads::Refused> {
    let late = async {
        // Told by its end.
        if !sent.is_terminated() {
            let _ = sent.await;
        }
        tokio::time::sleep(ANSWER_TIMEOUT).await;
    };
    tokio::select! {
        biased;
        answer = answer => Ok(answer),
        () = late => Err((StatusCode::GATEWAY_TIMEOUT, "the endpoint does not answer")),
    }
}

/// The request once more, where asking twice is as asking once and it has no body (RFC 9110 9.2.2).
fn repeatable(request: &Request<Sent>) -> Option<Request<Sent>> {
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if !safe || !matches!(request.body(), Sent::Nothing) {
        return None;
    }
    let mut copy = Request::new(Sent::Nothing);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Carries bytes both ways until both ends have closed, the connection loses its place, or the proxy ends.
async fn tunnel(near: Arc<Near>, client: OnUpgrade, endpoint: OnUpgrade) {
    let (client, endpoint) = match tokio::try_join!(client, endpoint) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "a change of protocols was given up"),
    };
    let mut stop = near.stop.clone();
    tokio::select! {
        _ = wire::upgrade::splice(Box::new(TokioIo::new(client)), Box::new(TokioIo::new(endpoint))) => {}
        () = near.place.closed() => {}
        () = told(&mut stop) => {}
    }
}

/// Ends when `stop` turns true, or its sender is gone.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests;
