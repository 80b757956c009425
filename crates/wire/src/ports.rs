//! The connections of a port-forward between a client and a pod, whatever carries them.
//!
//! Who ends first decides. Once the pod has ended, the client's last bytes have a second: then all is over, and old
//! clients close their local connection (containerd's sandbox_portforward_linux.go; client-go before 0.32 waits for
//! the end of the error stream). A client that has ended its half may wait for an answer or be gone, which SPDY
//! does not tell. The answer may take its time to begin; but from then on it is gathered, and goes out with the end:
//! of a stream that nobody reads, old clients take one frame, and at the second all their connections hang
//! (kubernetes/kubernetes#74551).

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::spdy::Stream;
use crate::streams::{IDLE_MAX, Protocol, carry};
use crate::websocket::Socket;

/// For the other direction once one has ended.
const LINGER: Duration = Duration::from_secs(1);
/// How long an answer to a client that has ended its half is gathered, and may pause once it is too large for that.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Of an answer so much is gathered.
const GATHER_MAX: usize = 1 << 20;
const CHUNK: usize = 64 << 10;
/// Pieces of input that wait for a pod.
const WAITING: usize = 64;
/// Each has two channels of the 255; text has room for fewer.
pub const PORTS_MAX: usize = 100;

/// Served to websockets (kubelet cri/streaming/portforward/websocket.go).
pub const PROTOCOLS: &[&str] = &["v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""];

/// Carries one connection over its stream of data until it is over.
pub async fn over_spdy(data: Stream, pod: impl AsyncRead + AsyncWrite) {
    let reset = data.reset_by_peer();
    let (mut from_client, mut to_client) = split(data);
    let (mut from_pod, mut to_pod) = split(pod);
    let carried = async {
        let (ended, half) = oneshot::channel();
        let up = async {
            let copied = copy(&mut from_client, &mut to_pod).await;
            // Refused where the pod has gone.
            let _ = to_pod.shutdown().await;
            copied.is_ok()
        };
        let down = answer(&mut from_pod, &mut to_client, half);
        let (mut up, mut down) = (pin!(up), pin!(down));
        tokio::select! {
            last = &mut down => {
                let _ = timeout(LINGER, up).await;
                last
            }
            to_the_end = &mut up => match to_the_end {
                true => {
                    let _ = ended.send(());
                    down.await
                }
                // The pod takes nothing any more.
                false => timeout(LINGER, down).await.unwrap_or_default(),
            },
        }
    };
    let last = tokio::select! {
        last = carried => last,
        () = reset => return,
    };
    // Fails where the client has left.
    let _ = from_client.unsplit(to_client).finish(last).await;
}

/// Copies what a pod says until it ends; once the client has ended its half, the last of it is returned.
async fn answer(
    from_pod: &mut (impl AsyncRead + Unpin),
    to_client: &mut (impl AsyncWrite + Unpin),
    mut half: oneshot::Receiver<()>,
) -> Bytes {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            biased;
            Ok(()) = &mut half => break,
            read = from_pod.read(&mut chunk) => read,
        };
        let Ok(length @ 1..) = read else {
            let _ = to_client.shutdown().await;
            return Bytes::new();
        };
        if to_client.write_all(&chunk[..length]).await.is_err() {
            return Bytes::new();
        }
    }
    let mut gathered = BytesMut::new();
    let mut deadline = Instant::now() + IDLE_MAX;
    while gathered.len() < GATHER_MAX {
        let before = gathered.len();
        gathered.reserve(CHUNK);
        let Ok(Ok(1..)) = timeout_at(deadline, from_pod.read_buf(&mut gathered)).await else {
            return gathered.freeze();
        };
        if before == 0 {
            deadline = Instant::now() + ANSWER_MAX;
        }
    }
    let mut next = gathered.freeze();
    while to_client.write_all(&next).await.is_ok()
        && let Ok(Ok(length @ 1..)) = timeout(ANSWER_MAX, from_pod.read(&mut chunk)).await
    {
        next = Bytes::copy_from_slice(&chunk[..length]);
    }
    Bytes::new()
}

/// Carries one connection to each port over a websocket, until all have ended or the client has left. Of the n-th
/// port channel 2n has the data and 2n + 1 what went wrong; both begin with its number, little end first.
pub async fn over_websocket<P: AsyncRead + AsyncWrite, C: Future<Output = Result<P, String>>>(
    socket: Socket,
    protocol: Protocol,
    ports: &[u16],
    connect: impl Fn(u16) -> C,
) {
    let (out, queue) = mpsc::channel(16);
    let (inputs, outputs): (Vec<_>, Vec<_>) = ports.iter().map(|_| mpsc::channel(WAITING)).unzip();
    let route =
        |channel: u8, _: &Bytes| inputs.get(usize::from(channel / 2)).filter(|_| channel.is_multiple_of(2)).cloned();
    let served = async move {
        let channels = (0u8..).step_by(2).zip(ports);
        for (data, port) in channels.clone() {
            for channel in [data, data + 1] {
                // The client may have left: then the socket ends everything.
                let _ = out.send((channel, Bytes::copy_from_slice(&port.to_le_bytes()))).await;
            }
        }
        let (out, connect) = (&out, &connect);
        let connections = channels.zip(outputs).map(|((data, port), input)| async move {
            match connect(*port).await {
                Ok(pod) => over_channel(data, input, out, pod).await,
                Err(why) => drop(out.send((data + 1, why.into())).await),
            }
        });
        join_all(connections).await;
    };
    let mut carried = pin!(carry(socket, protocol, queue, route));
    tokio::select! {
        () = &mut carried => return,
        () = served => {}
    }
    carried.await;
}

async fn over_channel(
    channel: u8,
    mut input: mpsc::Receiver<Bytes>,
    out: &mpsc::Sender<(u8, Bytes)>,
    pod: impl AsyncRead + AsyncWrite,
) {
    let (mut from_pod, mut to_pod) = split(pod);
    let up = async {
        while let Some(bytes) = input.recv().await {
            if to_pod.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = from_pod.read(&mut chunk).await {
            if out.send((channel, Bytes::copy_from_slice(&chunk[..length]))).await.is_err() {
                return;
            }
        }
    };
    let (mut up, mut down) = (pin!(up), pin!(down));
    tokio::select! {
        () = &mut down => drop(timeout(LINGER, up).await),
        () = &mut up => drop(timeout(LINGER, down).await),
    }
}

#[cfg(test)]
mod tests;
