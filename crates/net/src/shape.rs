//! Bandwidth of one link: a token bucket (tbf) where packets leave an interface.
//!
//! What a pod receives is held back at the host's end of its link, what it sends at its own end: both are
//! where the sender waits, so nothing is dropped that need not be. Upstream's bandwidth plugin does the
//! same (containernetworking/plugins, meta/bandwidth), but its default burst of 256 MiB hides any limit.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use crate::route::Ask;

// linux/pkt_sched.h
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const LINKLAYER_ETHERNET: u8 = 1;

/// A tenth of a second goes through at once; never less than some full packets.
const BURST_PER_SECOND: u64 = 10;
const BURST_MIN: u64 = 16 << 10;
const BURST_MAX: u64 = 128 << 20;
/// Packets wait this part of a second at most, beside the burst; then they are dropped.
const WAIT_PER_SECOND: u64 = 40;

/// Lets no more than so many bits a second leave the link.
pub(crate) fn limit(doing: impl Into<String>, link: u32, bits: u64) -> Ask {
    let bytes = (bits / 8).max(1);
    let burst = (bytes / BURST_PER_SECOND).clamp(BURST_MIN, BURST_MAX);
    let queue = bytes / WAIT_PER_SECOND + burst;
    let word = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    // struct tc_tbf_qopt: rate, peak rate (none), bytes that may wait, ticks of the burst, mtu.
    let mut parameters = rate(word(bytes));
    parameters.extend(rate(0));
    for number in [word(queue), 0, 0] {
        parameters.extend(number.to_ne_bytes());
    }
    let option = |kind: u16, value: Vec<u8>| TcOption::Other(DefaultNla::new(kind, value));
    let mut message = TcMessage::with_index(i32::try_from(link).expect("the kernel's indices are positive"));
    message.header.parent = TcHandle::ROOT;
    message.header.handle = TcHandle { major: 1, minor: 0 };
    message.attributes = vec![
        TcAttribute::Kind("tbf".into()),
        TcAttribute::Options(vec![
            option(TCA_TBF_PARMS, parameters),
            option(TCA_TBF_BURST, word(burst).to_ne_bytes().to_vec()),
            option(TCA_TBF_RATE64, bytes.to_ne_bytes().to_vec()),
        ]),
    ];
    Ask::replace(doing, Message::NewQueueDiscipline(message))
}

/// struct tc_ratespec
fn rate(bytes: u32) -> Vec<u8> {
    let mut spec = vec![0, LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
    spec.extend(bytes.to_ne_bytes());
    spec
}
