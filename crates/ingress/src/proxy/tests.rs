//! The proxy between real clients and real servers on the loopback.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use expect_test::{Expect, expect};
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use wire::tls::Trust;

use super::*;
use crate::certificates::tests as certificates;
use crate::table::{Host, Path, Route};

/// An endpoint: `/hold` answers when it is told to, `/upload` tells each piece that comes, `/stream` sends what it is
/// given, `/broken` promises more than it sends, `/ws` echoes after a change of protocols, all else tells the request.
#[derive(Default)]
struct Origin {
    connections: AtomicUsize,
    requests: AtomicUsize,
    held: Notify,
    release: Arc<Notify>,
    given_up: Notify,
    pieces: Mutex<Option<mpsc::UnboundedSender<usize>>>,
    stream: Mutex<Option<mpsc::UnboundedReceiver<Bytes>>>,
}

type Answered = Response<UnsyncBoxBody<Bytes, io::Error>>;

fn full(text: impl Into<Bytes>) -> UnsyncBoxBody<Bytes, io::Error> {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

impl Origin {
    async fn start() -> (Arc<Origin>, SocketAddr) {
        let origin = Arc::new(Origin::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = origin.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let own = serving.clone();
                let service = service_fn(move |request| {
                    let own = own.clone();
                    async move { Ok::<_, Infallible>(own.answer(request).await) }
                });
                tokio::spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
        });
        (origin, address)
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Answered {
        self.requests.fetch_add(1, Ordering::SeqCst);
        match request.uri().path() {
            "/hold" => {
                struct GivenUp<'a>(&'a Notify);
                impl Drop for GivenUp<'_> {
                    fn drop(&mut self) {
                        self.0.notify_one();
                    }
                }
                self.held.notify_one();
                let guard = GivenUp(&self.given_up);
                self.release.notified().await;
                std::mem::forget(guard);
                Response::new(full("held"))
            }
            "/upload" => {
                let pieces = self.pieces.lock().unwrap().take();
                let mut all = 0;
                while let Some(frame) = request.body_mut().frame().await {
                    match frame {
                        Ok(frame) => all += frame.data_ref().map_or(0, Bytes::len),
                        Err(_) => {
                            self.given_up.notify_one();
                            break;
                        }
                    }
                    if let Some(pieces) = &pieces {
                        let _ = pieces.send(all);
                    }
                }
                Response::new(full(all.to_string()))
            }
            "/stream" => {
                let mut given = self.stream.lock().unwrap().take().unwrap();
                let pieces = futures::stream::poll_fn(move |cx| given.poll_recv(cx));
                Response::new(StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync())
            }
            "/broken" => {
                let release = self.release.clone();
                let half = futures::stream::once(async { Ok(Frame::data(Bytes::from("half"))) });
                let broken = futures::stream::once(async move {
                    release.notified().await;
                    Err(io::Error::other("broken"))
                });
                let mut answer = Response::new(StreamBody::new(half.chain(broken)).boxed_unsync());
                answer.headers_mut().insert(header::CONTENT_LENGTH, 100.into());
                answer
            }
            "/trailers" => {
                let trailers = [("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))].into_iter().collect();
                let frames = [Ok(Frame::data(Bytes::from("data"))), Ok(Frame::trailers(trailers))];
                Response::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync())
            }
            "/ws" => {
                let protocol = request.headers().get(header::UPGRADE).cloned();
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
                let mut answer = Response::new(full(""));
                *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                answer.headers_mut().insert(header::UPGRADE, protocol.unwrap());
                answer
            }
            _ => {
                let (head, body) = request.into_parts();
                let length = body.collect().await.map_or(0, |body| body.to_bytes().len());
                let mut text = format!("{} {} {:?} +{length}\n", head.method, head.uri, head.version);
                let fields: BTreeMap<&str, &HeaderValue> =
                    head.headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
                for (name, value) in fields {
                    text += &format!("{name}: {}\n", value.to_str().unwrap());
                }
                Response::new(full(text))
            }
        }
    }
}

fn backend(protocol: Protocol, endpoints: &[SocketAddr]) -> Arc<Backend> {
    Arc::new(Backend::new("a/web:80".into(), protocol, endpoints.into(), 0))
}

fn route(host: &str, to: &Arc<Backend>) -> Route {
    Route { host: Host::of(host), path: Path::Prefix("/".into()), to: to.clone() }
}

/// Everything for the host `a` to these endpoints.
fn table(endpoints: &[SocketAddr]) -> Table {
    Table::of([route("a", &backend(Protocol::Http1, endpoints))], [])
}

