//! Containers: created on the disk, born by a clone, ended by the keeper's word, forgotten on request.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::chores::trash;
use super::sandboxes::{Doomed, Whose};
use super::streams::{Output, Tap};
use super::words::{self, Word};
use super::{Answered, Child, Source, Supervisor, Ticket};
use crate::native::cgroup::devices;
use crate::native::journal::{ContainerRecord, Entry, Process};
use crate::native::logfile::LogFile;
use crate::native::protocol::{Answer, Layers, Refusal, Told};
use crate::native::setup::{self, Birth, Home, Setup, Streams, identity};
use crate::native::sys::{self, Cloned, Ended, Number};
use crate::removal::{self, Mounts};
use crate::spec::{ContainerId, ContainerSpec, Resources, SandboxId, Share};
use crate::state::{Container, Exit, Phase};

pub struct Held {
    pub seen: Container,
    pub sandbox: SandboxId,
    pub layers: Layers,
    /// While a process of it exists.
    pub live: Option<Live>,
}

pub struct Live {
    pub pidfd: OwnedFd,
    pub process: Process,
    /// Until the program runs or failed to.
    pub birth: Option<Pending>,
    pub outputs: Vec<Output>,
    pub stdin: Option<OwnedFd>,
    pub log: Option<LogFile>,
    pub taps: Vec<Tap>,
    pub removing: Vec<Ticket>,
}

/// A set-up that runs.
pub struct Pending {
    pub sync: OwnedFd,
    pub token: u64,
    pub tickets: Vec<Ticket>,
    /// It goes on among others who may speak for it: only its failure is still believed.
    pub moved: bool,
}

impl Held {
    pub fn is_alive(&self) -> bool {
        self.live.is_some()
    }

    /// Alive with its program running.
    pub fn running(&self) -> Result<&Live, Refusal> {
        match &self.live {
            Some(live) if live.birth.is_none() => Ok(live),
            _ => Err(Refusal::NotRunning(format!("container {} is not running", self.seen.id.0))),
        }
    }
}

pub fn key(id: &ContainerId) -> String {
    format!("c/{}", id.0)
}

impl Supervisor {
    pub(super) fn create_container(
        &mut self,
        sandbox: &SandboxId,
        id: &ContainerId,
        spec: ContainerSpec,
        layers: Layers,
    ) -> Answered {
        self.is_staying(id)?;
        if self.containers.contains_key(id) {
            return Ok(Answer::Done);
        }
        self.ready_sandbox(sandbox)?;
        identity::bits(&spec.capabilities).and(identity::bits(&spec.ambient_capabilities)).map_err(Refusal::Failed)?;
        identity::require_ids(&spec.user).map_err(Refusal::Failed)?;
        self.filter_of(&spec)?;
        let upper = self.container_folder(id).join("upper");
        std::fs::create_dir_all(&upper)?;
        std::fs::set_permissions(upper, std::fs::Permissions::from_mode(0o755))?;
        let created_at = sys::now();
        let seen = Container { id: id.clone(), spec, phase: Phase::Created, created_at, pid: None };
        let held = Held { seen, sandbox: sandbox.clone(), layers, live: None };
        let record = held.record();
        self.record(&Entry::Container(id.clone(), Box::new(record)))?;
        self.publish_container(&held);
        self.containers.insert(id.clone(), held);
        Ok(Answer::Done)
    }

    pub(super) fn start_container(&mut self, id: &ContainerId, ticket: Ticket) -> Result<Option<Answer>, Refusal> {
        self.is_staying(id)?;
        let held = self.containers.get_mut(id).ok_or_else(|| not_found(id))?;
        match (&mut held.live, &held.seen.phase) {
            (Some(Live { birth: Some(pending), .. }), _) => {
                pending.tickets.push(ticket);
                return Ok(None);
            }
            (Some(_), _) => return Ok(Some(Answer::Done)),
            (None, Phase::Created) => {}
            // It was started: perhaps the one who asks again has not heard.
            (None, Phase::Exited { exit, .. }) if exit.start_error.is_empty() => return Ok(Some(Answer::Done)),
            (None, Phase::Exited { exit, .. }) => return Err(Refusal::Start(exit.start_error.clone())),
            (None, _) => return Err(Refusal::Failed(format!("how container {} ended is not known", id.0))),
        }
        let sandbox = held.sandbox.clone();
        self.ready_sandbox(&sandbox)?;
        match self.give_birth(id, ticket) {
            Ok(()) => Ok(None),
            Err(refusal) => {
                let text = text_of(refusal);
                self.failed_start(id, text.clone());
                Err(Refusal::Start(text))
            }
        }
    }

