//! The parts of a running instance, put together: server, scheduler, controllers, node.
//!
//! Each part is started here and nowhere else. In one process the parts speak to the server through
//! `Local`: the same routing, authorization and admission as over HTTPS, under an identity that only
//! the server can make.

use std::sync::Arc;

use api::{Clock, Entropy};
use tokio::sync::mpsc;

use kubectl::failure::{Failure, failure};

pub mod dns;
pub mod host_dns;
pub mod ingress;
pub mod join;
mod local;
pub mod node;
pub mod peers;
mod policy;
pub mod proxy;
pub mod serve;
pub mod serving;

pub use local::Local;

/// The wall clock and the system's random source; every part takes them from here.
#[derive(Clone)]
pub struct Seams {
    pub clock: Clock,
    pub entropy: Entropy,
}

impl Seams {
    #[allow(clippy::disallowed_methods, reason = "this is where the seam is filled in production")]
    pub fn real() -> Seams {
        let entropy = |mut buffer: &mut [u8]| {
            while !buffer.is_empty() {
                // Blocks only before the kernel's pool is ready, once after boot.
                let filled = rustix::rand::getrandom(&mut *buffer, rustix::rand::GetRandomFlags::empty());
                let filled = filled.expect("getrandom works on every kernel that we run on");
                buffer = &mut buffer[filled..];
            }
        };
        Seams { clock: Arc::new(jiff::Timestamp::now), entropy: Arc::new(entropy) }
    }
}

/// Told when a part ends that should go on: nothing of an instance is missed in silence.
#[derive(Clone)]
pub struct Alarm(mpsc::Sender<&'static str>);

/// The names of parts that ended.
pub type Ended = mpsc::Receiver<&'static str>;

impl Alarm {
    pub fn new() -> (Alarm, Ended) {
        let (tell, ended) = mpsc::channel(16);
        (Alarm(tell), ended)
    }

    /// Runs a part; its end is told, by a panic too.
    pub fn over<F>(&self, name: &'static str, part: F) -> impl Future<Output = ()> + Send + use<F>
    where
        F: Future<Output = ()> + Send,
    {
        struct Told(&'static str, mpsc::Sender<&'static str>);
        impl Drop for Told {
            fn drop(&mut self) {
                // Full or closed: the end of another part is being acted on.
                let _ = self.1.try_send(self.0);
            }
        }
        let told = Told(name, self.0.clone());
        async move {
            let _told = told;
            part.await;
        }
    }
}

/// What a process says that ends because a part of it did.
pub fn broken(part: &str) -> Failure {
    failure(format!(
        "{part} ended, and the rest with it (the log says why); pods go on, the next start takes them over"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_or_panics_is_missed_by_name() {
        let (alarm, mut ended) = Alarm::new();
        tokio::spawn(alarm.over("the first", async {}));
        assert_eq!(ended.recv().await, Some("the first"));
        let going = tokio::spawn(alarm.over("the second", std::future::pending()));
        tokio::spawn(alarm.over("the third", async { panic!("a bug, as this test wants it") }));
        assert_eq!(ended.recv().await, Some("the third"));
        going.abort();
        assert_eq!(ended.recv().await, Some("the second"));
    }
}
