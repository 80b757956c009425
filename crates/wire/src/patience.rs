//! A connection that gives up on a peer who takes nothing for too long.
//!
//! A client that never reads its answer would else keep its connection for ever: TCP asks a closed window
//! again and again. Reading may wait as long as it likes, and for a stranger's turn (`turns`). Who follows
//! a log or sits at a terminal may stop to read: for those patience has no end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::turns::Turns;

/// A stream whose writes must make progress within a time.
pub struct Patient<S> {
    stream: S,
    patience: Duration,
    endless: Endless,
    turns: Option<Turns>,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

/// Whether patience has no end just now.
#[derive(Clone, Default)]
pub struct Endless(Arc<AtomicBool>);

impl Endless {
    pub fn set(&self, endless: bool) {
        self.0.store(endless, Ordering::Relaxed);
    }
}

impl<S> Patient<S> {
    pub fn new(stream: S, patience: Duration) -> Patient<S> {
        Patient { stream, patience, endless: Endless::default(), turns: None, waiting: None }
    }

    pub fn endless(&self) -> Endless {
        self.endless.clone()
    }

    /// From now on large heads wait for their turn.
    pub fn take_turns(&mut self, turns: Turns) {
        self.turns = Some(turns);
    }

    /// What a write came to, or the end of patience.
    fn judge<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.waiting = None;
            return wrote;
        }
        if self.endless.0.load(Ordering::Relaxed) {
            self.waiting = None;
            return wrote;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(turns) = &mut this.turns else { return Pin::new(&mut this.stream).poll_read(cx, buf) };
        ready!(turns.poll(cx));
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        turns.count(buf.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_who_reads_nothing_is_given_up_and_a_slow_one_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let mut patient = Patient::new(ours, Duration::from_secs(60));
        let reader = tokio::spawn(async move {
            let mut four = [0; 4];
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut four).await.unwrap();
            }
            theirs
        });
        patient.write_all(&[0; 16]).await.unwrap();
        let _theirs = reader.await.unwrap();
        let error = patient.write_all(&[0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        patient.endless().set(true);
        let forever = tokio::time::timeout(Duration::from_secs(3600), patient.write_all(&[0; 16])).await;
        assert!(forever.is_err());
        patient.endless().set(false);
        assert_eq!(patient.write_all(&[0; 16]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
