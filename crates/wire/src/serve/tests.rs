use bytes::Bytes;
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::client::conn::http2::{self, SendRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::tls::{Pair, Presented, Trust};
use crate::turns::LARGE_AT_ONCE;

/// A second more than any connection may idle.
const TOO_LONG: Duration = Duration::from_secs(91);

fn pair() -> Pair {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["gousse".into()]).unwrap().self_signed(&key).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

type Near = tokio_rustls::client::TlsStream<tokio::io::DuplexStream>;

/// `/wait` has no end, `/log` neither but a beginning, `/flood` is a log that never stops; `/version` is empty,
/// `/large` a megabyte, anything else three bytes.
fn answer(path: &str) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let three = Bytes::from("one");
    let endless = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
    let mut response = Response::new(match path {
        "/wait" => StreamBody::new(endless).boxed_unsync(),
        "/log" => {
            let begun = futures::stream::iter([Ok(Frame::data(three))]).chain(endless);
            StreamBody::new(begun).boxed_unsync()
        }
        "/flood" => {
            let flood = futures::stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[b'x'; 4096]))));
            StreamBody::new(flood).boxed_unsync()
        }
        "/large" => Full::new(Bytes::from(vec![b'x'; 1 << 20])).boxed_unsync(),
        "/version" => Empty::new().boxed_unsync(),
        _ => Full::new(three).boxed_unsync(),
    });
    if matches!(path, "/log" | "/flood") {
        response.extensions_mut().insert(Lasting);
    }
    response
}

/// A client's end, and how the server's ends.
async fn connected(alpn: &str, certificate: bool) -> (Near, JoinHandle<io::Result<()>>) {
    let pair = pair();
    let presented = Presented::new(&pair).unwrap();
    let tls = crate::tls::server(presented.clone(), Some(&pair.certificate), &["h2", "http/1.1"]).unwrap();
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let server = tokio::spawn(async move {
        let stream = shake(&TlsAcceptor::from(tls), ours).await?;
        let answer = |request: Request<Incoming>| async move { answer(request.uri().path()) };
        let too_large = TooLarge { content_type: "text/plain", body: "too large".into() };
        http(stream, answer, too_large, std::future::pending()).await
    });
    let tls = crate::tls::client(Trust::Anybody, certificate.then_some(presented), &[alpn]).unwrap();
    let name = rustls_pki_types::ServerName::try_from("gousse").unwrap();
    (tokio_rustls::TlsConnector::from(tls).connect(name, theirs).await.unwrap(), server)
}

/// The same over HTTP/2, by a client that answers every ping.
async fn over_http2(certificate: bool) -> (SendRequest<Empty<Bytes>>, JoinHandle<io::Result<()>>) {
    over_http2_with(certificate, 1 << 20).await
}

/// And that takes no more than `window` bytes of an answer before they are read.
async fn over_http2_with(certificate: bool, window: u32) -> (SendRequest<Empty<Bytes>>, JoinHandle<io::Result<()>>) {
    let (stream, server) = connected("h2", certificate).await;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    (sender, server)
}

