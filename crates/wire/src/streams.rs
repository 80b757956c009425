//! The streams of an exec or attach between a client and a process, whatever carries them.
//!
//! Over websockets each message names its channel: 0 in, 1 out, 2 err, 3 the end, 4 resize. Names and
//! forms match apimachinery's remotecommand and kubelet's cri/streaming/remotecommand. Output that a
//! client does not take holds up the process, not the answers to its pings.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::websocket::{self, Message, Socket};

/// The same over SPDY/3.1.
pub mod over_spdy;

pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
/// How it ended.
pub const END: u8 = 3;
pub const RESIZE: u8 = 4;
/// v5: `[255, n]` ends channel n.
const CLOSE: u8 = 255;

/// Without data for so long a session is given up (streamingConnectionIdleTimeout).
pub const IDLE_MAX: Duration = Duration::from_secs(4 * 3600);
/// How long a peer may take to say goodbye, too.
const GOODBYE_MAX: Duration = Duration::from_secs(5);
/// Messages of input that wait for the process.
const WAITING: usize = 64;

/// A subprotocol's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: &'static str,
    /// Messages are text: the channel's digit, then base64.
    base64: bool,
    /// The end is a Status; else only failures are told, as plain text.
    pub status: bool,
    /// Channels can be ended one by one.
    ends: bool,
}

const fn protocol(name: &'static str, base64: bool, status: bool, ends: bool) -> Protocol {
    Protocol { name, base64, status, ends }
}

/// Served to websockets.
pub static PROTOCOLS: &[Protocol] = &[
    protocol("v5.channel.k8s.io", false, true, true),
    protocol("v4.channel.k8s.io", false, true, false),
    protocol("v4.base64.channel.k8s.io", true, true, false),
    protocol("channel.k8s.io", false, false, false),
    protocol("base64.channel.k8s.io", true, false, false),
    protocol("", false, false, false),
];

/// The protocol of that name.
pub fn protocol_of(name: &str) -> Option<Protocol> {
    PROTOCOLS.iter().copied().find(|protocol| protocol.name == name)
}

/// The server's view of a client. When `out` is dropped, the session is ended in order.
pub struct Remote {
    /// Ends where the client ended its input, or left.
    pub stdin: mpsc::Receiver<Bytes>,
    /// Columns and rows.
    pub resize: mpsc::Receiver<(u16, u16)>,
    /// Channel and bytes, in the order in which the client gets them. Closed once the client left.
    pub out: mpsc::Sender<(u8, Bytes)>,
    pub status: bool,
}

/// The process's side of `Remote`.
pub struct Local {
    pub stdin: mpsc::Sender<Bytes>,
    pub resize: mpsc::Sender<(u16, u16)>,
    pub out: mpsc::Receiver<(u8, Bytes)>,
}

/// Two ends of one session.
pub fn pair(status: bool) -> (Remote, Local) {
    let (stdin, input) = mpsc::channel(WAITING);
    let (resize, sizes) = mpsc::channel(WAITING);
    let (out, output) = mpsc::channel(16);
    (Remote { stdin: input, resize: sizes, out, status }, Local { stdin, resize, out: output })
}

/// Carries a session over a websocket until either side has ended.
pub async fn over_websocket(socket: Socket, protocol: Protocol, local: Local) {
    let Local { stdin, resize, out } = local;
    let mut stdin = Some(stdin);
    let route = move |channel: u8, bytes: &Bytes| {
        match channel {
            STDIN => return stdin.clone(),
            RESIZE => resize_to(&resize, bytes),
            CLOSE if protocol.ends && bytes[..] == [STDIN] => stdin = None,
            _ => {}
        }
        None
    };
    carry(socket, protocol, out, route).await;
}

/// Sends what comes, each with its channel, and hands what is received to the queue that its channel leads to; until
/// nothing more comes or the client has left.
pub async fn carry(
    socket: Socket,
    protocol: Protocol,
    mut out: mpsc::Receiver<(u8, Bytes)>,
    mut route: impl FnMut(u8, &Bytes) -> Option<mpsc::Sender<Bytes>>,
) {
    let (mut sink, mut source) = socket.split();
    let activity = Activity::new();
    let send = async {
        while let Some((channel, bytes)) = out.recv().await {
            activity.mark();
            sink.send(framed(protocol, channel, &bytes)).await?;
        }
        websocket::close(&mut sink).await
    };
    let receive = async {
        while let Some(Ok(message)) = source.next().await {
            let Some((channel, bytes)) = unframed(protocol, message) else { continue };
            activity.mark();
            if let Some(to) = route(channel, &bytes)
                && !bytes.is_empty()
            {
                // Nobody reads any more: it is of no use.
                let _ = to.send(bytes).await;
            }
        }
        drop(route);
    };
    {
        let mut receive = std::pin::pin!(receive);
        tokio::select! {
            sent = send => if sent.is_ok() {
                // The peer's own goodbye: before it, data may still be under way to it.
                let _ = tokio::time::timeout(GOODBYE_MAX, receive).await;
            },
            () = &mut receive => {}
            () = activity.idle() => {}
        }
    }
    // Whoever still writes learns that nobody takes it.
    out.close();
}

/// `{"Width":80,"Height":24}`
pub fn resize_to(to: &mpsc::Sender<(u16, u16)>, bytes: &[u8]) {
    let size: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let side = |name: &str| size[name].as_u64().and_then(|side| u16::try_from(side).ok()).filter(|side| *side > 0);
    if let (Some(width), Some(height)) = (side("Width"), side("Height")) {
        // A terminal that lags behind so many sizes will get the next one.
        let _ = to.try_send((width, height));
    }
}

fn framed(protocol: Protocol, channel: u8, bytes: &[u8]) -> Message {
    if protocol.base64 {
        let mut text = String::from(char::from(b'0' + channel));
        STANDARD.encode_string(bytes, &mut text);
        return Message::text(text);
    }
    let mut message = Vec::with_capacity(bytes.len() + 1);
    message.push(channel);
    message.extend_from_slice(bytes);
    Message::binary(message)
}

fn unframed(protocol: Protocol, message: Message) -> Option<(u8, Bytes)> {
    let mut bytes = match message {
        Message::Binary(bytes) => bytes,
        Message::Text(text) => Bytes::from(text),
        _ => return None,
    };
    if bytes.is_empty() {
        return None;
    }
    let channel = bytes.split_to(1)[0];
    match protocol.base64 {
        true => Some((channel.checked_sub(b'0')?, STANDARD.decode(&bytes).ok()?.into())),
        false => Some((channel, bytes)),
    }
}

/// When data last went either way.
pub struct Activity {
    start: Instant,
    last: AtomicU64,
}

impl Activity {
    #[allow(clippy::new_without_default, reason = "a moment is no default")]
    pub fn new() -> Activity {
        Activity { start: Instant::now(), last: AtomicU64::new(0) }
    }

    pub fn mark(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// Returns once nothing went for `IDLE_MAX`.
    pub async fn idle(&self) {
        loop {
            let until = self.start + Duration::from_millis(self.last.load(Ordering::Relaxed)) + IDLE_MAX;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// The client's side of a websocket: what it sends.
pub fn message(channel: u8, bytes: &[u8]) -> Message {
    framed(PROTOCOLS[0], channel, bytes)
}

/// v5: no more input will come.
pub fn end_of_input() -> Message {
    Message::binary(vec![CLOSE, STDIN])
}

/// The client's side of a websocket: what it gets.
pub fn channel_of(message: Message) -> Option<(u8, Bytes)> {
    unframed(PROTOCOLS[0], message)
}

#[cfg(test)]
mod tests;
