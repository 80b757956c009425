//! A probe without a way to ask succeeds.

use std::time::Duration;

use runtime::engine::Boxed;

use super::{Answer, Target};
use crate::view::Probe;

pub(super) fn probe<'a>(probe: &'a Probe, _: &'a Target<'a>, _: Duration) -> Option<Boxed<'a, Answer>> {
    let asks = probe.exec.is_some() || probe.http_get.is_some() || probe.tcp_socket.is_some() || probe.grpc.is_some();
    (!asks).then(|| -> Boxed<'a, Answer> { Box::pin(std::future::ready(Answer::Success)) })
}
