//! Execs that outlive this process: what the keeper has of each, and what its successor makes of it.
//!
//! The keeper has each exec's set-up socket and streams until the agent has them, and a note in memory of
//! who it is and how it ended. So an exec that is asked for again by its name is never begun twice, and its
//! exit code is known to whoever asks. Under a name of the caller's own it is remembered as long as its
//! container lives, else until somebody was told of its end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::event::epoll::EventFlags;
use serde::{Deserialize, Serialize};

use super::containers::{Held, Pending};
use super::recover::{find, is_keepers};
use super::sessions::Session;
use super::{Child, Source, Supervisor, Ticket, words};
use crate::native::journal::Process;
use crate::native::protocol::{Answer, Refusal, Told};
use crate::native::setup;
use crate::spec::{ContainerId, ExecSpec};

/// What is remembered of one exec.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    container: ContainerId,
    pub name: String,
    /// The name is the caller's own.
    lasts: bool,
    /// None: not cloned yet.
    pub process: Option<Process>,
    pub tty: bool,
    /// Streams go to the agent, once.
    streams: bool,
    /// The set-up goes on as another process (see `moves`); and it has.
    beside: bool,
    pub moved: bool,
    /// Its exit code.
    pub ended: Option<i32>,
}

/// An exec's note, here and with the keeper.
pub struct Lasting {
    pub is: Note,
    file: std::fs::File,
    handed_over: bool,
    /// The agent that asked does not ask any more.
    forsaken: bool,
    told: bool,
}

/// Under which names the keeper holds streams, in the order in which an agent gets them.
const STREAMS: [&str; 4] = ["stdin", "stdout", "stderr", "terminal"];

impl Lasting {
    pub fn key(&self, container: &ContainerId) -> String {
        format!("e/{}/{}", container.0, self.is.name)
    }

    /// Changes the note. It is one write of less than a page: whole, or not there.
    pub fn note(&mut self, change: impl FnOnce(&mut Note)) -> io::Result<()> {
        change(&mut self.is);
        let mut bytes = serde_json::to_vec(&self.is).expect("a note holds nothing that JSON cannot");
        bytes.push(b'\n');
        self.file.write_all_at(&bytes, 0)
    }
}

/// Longest name of a session: a note stays below a page.
const NAME_MAX: usize = 512;

impl Supervisor {
    pub(super) fn keep_exec(
        &self,
        id: &ContainerId,
        spec: &ExecSpec,
        name: String,
        beside: bool,
        sync: &OwnedFd,
        fds: &[OwnedFd],
    ) -> Result<Lasting, Refusal> {
        if name.len() > NAME_MAX {
            return Err(Refusal::Failed(format!("the name of an exec has more than {NAME_MAX} bytes")));
        }
        // An agent of an older version names none.
        let name = if name.is_empty() { format!("#{}", self.next + 1) } else { name };
        let ExecSpec { tty, stdin, stdout, stderr, .. } = *spec;
        let note = Note {
            container: id.clone(),
            name,
            lasts: !spec.name.is_empty(),
            process: None,
            tty,
            streams: tty || stdin || stdout || stderr,
            beside,
            moved: false,
            ended: None,
        };
        let file = rustix::fs::memfd_create("gousse-exec", rustix::fs::MemfdFlags::CLOEXEC).map_err(io::Error::from)?;
        let mut exec = Lasting { is: note, file: file.into(), handed_over: false, forsaken: false, told: false };
        exec.note(|_| {})?;
        let streams = STREAMS.into_iter().zip([stdin, stdout, stderr]).filter(|(_, wanted)| *wanted && !tty);
        let names: Vec<&str> = ["note", "sync"].into_iter().chain(streams.map(|(name, _)| name)).collect();
        let all: Vec<_> =
            [exec.file.as_fd(), sync.as_fd()].into_iter().chain(fds.iter().map(|fd| fd.as_fd())).collect();
        self.keep(&exec.key(id), &names, &all)?;
        Ok(exec)
    }