    fn ready_sandbox(&self, id: &SandboxId) -> Result<&super::Sandboxed, Refusal> {
        let held = self.sandboxes.get(id).ok_or_else(|| Refusal::NotFound(format!("sandbox {}", id.0)))?;
        if !held.record.ready || held.is_ending() || held.beginning.is_some() {
            return Err(Refusal::NotRunning(format!("sandbox {} is not ready", id.0)));
        }
        Ok(held)
    }

    fn give_birth(&mut self, id: &ContainerId, ticket: Ticket) -> Result<(), Refusal> {
        let path = self.group_of(id);
        let held = &self.containers[id];
        let spec = held.seen.spec.clone();
        fresh_folder(&self.container_folder(id).join("work"))?;
        self.tree.make_container(&path, &spec.resources)?;
        let group = self.tree.open(&path)?;
        if !spec.privileged {
            self.restrict_devices(&path, group.as_ref(), &spec)?;
        }
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(io::Error::from)?;
        words::know_senders(&ours)?;
        let Pipes { streams, theirs: given, ours: pipes } = pipes_for(&spec)?;
        let mut names = vec!["sync"];
        let mut fds = vec![ours.as_fd()];
        for (name, fd) in &pipes {
            names.push(name);
            fds.push(fd.as_fd());
        }
        // Before anything runs: from here on neither output nor outcome depends on this process.
        self.keep(&key(id), &names, &fds)?;
        let log = spec.log.as_ref().map(LogFile::open).transpose()?;
        let (process, pidfd) = self.clone_container(id, &path, group, streams, [&ours, &theirs])?;
        drop((theirs, given));
        self.children.insert(process.pid, Child::Container(id.clone()));
        self.record(&Entry::Born(id.clone(), process))?;
        let shared = self.sandboxes[&self.containers[id].sandbox].record.spec.pid == Share::Sandbox;
        if !shared {
            let _ = rustix::io::write(&ours, setup::GO);
        }
        rustix::io::ioctl_fionbio(&ours, true).map_err(io::Error::from)?;
        let token = self.watch(ours.as_fd(), Source::Birth(id.clone()), EventFlags::IN)?;
        let birth = Some(Pending { sync: ours, token, tickets: vec![ticket], moved: false });
        let (outputs, stdin, taps, removing) = (Vec::new(), None, Vec::new(), Vec::new());
        let live = Live { pidfd, process, birth, outputs, stdin, log, taps, removing };
        let held = self.containers.get_mut(id).expect("looked up above");
        held.seen.pid = Some(process.pid);
        held.live = Some(live);
        for (name, fd) in pipes {
            self.add_pipe(id, name, fd)?;
        }
        Ok(())
    }

