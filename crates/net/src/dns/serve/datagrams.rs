//! UDP: as many datagrams as have come are taken with one call, and their answers sent with another.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::{Next, Scratch, Service};

/// Datagrams of one call.
const BATCH: usize = 32;
/// A question is a name and a few bytes: what is longer is cut, and refused.
const QUESTION_MAX: usize = 1024;
/// Batches before others get their turn.
const TURN: usize = 16;

/// Buffers for one batch after the other.
struct Batch {
    incoming: Vec<u8>,
    /// Length and origin of each.
    came: Vec<(usize, Option<SockaddrStorage>)>,
    answers: Vec<Vec<u8>>,
    to: Vec<Option<SockaddrStorage>>,
}

/// The kernel's view of a batch: made anew for each turn, since it cannot wait.
type Headers = MultiHeaders<SockaddrStorage>;

pub(super) async fn serve(socket: Arc<UdpSocket>, service: Arc<Service>) {
    let (mut batch, mut scratch, mut asking) = (Batch::new(), service.scratch(), JoinSet::new());
    loop {
        if let Err(error) = socket.readable().await {
            return tracing::error!(%error, "the DNS server hears nothing any more");
        }
        batch.turn(&socket, &service, &mut scratch, &mut asking);
        while asking.try_join_next().is_some() {}
        tokio::task::yield_now().await;
    }
}

impl Batch {
    fn new() -> Batch {
        Batch {
            incoming: vec![0; BATCH * QUESTION_MAX],
            came: Vec::with_capacity(BATCH),
            answers: vec![Vec::new(); BATCH],
            to: Vec::with_capacity(BATCH),
        }
    }

    /// Answers what has come, until nothing more has or others have waited long enough.
    fn turn(
        &mut self,
        socket: &Arc<UdpSocket>,
        service: &Arc<Service>,
        scratch: &mut Scratch,
        asking: &mut JoinSet<()>,
    ) {
        let (mut receiving, mut sending) = (Headers::preallocate(BATCH, None), Headers::preallocate(BATCH, None));
        for _ in 0..TURN {
            if self.receive(socket, &mut receiving).is_err() {
                break;
            }
            self.answer(socket, service, scratch, asking);
            self.send(socket, &mut sending);
            if self.came.len() < BATCH {
                break;
            }
        }
    }

    /// What has come; an error where nothing has.
    fn receive(&mut self, socket: &UdpSocket, receiving: &mut Headers) -> io::Result<()> {
        let Batch { incoming, came, .. } = self;
        came.clear();
        socket.try_io(Interest::READABLE, || {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                incoming.chunks_exact_mut(QUESTION_MAX).map(|part| [IoSliceMut::new(part)]).collect();
            let flags = MsgFlags::MSG_DONTWAIT;
            match recvmmsg(socket.as_raw_fd(), receiving, slices.iter_mut(), flags, None) {
                Ok(received) => {
                    came.extend(received.map(|message| (message.bytes, message.address)));
                    Ok(())
                }
                // What a peer's machine said of an answer that nobody took.
                Err(Errno::ECONNREFUSED) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Leaves the answers in order; what others must be asked for is answered by itself.
    fn answer(
        &mut self,
        socket: &Arc<UdpSocket>,
        service: &Arc<Service>,
        scratch: &mut Scratch,
        asking: &mut JoinSet<()>,
    ) {
        self.to.clear();
        for (number, (length, from)) in self.came.iter().enumerate() {
            let Some(from) = from.as_ref() else { continue };
            let Some(address) = address_of(from).filter(|address| service.admits(address.ip())) else { continue };
            let packet = &self.incoming[number * QUESTION_MAX..][..*length];
            let out = &mut self.answers[self.to.len()];
            match service.answer(packet, address, false, scratch, out) {
                Next::Send => self.to.push(Some(*from)),
                Next::Drop => {}
                Next::Ask(asked) => {
                    let (socket, service) = (socket.clone(), service.clone());
                    asking.spawn(async move {
                        let answer = service.ask(&asked).await;
                        if let Err(error) = socket.send_to(&answer, asked.from).await {
                            tracing::debug!(%error, to = %asked.from, "an answer is not sent");
                        }
                    });
                }
            }
        }
    }

    fn send(&self, socket: &UdpSocket, sending: &mut Headers) {
        let mut sent = 0;
        while sent < self.to.len() {
            let slices: Vec<[IoSlice<'_>; 1]> =
                self.answers[sent..self.to.len()].iter().map(|answer| [IoSlice::new(answer)]).collect();
            let to = &self.to[sent..];
            let flags = MsgFlags::MSG_DONTWAIT;
            match sendmmsg(socket.as_raw_fd(), sending, &slices, to, [], flags) {
                Ok(results) => sent += results.count().max(1),
                // Whoever asks faster than the kernel takes answers asks again.
                Err(Errno::EAGAIN) => return,
                // The first one was refused: the others may go.
                Err(_) => sent += 1,
            }
        }
    }
}

fn address_of(from: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = from.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    v4.or_else(|| from.as_sockaddr_in6().map(|v6| SocketAddr::new(v6.ip().into(), v6.port())))
}