    pub(super) fn session_named(&self, id: &ContainerId, name: &str) -> Option<u64> {
        let is_it = |session: &Session| {
            session.container == *id && session.exec.as_ref().is_some_and(|exec| exec.is.name == name)
        };
        self.sessions.iter().find(|(_, session)| is_it(session)).map(|(number, _)| *number)
    }

    /// An exec that is there already: begun, running or ended.
    pub(super) fn exec_again(&mut self, number: u64, ticket: Ticket) -> Result<Option<Answer>, Refusal> {
        if let Some(Session { pending: Some(pending), .. }) = self.sessions.get_mut(&number) {
            pending.tickets.push(ticket);
            return Ok(None);
        }
        self.hand_over(number, ticket)
    }

    /// Answers with the streams, if the session has any, and with its end, if it has ended.
    pub(super) fn hand_over(&mut self, number: u64, ticket: Ticket) -> Result<Option<Answer>, Refusal> {
        let gone = || Refusal::NotKnown("the exec's output went to a connection that was lost".into());
        let session = self.sessions.get_mut(&number).ok_or_else(gone)?;
        let exec = session.exec.as_mut().ok_or_else(gone)?;
        if exec.is.streams && exec.handed_over {
            return Err(gone());
        }
        (exec.handed_over, exec.forsaken, exec.told) = (true, false, false);
        session.peer = Some(ticket.peer);
        let fds = std::mem::take(&mut session.fds);
        self.answer(ticket, Ok(Answer::Session { session: number }), fds);
        self.tell_end(number);
        Ok(None)
    }

    /// Tells the agent, if it is there, that an exec has ended, if it has.
    pub(super) fn tell_end(&mut self, number: u64) {
        self.delivered.push(number);
        let Some(Session { peer, exec: Some(exec), .. }) = self.sessions.get_mut(&number) else { return };
        if let (Some(peer), Some(code), true, false) = (*peer, exec.is.ended, exec.handed_over, exec.told) {
            exec.told = true;
            self.outbox.push((Some(peer), Told::SessionEnded { session: number, code }, Vec::new()));
        }
    }

    /// What went out with the outbox need not be held any more.
    pub(super) fn let_delivered_go(&mut self) {
        let delivered: BTreeSet<u64> = std::mem::take(&mut self.delivered).into_iter().collect();
        for number in delivered {
            let Some(Session { container, exec: Some(exec), pending, .. }) = self.sessions.get(&number) else {
                continue;
            };
            let ended = exec.is.ended.is_some();
            let lives = exec.is.lasts && self.containers.get(container).is_some_and(Held::is_alive);
            if ended && !lives && (exec.told || exec.forsaken || exec.is.lasts) {
                self.forget_exec(number);
            } else if pending.is_none() {
                let streams = STREAMS.into_iter().filter(|_| exec.handed_over && exec.is.streams);
                let names: Vec<&str> = ["sync"].into_iter().chain(streams).collect();
                self.unkeep(&exec.key(container), &names);
            }
        }
    }

    pub(super) fn forget_exec(&mut self, number: u64) {
        if let Some(Session { container, exec: Some(exec), .. }) = self.sessions.remove(&number) {
            self.unkeep(&exec.key(&container), &[]);
        }
    }

    /// Its container has ended: nobody asks for its named execs any more. Those that run end with it.
    pub(super) fn forget_execs_of(&mut self, id: &ContainerId) {
        let is_over = |exec: &Lasting| exec.is.lasts && exec.is.ended.is_some();
        let of_it = |session: &Session| session.container == *id && session.exec.as_ref().is_some_and(is_over);
        let numbers: Vec<u64> = self.sessions.iter().filter(|(_, s)| of_it(s)).map(|(number, _)| *number).collect();
        self.delivered.extend(numbers);
    }

