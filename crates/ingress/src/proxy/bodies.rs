//! Bodies on their way through: never held, one piece at a time.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use crate::pool::Lent;

/// How long a client may send nothing of a body that it has announced.
const PATIENCE: Duration = Duration::from_secs(60);

/// The body of a request as the endpoint gets it.
pub enum Sent {
    Nothing,
    Coming {
        body: Incoming,
        waiting: Option<Pin<Box<Sleep>>>,
        /// Goes when all of it is sent.
        _end: oneshot::Sender<()>,
    },
}

/// The body of an answer as the client gets it.
pub enum Taken {
    Text(Full<Bytes>),
    Coming {
        body: Incoming,
        /// Goes back when all of it is read.
        lent: Option<Lent>,
    },
}

impl Sent {
    /// The body, and what is told when it has been sent.
    pub fn of(body: Incoming) -> (Sent, oneshot::Receiver<()>) {
        let (end, ended) = oneshot::channel();
        match body.is_end_stream() {
            true => (Sent::Nothing, ended),
            false => (Sent::Coming { body, waiting: None, _end: end }, ended),
        }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Sent::Coming { body, waiting, .. } = &mut *self else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(None) => {
                *self = Sent::Nothing;
                Poll::Ready(None)
            }
            Poll::Ready(next) => {
                *waiting = None;
                Poll::Ready(next.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let waiting = waiting.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
                waiting.as_mut().poll(cx).map(|()| Some(Err("the client sends nothing".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Sent::Nothing => true,
            Sent::Coming { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Sent::Nothing => SizeHint::with_exact(0),
            Sent::Coming { body, .. } => body.size_hint(),
        }
    }
}

impl Taken {
    pub fn of(body: Incoming, lent: Option<Lent>) -> Taken {
        let mut taken = Taken::Coming { body, lent };
        taken.end();
        taken
    }

    pub fn text(text: &str) -> Taken {
        Taken::Text(Full::new(Bytes::copy_from_slice(text.as_bytes())))
    }

    /// Whoever knows how long a body is asks no further.
    fn end(&mut self) {
        if let Taken::Coming { body, lent } = self
            && body.is_end_stream()
            && let Some(lent) = lent.take()
        {
            lent.give_back();
        }
    }
}

impl Body for Taken {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let next = match &mut *self {
            Taken::Text(text) => {
                return Pin::new(text)
                    .poll_frame(cx)
                    .map(|next| next.map(|frame| frame.map_err(|never| match never {})));
            }
            Taken::Coming { body, .. } => Pin::new(body).poll_frame(cx),
        };
        if let (Poll::Ready(None), Taken::Coming { lent, .. }) = (&next, &mut *self)
            && let Some(lent) = lent.take()
        {
            lent.give_back();
        } else if next.is_ready() {
            self.end();
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Taken::Text(text) => text.is_end_stream(),
            Taken::Coming { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Taken::Text(text) => text.size_hint(),
            Taken::Coming { body, .. } => body.size_hint(),
        }
    }
}
