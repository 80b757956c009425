//! A request's body: it is read once its head is allowed, and has bounds in bytes, time and cost.
//!
//! Nothing but `Coming::read` reads one. Of a body that nobody wants a little is taken all the same, lest its
//! sender misses the answer.

use std::sync::Arc;
use std::time::Duration;

use api::{Reason, Status};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::flow::{Arriving, Flow, Permit};
use crate::slow;

/// The largest request body (config.go MaxRequestBodyBytes).
pub const BODY_MAX: usize = 3 << 20;
/// For a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Of a body that nobody wants so much is read, and so long, lest its sender misses the answer (net/http
/// maxPostHandlerReadBytes): most clients look for one when they have sent all.
pub const UNWANTED_MAX: usize = 256 << 10;
/// Of one whose sender is known: any that is refused for its size, unless it is no mistake.
pub const UNWANTED_OF_KNOWN_MAX: usize = 8 * BODY_MAX;
const UNWANTED_TIMEOUT: Duration = Duration::from_secs(10);

/// A body that has not been read yet.
pub enum Inflow {
    /// Of a part inside the process.
    Here(Bytes),
    /// From the network.
    Wire(Incoming),
    /// Read already.
    Spent,
}

/// A body and the room that it may take.
pub struct Coming<'a> {
    pub body: &'a mut Inflow,
    pub permit: &'a mut Option<Permit>,
    pub flow: Option<&'a Arc<Flow>>,
    /// The body's type.
    pub media: &'a str,
}

impl Coming<'_> {
    /// The whole body. Its sender may do what the head asks for: nobody else's is read.
    ///
    /// # Errors
    /// 413 for one too large, 429 where there is no room, 504 for one that does not come.
    pub async fn read(self) -> Result<Bytes, Status> {
        let mut body = match std::mem::replace(self.body, Inflow::Spent) {
            Inflow::Here(bytes) => return Ok(bytes),
            Inflow::Spent => return Ok(Bytes::new()),
            Inflow::Wire(body) if body.is_end_stream() => return Ok(Bytes::new()),
            Inflow::Wire(body) => body,
        };
        let read = match body.size_hint().lower() > BODY_MAX as u64 {
            true => Err(too_large()),
            false => {
                let whole = collect(&mut body, self.permit.as_mut(), self.flow);
                tokio::time::timeout(BODY_TIMEOUT, whole).await.map_err(|_| late())?
            }
        };
        let read = read.and_then(|body| match &mut *self.permit {
            Some(permit) if slow::is_slow(&body, self.media) => permit.weigh(slow::COSTS * body.len()).map(|()| body),
            _ => Ok(body),
        });
        // Put back: what still comes of it is not wanted.
        read.inspect_err(|_| *self.body = Inflow::Wire(body))
    }
}

async fn collect(
    body: &mut Incoming,
    mut permit: Option<&mut Permit>,
    flow: Option<&Arc<Flow>>,
) -> Result<Bytes, Status> {
    let mut arriving = flow.filter(|_| permit.is_none()).map(|flow| Arriving::new(flow));
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(error.to_string()))?;
        let Ok(piece) = frame.into_data() else { continue };
        if first.len().max(all.len()) + piece.len() > BODY_MAX {
            return Err(too_large());
        }
        if let Some(permit) = &mut permit {
            permit.take(piece.len())?;
        }
        if let Some(arriving) = &mut arriving {
            arriving.take(piece.len())?;
        }
        // Most bodies come in one piece, which is taken as it is.
        match (first.is_empty(), all.is_empty()) {
            (true, true) => first = piece,
            (false, true) => {
                all.reserve(first.len() + piece.len());
                all.extend_from_slice(&first);
                all.extend_from_slice(&piece);
            }
            _ => all.extend_from_slice(&piece),
        }
    }
    let body = if all.is_empty() { first } else { all.freeze() };
    Ok(match permit {
        Some(permit) => permit.hold(body),
        None => body,
    })
}

fn late() -> Status {
    let message = format!("the request's body was not there after {} seconds", BODY_TIMEOUT.as_secs());
    Status::new(Reason::Timeout, message)
}

fn too_large() -> Status {
    Status::new(Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {BODY_MAX}"))
}

impl Inflow {
    /// Takes the rest of a body that nobody wants, if it is short: its sender would else be cut off before
    /// it has read why.
    pub fn discard(self, headers: &HeaderMap, most: usize) {
        let Inflow::Wire(mut body) = self else { return };
        // Who waits to be told to go on sends nothing.
        if body.is_end_stream() || headers.contains_key(header::EXPECT) {
            return;
        }
        tokio::spawn(tokio::time::timeout(UNWANTED_TIMEOUT, async move {
            let mut left = most;
            while let Some(Ok(frame)) = body.frame().await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        }));
    }
}
