//! SPDY/3.1 as Kubernetes' clients speak it: one connection, many streams, each with headers.
//!
//! Own code, since the crates for it are GPL. A session has one task that reads and one that writes (it owns
//! the header compression, which is one state for all). Laws: streams end independently, each half on
//! its own; a stream that is dropped is reset; a session ends when its connection does. Peers of this
//! protocol (Go's spdystream) neither send nor heed window updates: none is waited for, and a reader
//! that does not read holds up its whole session, as theirs does.

/// Frames and their bytes.
mod frames;
/// Header blocks: names and values through one zlib stream per direction.
mod headers;

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, PollSender};

use frames::{Frame, Head};
use headers::{Packer, Unpacker};

/// Names are lower case.
pub type Headers = Vec<(String, String)>;

/// Frames on their way out, at most.
const OUT: usize = 16;
/// Data waiting for a reader, in frames, at most.
const QUEUE: usize = 64;
/// Streams that the peer opened and nobody took yet.
const PENDING: usize = 64;
/// Of a frame of data: few and large ones, since old clients may not read more than one (`ports`).
const DATA_MAX: usize = 64 << 10;
const CANCEL: u32 = 5;
const REFUSED: u32 = 3;

/// Which ids are ours: clients open odd ones.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Client,
    Server,
}

/// A connection that speaks SPDY. Dropping it ends nothing that still has streams.
pub struct Session {
    incoming: mpsc::Receiver<Stream>,
    opener: Opener,
}

/// Opens streams; clone is a reference count.
#[derive(Clone)]
pub struct Opener {
    shared: Arc<Shared>,
    next: Arc<AtomicU32>,
}

struct Shared {
    out: mpsc::Sender<Frame>,
    /// Resets come from drops, which cannot wait.
    resets: mpsc::UnboundedSender<Frame>,
    streams: Mutex<HashMap<u32, Entry>>,
}

/// What the reading task knows of a stream.
struct Entry {
    /// None once the peer has ended its half.
    data: Option<mpsc::Sender<io::Result<Bytes>>>,
    replied: Option<oneshot::Sender<io::Result<()>>>,
    reset: CancellationToken,
}

/// One stream: bytes both ways. Ending one's own half is `shutdown`.
pub struct Stream {
    id: u32,
    headers: Headers,
    shared: Arc<Shared>,
    incoming: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
    out: PollSender<Frame>,
    /// The peer has ended both halves at once.
    reset: CancellationToken,
    ended: bool,
    read_ended: bool,
}

impl Session {
    /// The side that accepts streams.
    pub fn server(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Session {
        Session::start(io, Side::Server)
    }

    /// The side that opens them.
    pub fn client(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Session {
        Session::start(io, Side::Client)
    }

    fn start(io: impl AsyncRead + AsyncWrite + Send + 'static, side: Side) -> Session {
        let (reader, writer) = tokio::io::split(io);
        let (out, frames) = mpsc::channel(OUT);
        let (resets, urgent) = mpsc::unbounded_channel();
        let (offer, incoming) = mpsc::channel(PENDING);
        let shared = Arc::new(Shared { out, resets, streams: Mutex::default() });
        let first = if side == Side::Client { 1 } else { 2 };
        let opener = Opener { shared: shared.clone(), next: Arc::new(AtomicU32::new(first)) };
        tokio::spawn(write(writer, frames, urgent));
        tokio::spawn(async move {
            let ended = read(reader, &shared, offer, side).await;
            if let Err(error) = &ended {
                tracing::debug!(%error, "a SPDY session ended early");
            }
            shared.end(ended.err());
        });
        Session { incoming, opener }
    }

    /// The next stream that the peer opens; None when the session has ended.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.incoming.recv().await
    }

    pub fn opener(&self) -> Opener {
        self.opener.clone()
    }
}

impl Opener {
    /// Opens a stream and waits until the peer has accepted it.
    pub async fn open(&self, headers: Headers) -> io::Result<Stream> {
        let id = self.next.fetch_add(2, Ordering::Relaxed);
        let (told, replied) = oneshot::channel();
        let stream = self.shared.stream(id, headers.clone(), Some(told));
        self.shared.send(Frame::Open { id, headers, end: false }).await?;
        replied.await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionReset))??;
        Ok(stream)
    }
}

impl Shared {
    fn stream(self: &Arc<Self>, id: u32, headers: Headers, replied: Option<oneshot::Sender<io::Result<()>>>) -> Stream {
        let (data, incoming) = mpsc::channel(QUEUE);
        let reset = CancellationToken::new();
        self.lock().insert(id, Entry { data: Some(data), replied, reset: reset.clone() });
        Stream {
            id,
            headers,
            shared: self.clone(),
            incoming,
            rest: Bytes::new(),
            out: PollSender::new(self.out.clone()),
            reset,
            ended: false,
            read_ended: false,
        }
    }