/// Ends with the test.
struct Running {
    proxy: Arc<Proxy>,
    plain: SocketAddr,
    secure: SocketAddr,
    _stop: watch::Sender<bool>,
}

async fn running(table: Table) -> Running {
    let proxy = Proxy::new(vec![], 100);
    proxy.replace(table);
    let (plain, secure) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let addresses = [plain.local_addr().unwrap(), secure.local_addr().unwrap()];
    let stop = watch::Sender::new(false);
    tokio::spawn(proxy.clone().serve(plain, None, stop.subscribe()));
    tokio::spawn(proxy.clone().serve(secure, Some(proxy.tls().unwrap()), stop.subscribe()));
    Running { proxy, plain: addresses[0], secure: addresses[1], _stop: stop }
}

/// Writes bytes as they are and reads until the other side closes.
async fn raw(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    if text.len() > 64 << 10 {
        // What is refused for its size is read to its end.
        stream.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, host: &str, path: &str) -> String {
    raw(address, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn a_request_is_told_as_it_came_and_its_answer_is_the_endpoints() {
    let (_origin, endpoint) = Origin::start().await;
    let own = running(table(&[endpoint])).await;
    let request = "POST /x?y=1 HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 1.2.3.4\r\nconnection: close, x-hop\r\nx-hop: 1\r\n\
        transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = raw(own.plain, request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("connection: close"), "{head}");
    let port = own.plain.port().to_string();
    expect![[r#"
        POST /x?y=1 HTTP/1.1 +3
        forwarded: for=127.0.0.1;host="a";proto=http
        host: a
        transfer-encoding: chunked
        via: 1.1 gousse-ingress
        x-forwarded-for: 127.0.0.1
        x-forwarded-host: a
        x-forwarded-port: PORT
        x-forwarded-proto: http
        x-real-ip: 127.0.0.1
    "#]]
    .assert_eq(&body.replace(&port, "PORT"));
}

#[tokio::test]
async fn what_nobody_serves_is_404_and_what_nobody_can_is_503() {
    let own = running(Table::of([route("a", &backend(Protocol::Http1, &[]))], [])).await;
    assert_eq!(status(&get(own.plain, "a", "/").await), "503");
    assert_eq!(status(&get(own.plain, "b", "/").await), "404");
    let bare = raw(own.plain, "HEAD / HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n").await;
    assert!(bare.starts_with("HTTP/1.1 404") && bare.ends_with("\r\n\r\n"), "{bare}");
}

#[tokio::test]
async fn endpoints_take_turns_and_their_connections_are_kept() {
    let ((one, first), (two, second)) = (Origin::start().await, Origin::start().await);
    let own = running(table(&[first, second])).await;
    for _ in 0..6 {
        assert_eq!(status(&get(own.plain, "a", "/").await), "200");
    }
    let counts = |of: fn(&Origin) -> &AtomicUsize| [&one, &two].map(|origin| of(origin).load(Ordering::SeqCst));
    assert_eq!(counts(|origin| &origin.requests), [3, 3]);
    assert_eq!(counts(|origin| &origin.connections), [1, 1]);
}

#[tokio::test]
async fn who_gets_no_connection_asks_the_next() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (origin, endpoint) = Origin::start().await;
    let own = running(table(&[gone, endpoint])).await;
    let upload = "POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc";
    for _ in 0..4 {
        assert!(raw(own.plain, upload).await.ends_with("\r\n\r\n3"));
    }
    assert_eq!(origin.requests.load(Ordering::SeqCst), 4);
    own.proxy.replace(table(&[gone]));
    assert_eq!(status(&get(own.plain, "a", "/").await), "502");
}

#[tokio::test]
async fn an_endpoint_that_goes_ends_what_is_under_way_and_gets_nothing_new() {
    let ((old, first), (new, second)) = (Origin::start().await, Origin::start().await);
    let own = running(table(&[first])).await;
    assert_eq!(status(&get(own.plain, "a", "/").await), "200");
    assert_eq!(own.proxy.pool.idle(), 1);
    let held = tokio::spawn(get(own.plain, "a", "/hold"));
    old.held.notified().await;
    own.proxy.replace(table(&[second]));
    assert_eq!(own.proxy.pool.idle(), 0);
    assert_eq!(status(&get(own.plain, "a", "/").await), "200");
    assert_eq!(new.requests.load(Ordering::SeqCst), 1);
    old.release.notify_one();
    assert!(held.await.unwrap().ends_with("held"));
    assert_eq!(own.proxy.pool.idle(), 1, "that to the new one alone");
    assert_eq!(old.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_websocket_is_carried_on_past_tables() {
    let (_origin, endpoint) = Origin::start().await;
    let own = running(table(&[endpoint])).await;
    let mut stream = TcpStream::connect(own.plain).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap().into());
    }
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("upgrade: websocket\r\n"), "{head}");
    own.proxy.replace(Table::default());
    for text in ["one", "two"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut echoed = [0; 3];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, text.as_bytes());
    }
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn bodies_go_through_piece_by_piece_both_ways() {
    let (origin, endpoint) = Origin::start().await;
    let own = running(table(&[endpoint])).await;
    let (tell, mut pieces) = mpsc::unbounded_channel();
    *origin.pieces.lock().unwrap() = Some(tell);
    let mut stream = TcpStream::connect(own.plain).await.unwrap();
    let (size, head) = (16usize << 20, "POST /upload HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length:");
    stream.write_all(format!("{head} {size}\r\n\r\nx").as_bytes()).await.unwrap();
    assert_eq!(pieces.recv().await, Some(1), "before the client has sent more");
    stream.write_all(&vec![b'x'; size - 1]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with(&format!("\r\n\r\n{size}")), "{answer}");

    let (give, given) = mpsc::unbounded_channel();
    *origin.stream.lock().unwrap() = Some(given);
    let mut stream = TcpStream::connect(own.plain).await.unwrap();
    stream.write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    give.send(Bytes::from("first")).unwrap();
    let mut seen = String::new();
    while !seen.contains("first") {
        seen.push(stream.read_u8().await.unwrap().into());
    }
    for _ in 0..16 {
        give.send(Bytes::from(vec![b'y'; 1 << 20])).unwrap();
    }
    drop(give);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.iter().filter(|byte| **byte == b'y').count(), 16 << 20);
}

#[tokio::test]
async fn a_client_that_goes_takes_its_request_along() {
    let (origin, endpoint) = Origin::start().await;
    let own = running(table(&[endpoint])).await;
    for request in
        ["GET /hold HTTP/1.1\r\nhost: a\r\n\r\n", "POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx"]
    {
        let (tell, mut pieces) = mpsc::unbounded_channel();
        *origin.pieces.lock().unwrap() = Some(tell);
        let mut stream = TcpStream::connect(own.plain).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        match request.starts_with("GET") {
            true => origin.held.notified().await,
            false => assert_eq!(pieces.recv().await, Some(1)),
        }
        drop(stream);
        origin.given_up.notified().await;
    }
    assert_eq!(own.proxy.pool.idle(), 0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    let (origin, endpoint) = Origin::start().await;
    let own = running(table(&[endpoint])).await;
    let mut stream = TcpStream::connect(own.plain).await.unwrap();
    stream.write_all(b"GET /broken HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut seen = String::new();
    while !seen.ends_with("half") {
        seen.push(stream.read_u8().await.unwrap().into());
    }
    assert!(seen.contains("content-length: 100\r\n"), "{seen}");
    origin.release.notify_one();
    let _ = stream.read_to_string(&mut seen).await;
    assert!(seen.ends_with("half"), "{seen}");
    assert_eq!(own.proxy.pool.idle(), 0);
    let mut sender = over_http2(&own, "a").await;
    let broken = Request::get("https://a/broken").body(full("")).unwrap();
    let mut answer = sender.send_request(broken).await.unwrap().into_body();
    assert!(answer.frame().await.unwrap().is_ok());
    origin.release.notify_one();
    assert!(answer.frame().await.unwrap().is_err());
}

/// What is wrong with a request, what is answered, and how many requests the endpoint saw.
async fn check(requests: &[(&str, &str)], expected: Expect) {
    let mut text = String::new();
    for (name, request) in requests {
        let (origin, endpoint) = Origin::start().await;
        let own = running(table(&[endpoint])).await;
        let answer = raw(own.plain, request).await;
        let statuses: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)).collect();
        text += &format!("{name}: {} {}\n", statuses.join(" "), origin.requests.load(Ordering::SeqCst));
    }
    expected.assert_eq(&text);
}

/// A second request hidden in the body of the first never reaches the endpoint as one.
#[tokio::test]
async fn requests_are_read_in_one_way_or_refused() {
    let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let chunked_first = format!(
        "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{hidden}"
    );
    let length_first = format!(
        "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
    );
    let in_body =
        format!("POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len());
    let line = "POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
    let with = |fields: &str| format!("{line}{fields}\r\n\r\n0\r\n\r\n");
    let requests = [
        ("chunked and length", chunked_first),
        ("length and chunked", length_first),
        ("a request as body", in_body),
        ("two lengths", with("content-length: 5\r\ncontent-length: 6")),
        ("two equal lengths", with("content-length: 5\r\ncontent-length: 5")),
        ("lengths in a list", with("content-length: 5, 5")),
        ("a signed length", with("content-length: +5")),
        ("chunked not last", with("transfer-encoding: chunked, gzip")),
        ("chunked twice", with("transfer-encoding: xchunked")),
        ("a blank before the colon", with("transfer-encoding : chunked")),
        ("a folded line", with("x-a: b\r\n transfer-encoding: chunked")),
        ("a bare CR", with("x-a: b\rtransfer-encoding: chunked")),
        ("a nul", with("x-a: b\0c")),
        ("chunked in HTTP/1.0", "POST /x HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        ("a bad chunk", format!("{line}transfer-encoding: chunked\r\n\r\nzz\r\n")),
        ("no host", "GET / HTTP/1.1\r\nconnection: close\r\n\r\n".into()),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n".into()),
        ("another host in the target", "GET http://b/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".into()),
        ("a path that climbs", "GET /x/../y HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".into()),
        ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\n\r\n".into()),
        ("HTTP/2 by upgrade", "GET /x HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n".into()),
        ("HTTP/2 unasked", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        ("garbage", "\u{16}\u{3}\u{1}\r\n\r\n".into()),
        ("too many fields", format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(200))),
        ("a long target", format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(100_000))),
        ("a long query", format!("GET /?{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "x".repeat(100_000))),
        ("a large head", format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(400_000))),
    ];
    let requests: Vec<(&str, &str)> = requests.iter().map(|(name, request)| (*name, request.as_str())).collect();
    check(
        &requests,
        expect![[r#"
        chunked and length: 200 1
        length and chunked: 200 1
        a request as body: 200 1
        two lengths: 400 0
        two equal lengths: 200 1
        lengths in a list: 400 0
        a signed length: 400 0
        chunked not last: 400 0
        chunked twice: 400 0
        a blank before the colon: 400 0
        a folded line: 400 0
        a bare CR: 400 0
        a nul: 400 0
        chunked in HTTP/1.0: 400 0
        a bad chunk: 400 0
        no host: 400 0
        two hosts: 400 0
        another host in the target: 400 0
        a path that climbs: 400 0
        CONNECT: 405 0
        HTTP/2 by upgrade: 200 1
        HTTP/2 unasked:  0
        garbage: 400 0
        too many fields: 431 0
        a long target: 431 0
        a long query: 414 0
        a large head: 431 0
    "#]],
    )
    .await;
}

/// A client that sends half a head, or announces more than it sends.
#[tokio::test]
async fn a_slow_client_is_let_go() {
    let (origin, endpoint) = Origin::start().await;
    let own = running(table(&[endpoint])).await;
    let mut slow = TcpStream::connect(own.plain).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost").await.unwrap();
    let (tell, mut pieces) = mpsc::unbounded_channel();
    *origin.pieces.lock().unwrap() = Some(tell);
    let mut slower = TcpStream::connect(own.plain).await.unwrap();
    slower.write_all(b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nx").await.unwrap();
    assert_eq!(pieces.recv().await, Some(1));
    // Whatever waits now, waits for time.
    tokio::time::pause();
    let mut answer = String::new();
    let _ = slower.read_to_string(&mut answer).await;
    assert_eq!(status(&answer), "400", "{answer}");
    origin.given_up.notified().await;
    let _ = slow.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn an_endpoint_that_says_nothing_is_504() {
    let (origin, endpoint) = Origin::start().await;
    let own = running(table(&[endpoint])).await;
    let held = tokio::spawn(get(own.plain, "a", "/hold"));
    origin.held.notified().await;
    tokio::time::pause();
    assert_eq!(status(&held.await.unwrap()), "504");
}

type Sender = hyper::client::conn::http2::SendRequest<UnsyncBoxBody<Bytes, io::Error>>;

/// A client that speaks HTTP/2 over TLS and asks for a name.
async fn over_http2(own: &Running, name: &str) -> Sender {
    own.proxy.table.store(Arc::new(Table::of(
        own.proxy
            .table
            .load()
            .endpoints()
            .map(|endpoint| route("a", &backend(Protocol::Http1, &[endpoint])))
            .collect::<Vec<_>>(),
        [(Host::of("a"), Arc::new(certificates::certificate("a/tls", &["a"])))],
    )));
    let (sender, _) = secure(own.secure, name, "h2").await.unwrap();
    sender
}

/// The sender, and the name of the certificate that was shown.
async fn secure(address: SocketAddr, name: &str, alpn: &str) -> io::Result<(Sender, String)> {
    let tls = wire::tls::client(Trust::Anybody, None, &[alpn])?;
    let server = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let stream = TcpStream::connect(address).await?;
    let stream = tokio_rustls::TlsConnector::from(tls).connect(server, stream).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
    let shown = wire::tls::Facts::of_der(&stream.get_ref().1.peer_certificates().unwrap()[0])?.hosts.concat();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok((sender, shown))
}

#[tokio::test]
async fn each_name_is_shown_its_certificate_and_a_connection_is_for_its_names() {
    let (_origin, endpoint) = Origin::start().await;
    let to = backend(Protocol::Http1, &[endpoint]);
    let certificate = |name: &str| Arc::new(certificates::certificate(&format!("a/{name}"), &[name]));
    let both = certificate("b.example");
    let shown = [("a.example", certificate("a.example")), ("b.example", both.clone()), ("b2.example", both)];
    let hosts = ["a.example", "b.example", "b2.example", "plain.example"];
    let table = || {
        let shown = shown.clone().map(|(host, certificate)| (Host::of(host), certificate));
        Table::of(hosts.map(|host| route(host, &to)), shown)
    };
    let own = running(table()).await;
    for (name, certificate) in [("a.example", "a.example"), ("B.example", "b.example"), ("b2.example", "b.example")] {
        assert_eq!(secure(own.secure, name, "h2").await.unwrap().1, certificate);
    }
    assert!(secure(own.secure, "plain.example", "h2").await.is_err(), "there is none for it");
    let (mut sender, _) = secure(own.secure, "b.example", "h2").await.unwrap();
    let mut asked = async |host: &str| {
        let request = Request::get(format!("https://{host}/x")).body(full("")).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    let (status, text) = asked("b.example").await;
    assert!(status == 200 && text.starts_with("GET /x HTTP/1.1 +0\n") && text.contains("proto=https\n"), "{text}");
    assert!(text.contains("host: b.example\n"), "{text}");
    assert_eq!(asked("b2.example").await.0, 200);
    assert_eq!(asked("a.example").await.0, 421);
    assert_eq!(asked("plain.example").await.0, 200, "it has no certificate of its own");
    assert_eq!(asked("unknown.example").await.0, 404);
    // Another table, while the connection goes on.
    own.proxy.replace(Table::default());
    assert_eq!(asked("b.example").await.0, 404);
    own.proxy.replace(table());
    assert_eq!(asked("b.example").await.0, 200);
}

#[tokio::test]
async fn an_endpoint_may_speak_http2_in_the_clear() {
    let (origin, endpoint) = Origin::start().await;
    let own = running(Table::of([route("a", &backend(Protocol::H2c, &[endpoint]))], [])).await;
    for _ in 0..3 {
        let answer = get(own.plain, "a", "/x?y").await;
        assert!(answer.contains("GET http://a/x?y HTTP/2.0 +0\n"), "{answer}");
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
    let shown = [(Host::of("a"), Arc::new(certificates::certificate("a/tls", &["a"])))];
    own.proxy.replace(Table::of([route("a", &backend(Protocol::H2c, &[endpoint]))], shown));
    let (mut sender, _) = secure(own.secure, "a", "h2").await.unwrap();
    let request = Request::post("https://a/trailers").header(header::TE, "trailers").body(full("x")).unwrap();
    let answer = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
}

/// As pods do when they end: the request was read by nobody.
#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = running(table(&[listener.local_addr().unwrap()])).await;
    let ask = || tokio::spawn(get(own.plain, "a", "/"));
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let asked = ask();
    let (mut first, _) = listener.accept().await.unwrap();
    first.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
    first.write_all(answer).await.unwrap();
    assert_eq!(status(&asked.await.unwrap()), "200");
    // It reads the next request, and goes without a word.
    let asked = ask();
    first.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
    drop(first);
    let (mut second, _) = listener.accept().await.unwrap();
    second.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
    second.write_all(answer).await.unwrap();
    assert_eq!(status(&asked.await.unwrap()), "200");
    // One that changes something is not asked twice.
    let asked =
        tokio::spawn(raw(own.plain, "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"));
    second.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
    drop(second);
    assert_eq!(status(&asked.await.unwrap()), "502");
}
