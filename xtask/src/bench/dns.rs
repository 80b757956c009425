//! Answers of the node's DNS server: as many names of services as one of our cores answers in a second.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

use super::cluster::Cluster;
use super::idle::Cost;
use super::{Figure, Plan};

/// The node's own address in the first part of --cluster-cidr, which a node without other addresses takes.
const SERVER: &str = "10.244.0.1:53";
/// Of one call.
const BATCH: usize = 64;
/// What is asked and not answered yet.
const WINDOW: usize = 4 * BATCH;
const NAME: &[&str] = &["kubernetes", "default", "svc", "cluster", "local"];

pub async fn measure(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    if !plan.wants("dns_per_s") && !plan.wants("dns_one_us") {
        return Ok(Vec::new());
    }
    let (times, span) = (plan.times(5), Duration::from_secs(if plan.quick { 1 } else { 3 }));
    let processes = cluster.processes()?;
    tokio::task::spawn_blocking(move || {
        let (mut rates, mut single) = (Vec::new(), Vec::new());
        let socket = connected()?;
        let mut answer = [0; 512];
        for _ in 0..times * 200 {
            let begun = Instant::now();
            socket.send(&question())?;
            let length = socket.recv(&mut answer).context("asking for one name")?;
            single.push(begun.elapsed().as_secs_f64() * 1e6);
            ensure!(answer[..length].ends_with(&[10, 96, 0, 1]), "the answer is another one");
        }
        for _ in 0..times {
            let before = Cost::of_processes(&processes)?;
            let answered = storm(&socket, span)?;
            let ticks = Cost::of_processes(&processes)?.ticks - before.ticks;
            rates.push(answered as f64 / (ticks.max(1) as f64 / 100.0));
        }
        Ok(vec![Figure::above("dns_per_s", "1/s", 200_000.0, rates), Figure::below("dns_one_us", "us", 100.0, single)])
    })
    .await?
}

fn question() -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in NAME {
        packet.push(label.len() as u8);
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

fn connected() -> Result<UdpSocket> {
    let server: SocketAddrV4 = SERVER.parse()?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(server).with_context(|| format!("reaching {server}"))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket)
}

/// Keeps a window of questions under way; how many were answered.
fn storm(socket: &UdpSocket, span: Duration) -> Result<u64> {
    let (question, mut buffers) = (question(), vec![0; BATCH * 512]);
    let questions: Vec<[IoSlice<'_>; 1]> = (0..BATCH).map(|_| [IoSlice::new(&question)]).collect();
    let to: Vec<Option<SockaddrIn>> = vec![None; BATCH];
    let (mut sending, mut receiving) = (MultiHeaders::preallocate(BATCH, None), MultiHeaders::preallocate(BATCH, None));
    let (begun, mut under_way, mut answered) = (Instant::now(), 0, 0);
    while begun.elapsed() < span {
        while under_way + BATCH <= WINDOW {
            let sent = sendmmsg(socket.as_raw_fd(), &mut sending, &questions, &to, [], MsgFlags::empty())?;
            under_way += sent.count();
        }
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            buffers.chunks_exact_mut(512).map(|part| [IoSliceMut::new(part)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        match recvmmsg::<_, SockaddrIn, _>(socket.as_raw_fd(), &mut receiving, slices.iter_mut(), flags, None) {
            Ok(messages) => {
                let came = messages.count();
                under_way = under_way.saturating_sub(came);
                answered += came as u64;
            }
            // Some were lost: the window is empty.
            Err(Errno::EAGAIN) => under_way = 0,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(answered)
}
