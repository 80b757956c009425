//! Requests that leave HTTP behind, and the splice that carries what follows, byte for byte.
//!
//! WebSocket and SPDY look alike from here: an HTTP/1.1 request with `Connection: Upgrade`, an
//! answer 101, then bytes in both directions until both sides have closed.

use std::io;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};

use crate::Duplex;
use crate::heads::{Lengthened, LongQuery};

/// What a peer answered to a request.
pub enum Answer {
    /// 101: the headers of the answer and the stream that follows.
    Switched(Response<()>, Duplex),
    /// Anything else: an ordinary answer.
    Ordinary(Response<Incoming>),
}

/// Whether the headers ask to leave HTTP.
pub fn is_asked(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    let asks = connection.flat_map(|v| v.split(',')).any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    asks && headers.contains_key(header::UPGRADE)
}

/// Sends one HTTP/1.1 request over a fresh connection, which serves that request only.
pub async fn send<B>(stream: Duplex, mut request: Request<B>) -> io::Result<Answer>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream: Duplex = match request.extensions_mut().remove::<LongQuery>() {
        Some(query) => Box::new(Lengthened::new(stream, query)),
        None => stream,
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Answer::Ordinary(response));
    }
    let mut head = Response::new(());
    *head.status_mut() = response.status();
    *head.headers_mut() = response.headers().clone();
    let upgraded = hyper::upgrade::on(response).await.map_err(io::Error::other)?;
    Ok(Answer::Switched(head, Box::new(TokioIo::new(upgraded))))
}

/// Carries bytes both ways until both sides have closed; a half-closed side stays half-closed.
pub async fn splice(mut a: Duplex, mut b: Duplex) -> io::Result<()> {
    let done = copy_bidirectional_with_sizes(&mut a, &mut b, 32 * 1024, 32 * 1024).await;
    // One side failed: the other learns of it by its stream's end.
    let _ = tokio::join!(a.shutdown(), b.shutdown());
    done.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_needs_both_headers() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap()));
            pairs.collect::<HeaderMap>()
        };
        assert!(is_asked(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])));
        assert!(!is_asked(&headers(&[("connection", "keep-alive"), ("upgrade", "websocket")])));
        assert!(!is_asked(&headers(&[("connection", "upgrade")])));
    }
}