    async fn send(&self, frame: Frame) -> io::Result<()> {
        self.out.send(frame).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Every stream learns that nothing comes any more; after an error, as an error.
    fn end(&self, error: Option<io::Error>) {
        for (_, entry) in self.lock().drain() {
            if let (Some(data), Some(error)) = (entry.data, &error) {
                // A full queue has its end all the same.
                let _ = data.try_send(Err(io::Error::new(error.kind(), error.to_string())));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Entry>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// What the peer opened it with.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Accepts a stream that the peer opened, which its opener waits for.
    pub async fn reply(&self) -> io::Result<()> {
        self.shared.send(Frame::Reply { id: self.id, headers: Vec::new(), end: false }).await
    }

    /// Returns once the peer has reset it, even after it had ended its half.
    pub fn reset_by_peer(&self) -> impl Future<Output = ()> + use<> {
        self.reset.clone().cancelled_owned()
    }

    /// Sends its last bytes, with the end, in one frame; what the peer still sends is dropped without a reset.
    pub async fn finish(mut self, last: Bytes) -> io::Result<()> {
        if !self.ended {
            std::future::poll_fn(|cx| self.poll_room(cx)).await?;
            self.put(last, true)?;
        }
        (self.ended, self.read_ended) = (true, true);
        Ok(())
    }

    /// Ends both halves at once.
    pub fn reset(mut self) {
        self.abandon();
    }

    fn abandon(&mut self) {
        self.shared.lock().remove(&self.id);
        if !(self.ended && self.read_ended) {
            let _ = self.shared.resets.send(Frame::Reset { id: self.id, status: CANCEL });
        }
        (self.ended, self.read_ended) = (true, true);
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended || self.reset.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.out.poll_reserve(cx).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn put(&mut self, data: Bytes, end: bool) -> io::Result<()> {
        self.out.send_item(Frame::Data { id: self.id, data, end }).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.incoming.poll_recv(cx)) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    self.read_ended = true;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let n = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..n]);
        self.rest.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        let n = data.len().min(DATA_MAX);
        self.put(Bytes::copy_from_slice(&data[..n]), false)?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_room(cx))?;
        self.put(Bytes::new(), true)?;
        self.ended = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.abandon();
    }
}

async fn write(
    mut io: impl AsyncWrite + Unpin,
    mut frames: mpsc::Receiver<Frame>,
    mut urgent: mpsc::UnboundedReceiver<Frame>,
) -> io::Result<()> {
    let mut packer = Packer::new()?;
    let mut bytes = Vec::with_capacity(DATA_MAX + 64);
    loop {
        // What a stream wrote comes before its reset.
        let frame = tokio::select! {
            biased;
            Some(frame) = frames.recv() => frame,
            Some(frame) = urgent.recv() => frame,
            else => break,
        };
        bytes.clear();
        frame.write(&mut packer, &mut bytes)?;
        // What is waiting already goes out with it.
        while bytes.len() < DATA_MAX
            && let Ok(frame) = frames.try_recv()
        {
            frame.write(&mut packer, &mut bytes)?;
        }
        io.write_all(&bytes).await?;
        io.flush().await?;
    }
    io.shutdown().await
}

async fn read(
    mut io: impl AsyncRead + Unpin,
    shared: &Arc<Shared>,
    offer: mpsc::Sender<Stream>,
    side: Side,
) -> io::Result<()> {
    let mut unpacker = Unpacker::new();
    loop {
        let mut head = [0; frames::HEAD];
        match io.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        };
        let head = Head::parse(&head)?;
        let mut body = vec![0; head.length()];
        io.read_exact(&mut body).await?;
        match head.frame(Bytes::from(body), &mut unpacker)? {
            Frame::Data { id, data, end } => {
                let queue = shared.lock().get(&id).and_then(|entry| entry.data.clone());
                if let Some(queue) = queue
                    && !data.is_empty()
                {
                    // Whoever dropped the stream has reset it.
                    let _ = queue.send(Ok(data)).await;
                }
                if end {
                    shared.lock().entry(id).and_modify(|entry| entry.data = None);
                }
            }
            Frame::Open { id, headers, end } => {
                let ours = (id % 2 == 1) == (side == Side::Client);
                if ours || shared.lock().contains_key(&id) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("stream {id} is not the peer's to open"),
                    ));
                }
                let stream = shared.stream(id, headers, None);
                if end {
                    shared.lock().entry(id).and_modify(|entry| entry.data = None);
                }
                if let Err(refused) = offer.try_send(stream) {
                    let mut stream = refused.into_inner();
                    (stream.ended, stream.read_ended) = (true, true);
                    drop(stream);
                    // Through the bounded queue: a peer that opens and never reads waits here.
                    if shared.out.send(Frame::Reset { id, status: REFUSED }).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Frame::Reply { id, end, .. } => {
                let mut streams = shared.lock();
                if let Some(entry) = streams.get_mut(&id) {
                    if end {
                        entry.data = None;
                    }
                    if let Some(told) = entry.replied.take() {
                        let _ = told.send(Ok(()));
                    }
                }
            }
            Frame::Reset { id, status } => {
                if let Some(entry) = shared.lock().remove(&id) {
                    entry.reset.cancel();
                    let error =
                        || io::Error::new(io::ErrorKind::ConnectionReset, format!("the peer reset it ({status})"));
                    if let Some(told) = entry.replied {
                        let _ = told.send(Err(error()));
                    }
                    if let Some(data) = entry.data {
                        let _ = data.try_send(Err(error()));
                    }
                }
            }
            // Ours come back as answers; theirs are answered.
            Frame::Ping { id } if (id % 2 == 1) != (side == Side::Client) => shared.send(Frame::Ping { id }).await?,
            Frame::Ping { .. } | Frame::Ignored => {}
            // Streams that are open go on to their end.
            Frame::GoAway => {}
        }
    }
}

#[cfg(test)]
mod tests;