    fn clone_container(
        &mut self,
        id: &ContainerId,
        path: &str,
        group: Option<OwnedFd>,
        streams: Streams,
        [ours, theirs]: [&OwnedFd; 2],
    ) -> Result<(Process, OwnedFd), Refusal> {
        let filter = self.filter_of(&self.containers[id].seen.spec.clone())?;
        let held = &self.containers[id];
        let sandbox = &self.sandboxes[&held.sandbox];
        let spec = &held.seen.spec;
        let (beside, proc) = match sandbox.record.spec.pid {
            Share::Private | Share::Host => (None, None),
            Share::Sandbox => {
                let both = sandbox.kept.init.as_ref().zip(sandbox.kept.proc.as_ref());
                let (init, proc) = both.ok_or_else(|| Refusal::Failed("the sandbox's init is gone".into()))?;
                (Some(Number::from(init)), Some(Number::from(proc)))
            }
        };
        let namespaces = sandbox.namespaces();
        let birth = Birth {
            sandbox: Cow::Borrowed(&sandbox.record.spec),
            layers: Cow::Borrowed(&held.layers),
            folder: self.container_folder(id),
            template: Number::from(&self.namespaces.template),
            namespaces: namespaces.iter().map(|(fd, kind)| (Number::from(fd), *kind)).collect(),
            shm: sandbox.kept.shm.as_ref().map(Number::from),
            mqueue: sandbox.kept.mqueue.as_ref().map(Number::from),
            proc,
            views: self.views(path, spec),
        };
        let setup = Setup {
            spec: Cow::Borrowed(spec),
            argv: Cow::Borrowed(&spec.argv),
            place: Home::New(Box::new(birth)),
            beside,
            join: self.tree.join_files(path, &spec.resources),
            filter,
            streams,
            sync: Number::from(theirs),
            null: Number::from(&self.null),
            files: self.files,
        };
        let own_pid = if sandbox.record.spec.pid == Share::Private { libc::CLONE_NEWPID } else { 0 };
        let cloned = sys::clone3((libc::CLONE_PARENT | own_pid) as u64, group.as_ref().map(|g| g.as_fd()));
        if let Ok(Cloned::Child) = cloned {
            // Else the end of the supervisor would not show on our own end.
            sys::close_in_child(ours.as_fd());
            setup::become_program(setup)
        }
        match cloned? {
            Cloned::Child => unreachable!("the child has become the container"),
            Cloned::Parent { pid, pidfd } => {
                let unique = sys::unique_of(pid, pidfd.as_fd())?;
                Ok((Process { pid, unique }, pidfd))
            }
        }
    }

    fn views(&self, path: &str, spec: &ContainerSpec) -> Vec<(String, PathBuf)> {
        let own = self.tree.views(path, &spec.resources);
        if !spec.privileged {
            return own;
        }
        let root = |folder: PathBuf| folder.ancestors().nth(Path::new(path).components().count()).map(Path::to_owned);
        own.into_iter().filter_map(|(name, folder)| Some((name, root(folder)?))).collect()
    }

    fn restrict_devices(&mut self, path: &str, group: Option<&OwnedFd>, spec: &ContainerSpec) -> Result<(), Refusal> {
        let mut rules = devices::default_rules();
        for device in &spec.devices {
            rules.push(devices::rule_of(device)?);
        }
        let Some(group) = group else {
            let root = self.tree.v1.iter().find(|(_, names)| names.iter().any(|name| name == "devices"));
            return root.map_or(Ok(()), |(root, _)| Ok(devices::write_lists(&root.join(path), &rules)?));
        };
        if !self.device_programs.iter().any(|(known, _)| *known == rules) {
            self.device_programs.truncate(15);
            self.device_programs.insert(0, (rules.clone(), devices::load(&rules)?));
        }
        let program = self.device_programs.iter().find(|(known, _)| *known == rules).map(|(_, fd)| fd.as_fd());
        Ok(devices::attach(program.expect("inserted above"), group)?)
    }

    /// The seccomp filter of a container. Most containers share one: it is compiled once.
    pub(super) fn filter_of(&mut self, spec: &ContainerSpec) -> Result<Vec<libc::sock_filter>, Refusal> {
        if spec.privileged {
            return Ok(Vec::new());
        }
        let known = |(seccomp, names, _): &&(_, _, _)| *seccomp == spec.seccomp && *names == spec.capabilities;
        if let Some((_, _, filter)) = self.filters.iter().find(known) {
            return Ok(filter.clone());
        }
        let filter = crate::seccomp::program(&spec.seccomp, &spec.capabilities);
        let filter = filter.map_err(|error| Refusal::Failed(error.to_string()))?;
        self.filters.truncate(7);
        self.filters.insert(0, (spec.seccomp.clone(), spec.capabilities.clone(), filter.clone()));
        Ok(filter)
    }

