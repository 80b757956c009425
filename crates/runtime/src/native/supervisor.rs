//! The supervisor: starts containers, sees their ends, pumps their logs, answers the agent.
//!
//! One thread, one epoll, nothing asynchronous. It keeps nothing that it could not lose: processes have
//! the keeper as parent, descriptors lie with the keeper too, everything else is in the journal. So a
//! start after a crash, after an upgrade and the first start are one path.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::epoll;

use super::cgroup::{self, devices};
use super::journal::{Entry, Journal};
use super::keeper::{SUPERVISOR_KEEPER_FD, SUPERVISOR_LISTENER_FD};
use super::protocol::{Answer, FromKeeper, Refusal, Request, ToKeeper, Told};
use super::pump::{Pump, Take};
use super::{Folders, channel, setup, sys};
use crate::spec::{ContainerId, SandboxId, Seccomp};

/// Trash and older log files.
mod chores;
/// Create, start, end, forget.
mod containers;
/// Signals, and what follows when a grace is over.
mod graces;
/// Inits of shared PID namespaces.
mod inits;
/// Set-ups in two halves.
mod moves;
/// The agents on the socket.
mod peers;
/// What was there before this supervisor.
mod recover;
/// Execs that outlive this process.
mod resumed;
/// Run, stop, remove.
mod sandboxes;
/// Exec and attach.
mod sessions;
/// What runs, or lies there, and is not on record.
mod strays;
/// Outputs on their way to the logs.
mod streams;
/// What set-ups say.
mod words;

use containers::Held;
use peers::Peer;
use sandboxes::Sandboxed;
use sessions::Session;

type Answered = Result<Answer, Refusal>;

/// Who waits for an answer: which peer, and the number it gave its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticket {
    peer: u64,
    number: u64,
}

/// What an epoll token stands for.
#[derive(Clone, Debug)]
enum Source {
    Keeper,
    Listener,
    Peer(u64),
    /// The set-up of a container.
    Birth(ContainerId),
    /// The set-up of an exec.
    Entry(u64),
    /// The init of a sandbox that begins.
    Init(SandboxId),
    /// Output number n of a container.
    Output(ContainerId, usize),
    /// A tap that an attach reads from: closed when its reader is gone.
    Tap(ContainerId, u64),
    Timer,
    /// A grace is over.
    Grace,
}

/// Whose process it is.
#[derive(Clone, Debug)]
enum Child {
    Container(ContainerId),
    Exec(u64),
    Init(SandboxId),
    Sweeper,
    Packer,
}

/// The supervisor's own namespaces and the minimal mount namespace that containers start from.
struct Namespaces {
    ipc: OwnedFd,
    uts: OwnedFd,
    net: OwnedFd,
    pid: OwnedFd,
    template: OwnedFd,
}

pub struct Supervisor {
    folders: Folders,
    tree: cgroup::Tree,
    epoll: OwnedFd,
    keeper: OwnedFd,
    listener: OwnedFd,
    timer: OwnedFd,
    namespaces: Namespaces,
    /// What programs get that have no stream of their own.
    null: setup::host::NullDevice,
    /// See `hang`. Found out once: to let a clone go takes the kernel milliseconds.
    hangs_mounts: bool,
    /// The limit of open files that containers get.
    files: (u64, u64),
    journal: Journal,
    pump: Pump,
    sources: HashMap<u64, Source>,
    next: u64,
    peers: BTreeMap<u64, Peer>,
    sandboxes: BTreeMap<SandboxId, Sandboxed>,
    containers: BTreeMap<ContainerId, Held>,
    sessions: BTreeMap<u64, Session>,
    /// Sessions of which something goes out with the outbox: what the keeper holds of it is let go then.
    delivered: Vec<u64>,
    children: HashMap<u32, Child>,
    /// Device programs that are loaded, by their rules.
    device_programs: Vec<(Vec<devices::Rule>, OwnedFd)>,
    /// Filters that are compiled, by what they were compiled from.
    filters: Vec<(Seccomp, Vec<String>, Vec<libc::sock_filter>)>,
    /// Cgroups that could not be removed yet, and who waits for that.
    doomed: Vec<sandboxes::Doomed>,
    /// Outputs with more to take than fairness allowed.
    again: VecDeque<(ContainerId, usize)>,
    /// Outputs that hold a line without its end.
    partial: Vec<(ContainerId, usize)>,
    chores: chores::Chores,
    graces: graces::Graces,
    /// The timer runs.
    armed: bool,
    /// The journal on the disk lacks something.
    unwritten: bool,
    /// Descriptors that only epoll uses.
    watched: Vec<OwnedFd>,
    /// Answers and news, in order, sent when the journal is on the disk.
    outbox: Vec<(Option<u64>, Told, Vec<OwnedFd>)>,
    /// What was damaged when this supervisor began.
    damage: Vec<String>,
    upgrade: Option<PathBuf>,
    quit: bool,
}