    /// An agent is back, or a new one has come.
    pub(super) fn resume(
        &mut self,
        sessions: &[(ContainerId, String)],
        asked: &[(ContainerId, String)],
        ticket: Ticket,
    ) -> Result<Option<Answer>, Refusal> {
        let numbers: Vec<Option<u64>> = sessions.iter().map(|(id, name)| self.session_named(id, name)).collect();
        self.answer(ticket, Ok(Answer::Sessions { sessions: numbers.clone() }), Vec::new());
        for number in numbers.into_iter().flatten() {
            let Some(session) = self.sessions.get_mut(&number) else { continue };
            // It has them, though the one before this supervisor had no time to note that.
            (session.peer, session.fds) = (Some(ticket.peer), Vec::new());
            if let Some(exec) = &mut session.exec {
                (exec.handed_over, exec.told) = (true, false);
            }
            self.tell_end(number);
        }
        let waits = |container: &ContainerId, name: &str| asked.iter().any(|(id, n)| id == container && n == name);
        for (number, session) in &mut self.sessions {
            if let Session { peer: None, container, exec: Some(exec), .. } = session
                && !exec.is.lasts
                && !waits(container, &exec.is.name)
            {
                exec.forsaken = true;
                self.delivered.push(*number);
            }
        }
        Ok(None)
    }

    /// What the keeper holds of an exec that a supervisor before this one began.
    pub(super) fn adopt_exec(&mut self, key: &str, lent: BTreeMap<String, OwnedFd>) {
        if let Err(error) = self.adopt_noted(lent) {
            eprintln!("supervisor: an exec cannot be taken over: {error}");
        } else if self.sessions.values().any(|s| s.exec.as_ref().is_some_and(|e| e.key(&s.container) == key)) {
            return;
        }
        self.unkeep(key, &[]);
    }

    fn adopt_noted(&mut self, mut lent: BTreeMap<String, OwnedFd>) -> io::Result<()> {
        let Some(file) = lent.remove("note").map(std::fs::File::from) else { return Ok(()) };
        let mut text = vec![0; 4 << 10];
        let got = file.read_at(&mut text, 0)?;
        let line = text[..got].split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is: Note = serde_json::from_slice(line)?;
        if !self.containers.get(&is.container).is_some_and(Held::is_alive) && is.ended.is_none() {
            return Ok(());
        }
        // Never cloned, or not recorded: then it ends when the socket closes.
        let Some(process) = is.process else { return Ok(()) };
        let sync = lent.remove("sync");
        let fds: Vec<OwnedFd> = STREAMS.into_iter().filter_map(|name| lent.remove(name)).collect();
        let handed_over = fds.is_empty() && (sync.is_none() || is.ended.is_some());
        let container = is.container.clone();
        let mut exec = Lasting { is, file, handed_over, forsaken: false, told: false };
        let running = exec.is.ended.is_none();
        let process = match &sync {
            Some(sync) if running => self.exec_moved_meanwhile(&mut exec, sync, process)?,
            _ => process,
        };
        if running && (find(process).is_none() || !is_keepers(process)) {
            return Ok(());
        }
        self.next += 1;
        let number = self.next;
        let mut pending = None;
        if let Some(sync) = sync.filter(|_| running) {
            if !exec.is.beside || exec.is.moved {
                let _ = rustix::io::write(&sync, setup::GO);
            }
            words::know_senders(&sync)?;
            rustix::io::ioctl_fionbio(&sync, true)?;
            let token = self.watch(sync.as_fd(), Source::Entry(number), EventFlags::IN)?;
            pending = Some(Pending { sync, token, tickets: Vec::new(), moved: exec.is.moved });
        }
        if running {
            self.children.insert(process.pid, Child::Exec(number));
        }
        let session =
            Session { peer: None, container, pid: process.pid, feeds_once: false, pending, fds, exec: Some(exec) };
        self.sessions.insert(number, session);
        Ok(())
    }

    /// As with a container: the word of a set-up that went on as another process may still lie there.
    fn exec_moved_meanwhile(&self, exec: &mut Lasting, sync: &OwnedFd, recorded: Process) -> io::Result<Process> {
        let Some((pidfd, sender)) = words::moved(sync) else { return Ok(recorded) };
        match self.child_behind(&pidfd) {
            Some(process) if process.pid == recorded.pid || sender == Some(recorded.pid) => {
                exec.note(|note| (note.process, note.moved) = (Some(process), true))?;
                words::taken(sync);
                Ok(process)
            }
            _ => Ok(recorded),
        }
    }
}