    /// The keeper is gone, and with it what containers need to outlive this process: they are ended while
    /// somebody can still see how. The kernel keeps a reaped process's status for its pidfd (Linux 6.15).
    pub(super) fn end_all(&mut self) {
        let alive: Vec<ContainerId> =
            self.containers.iter().filter(|(_, held)| held.is_alive()).map(|(id, _)| id.clone()).collect();
        alive.iter().for_each(|id| self.kill_container(id));
        for id in alive {
            let Some(live) = self.containers.get(&id).and_then(|held| held.live.as_ref()) else { continue };
            // Only the hang-up is waited for, which comes with the reaping.
            let mut fds = [PollFd::new(&live.pidfd, PollFlags::empty())];
            let second = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
            let _ = rustix::event::poll(&mut fds, Some(&second));
            if let Ok(Some(ended)) = sys::exit_of(live.pidfd.as_fd())
                && let Err(error) = self.container_ended(&id, ended, sys::now())
            {
                eprintln!("supervisor: the end of {}: {error}", id.0);
            }
        }
    }

    /// Hears a set-up (see `words`). A word stays where it is until what it brought is safe: whoever comes
    /// after a supervisor that is killed here hears it again.
    pub(super) fn hear_birth(&mut self, id: &ContainerId) {
        loop {
            let Some(held) = self.containers.get(id) else { return };
            let Some(Live { birth: Some(pending), process, .. }) = &held.live else { return };
            match words::next(&pending.sync, process.pid, pending.moved, true) {
                Word::Nothing => return,
                Word::Over => return self.born(id),
                Word::Moved(pidfd) => {
                    if let Err(refusal) = self.moved(id, pidfd) {
                        return self.failed_start(id, text_of(refusal));
                    }
                }
                Word::Terminal(fd) if held.seen.spec.tty => {
                    let known = self.live(id).is_some_and(|live| live.outputs.iter().any(|output| output.terminal));
                    if !known && let Err(refusal) = self.add_terminal(id, fd) {
                        eprintln!("supervisor: the terminal of {}: {refusal:?}", id.0);
                    }
                }
                Word::Failed(why) => return self.failed_start(id, why),
                Word::Terminal(_) | Word::Proc(_) | Word::Forged => return self.failed_start(id, words::FORGED.into()),
            }
            if let Some(Live { birth: Some(pending), .. }) = self.live(id) {
                words::taken(&pending.sync);
            }
        }
    }

    fn born(&mut self, id: &ContainerId) {
        let Some(tickets) = self.end_birth(id) else { return };
        let phase = Phase::Running { started_at: sys::now() };
        self.set_phase(id, phase);
        for ticket in tickets {
            self.answer(ticket, Ok(Answer::Done), Vec::new());
        }
    }

    fn failed_start(&mut self, id: &ContainerId, text: String) {
        let exit =
            Exit { code: 128, signal: None, finished_at: sys::now(), oom_killed: false, start_error: text.clone() };
        let path = self.group_of(id);
        if !self.tree.kill(&path) {
            self.tree.kill_each(&path);
        }
        self.set_phase(id, Phase::Exited { started_at: None, exit });
        let tickets = self.end_birth(id).unwrap_or_default();
        let removing = self.let_go(id);
        for ticket in tickets {
            self.answer(ticket, Err(Refusal::Start(text.clone())), Vec::new());
        }
        self.after_end(id, removing);
    }

    fn end_birth(&mut self, id: &ContainerId) -> Option<Vec<Ticket>> {
        let live = self.containers.get_mut(id)?.live.as_mut()?;
        let Pending { sync, token, tickets, .. } = live.birth.take()?;
        self.unwatch(token, sync.as_fd());
        self.unkeep(&key(id), &["sync"]);
        Some(tickets)
    }