/// Runs until the keeper goes or an upgrade comes.
pub fn run(folders: Folders) -> io::Result<()> {
    let keeper = sys::inherited(SUPERVISOR_KEEPER_FD);
    let listener = sys::inherited(SUPERVISOR_LISTENER_FD);
    let _ = rustix::thread::set_name(c"gousse-superv");
    sys::ignore_signal(libc::SIGPIPE);
    sys::ignore_signal(libc::SIGHUP);
    sys::ignore_signal(libc::SIGINT);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0)?;
    let mut supervisor = recover::start(folders, keeper, listener)?;
    supervisor.serve()?;
    if let Some(program) = supervisor.upgrade.take() {
        return Err(supervisor.become_program(&program));
    }
    Ok(())
}

impl Supervisor {
    fn serve(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(64);
        loop {
            let mut rounds = 0;
            loop {
                // With answers waiting: whatever else has already happened shares their trip to the disk.
                let busy = !self.outbox.is_empty() || !self.again.is_empty();
                let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
                events.clear();
                let buffer = rustix::buffer::spare_capacity(&mut events);
                match epoll::wait(&self.epoll, buffer, if busy { Some(&none) } else { None }) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                for event in &events {
                    let token = event.data.u64();
                    if let Some(source) = self.sources.get(&token).cloned() {
                        self.happened(source, event.flags)?;
                    }
                }
                self.pump_again();
                rounds += 1;
                if events.is_empty() || rounds == 16 || !self.journal.needs_sync() {
                    break;
                }
            }
            self.sync_journal();
            self.send_outbox();
            self.let_delivered_go();
            self.shorten_journal();
            if self.quit {
                return self.tell_keeper(&ToKeeper::Quit, &[]);
            }
            if self.upgrade.is_some() {
                return Ok(());
            }
        }
    }

    fn happened(&mut self, source: Source, flags: epoll::EventFlags) -> io::Result<()> {
        match source {
            Source::Keeper => self.hear_keeper()?,
            Source::Listener => self.accept(),
            Source::Peer(peer) => self.hear_peer(peer, flags),
            Source::Birth(id) => self.hear_birth(&id),
            Source::Entry(session) => self.hear_entry(session),
            Source::Init(id) => self.hear_init(&id),
            Source::Output(id, number) => drop(self.pump_output(&id, number, Take::Lines)),
            Source::Tap(id, session) => self.drop_tap(&id, session),
            Source::Timer => self.timer_fired(),
            Source::Grace => self.graces_over(),
        }
        Ok(())
    }

