//! Sessions over SPDY/3.1: one stream per channel, named by the header `streamType`.
//!
//! The handshake is an upgrade with `X-Stream-Protocol-Version` (apimachinery httpstream). All streams
//! come before the session begins; the protocol has no order between them.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

use super::{Activity, END, Local, STDERR, STDOUT, resize_to};
use crate::spdy::{Session, Stream};
use crate::websocket::words;

pub const UPGRADE: &str = "SPDY/3.1";
const VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
/// How long a client may take to open all streams (DefaultStreamCreationTimeout).
const CREATION_MAX: Duration = Duration::from_secs(30);
const CHUNK: usize = 32 << 10;

/// Of exec and attach. Only the newest tells its end as a Status.
pub const VERSIONS: &[&str] = &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// Which streams a client said that it would open, beside the one for the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub resize: bool,
}

/// Whether the headers ask for SPDY.
pub fn is_asked(headers: &HeaderMap) -> bool {
    crate::upgrade::is_asked(headers) && words(headers, header::UPGRADE).any(|word| word.eq_ignore_ascii_case(UPGRADE))
}

/// The headers of code 101 and the version; Err: those of code 403, with the versions that are served.
pub fn accept(headers: &HeaderMap, served: &[&'static str]) -> Result<(HeaderMap, &'static str), HeaderMap> {
    let offered: Vec<&str> = words(headers, VERSION).collect();
    let mut answer = HeaderMap::new();
    let found = offered.iter().find_map(|offer| served.iter().find(|name| *name == offer));
    // The oldest clients name none.
    let Some(version) = found.or(served.last().filter(|_| offered.is_empty())) else {
        for name in served {
            answer.append(ACCEPTED, HeaderValue::from_static(name));
        }
        return Err(answer);
    };
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static(UPGRADE));
    answer.insert(VERSION, HeaderValue::from_static(version));
    Ok((answer, version))
}

/// Carries a session until either side has ended.
pub async fn over_spdy(mut session: Session, wanted: Wanted, local: Local) {
    let Some(mut streams) = opened(&mut session, wanted).await else { return };
    let Local { stdin, resize, mut out } = local;
    let activity = Activity::new();
    let input = streams.stdin.take();
    let sizes = streams.resize.take();
    let read = async {
        tokio::join!(feed(input, stdin, &activity), take_sizes(sizes, resize));
        std::future::pending::<()>().await
    };
    let write = async {
        while let Some((channel, bytes)) = out.recv().await {
            activity.mark();
            let to = match channel {
                STDOUT => &mut streams.stdout,
                STDERR => &mut streams.stderr,
                END => &mut streams.end,
                _ => continue,
            };
            // A client may end one of its streams and read on from the others.
            if let Some(stream) = to
                && !bytes.is_empty()
                && stream.write_all(&bytes).await.is_err()
            {
                *to = None;
            }
        }
        for stream in [&mut streams.stdout, &mut streams.stderr, &mut streams.end].into_iter().flatten() {
            // Refused where the client is gone.
            let _ = stream.shutdown().await;
        }
    };
    // Further streams mean nothing here; their end means that the client has left.
    let gone = async { while session.accept().await.is_some() {} };
    tokio::select! {
        () = write => {}
        () = read => {}
        () = gone => {}
        () = activity.idle() => {}
    }
    out.close();
}

#[derive(Default)]
struct Streams {
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    end: Option<Stream>,
    resize: Option<Stream>,
}

impl Streams {
    fn are_all(&self, wanted: Wanted) -> bool {
        let there = |wanted: bool, stream: &Option<Stream>| !wanted || stream.is_some();
        self.end.is_some()
            && there(wanted.stdin, &self.stdin)
            && there(wanted.stdout, &self.stdout)
            && there(wanted.stderr, &self.stderr)
            && there(wanted.resize, &self.resize)
    }
}

async fn opened(session: &mut Session, wanted: Wanted) -> Option<Streams> {
    let mut streams = Streams::default();
    let all = async {
        while !streams.are_all(wanted) {
            let stream = session.accept().await?;
            stream.reply().await.ok()?;
            let place = match stream.header("streamtype") {
                Some("stdin") => &mut streams.stdin,
                Some("stdout") => &mut streams.stdout,
                Some("stderr") => &mut streams.stderr,
                Some("error") => &mut streams.end,
                Some("resize") => &mut streams.resize,
                _ => continue,
            };
            *place = Some(stream);
        }
        Some(())
    };
    tokio::time::timeout(CREATION_MAX, all).await.ok()??;
    Some(streams)
}

async fn feed(stream: Option<Stream>, to: mpsc::Sender<bytes::Bytes>, activity: &Activity) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; CHUNK];
    while let Ok(got @ 1..) = stream.read(&mut buffer).await {
        activity.mark();
        if to.send(bytes::Bytes::copy_from_slice(&buffer[..got])).await.is_err() {
            // Nobody reads any more: the rest is taken and dropped, so that the others go on.
            while let Ok(1..) = stream.read(&mut buffer).await {}
            return;
        }
    }
}

async fn take_sizes(stream: Option<Stream>, to: mpsc::Sender<(u16, u16)>) {
    let Some(stream) = stream else { return };
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        resize_to(&to, line.as_bytes());
    }
}