    pub(super) fn container_ended(&mut self, id: &ContainerId, ended: Ended, at: i128) -> io::Result<()> {
        self.hear_birth(id);
        // All that it said is read, though its first half may hold the socket for a moment more.
        self.born(id);
        let Some(held) = self.containers.get(id).filter(|held| held.is_alive()) else { return Ok(()) };
        let path = self.group_of(id);
        let own_pid = self.sandboxes.get(&held.sandbox).is_some_and(|s| s.record.spec.pid == Share::Private);
        if !own_pid && !self.tree.kill(&path) {
            self.tree.kill_each(&path);
        }
        let started_at = match held.seen.phase {
            Phase::Running { started_at } => Some(started_at),
            _ => None,
        };
        self.pump_rest(id);
        self.live(id).and_then(|live| live.log.as_mut()).into_iter().for_each(LogFile::finish);
        let oom_killed = self.tree.oom_kills(&path) > 0;
        self.tree.lift_quota(&path);
        let exit = exit_from(ended, at, oom_killed);
        self.end_attaches(id, exit.code);
        // On record before the keeper lets go: without its descriptors the next supervisor could only guess.
        self.set_phase(id, Phase::Exited { started_at, exit });
        let removing = self.let_go(id);
        self.after_end(id, removing);
        Ok(())
    }

    /// Drops all descriptors of a process that ended; returns who waits for its removal.
    pub(super) fn let_go(&mut self, id: &ContainerId) -> Vec<Ticket> {
        self.unkeep(&key(id), &[]);
        let Some(held) = self.containers.get_mut(id) else { return Vec::new() };
        let Some(live) = held.live.take() else { return Vec::new() };
        for output in &live.outputs {
            output.token.into_iter().for_each(|token| self.unwatch(token, output.fd.as_fd()));
        }
        for end in live.taps.iter().flat_map(|tap| &tap.ends) {
            self.unwatch(end.token, end.fd.as_fd());
        }
        self.forget_execs_of(id);
        live.removing
    }

    pub(super) fn after_end(&mut self, id: &ContainerId, removing: Vec<Ticket>) {
        let Some(sandbox) = self.containers.get(id).map(|held| held.sandbox.clone()) else { return };
        if !removing.is_empty() {
            let paths = vec![self.group_of(id)];
            self.remove_groups(Doomed { whose: Whose::Container(id.clone()), paths, tickets: removing, tries: 0 });
        }
        self.look_for_end(&sandbox);
    }

    pub(super) fn set_phase(&mut self, id: &ContainerId, phase: Phase) {
        let Some(held) = self.containers.get_mut(id) else { return };
        if !matches!(phase, Phase::Running { .. }) {
            held.seen.pid = None;
        }
        held.seen.phase = phase.clone();
        self.record_always(&Entry::Phase(id.clone(), phase));
        let held = &self.containers[id];
        let news = Told::Container { sandbox: held.sandbox.clone(), container: Box::new(held.seen.clone()) };
        self.publish(news);
    }

    fn publish_container(&mut self, held: &Held) {
        self.publish(Told::Container { sandbox: held.sandbox.clone(), container: Box::new(held.seen.clone()) });
    }

    /// The whole container, not only its first process.
    pub(super) fn kill_container(&mut self, id: &ContainerId) {
        let path = self.group_of(id);
        let Some(live) = self.containers.get(id).and_then(|held| held.live.as_ref()) else { return };
        if !self.tree.kill(&path) {
            let _ = sys::pidfd_signal(live.pidfd.as_fd(), libc::SIGKILL);
            self.tree.kill_each(&path);
        }
    }

    pub(super) fn remove_container(&mut self, id: &ContainerId, ticket: Ticket) -> Result<Option<Answer>, Refusal> {
        let Some(held) = self.containers.get_mut(id) else { return Ok(Some(Answer::Done)) };
        if let Some(live) = &mut held.live {
            live.removing.push(ticket);
            self.kill_container(id);
        } else {
            self.after_end(id, vec![ticket]);
        }
        Ok(None)
    }

