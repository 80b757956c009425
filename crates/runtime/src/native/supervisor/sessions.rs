//! Exec and attach: streams go straight to the agent, only ends and failures pass through here.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};

use super::containers::{Held, Pending, exit_from, key, not_found};
use super::resumed::Lasting;
use super::streams::{Tap, TapEnd};
use super::words::{self, Word};
use super::{Answered, Child, Source, Supervisor, Ticket};
use crate::capabilities;
use crate::native::journal::Process;
use crate::native::protocol::{Answer, Refusal, Told};
use crate::native::setup::{self, Home, Setup, Streams};
use crate::native::sys::{self, Cloned, Ended, Number};
use crate::spec::{ContainerId, ContainerSpec, ExecSpec, Share};

pub struct Session {
    /// None: the agent that asked is gone.
    pub peer: Option<u64>,
    pub container: ContainerId,
    /// Of an exec.
    pub pid: u32,
    /// An attach that feeds a container which reads its input once.
    pub feeds_once: bool,
    /// Of an exec: until the program runs.
    pub pending: Option<Pending>,
    /// What the agent gets once it does.
    pub fds: Vec<OwnedFd>,
    /// None: an attach.
    pub exec: Option<Lasting>,
}

impl Supervisor {
    pub(super) fn exec(
        &mut self,
        id: &ContainerId,
        spec: ExecSpec,
        name: String,
        ticket: Ticket,
    ) -> Result<Option<Answer>, Refusal> {
        if let Some(number) = self.session_named(id, &name) {
            return self.exec_again(number, ticket);
        }
        let path = self.group_of(id);
        let held = self.containers.get(id).ok_or_else(|| not_found(id))?;
        held.running()?;
        let filter = self.filter_of(&held.seen.spec.clone())?;
        let held = &self.containers[id];
        let live = held.running()?;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)?;
        words::know_senders(&ours)?;
        let (streams, given, fds) = exec_streams(&spec)?;
        let group = self.tree.open(&path)?;
        let beside = self.has_onlookers(held).then(|| Number::from(&live.pidfd));
        // From here on neither output nor outcome depends on this process.
        let mut exec = self.keep_exec(id, &spec, name, beside.is_some(), &ours, &fds)?;
        let setup = Setup {
            spec: Cow::Borrowed(&held.seen.spec),
            argv: Cow::Borrowed(&spec.argv),
            place: Home::Running(Number::from(&live.pidfd)),
            beside,
            join: self.tree.join_files(&path, &held.seen.spec.resources),
            filter,
            streams,
            sync: Number::from(&theirs),
            null: Number::from(&self.null),
            files: self.files,
        };
        if beside.is_none() {
            sys::setns(live.pidfd.as_fd(), libc::CLONE_NEWPID)?;
        }
        let cloned = sys::clone3(libc::CLONE_PARENT as u64, group.as_ref().map(|g| g.as_fd()));
        if let Ok(Cloned::Child) = cloned {
            sys::close_in_child(ours.as_fd());
            setup::become_program(setup)
        }
        let own = self.namespaces.pid.as_fd();
        sys::setns(own, libc::CLONE_NEWPID).expect("a process may return to the namespaces it started in");
        let begun = cloned.and_then(|cloned| {
            let Cloned::Parent { pid, pidfd } = cloned else { unreachable!("the child has become the program") };
            let process = Process { pid, unique: sys::unique_of(pid, pidfd.as_fd())? };
            exec.note(|note| note.process = Some(process))?;
            Ok(process)
        });
        // Not on record, it ends when its socket is closed.
        let process = begun.inspect_err(|_| self.unkeep(&exec.key(id), &[]))?;
        drop((theirs, given));
        if beside.is_none() {
            let _ = rustix::io::write(&ours, setup::GO);
        }
        rustix::io::ioctl_fionbio(&ours, true).map_err(io::Error::from)?;
        let session = self.next + 1;
        let token = self.watch(ours.as_fd(), Source::Entry(session), EventFlags::IN)?;
        self.children.insert(process.pid, Child::Exec(session));
        let pending = Some(Pending { sync: ours, token, tickets: vec![ticket], moved: false });
        let (peer, container, pid) = (Some(ticket.peer), id.clone(), process.pid);
        let held = Session { peer, container, pid, feeds_once: false, pending, fds, exec: Some(exec) };
        self.sessions.insert(session, held);
        Ok(None)
    }

    /// Whether something in the container's PID namespace may look into processes that have more rights
    /// than itself: at a new one, while that is still the host's root. What is privileged may anyway.
    fn has_onlookers(&self, held: &Held) -> bool {
        let traces = |spec: &ContainerSpec| !spec.privileged && capabilities::has(&spec.capabilities, "SYS_PTRACE");
        match self.sandboxes.get(&held.sandbox).map(|sandbox| sandbox.record.spec.pid) {
            Some(Share::Sandbox) => true,
            Some(Share::Host) => false,
            Some(Share::Private) | None => traces(&held.seen.spec),
        }
    }

    /// A word stays where it is until what it brought is safe, as with a container's birth.
    pub(super) fn hear_entry(&mut self, number: u64) {
        loop {
            let Some(session) = self.sessions.get_mut(&number) else { return };
            let (Some(pending), Some(exec)) = (&session.pending, &session.exec) else { return };
            let tty = exec.is.tty;
            match words::next(&pending.sync, session.pid, pending.moved, true) {
                Word::Nothing => return,
                Word::Over => return self.settle(number, Ok(())),
                Word::Terminal(fd) if tty => {
                    let key = exec.key(&session.container);
                    if session.fds.is_empty() && self.keep(&key, &["terminal"], &[fd.as_fd()]).is_ok() {
                        self.sessions.get_mut(&number).expect("looked up above").fds.push(fd);
                    }
                }
                Word::Moved(pidfd) => {
                    let process = self.child_behind(&pidfd);
                    if !self.entry_moved(number, process) {
                        return self.fail_entry(number, "the set-up ended before the program ran".into());
                    }
                }
                Word::Failed(why) => return self.fail_entry(number, why),
                Word::Terminal(_) | Word::Proc(_) | Word::Forged => {
                    self.kill_session(number);
                    return self.fail_entry(number, words::FORGED.into());
                }
            }
            if let Some(Session { pending: Some(pending), .. }) = self.sessions.get(&number) {
                words::taken(&pending.sync);
            }
        }
    }

    fn fail_entry(&mut self, number: u64, why: String) {
        self.settle(number, Err(Refusal::Start(why)));
        self.forget_exec(number);
    }

    /// The set-up goes on inside its PID namespace; only now it may run the program.
    fn entry_moved(&mut self, number: u64, process: Option<Process>) -> bool {
        // Known already, if a supervisor that ended has heard it too.
        let is_free = |process: &Process| match self.children.get(&process.pid) {
            None => true,
            Some(child) => matches!(child, Child::Exec(known) if *known == number),
        };
        let Some(process) = process.filter(is_free) else { return false };
        let Some(session) = self.sessions.get_mut(&number) else { return false };
        let noted =
            session.exec.as_mut().map(|exec| exec.note(|note| (note.process, note.moved) = (Some(process), true)));
        if !matches!(noted, Some(Ok(()))) {
            return false;
        }
        self.children.remove(&session.pid);
        self.children.insert(process.pid, Child::Exec(number));
        session.pid = process.pid;
        if let Some(pending) = &mut session.pending {
            pending.moved = true;
            let _ = rustix::io::write(&pending.sync, setup::GO);
        }
        true
    }

    /// The set-up is over: whoever asked is told, if they are still there.
    pub(super) fn settle(&mut self, number: u64, outcome: Result<(), Refusal>) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let Some(Pending { sync, token, tickets, .. }) = session.pending.take() else { return };
        self.unwatch(token, sync.as_fd());
        self.delivered.push(number);
        // The last who asked: those before have lost their connection.
        let Some(ticket) = tickets.into_iter().rfind(|ticket| self.peers.contains_key(&ticket.peer)) else { return };
        let answer = outcome.and_then(|()| self.hand_over(number, ticket));
        if let Some(answer) = answer.transpose() {
            self.answer(ticket, answer, Vec::new());
        }
    }

    pub(super) fn session_ended(&mut self, number: u64, ended: Ended) {
        self.hear_entry(number);
        // The first half of a set-up may end before its second.
        if self.sessions.get(&number).is_some_and(|session| session.pid != ended.pid) {
            return;
        }
        // All that it said is read, though its first half may hold the socket for a moment more.
        self.settle(number, Ok(()));
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let code = exit_from(ended, 0, false).code;
        // On record before the keeper lets go.
        let noted = session.exec.as_mut().map(|exec| exec.note(|note| note.ended = Some(code)));
        if let Some(Err(error)) = noted {
            eprintln!("supervisor: the end of an exec is not on record: {error}");
        }
        self.tell_end(number);
    }

    /// It leads a session of its own, and so a group that bears its number.
    pub(super) fn kill_session(&self, number: u64) -> Answer {
        let of_it = |(pid, child): (&u32, &Child)| matches!(child, Child::Exec(n) if *n == number).then_some(*pid);
        let pid = self.children.iter().find_map(of_it).and_then(|pid| Pid::from_raw(pid.cast_signed()));
        // Whoever is on the list is not reaped yet: the number is nobody else's.
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        Answer::Done
    }

    pub(super) fn attach(
        &mut self,
        id: &ContainerId,
        [stdin, stdout, stderr]: [bool; 3],
        ticket: Ticket,
    ) -> Result<Option<Answer>, Refusal> {
        let held = self.containers.get(id).ok_or_else(|| not_found(id))?;
        let live = held.running()?;
        let spec = &held.seen.spec;
        let dup = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(io::Error::from);
        let mut fds = Vec::new();
        match live.outputs.iter().find(|output| output.terminal) {
            // Also for its size, where no input is asked for.
            Some(terminal) => fds.push(dup(&terminal.fd)?),
            None if stdin => match &live.stdin {
                Some(pipe) => fds.push(dup(pipe)?),
                None => return Err(Refusal::Failed(format!("container {} has no open stdin", id.0))),
            },
            None => {}
        }
        let feeds_once = stdin && spec.stdin_once && !spec.tty;
        let session = self.next + 1;
        let mut tap = Tap { session, ends: Vec::new() };
        for (stream, _) in [("stdout", stdout), ("stderr", stderr && !spec.tty)].iter().filter(|(_, wanted)| *wanted) {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(io::Error::from)?;
            let _ = rustix::pipe::fcntl_setpipe_size(&write, 1 << 20);
            let token = self.watch(write.as_fd(), Source::Tap(id.clone(), session), EventFlags::empty())?;
            tap.ends.push(TapEnd { stream, fd: write, token });
            fds.push(read);
        }
        self.next += 1;
        if let Some(live) = self.live(id).filter(|_| !tap.ends.is_empty()) {
            live.taps.push(tap);
        }
        let (peer, container) = (Some(ticket.peer), id.clone());
        let held = Session { peer, container, pid: 0, feeds_once, pending: None, fds: Vec::new(), exec: None };
        self.sessions.insert(session, held);
        self.answer(ticket, Ok(Answer::Session { session }), fds);
        Ok(None)
    }

    pub(super) fn end_input(&mut self, number: u64) -> Answered {
        if let Some(session) = self.sessions.get(&number).filter(|session| session.feeds_once) {
            let id = session.container.clone();
            if self.live(&id).is_some_and(|live| live.stdin.take().is_some()) {
                self.unkeep(&key(&id), &["stdin"]);
            }
        }
        Ok(Answer::Done)
    }

    /// The container ended: so do the attaches to it, with its code.
    pub(super) fn end_attaches(&mut self, id: &ContainerId, code: i32) {
        let of_it = |session: &Session| session.exec.is_none() && session.container == *id;
        let numbers: Vec<u64> = self.sessions.iter().filter(|(_, s)| of_it(s)).map(|(number, _)| *number).collect();
        for number in numbers {
            let peer = self.sessions.remove(&number).and_then(|session| session.peer);
            if let Some(peer) = peer {
                self.outbox.push((Some(peer), Told::SessionEnded { session: number, code }, Vec::new()));
            }
        }
    }

    /// Programs go on; attaches end.
    pub(super) fn sessions_of_gone_peer(&mut self, peer: u64) {
        let of_it = |session: &Session| session.peer == Some(peer);
        let numbers: Vec<u64> = self.sessions.iter().filter(|(_, s)| of_it(s)).map(|(number, _)| *number).collect();
        for number in numbers {
            let _ = self.end_input(number);
            let Some(session) = self.sessions.get_mut(&number) else { continue };
            session.peer = None;
            if session.exec.is_none() {
                let id = session.container.clone();
                self.sessions.remove(&number);
                self.drop_tap(&id, number);
            }
        }
    }
}

/// The program's streams, what their numbers stand for, and the agent's ends in the order stdin, stdout,
/// stderr.
fn exec_streams(spec: &ExecSpec) -> io::Result<(Streams, Vec<OwnedFd>, Vec<OwnedFd>)> {
    let (mut given, mut fds) = (Vec::new(), Vec::new());
    if spec.tty {
        return Ok((Streams::Terminal { size: spec.size }, given, fds));
    }
    let mut pipe = |wanted: bool, ours_writes: bool| -> io::Result<Option<Number>> {
        if !wanted {
            return Ok(None);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (ours, theirs) = if ours_writes { (write, read) } else { (read, write) };
        rustix::io::ioctl_fionbio(&ours, true)?;
        fds.push(ours);
        let number = Number::from(&theirs);
        given.push(theirs);
        Ok(Some(number))
    };
    let (stdin, stdout, stderr) = (pipe(spec.stdin, true)?, pipe(spec.stdout, false)?, pipe(spec.stderr, false)?);
    Ok((Streams::Pipes { stdin, stdout, stderr }, given, fds))
}