    fn hear_keeper(&mut self) -> io::Result<()> {
        loop {
            let mut bytes = [0; 16 << 10];
            let mut fds = VecDeque::new();
            match channel::receive(&self.keeper, &mut bytes, &mut fds) {
                // Without the keeper nobody holds what must outlive us: end, and let the agent start both.
                Ok(0) => {
                    self.end_all();
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the keeper is gone"));
                }
                Ok(got) => match serde_json::from_slice(&bytes[..got])? {
                    FromKeeper::Ended { pid, status, by_signal, at } => {
                        self.ended(sys::Ended { pid, status, by_signal }, at)?;
                    }
                    FromKeeper::Kept { .. } | FromKeeper::Ready => {}
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A child ended: record it, then let the keeper reap it.
    fn ended(&mut self, ended: sys::Ended, at: i128) -> io::Result<()> {
        match self.children.remove(&ended.pid) {
            Some(Child::Container(id)) => {
                self.hear_birth(&id);
                if !self.has_moved(&id, ended.pid) {
                    self.container_ended(&id, ended, at)?;
                }
            }
            Some(Child::Exec(session)) => self.session_ended(session, ended),
            Some(Child::Init(id)) => self.init_ended(&id)?,
            Some(Child::Sweeper) => self.swept(),
            Some(Child::Packer) => self.packed(),
            // A set-up that failed, or what a container in the host's PID namespace left behind.
            None => {}
        }
        self.tell_keeper(&ToKeeper::Reap { pid: ended.pid }, &[])
    }

    fn tell_keeper(&self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message).expect("messages hold nothing that JSON cannot");
        loop {
            match channel::send(&self.keeper, &bytes, fds) {
                Ok(_) => return Ok(()),
                // The keeper reads all the time; this is shorter than any other way to wait.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [rustix::event::PollFd::new(&self.keeper, rustix::event::PollFlags::OUT)];
                    rustix::event::poll(&mut fds, None)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn keep(&self, key: &str, names: &[&str], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.tell_keeper(&ToKeeper::Keep { key: key.to_owned(), names }, fds)
    }

    fn unkeep(&self, key: &str, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        if let Err(error) = self.tell_keeper(&ToKeeper::Drop { key: key.to_owned(), names }, &[]) {
            eprintln!("supervisor: the keeper does not hear: {error}");
        }
    }

    /// Does what an agent asks, or begins to; the answer goes out at the end of this round or later.
    fn asked(&mut self, ticket: Ticket, request: Request) {
        let answer = match request {
            Request::RunSandbox { id, spec } => self.run_sandbox(&id, spec, ticket),
            Request::StopSandbox { id } => self.stop_sandbox(&id, ticket),
            Request::RemoveSandbox { id } => self.remove_sandbox(&id, ticket),
            Request::CreateContainer { sandbox, id, spec, layers } => {
                self.create_container(&sandbox, &id, *spec, layers).map(Some)
            }
            Request::StartContainer { id } => self.start_container(&id, ticket),
            Request::Signal { id, signal, grace } => self.signal(&id, signal, grace, ticket.peer).map(Some),
            Request::RemoveContainer { id } => self.remove_container(&id, ticket),
            Request::UpdateContainer { id, resources } => self.update_container(&id, resources).map(Some),
            Request::UpdateSandbox { id, resources } => self.update_sandbox(&id, resources).map(Some),
            Request::Resume { sessions, asked } => self.resume(&sessions, &asked, ticket),
            Request::Exec { id, spec, name } => self.exec(&id, spec, name, ticket),
            Request::Attach { id, stdin, stdout, stderr } => self.attach(&id, [stdin, stdout, stderr], ticket),
            Request::KillSession { session } => Ok(Some(self.kill_session(session))),
            Request::EndInput { session } => self.end_input(session).map(Some),
            Request::ReopenLog { id } => self.reopen_log(&id).map(Some),
            Request::Sockets { id } => self.sockets(&id, ticket),
            Request::Ping => Ok(Some(Answer::Done)),
            Request::Upgrade { program } => self.prepare_upgrade(program).map(Some),
            Request::Quit => self.prepare_quit(ticket),
        };
        if let Some(answer) = answer.transpose() {
            self.answer(ticket, answer, Vec::new());
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Answered, fds: Vec<OwnedFd>) {
        self.outbox.push((Some(ticket.peer), Told::Answer { number: ticket.number, answer }, fds));
    }

    fn publish(&mut self, news: Told) {
        self.outbox.push((None, news, Vec::new()));
    }

    fn record(&mut self, entry: &Entry) -> Result<(), Refusal> {
        // What the journal lacks belongs before this.
        let written = self.write_whole_journal().and_then(|()| self.journal.write(entry));
        written.map_err(|error| Refusal::Failed(format!("writing the runtime's journal: {error}")))
    }

    fn watch(&mut self, fd: BorrowedFd<'_>, source: Source, flags: epoll::EventFlags) -> io::Result<u64> {
        self.next += 1;
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(self.next), flags)?;
        self.sources.insert(self.next, source);
        Ok(self.next)
    }

    fn unwatch(&mut self, token: u64, fd: BorrowedFd<'_>) {
        self.sources.remove(&token);
        let _ = epoll::delete(&self.epoll, fd);
    }

    fn prepare_upgrade(&mut self, program: PathBuf) -> Answered {
        if !program.is_file() {
            return Err(Refusal::Failed(format!("{} is not a program", program.display())));
        }
        self.tell_keeper(&ToKeeper::Program { path: program.clone() }, &[])?;
        self.upgrade = Some(program);
        Ok(Answer::Done)
    }

    fn prepare_quit(&mut self, ticket: Ticket) -> Result<Option<Answer>, Refusal> {
        if self.containers.values().any(Held::is_alive) {
            return Err(Refusal::Failed("containers are running".into()));
        }
        let processes = [std::process::id(), std::os::unix::process::parent_id()].map(sys::pidfd_open);
        self.answer(ticket, Ok(Answer::Done), processes.into_iter().collect::<io::Result<_>>()?);
        self.end_chores();
        self.quit = true;
        Ok(None)
    }

    /// The same process goes on as another program; children, socket and keeper stay.
    fn become_program(&self, program: &std::path::Path) -> io::Error {
        let program = match super::keeper::read_only(program) {
            Ok(program) => program,
            Err(error) => return error,
        };
        for (fd, number) in [(&self.keeper, SUPERVISOR_KEEPER_FD), (&self.listener, SUPERVISOR_LISTENER_FD)] {
            if let Err(error) = sys::dup_to(fd.as_fd(), number) {
                return error;
            }
        }
        sys::execve_fd(program.as_fd(), &super::keeper::supervisor_argv(&self.folders), &super::keeper::environment())
    }
}