    /// Takes it off every list.
    pub(super) fn forget_container(&mut self, id: &ContainerId) {
        let Some(held) = self.containers.remove(id) else { return };
        self.record_always(&Entry::ContainerGone(id.clone()));
        let trash = trash(&self.folders);
        let moved = std::fs::create_dir_all(&trash)
            .and_then(|()| std::fs::rename(self.container_folder(id), trash.join(&id.0)));
        if let Err(error) = moved {
            eprintln!("supervisor: the folder of {} stays: {error}", id.0);
        }
        self.publish(Told::ContainerGone { sandbox: held.sandbox, id: id.clone() });
    }

    pub(super) fn update_container(&mut self, id: &ContainerId, resources: Resources) -> Answered {
        let path = self.group_of(id);
        let held = self.containers.get_mut(id).ok_or_else(|| not_found(id))?;
        if held.is_alive() {
            self.tree.limit(&path, &resources, true)?;
        }
        held.seen.spec.resources = resources.clone();
        let news = Told::Container { sandbox: held.sandbox.clone(), container: Box::new(held.seen.clone()) };
        self.record(&Entry::ContainerLimits(id.clone(), resources))?;
        self.publish(news);
        Ok(Answer::Done)
    }

    /// The container's cgroup, relative to the root of each hierarchy.
    pub(super) fn group_of(&self, id: &ContainerId) -> String {
        let sandbox = self.containers.get(id).and_then(|held| self.sandboxes.get(&held.sandbox));
        format!("{}/{}", sandbox.map_or("gousse", |sandbox| &sandbox.record.spec.cgroup), id.0)
    }

    pub(super) fn container_folder(&self, id: &ContainerId) -> PathBuf {
        self.folders.data.join("containers").join(&id.0)
    }
}

impl Held {
    pub fn record(&self) -> ContainerRecord {
        ContainerRecord {
            sandbox: self.sandbox.clone(),
            container: Container { pid: None, ..self.seen.clone() },
            layers: self.layers.clone(),
            process: self.live.as_ref().map(|live| live.process),
        }
    }
}

/// Overlay refuses a work folder that a volatile mount has used: a set-up that ended with its supervisor.
fn fresh_folder(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            removal::remove(folder, Mounts::Refused)?;
            std::fs::create_dir(folder)
        }
        other => other,
    }
}

/// The streams of a new container.
struct Pipes {
    streams: Streams,
    /// What the numbers in it stand for, until the container has them.
    theirs: Vec<OwnedFd>,
    /// Our ends, by the names under which the keeper holds them.
    ours: Vec<(&'static str, OwnedFd)>,
}

fn pipes_for(spec: &ContainerSpec) -> Result<Pipes, Refusal> {
    let mut pipes = Pipes { streams: Streams::Terminal { size: None }, theirs: Vec::new(), ours: Vec::new() };
    if spec.tty {
        return Ok(pipes);
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from);
    let ((out_read, out_write), (err_read, err_write)) = (pipe()?, pipe()?);
    let (stdout, stderr) = (Some(Number::from(&out_write)), Some(Number::from(&err_write)));
    pipes.theirs.extend([out_write, err_write]);
    pipes.ours.extend([("stdout", out_read), ("stderr", err_read)]);
    let mut stdin = None;
    if spec.stdin {
        let (read, write) = pipe()?;
        stdin = Some(Number::from(&read));
        pipes.theirs.push(read);
        pipes.ours.push(("stdin", write));
    }
    pipes.streams = Streams::Pipes { stdin, stdout, stderr };
    Ok(pipes)
}

pub fn exit_from(ended: Ended, finished_at: i128, oom_killed: bool) -> Exit {
    let (code, signal) = match ended.by_signal {
        true => (128 + ended.status, Some(ended.status)),
        false => (ended.status, None),
    };
    Exit { code, signal, finished_at, oom_killed, start_error: String::new() }
}

pub fn not_found(id: &ContainerId) -> Refusal {
    Refusal::NotFound(format!("container {}", id.0))
}

fn text_of(refusal: Refusal) -> String {
    match refusal {
        Refusal::NotFound(text)
        | Refusal::NotRunning(text)
        | Refusal::Start(text)
        | Refusal::Failed(text)
        | Refusal::NotKnown(text) => text,
    }
}
