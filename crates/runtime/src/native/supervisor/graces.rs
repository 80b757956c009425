//! Signals, and the kill that follows: a container has its grace and no more, whatever its agent does.
//!
//! The agent counts graces, and kills. Should it be held up, it is done here, a second later. An agent
//! that is gone has taken its graces along: the next one gives them whole again.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::time::{TimerfdClockId, TimerfdFlags};

use super::containers::not_found;
use super::{Answered, Supervisor};
use crate::native::protocol::Answer;
use crate::native::sys;
use crate::spec::ContainerId;

/// The agent comes first.
const LATER: Duration = Duration::from_secs(1);

pub struct Graces {
    timer: OwnedFd,
    running: Vec<Grace>,
}

struct Grace {
    id: ContainerId,
    peer: u64,
    over: Instant,
}

impl Graces {
    pub fn new() -> io::Result<Graces> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Graces { timer, running: Vec::new() })
    }

    pub fn timer(&self) -> io::Result<OwnedFd> {
        Ok(rustix::io::fcntl_dupfd_cloexec(&self.timer, 5)?)
    }

    /// For the next of them.
    fn set_timer(&self) {
        let pause = self.running.iter().map(|grace| grace.over).min().map(|over| {
            // Nothing at all would stop the timer.
            over.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
        });
        if let Err(error) = sys::ring_once(&self.timer, pause.unwrap_or_default()) {
            eprintln!("supervisor: graces are counted by the agent alone: {error}");
        }
    }
}

impl Supervisor {
    /// SIGKILL goes to the whole container, and it may be over.
    pub(super) fn signal(&mut self, id: &ContainerId, signal: i32, grace: Option<Duration>, peer: u64) -> Answered {
        let held = self.containers.get(id).ok_or_else(|| not_found(id))?;
        match (&held.live, signal) {
            (None, libc::SIGKILL) => {}
            (_, libc::SIGKILL) => self.kill_container(id),
            _ => sys::pidfd_signal(held.running()?.pidfd.as_fd(), signal)?,
        }
        if let Some(grace) = grace {
            self.graces.running.retain(|grace| grace.id != *id);
            if let Some(over) = Instant::now().checked_add(grace.saturating_add(LATER)) {
                self.graces.running.push(Grace { id: id.clone(), peer, over });
            }
            self.graces.set_timer();
        }
        Ok(Answer::Done)
    }

    pub(super) fn graces_over(&mut self) {
        let _ = rustix::io::read(&self.graces.timer, &mut [0; 8]);
        let now = Instant::now();
        for grace in self.graces.running.extract_if(.., |grace| grace.over <= now).collect::<Vec<_>>() {
            if self.live(&grace.id).is_some() {
                eprintln!("supervisor: {}: its grace is over and nobody killed it: killed", grace.id.0);
                self.kill_container(&grace.id);
            }
        }
        self.graces.set_timer();
    }

    pub(super) fn graces_of_gone_peer(&mut self, peer: u64) {
        self.graces.running.retain(|grace| grace.peer != peer);
        self.graces.set_timer();
    }
}
