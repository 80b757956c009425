//! A websocket as a stream of bytes, and the server's side of its handshake (RFC 6455).
//!
//! `Tunnel` carries another protocol (SPDY, for port-forward) in binary messages: message borders mean
//! nothing. Pings are answered whenever it is read or written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use http::{HeaderMap, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Larger messages than this are refused.
const MESSAGE_MAX: usize = 8 << 20;

/// Whether a request wants to become a websocket.
pub fn is_asked(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|v| v.to_str().ok());
    crate::upgrade::is_asked(headers) && upgrade.is_some_and(|v| v.eq_ignore_ascii_case("websocket"))
}

/// The 101 answer to such a request, with the first served subprotocol that the client offers.
pub fn accept(headers: &HeaderMap, served: &[&'static str]) -> Result<(http::response::Builder, &'static str), String> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or("the Sec-WebSocket-Key header is missing")?;
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    let offered: Vec<&str> = values.flat_map(|v| v.split(',')).map(str::trim).collect();
    let chosen = served.iter().find(|protocol| offered.contains(protocol));
    let protocol = *chosen.ok_or_else(|| format!("none of the subprotocols {offered:?} is served"))?;
    let answer = http::Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
        .header(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    Ok((answer, protocol))
}

/// Bytes in binary messages.
pub struct Tunnel<S> {
    socket: WebSocketStream<S>,
    rest: Bytes,
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
    fn the_first_served_subprotocol_that_is_offered_is_taken() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, "Upgrade".parse().unwrap());
        headers.insert(header::UPGRADE, "WebSocket".parse().unwrap());
        assert!(is_asked(&headers));
        headers.insert(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, "x, b, a".parse().unwrap());
        let (answer, protocol) = accept(&headers, &["a", "b"]).unwrap();
        let answer = answer.body(()).unwrap();
        assert_eq!(protocol, "a");
        assert_eq!(answer.headers()[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(accept(&headers, &["c"]).is_err());
    }
}
