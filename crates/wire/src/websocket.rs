//! WebSocket handshakes at both ends, sockets, and tunnels for other protocols (RFC 6455).
//!
//! `Tunnel` carries another protocol (SPDY, for port-forward) in binary messages: message borders mean
//! nothing. Pings are answered whenever it is read or written.
//! A server picks the first subprotocol that the client offers and it serves itself (as upstream's
//! wsstream does); the empty name stands for clients that offer none.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Sink, SinkExt, Stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::Empty;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

pub use tokio_tungstenite::tungstenite::{Error, Message};

use crate::Duplex;
use crate::upgrade::{self, Answer};

/// Larger messages than this are refused.
const MESSAGE_MAX: usize = 8 << 20;

pub type Socket = WebSocketStream<Duplex>;

/// What a server answers to a handshake that it takes: code 101 with these headers.
pub struct Accepted {
    pub headers: HeaderMap,
    /// Of those served; empty: the client offered none, or any will do.
    pub protocol: &'static str,
}

/// Whether the headers ask for a websocket.
pub fn is_asked(headers: &HeaderMap) -> bool {
    upgrade::is_asked(headers) && words(headers, header::UPGRADE).any(|word| word.eq_ignore_ascii_case("websocket"))
}

/// Err: what is wrong with the request.
pub fn accept(headers: &HeaderMap, served: &[&'static str]) -> Result<Accepted, String> {
    let offered: Vec<&str> = words(headers, header::SEC_WEBSOCKET_PROTOCOL).collect();
    let protocol = match offered.is_empty() {
        true => served.iter().find(|name| name.is_empty()),
        false => offered.iter().find_map(|offer| served.iter().find(|name| *name == offer)),
    };
    let protocol = *protocol.ok_or_else(|| {
        format!("unable to upgrade: websocket server is unable to speak any of the protocols {offered:?}")
    })?;
    Ok(Accepted { headers: answer(headers, protocol)?, protocol })
}

/// Takes whatever protocol the client offers first: all mean the same to whoever serves it.
pub fn accept_any(headers: &HeaderMap) -> Result<Accepted, String> {
    let protocol = words(headers, header::SEC_WEBSOCKET_PROTOCOL).next().unwrap_or_default();
    Ok(Accepted { headers: answer(headers, protocol)?, protocol: "" })
}

fn answer(headers: &HeaderMap, protocol: &str) -> Result<HeaderMap, String> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or("the websocket's key is missing")?;
    let mut answer = HeaderMap::new();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accept = derive_accept_key(key.as_bytes());
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).map_err(|e| e.to_string())?);
    if !protocol.is_empty() {
        let protocol = HeaderValue::from_str(protocol).map_err(|e| e.to_string())?;
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(answer)
}

/// The server's end of a stream on which a handshake was accepted.
pub async fn server(stream: Duplex) -> Socket {
    WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits())).await
}

/// The client's end of one.
pub async fn client(stream: Duplex) -> Socket {
    WebSocketStream::from_raw_socket(stream, Role::Client, Some(limits())).await
}

/// What a server said to a client's handshake.
pub enum Connected {
    /// The socket and the subprotocol that the server chose.
    Socket(Box<Socket>, String),
    /// Not a websocket: the answer as it came.
    Refused(http::Response<hyper::body::Incoming>),
}

/// The client's side: `request` has the target, `Host` and what proves who it is.
pub async fn connect(stream: Duplex, mut request: Request<()>, protocols: &[&str]) -> io::Result<Connected> {
    let key = generate_key();
    let offered = protocols.join(", ");
    let fields = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_KEY, &key),
        (header::SEC_WEBSOCKET_PROTOCOL, &offered),
    ];
    for (name, value) in fields {
        request.headers_mut().insert(name, HeaderValue::from_str(value).map_err(io::Error::other)?);
    }
    match upgrade::send(stream, request.map(|()| Empty::new())).await? {
        Answer::Ordinary(response) => Ok(Connected::Refused(response)),
        Answer::Switched(head, stream) => {
            let text = |name| head.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            if text(header::SEC_WEBSOCKET_ACCEPT) != Some(&derive_accept_key(key.as_bytes())) {
                return Err(io::Error::other("the peer did not answer to our websocket's key"));
            }
            let protocol = text(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or("").to_owned();
            Ok(Connected::Socket(Box::new(client(stream).await), protocol))
        }
    }
}

