//! Answers as messages of a websocket: a log piece by piece, a watch event by event.
//!
//! The handshake is part of the answer; what the client sends is of no interest, but that it leaves is
//! (apimachinery wsstream IgnoreReceives).

use futures::{SinkExt, Stream, StreamExt};
use http::StatusCode;
use wire::websocket::{self, Accepted, Message};

use crate::answer::{Body, Response};

/// The answer to a handshake that was accepted, and the messages that follow; then the socket is closed in order.
pub fn send(accepted: Accepted, messages: impl Stream<Item = Message> + Send + 'static) -> Response {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        let (mut sink, mut source) = websocket::server(Box::new(ours)).await.split();
        let send = async {
            let mut messages = std::pin::pin!(messages);
            while let Some(message) = messages.next().await {
                if sink.send(message).await.is_err() {
                    return;
                }
            }
            // The reader may have left first.
            let _ = websocket::close(&mut sink).await;
        };
        let receive = async { while let Some(Ok(_)) = source.next().await {} };
        tokio::select! {
            () = send => {}
            () = receive => {}
        }
    });
    Response {
        status: StatusCode::SWITCHING_PROTOCOLS,
        headers: accepted.headers,
        body: Body::Upgrade(Box::new(theirs)),
    }
}
