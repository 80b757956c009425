//! TCP: for answers that are too long for a datagram. Bounded in connections, time and bytes.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Next, Service};

/// Connections at once, and those of one client.
const CONNECTIONS_MAX: usize = 256;
const CONNECTIONS_MAX_EACH: usize = 32;
/// How long a connection may be silent, and how long it may take to take an answer (RFC 7766, 6.2.3).
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// After descriptors ran out.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(listener: TcpListener, service: Arc<Service>) {
    let mut connections: JoinSet<IpAddr> = JoinSet::new();
    let mut each: HashMap<IpAddr, usize> = HashMap::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let client = from.ip().to_canonical();
                    let own = each.get(&client).copied().unwrap_or(0);
                    if connections.len() >= CONNECTIONS_MAX || own >= CONNECTIONS_MAX_EACH || !service.admits(client) {
                        continue;
                    }
                    each.insert(client, own + 1);
                    let service = service.clone();
                    connections.spawn(async move {
                        if let Err(error) = converse(stream, from, &service).await {
                            tracing::trace!(%error, %from, "a connection of the DNS server ended");
                        }
                        client
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the DNS server accepts no connection");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => match ended {
                Ok(client) => {
                    if let Some(count) = each.get_mut(&client) {
                        *count -= 1;
                        if *count == 0 {
                            each.remove(&client);
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "a connection of the DNS server broke off"),
            },
        }
    }
}

/// One question after the other.
async fn converse(mut stream: TcpStream, from: SocketAddr, service: &Service) -> io::Result<()> {
    let (mut scratch, mut out) = (service.scratch(), Vec::new());
    loop {
        let packet = timeout(SILENCE_MAX, message(&mut stream)).await??;
        let answer = match service.answer(&packet, from, true, &mut scratch, &mut out) {
            Next::Send => std::mem::take(&mut out),
            Next::Drop => return Ok(()),
            Next::Ask(asked) => service.ask(&asked).await,
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes(), answer.as_slice()].concat();
        timeout(SILENCE_MAX, stream.write_all(&framed)).await??;
    }
}

async fn message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut packet = vec![0; length.into()];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}