async fn ask(sender: &mut SendRequest<Empty<Bytes>>, path: &str) -> Response<Incoming> {
    sender.send_request(Request::get(format!("https://gousse{path}")).body(Empty::new()).unwrap()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_given_up() {
    for (alpn, certificate) in [("h2", false), ("h2", true), ("http/1.1", false), ("http/1.1", true)] {
        let begun = Instant::now();
        let (mut stream, server) = connected(alpn, certificate).await;
        // What the server says first, until it hangs up.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        server.await.unwrap().unwrap_err();
        assert!(begun.elapsed() <= TOO_LONG + FAREWELL, "{alpn}");
    }
}

/// Whatever it agreed on, the server looked for itself: an answer that is not taken was then given up by neither way.
#[tokio::test(start_paused = true)]
async fn who_agreed_on_http1_speaks_no_http2() {
    for certificate in [false, true] {
        let (mut stream, server) = connected("http/1.1", certificate).await;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 "), "{said:?}");
        server.await.unwrap().unwrap_err();
    }
}

/// One request, and then pings were answered for ever: so many connections of nobody in particular that
/// there was none left for others.
#[tokio::test(start_paused = true)]
async fn who_shows_no_certificate_does_not_idle_for_ever() {
    let (mut sender, server) = over_http2(false).await;
    for _ in 0..3 {
        ask(&mut sender, "/version").await.into_body().collect().await.unwrap();
        tokio::time::sleep(Duration::from_secs(80)).await;
    }
    assert!(!server.is_finished(), "each request gives it its time anew");
    let ended = tokio::time::timeout(Duration::from_secs(11), server).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(sender.ready().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_or_a_certificate_keeps_a_connection() {
    let (mut sender, server) = over_http2(false).await;
    let waits = ask(&mut sender, "/wait").await;
    tokio::time::sleep(TOO_LONG * 20).await;
    assert!(!server.is_finished());
    drop(waits);
    tokio::time::timeout(TOO_LONG, server).await.unwrap().unwrap().unwrap_err();
    let (mut sender, server) = over_http2(true).await;
    ask(&mut sender, "/version").await;
    tokio::time::sleep(TOO_LONG * 20).await;
    assert!(!server.is_finished());
    ask(&mut sender, "/version").await;
}

/// Windows of nothing, two hundred streams, and each answer waited for ever.
#[tokio::test(start_paused = true)]
async fn who_takes_no_answers_is_given_up_and_who_reads_a_log_is_not() {
    let (mut sender, server) = over_http2_with(true, 0).await;
    let begun = Instant::now();
    let _untaken = ask(&mut sender, "/pods").await;
    // An answer that needs no window is no taking of the other.
    tokio::time::sleep(PATIENCE / 2).await;
    ask(&mut sender, "/version").await;
    let ended = tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(begun.elapsed() >= PATIENCE, "{:?}", begun.elapsed());
    for (window, path) in [(0, "/log"), (1 << 20, "/log"), (1 << 20, "/pods")] {
        let (mut sender, server) = over_http2_with(true, window).await;
        let _read = ask(&mut sender, path).await;
        tokio::time::sleep(PATIENCE * 20).await;
        assert!(!server.is_finished(), "{path}");
    }
}

/// A pager that is not scrolled stops to read.
#[tokio::test(start_paused = true)]
async fn over_http1_too_only_what_lasts_waits_for_its_reader() {
    for (path, waits) in [("/large", false), ("/flood", true)] {
        let (mut stream, server) = connected("http/1.1", true).await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: gousse\r\n\r\n").as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        tokio::time::sleep(PATIENCE * 20).await;
        assert_eq!(!server.is_finished(), waits, "{path}");
        let mut more = [0; 200 << 10];
        assert_eq!(stream.read_exact(&mut more).await.is_ok(), waits, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_begins_is_given_up() {
    let tls = crate::tls::server(Presented::new(&pair()).unwrap(), None, &[]).unwrap();
    let (ours, _theirs) = tokio::io::duplex(64);
    let error = shake(&TlsAcceptor::from(tls), ours).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

type Ends = (tokio::io::ReadHalf<Near>, tokio::sync::mpsc::UnboundedSender<String>);

/// A connection to which text is written as fast as it is taken.
async fn written_to(certificate: bool) -> Ends {
    let (read, mut write) = tokio::io::split(connected("http/1.1", certificate).await.0);
    let (text, mut texts) = tokio::sync::mpsc::unbounded_channel::<String>();
    tokio::spawn(async move {
        while let Some(text) = texts.recv().await {
            let written = async {
                write.write_all(text.as_bytes()).await?;
                write.flush().await
            };
            written.await.unwrap_or_default();
        }
    });
    (read, text)
}

/// So many bytes of a head.
fn head(bytes: usize) -> String {
    format!("GET / HTTP/1.1\r\nhost: gousse\r\nx: {}", "x".repeat(bytes))
}

/// Whether it is answered within ten seconds.
async fn is_answered((read, _): &mut Ends) -> bool {
    let mut answer = Vec::new();
    let three =
        async { while !answer.ends_with(b"\r\n\r\none") && read.read_buf(&mut answer).await.unwrap_or(0) > 0 {} };
    tokio::time::timeout(Duration::from_secs(10), three).await.is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test(start_paused = true)]
async fn few_large_heads_of_strangers_are_read_at_once() {
    const END: &str = "\r\n\r\n";
    let large = 100 << 10;
    let mut floods = Vec::new();
    for _ in 0..LARGE_AT_ONCE {
        let flood = written_to(false).await;
        flood.1.send(head(large)).unwrap();
        floods.push(flood);
    }
    let [mut waits, mut kept, mut known] = [written_to(false).await, written_to(false).await, written_to(true).await];
    waits.1.send(head(large) + END).unwrap();
    assert!(!is_answered(&mut waits).await);
    known.1.send(head(large) + END).unwrap();
    assert!(is_answered(&mut known).await, "who is known");
    kept.1.send(head(10 << 10) + END).unwrap();
    assert!(is_answered(&mut kept).await, "one of an ordinary size");
    kept.1.send(head(large) + END).unwrap();
    assert!(!is_answered(&mut kept).await, "the next on its connection");
    floods.pop();
    assert!(is_answered(&mut waits).await && is_answered(&mut kept).await, "one that is gone makes room, as an answer");
    for flood in &floods {
        assert!(!flood.1.is_closed());
    }
    tokio::time::sleep(TOO_LONG).await;
    let mut later = Vec::new();
    for _ in 0..LARGE_AT_ONCE {
        let mut one = written_to(false).await;
        one.1.send(head(large) + END).unwrap();
        assert!(is_answered(&mut one).await, "the others had their time");
        later.push(one);
    }
}
