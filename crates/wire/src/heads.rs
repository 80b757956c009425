//! Requests whose target is longer than a `http::Uri` can be (64 KiB).
//!
//! The arguments of an exec travel there. Over HTTP/1.1, for the first request of a connection; what is
//! upgraded has one of its own. The server reads that head before hyper does and keeps a long query beside
//! the request, the client writes it back in. A head that is too large is refused with an answer that says
//! so (net/http: 431).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{Extensions, Uri};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Longer lines than this are taken apart.
pub const LONG: usize = 32 << 10;

/// In a request's extensions: its query, without which its URI stands.
#[derive(Clone, Debug)]
pub struct LongQuery(Arc<str>);

/// A request's query, wherever it stands.
pub fn query<'r>(uri: &'r Uri, extensions: &'r Extensions) -> &'r str {
    extensions.get::<LongQuery>().map_or_else(|| uri.query().unwrap_or_default(), |long| &long.0)
}

/// A target as URI, and what of it goes into the request's extensions.
pub fn target(text: &str) -> (&str, Option<LongQuery>) {
    match text.split_once('?') {
        Some((path, query)) if text.len() > LONG => (path, Some(LongQuery(query.into()))),
        _ => (text, None),
    }
}

/// A stream of which something was read already.
pub struct Begun<S> {
    read: Bytes,
    stream: S,
}

impl<S> Begun<S> {
    pub fn unread(stream: S) -> Begun<S> {
        Begun { read: Bytes::new(), stream }
    }
}

/// Reads the first head, or what there is of it. Err: the stream on which a larger one than `most` comes.
pub async fn first<S: AsyncRead + Unpin>(
    mut stream: S,
    most: usize,
) -> io::Result<Result<(Begun<S>, Option<LongQuery>), S>> {
    let (mut read, mut looked) = (BytesMut::new(), 0usize);
    loop {
        // What follows the head is not its own.
        let end = end(&read[looked..]).map(|end| looked + end);
        if end.unwrap_or(read.len()) > most {
            return Ok(Err(stream));
        }
        if end.is_some() {
            break;
        }
        looked = read.len().saturating_sub(2);
        read.reserve(read.len().max(4 << 10));
        if stream.read_buf(&mut read).await? == 0 {
            break;
        }
    }
    let line = read.iter().position(|byte| *byte == b'\n').unwrap_or(read.len());
    if line <= LONG {
        return Ok(Ok((Begun { read: read.freeze(), stream }, None)));
    }
    let Some((short, query)) = shortened(&read, line) else { return Ok(Err(stream)) };
    Ok(Ok((Begun { read: short, stream }, Some(query))))
}

/// Where the first empty line ends.
fn end(text: &[u8]) -> Option<usize> {
    let mut lines = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let empty = |at: &usize| text[at + 1..].starts_with(b"\n") || text[at + 1..].starts_with(b"\r\n");
    lines.find(empty).map(|at| if text[at + 1] == b'\n' { at + 2 } else { at + 3 })
}

/// The same head without the query of its first line; None: its path alone is too long.
fn shortened(head: &[u8], line: usize) -> Option<(Bytes, LongQuery)> {
    let first = std::str::from_utf8(&head[..line]).ok()?;
    let (before, version) = first.rsplit_once(' ')?;
    let (before, query) = before.split_once('?').filter(|(before, _)| before.len() <= LONG)?;
    let short = [before.as_bytes(), b" ", version.as_bytes(), &head[line..]].concat();
    Some((short.into(), LongQuery(query.into())))
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A stream whose first line gets a query: the client's side.
pub struct Lengthened<S> {
    query: Option<LongQuery>,
    waiting: Bytes,
    stream: S,
}

impl<S: AsyncWrite + Unpin> Lengthened<S> {
    pub fn new(stream: S, query: LongQuery) -> Lengthened<S> {
        Lengthened { query: Some(query), waiting: Bytes::new(), stream }
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.waiting.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lengthened<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_waiting(cx))?;
        let Some(query) = self.query.take() else { return Pin::new(&mut self.stream).poll_write(cx, data) };
        let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
        let Some(at) = data[..line].iter().rposition(|byte| *byte == b' ') else {
            return Poll::Ready(Err(io::Error::other("the first write has no line of a request")));
        };
        self.waiting = [&data[..at], b"?", query.0.as_bytes(), &data[at..]].concat().into();
        // What does not go out now goes with the next write or flush.
        match self.poll_waiting(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(data.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lengthened<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn read_first(head: &str, most: usize) -> Option<(String, Option<String>)> {
        let mut rest = head.as_bytes();
        let (mut begun, long) = first(&mut rest, most).await.unwrap().ok()?;
        let mut text = String::new();
        begun.read_to_string(&mut text).await.unwrap();
        Some((text, long.map(|long| long.0.to_string())))
    }

    #[tokio::test]
    async fn only_a_long_query_is_taken_out_and_it_is_written_back() {
        for short in ["GET /a?b=c HTTP/1.1\r\nhost: x\r\n\r\nbody?", "GET / HTTP/1.0\n\n", "\r\n\r\n", "", "GET /"] {
            assert_eq!(read_first(short, 100).await, Some((short.into(), None)));
        }
        let query = format!("command={}&command=a?b", "z".repeat(70_000));
        let (path, long) = (format!("/exec?{query}"), "GET /exec HTTP/1.1\r\nhost: x\r\n\r\nrest");
        let whole = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\nrest");
        assert_eq!(read_first(&whole, 1 << 20).await, Some((long.into(), Some(query.clone()))));
        assert_eq!(read_first(&whole, 60_000).await, None);
        let (short, body) = ("GET / HTTP/1.1\r\n\r\n", "b".repeat(5000));
        assert!(read_first(&format!("{short}{body}"), short.len()).await.is_some(), "a body is no head");
        assert_eq!(read_first(&format!("{short}{body}"), short.len() - 1).await, None);
        assert_eq!(read_first(&format!("GET /{query} HTTP/1.1\r\n\r\n"), 1 << 20).await, None, "no path is so long");

        let (short, kept) = target(&path);
        assert_eq!(short, "/exec");
        let mut extensions = Extensions::new();
        extensions.insert(kept.clone().unwrap());
        assert_eq!(super::query(&Uri::from_static("/exec"), &extensions), query);
        assert_eq!(super::query(&Uri::from_static("/exec?a"), &Extensions::new()), "a");
        // Through a narrow pipe, in pieces.
        let (a, mut b) = tokio::io::duplex(1000);
        let sent = tokio::spawn(async move {
            let mut stream = Lengthened::new(a, kept.unwrap());
            for piece in ["GET /exec HTTP/1.1\r\nhost: x\r\n", "\r\n", "rest"] {
                stream.write_all(piece.as_bytes()).await.unwrap();
            }
            stream.shutdown().await.unwrap();
        });
        let mut got = String::new();
        b.read_to_string(&mut got).await.unwrap();
        sent.await.unwrap();
        assert!(got == whole);
    }
}