/// Says goodbye with the code that means an end in order: clients take others for failures.
pub async fn close(sink: &mut (impl Sink<Message, Error = Error> + Unpin)) -> Result<(), Error> {
    sink.send(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))).await
}

/// The comma-separated words of all headers of that name.
pub fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// Bytes in binary messages.
pub struct Tunnel<S> {
    socket: WebSocketStream<S>,
    rest: Bytes,
}

impl Tunnel<Duplex> {
    /// Over a socket that is connected already.
    pub fn over(socket: Socket) -> Tunnel<Duplex> {
        Tunnel { socket, rest: Bytes::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tunnel<S> {
    /// After the handshake, on the server's side.
    pub async fn server(io: S) -> Tunnel<S> {
        Tunnel { socket: WebSocketStream::from_raw_socket(io, Role::Server, Some(limits())).await, rest: Bytes::new() }
    }

    /// After the handshake, on the client's side.
    pub async fn client(io: S) -> Tunnel<S> {
        Tunnel { socket: WebSocketStream::from_raw_socket(io, Role::Client, Some(limits())).await, rest: Bytes::new() }
    }
}

fn limits() -> tokio_tungstenite::tungstenite::protocol::WebSocketConfig {
    tokio_tungstenite::tungstenite::protocol::WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX))
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(data))) => self.rest = data,
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(io::Error::other("a text message in a tunnel"))),
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(plain(error)),
            }
        }
        let n = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..n]);
        self.rest.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut socket = Pin::new(&mut self.socket);
        if let Err(error) = ready!(socket.as_mut().poll_ready(cx)) {
            return Poll::Ready(Err(io::Error::other(error)));
        }
        match socket.start_send(Message::Binary(Bytes::copy_from_slice(data))) {
            Ok(()) => Poll::Ready(Ok(data.len())),
            Err(error) => Poll::Ready(Err(io::Error::other(error))),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.socket).poll_close(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(plain(error)),
        }
    }
}

/// A peer that just goes away ended the tunnel.
fn plain(error: Error) -> io::Result<()> {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ok(()),
        Error::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => Ok(()),
        Error::Io(error) => Err(error),
        other => Err(io::Error::other(other)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_tunnel_carries_bytes_until_it_is_closed() {
        let (a, b) = tokio::io::duplex(4096);
        let (mut client, mut server) = tokio::join!(Tunnel::client(a), Tunnel::server(b));
        let sent = tokio::spawn(async move {
            client.write_all(&[7; 10_000]).await.unwrap();
            client.flush().await.unwrap();
            let mut answer = [0; 2];
            client.read_exact(&mut answer).await.unwrap();
            client.shutdown().await.unwrap();
            answer
        });
        let mut got = vec![0; 10_000];
        server.read_exact(&mut got).await.unwrap();
        server.write_all(b"ok").await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(server.read(&mut [0; 10]).await.unwrap(), 0);
        assert_eq!((got, &sent.await.unwrap()), (vec![7; 10_000], b"ok"));
    }

    #[test]
    fn the_first_offer_that_is_served_is_taken() {
        let headers = |protocols: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
            for protocol in protocols {
                headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
            }
            headers
        };
        let accepted = accept(&headers(&["x, v5", "v4"]), &["v4", "v5", ""]).unwrap();
        assert_eq!(accepted.protocol, "v5");
        // The example of RFC 6455.
        assert_eq!(accepted.headers[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept(&headers(&[]), &["v4", ""]).unwrap().protocol, "");
        assert!(accept(&headers(&["x"]), &["v4", ""]).is_err());
        assert!(accept(&headers(&[]), &["v4"]).is_err());
        assert!(accept(&HeaderMap::new(), &[""]).is_err());
    }
}
