//! Outputs of containers: watched, pumped to the log, copied to whoever is attached.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::EventFlags;

use super::containers::{Live, key, not_found};
use super::{Answered, Source, Supervisor};
use crate::native::logfile::LogFile;
use crate::native::protocol::{Answer, Refusal};
use crate::native::pump::{self, Left, Take};
use crate::native::sys;
use crate::native::trouble::Trouble;
use crate::spec::ContainerId;

pub struct Output {
    pub fd: OwnedFd,
    /// None once all its writers are gone.
    pub token: Option<u64>,
    pub stream: &'static str,
    pub terminal: bool,
    /// It could not be read.
    trouble: Trouble,
}

/// What may be on its way from a terminal.
const TERMINAL_CAPACITY: usize = 1 << 20;

/// One attached reader.
pub struct Tap {
    pub session: u64,
    pub ends: Vec<TapEnd>,
}

pub struct TapEnd {
    pub stream: &'static str,
    pub fd: OwnedFd,
    pub token: u64,
}

impl Supervisor {
    /// Our end of a pipe of a new or recovered container.
    pub(super) fn add_pipe(&mut self, id: &ContainerId, name: &str, fd: OwnedFd) -> io::Result<()> {
        let stream = match name {
            "stdout" => "stdout",
            "stderr" => "stderr",
            "stdin" => {
                if let Some(live) = self.live(id) {
                    live.stdin = Some(fd);
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.add_output(id, fd, stream, false)
    }

    pub(super) fn add_terminal(&mut self, id: &ContainerId, fd: OwnedFd) -> Result<(), Refusal> {
        // Before the keeper has it: the next supervisor must not hang in it either.
        rustix::io::ioctl_fionbio(&fd, true).map_err(io::Error::from)?;
        self.keep(&key(id), &["terminal"], &[fd.as_fd()])?;
        Ok(self.add_output(id, fd, "stdout", true)?)
    }

    pub(super) fn add_output(
        &mut self,
        id: &ContainerId,
        fd: OwnedFd,
        stream: &'static str,
        terminal: bool,
    ) -> io::Result<()> {
        let Some(number) = self.live(id).map(|live| live.outputs.len()) else { return Ok(()) };
        // By edge: a line without its end stays in the pipe, and must not wake us again and again.
        let flags = EventFlags::IN | EventFlags::ET;
        let token = Some(self.watch(fd.as_fd(), Source::Output(id.clone(), number), flags)?);
        if let Some(live) = self.live(id) {
            live.outputs.push(Output { fd, token, stream, terminal, trouble: Trouble::default() });
        }
        Ok(())
    }

    pub(super) fn live(&mut self, id: &ContainerId) -> Option<&mut Live> {
        self.containers.get_mut(id)?.live.as_mut()
    }

    /// What is left then, and how many bytes were taken.
    pub(super) fn pump_output(&mut self, id: &ContainerId, number: usize, take: Take) -> Option<(Left, usize)> {
        let held = self.containers.get_mut(id)?;
        let (spec, live) = (&held.seen.spec, held.live.as_mut()?);
        let Live { outputs, log, taps, .. } = live;
        if log.is_none() {
            *log = spec.log.as_ref().and_then(|log| LogFile::open(log).ok());
        }
        let output = outputs.get_mut(number).filter(|output| output.token.is_some())?;
        // Who is attached waits for nothing.
        let is_read = taps.iter().flat_map(|tap| &tap.ends).any(|end| end.stream == output.stream);
        let take = if is_read { Take::All } else { take };
        let source = pump::Source { fd: output.fd.as_fd(), terminal: output.terminal, stream: output.stream, take };
        let mut slow = Vec::new();
        let stream = output.stream;
        let mut taken = 0;
        let left = self.pump.drain(source, log.as_mut(), |bytes| {
            taken += bytes.len();
            let ends = taps.iter().flat_map(|tap| tap.ends.iter().map(|end| (tap.session, end)));
            for (session, end) in ends.filter(|(_, end)| end.stream == stream) {
                if rustix::io::write(&end.fd, bytes).ok() != Some(bytes.len()) {
                    slow.push(session);
                }
            }
        });
        if matches!(left, Ok(Left::Ended))
            && let Some(token) = output.token.take()
        {
            self.sources.remove(&token);
            let _ = rustix::event::epoll::delete(&self.epoll, &output.fd);
        }
        let due = log.as_mut().filter(|log| log.rotated);
        let rotated = due.map(|log| {
            log.rotated = false;
            log.spec().path.clone()
        });
        match &left {
            Ok(_) => output.trouble.is_over(),
            Err(error) => output.trouble.say(format_args!("the output of {}: {error}", id.0)),
        }
        // Neither the container nor the log waits for a reader: one that does not keep up is cut off.
        rotated.into_iter().for_each(|path| self.pack(path));
        slow.into_iter().for_each(|session| self.drop_tap(id, session));
        match left {
            Ok(Left::More) => self.again.push_back((id.clone(), number)),
            Ok(Left::Partial | Left::Waiting) => self.later(id, number),
            Ok(Left::Nothing | Left::Ended) => {}
            Err(_) => self.later(id, number),
        }
        left.ok().map(|left| (left, taken))
    }

    /// Looks at it again in a while: to write an unfinished line, or after an error.
    fn later(&mut self, id: &ContainerId, number: usize) {
        if !self.partial.iter().any(|(other, n)| other == id && *n == number) {
            self.partial.push((id.clone(), number));
        }
        self.set_timer();
    }

    pub(super) fn pump_again(&mut self) {
        for _ in 0..self.again.len() {
            if let Some((id, number)) = self.again.pop_front() {
                self.pump_output(&id, number, Take::Lines);
            }
        }
    }

    /// Everything that a container left in its outputs: no more than they hold at once, since another
    /// container of its pod may go on writing to them.
    pub(super) fn pump_rest(&mut self, id: &ContainerId) {
        let capacity = |output: &Output| rustix::pipe::fcntl_getpipe_size(&output.fd).unwrap_or(TERMINAL_CAPACITY);
        let held: Vec<usize> = self.live(id).map_or(Vec::new(), |live| live.outputs.iter().map(capacity).collect());
        for (number, mut rest) in held.into_iter().enumerate() {
            while let Some((Left::More, taken @ 1..)) = self.pump_output(id, number, Take::All) {
                if taken >= rest {
                    break;
                }
                rest -= taken;
            }
        }
    }

    pub(super) fn drop_tap(&mut self, id: &ContainerId, session: u64) {
        let Some(live) = self.live(id) else { return };
        let Some(at) = live.taps.iter().position(|tap| tap.session == session) else { return };
        for end in live.taps.remove(at).ends {
            self.unwatch(end.token, end.fd.as_fd());
        }
    }

    pub(super) fn reopen_log(&mut self, id: &ContainerId) -> Answered {
        let held = self.containers.get_mut(id).ok_or_else(|| not_found(id))?;
        if let Some(log) = held.live.as_mut().and_then(|live| live.log.as_mut()) {
            log.reopen()?;
        }
        Ok(Answer::Done)
    }

    /// Wakes us once: soon for cgroups that are still busy, in a second for unfinished lines.
    pub(super) fn set_timer(&mut self) {
        let pause = match (self.doomed.is_empty(), self.armed) {
            (false, _) => Duration::from_millis(5),
            (true, true) => return,
            (true, false) => Duration::from_secs(1),
        };
        self.armed |= sys::ring_once(&self.timer, pause).is_ok();
    }

    pub(super) fn timer_fired(&mut self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.timer, &mut count);
        self.armed = false;
        for doomed in std::mem::take(&mut self.doomed) {
            self.remove_groups(doomed);
        }
        for (id, number) in std::mem::take(&mut self.partial) {
            self.pump_output(&id, number, Take::Partial);
        }
        // It says so when it fails, and sets the timer again.
        let _ = self.write_whole_journal();
    }
}
