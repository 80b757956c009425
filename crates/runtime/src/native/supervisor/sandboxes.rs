//! Sandboxes: namespaces and shared mounts made without a process, kept by descriptor.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::inits::Beginning;
use super::{Answered, Child, Supervisor, Ticket};
use crate::native::journal::{Entry, SandboxRecord};
use crate::native::protocol::{Answer, Refusal, Told};
use crate::native::setup::root;
use crate::native::sys;
use crate::spec::{ContainerId, Network, Resources, SandboxId, SandboxSpec, Share};
use crate::state::Sandbox;

pub struct Sandboxed {
    pub record: SandboxRecord,
    /// What the keeper holds too; all None where nothing is shared, or once stopped.
    pub kept: Kept,
    /// Until the init of its PID namespace has begun.
    pub beginning: Option<Beginning>,
    /// Who waits for its end.
    pub stopping: Vec<Ticket>,
    pub removing: Vec<Ticket>,
}

#[derive(Default)]
pub struct Kept {
    pub ipc: Option<OwnedFd>,
    pub uts: Option<OwnedFd>,
    pub net: Option<OwnedFd>,
    pub shm: Option<OwnedFd>,
    pub mqueue: Option<OwnedFd>,
    /// Of the PID namespace, where it is shared.
    pub proc: Option<OwnedFd>,
    /// Of the init, where the PID namespace is shared.
    pub init: Option<OwnedFd>,
}

/// Mounts of a sandbox, by the name that keeper and run folder know them under.
const SHM: &str = "shm";
pub const PROC: &str = "proc";

/// Cgroups that go, and who is forgotten when they are gone.
pub struct Doomed {
    pub whose: Whose,
    pub paths: Vec<String>,
    pub tickets: Vec<Ticket>,
    pub tries: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Whose {
    Sandbox(SandboxId),
    Container(ContainerId),
}

impl Sandboxed {
    pub fn of(record: SandboxRecord, kept: Kept) -> Sandboxed {
        Sandboxed { record, kept, beginning: None, stopping: Vec::new(), removing: Vec::new() }
    }

    /// As an agent lists it, without its containers.
    pub fn seen(&self, id: &SandboxId) -> Sandbox {
        let SandboxRecord { spec, created_at, ready, .. } = self.record.clone();
        Sandbox { id: id.clone(), spec, ready, created_at, containers: Vec::new(), addresses: Vec::new() }
    }

    pub fn is_ending(&self) -> bool {
        !self.stopping.is_empty() || !self.removing.is_empty()
    }

    /// The namespaces that its containers join, with their kinds.
    pub fn namespaces(&self) -> Vec<(BorrowedFd<'_>, i32)> {
        let kinds = [
            (&self.kept.ipc, libc::CLONE_NEWIPC),
            (&self.kept.uts, libc::CLONE_NEWUTS),
            (&self.kept.net, libc::CLONE_NEWNET),
        ];
        kinds.into_iter().filter_map(|(fd, kind)| Some((fd.as_ref()?.as_fd(), kind))).collect()
    }
}

pub fn key(id: &SandboxId) -> String {
    format!("s/{}", id.0)
}

impl Supervisor {
    pub(super) fn run_sandbox(
        &mut self,
        id: &SandboxId,
        spec: SandboxSpec,
        ticket: Ticket,
    ) -> Result<Option<Answer>, Refusal> {
        if let Some(held) = self.sandboxes.get_mut(id) {
            return match (held.record.ready && !held.is_ending(), &mut held.beginning) {
                (true, Some(beginning)) => {
                    beginning.tickets.push(ticket);
                    Ok(None)
                }
                (true, None) => Ok(Some(Answer::Done)),
                (false, _) => Err(Refusal::Failed(format!("sandbox {} has been stopped", id.0))),
            };
        }
        if spec.user_namespace.is_some() {
            return Err(Refusal::Failed("user namespaces (hostUsers: false) are not supported by this runtime".into()));
        }
        if spec.network == Network::Own {
            return Err(Refusal::Failed("this runtime makes no networks".into()));
        }
        let mut spec = spec;
        if spec.cgroup.is_empty() {
            spec.cgroup = format!("{}/{}", self.folders.cgroup, id.0);
        }
        spec.cgroup = spec.cgroup.trim_matches('/').to_owned();
        if Path::new(&spec.cgroup).components().any(|part| part == std::path::Component::ParentDir) {
            return Err(Refusal::Failed(format!("cgroup path {:?} is not plain", spec.cgroup)));
        }
        // What an attempt before this one left is used again.
        self.doomed.retain(|doomed| doomed.whose != Whose::Sandbox(id.clone()) || !doomed.tickets.is_empty());
        let record = SandboxRecord { spec, created_at: sys::now(), ready: true, init: None };
        let mut held = Sandboxed::of(record, Kept::default());
        if let Err(refusal) = self.make_sandbox(id, &mut held, ticket) {
            self.unmake_sandbox(id, held);
            return Err(refusal);
        }
        let answer = if held.beginning.is_none() { Some(Answer::Done) } else { None };
        if answer.is_some() {
            self.publish(Told::Sandbox { sandbox: Box::new(held.seen(id)) });
        }
        self.sandboxes.insert(id.clone(), held);
        Ok(answer)
    }

    fn make_sandbox(&mut self, id: &SandboxId, held: &mut Sandboxed, ticket: Ticket) -> Result<(), Refusal> {
        let spec = &held.record.spec;
        self.tree.make_pod(&spec.cgroup, &spec.resources)?;
        held.kept = self.make_namespaces(spec)?;
        self.keep_sandbox(id, &held.kept)?;
        if let Some(shm) = &held.kept.shm {
            self.hang(id, SHM, shm)?;
        }
        self.record(&Entry::Sandbox(id.clone(), Box::new(held.record.clone())))?;
        if held.record.spec.pid == Share::Sandbox {
            self.begin_init(id, held, ticket)?;
        }
        Ok(())
    }

    /// Takes back as much as was made.
    pub(super) fn unmake_sandbox(&mut self, id: &SandboxId, held: Sandboxed) {
        if let Some(init) = &held.kept.init {
            let _ = sys::pidfd_signal(init.as_fd(), libc::SIGKILL);
        }
        // Its end is not that of the next attempt's.
        self.children.retain(|_, child| !matches!(child, Child::Init(other) if other == id));
        self.unkeep(&key(id), &[]);
        self.take_all_down(id);
        self.record_always(&Entry::SandboxGone(id.clone()));
        let path = &held.record.spec.cgroup;
        let paths = vec![format!("{path}/{}", id.0), path.clone()];
        let Sandboxed { stopping, removing: tickets, .. } = held;
        stopping.into_iter().for_each(|ticket| self.answer(ticket, Ok(Answer::Done), Vec::new()));
        self.remove_groups(Doomed { whose: Whose::Sandbox(id.clone()), paths, tickets, tries: 0 });
    }

    /// Makes them in this very process and comes back: no fork, no pause process.
    fn make_namespaces(&self, spec: &SandboxSpec) -> Result<Kept, Refusal> {
        let mut kept = Kept::default();
        if let Network::Namespace(path) = &spec.network {
            let file = std::fs::File::open(path);
            let file =
                file.map_err(|error| Refusal::Failed(format!("network namespace {}: {error}", path.display())))?;
            kept.net = Some(file.into());
        }
        let own_ipc = spec.ipc != Share::Host;
        let own_uts = spec.network != Network::Host;
        let kinds = if own_ipc { libc::CLONE_NEWIPC } else { 0 } | if own_uts { libc::CLONE_NEWUTS } else { 0 };
        if kinds == 0 && spec.sysctls.is_empty() {
            return Ok(kept);
        }
        sys::unshare(kinds)?;
        let inside = self.fill_namespaces(spec, &mut kept);
        let back = [
            (&self.namespaces.ipc, libc::CLONE_NEWIPC),
            (&self.namespaces.uts, libc::CLONE_NEWUTS),
            (&self.namespaces.net, libc::CLONE_NEWNET),
        ];
        for (fd, kind) in back {
            sys::setns(fd.as_fd(), kind).expect("a process may return to the namespaces it started in");
        }
        inside.map(|()| kept)
    }

    fn fill_namespaces(&self, spec: &SandboxSpec, kept: &mut Kept) -> Result<(), Refusal> {
        use rustix::mount::MountAttrFlags as Attributes;
        let locked = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV | Attributes::MOUNT_ATTR_NOEXEC;
        let open = |name: &str| std::fs::File::open(format!("/proc/self/ns/{name}")).map(OwnedFd::from);
        if spec.ipc != Share::Host {
            kept.ipc = Some(open("ipc")?);
            let size = if spec.shm_size == 0 { 64 << 20 } else { spec.shm_size }.to_string();
            kept.shm = Some(root::fresh("tmpfs", &[("mode", "1777"), ("size", &size)], locked)?);
            kept.mqueue = Some(root::fresh("mqueue", &[], locked)?);
        }
        if spec.network != Network::Host {
            kept.uts = Some(open("uts")?);
            rustix::system::sethostname(spec.hostname.as_bytes()).map_err(io::Error::from)?;
        }
        let (net, other): (BTreeMap<_, _>, BTreeMap<_, _>) =
            spec.sysctls.iter().partition(|(name, _)| name.replace('/', ".").starts_with("net."));
        set_sysctls(&other)?;
        if !net.is_empty() {
            let Some(fd) = &kept.net else {
                return Err(Refusal::Failed("net sysctls need a network namespace of the sandbox's own".into()));
            };
            sys::setns(fd.as_fd(), libc::CLONE_NEWNET)?;
            set_sysctls(&net)?;
        }
        Ok(())
    }

    fn keep_sandbox(&self, id: &SandboxId, kept: &Kept) -> Result<(), Refusal> {
        let all =
            [("ipc", &kept.ipc), ("uts", &kept.uts), ("net", &kept.net), (SHM, &kept.shm), ("mqueue", &kept.mqueue)];
        let some: Vec<_> = all.iter().filter_map(|(name, fd)| Some((*name, fd.as_ref()?.as_fd()))).collect();
        let (names, fds): (Vec<_>, Vec<_>) = some.into_iter().unzip();
        Ok(self.keep(&key(id), &names, &fds)?)
    }

    /// Kernels before 6.15 clone no mount that hangs nowhere: there the sandbox's /dev/shm and its shared
    /// /proc get a place of their own until the sandbox is lost.
    pub(super) fn hang(&self, id: &SandboxId, what: &str, mount: &OwnedFd) -> io::Result<()> {
        if !self.hangs_mounts {
            return Ok(());
        }
        // A supervisor that was killed before it recorded the sandbox has hung one there already.
        self.take_down(id, what);
        let place = self.place_of(id, what);
        std::fs::create_dir_all(&place)?;
        let flags = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        Ok(rustix::mount::move_mount(mount, "", rustix::fs::CWD, &place, flags)?)
    }

    fn place_of(&self, id: &SandboxId, what: &str) -> PathBuf {
        self.folders.run.join(what).join(&id.0)
    }

    fn take_down(&self, id: &SandboxId, what: &str) {
        let place = self.place_of(id, what);
        if place.exists() {
            while rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH).is_ok() {}
            let _ = std::fs::remove_dir(&place);
        }
    }

    fn take_all_down(&self, id: &SandboxId) {
        [SHM, PROC].iter().for_each(|what| self.take_down(id, what));
    }

    /// What hangs there for a sandbox that is not on record.
    pub(super) fn take_unknown_down(&self) {
        for what in [SHM, PROC] {
            for entry in std::fs::read_dir(self.folders.run.join(what)).into_iter().flatten().flatten() {
                let id = SandboxId(entry.file_name().to_string_lossy().into_owned());
                if !self.sandboxes.contains_key(&id) {
                    self.take_down(&id, what);
                }
            }
        }
    }

    /// Its namespaces are gone: the containers end with them, the sandbox is not ready any more.
    pub(super) fn lose_sandbox(&mut self, id: &SandboxId) {
        let Some(held) = self.sandboxes.get_mut(id) else { return };
        held.kept = Kept { init: held.kept.init.take(), ..Kept::default() };
        // Who lets a mount go last waits for the kernel: the keeper, which has time.
        self.unkeep(&key(id), &[]);
        self.take_all_down(id);
        let Some(held) = self.sandboxes.get_mut(id) else { return };
        if std::mem::take(&mut held.record.ready) {
            let sandbox = Box::new(held.seen(id));
            self.record_always(&Entry::SandboxLost(id.clone()));
            self.publish(Told::Sandbox { sandbox });
        }
    }

    pub(super) fn stop_sandbox(&mut self, id: &SandboxId, ticket: Ticket) -> Result<Option<Answer>, Refusal> {
        let Some(held) = self.sandboxes.get_mut(id) else { return Ok(Some(Answer::Done)) };
        held.stopping.push(ticket);
        self.kill_sandbox(id);
        self.look_for_end(id);
        Ok(None)
    }

    pub(super) fn remove_sandbox(&mut self, id: &SandboxId, ticket: Ticket) -> Result<Option<Answer>, Refusal> {
        let Some(held) = self.sandboxes.get_mut(id) else { return Ok(Some(Answer::Done)) };
        held.removing.push(ticket);
        self.kill_sandbox(id);
        self.look_for_end(id);
        Ok(None)
    }

    fn kill_sandbox(&mut self, id: &SandboxId) {
        let path = self.sandboxes[id].record.spec.cgroup.clone();
        let alone = self.sandboxes.iter().all(|(other, held)| other == id || held.record.spec.cgroup != path);
        if alone && self.tree.kill(&path) {
            return;
        }
        for container in self.containers_of(id) {
            self.kill_container(&container);
        }
        if let Some(init) = &self.sandboxes[id].kept.init {
            let _ = sys::pidfd_signal(init.as_fd(), libc::SIGKILL);
        }
    }

    pub(super) fn containers_of(&self, id: &SandboxId) -> Vec<ContainerId> {
        self.containers.iter().filter(|(_, held)| held.sandbox == *id).map(|(id, _)| id.clone()).collect()
    }

    /// If it is to end and nothing lives in it any more: lets it go.
    pub(super) fn look_for_end(&mut self, id: &SandboxId) {
        let Some(held) = self.sandboxes.get(id) else { return };
        let alive = self.containers.values().any(|held| held.sandbox == *id && held.is_alive());
        if !held.is_ending() || alive || held.kept.init.is_some() {
            return;
        }
        self.lose_sandbox(id);
        let Some(held) = self.sandboxes.get_mut(id) else { return };
        let (stopping, removing) = (std::mem::take(&mut held.stopping), std::mem::take(&mut held.removing));
        for ticket in stopping {
            self.answer(ticket, Ok(Answer::Done), Vec::new());
        }
        if removing.is_empty() {
            return;
        }
        let SandboxSpec { cgroup, pid, .. } = self.sandboxes[id].record.spec.clone();
        let mut paths: Vec<_> = self.containers_of(id).iter().map(|container| self.group_of(container)).collect();
        if pid == Share::Sandbox {
            paths.push(format!("{cgroup}/{}", id.0));
        }
        paths.push(cgroup);
        self.remove_groups(Doomed { whose: Whose::Sandbox(id.clone()), paths, tickets: removing, tries: 0 });
    }

    fn forget_sandbox(&mut self, id: &SandboxId) {
        for container in self.containers_of(id) {
            self.forget_container(&container);
        }
        if self.sandboxes.remove(id).is_some() {
            self.record_always(&Entry::SandboxGone(id.clone()));
            self.publish(Told::SandboxGone { id: id.clone() });
        }
    }

    /// Removes cgroups, in order, then forgets who had them: as long as one is there, whoever asks again
    /// must not hear that all is done. What is still busy is tried again by the timer.
    pub(super) fn remove_groups(&mut self, mut doomed: Doomed) {
        let left = std::mem::take(&mut doomed.paths).into_iter();
        let left = left.filter(|path| !self.is_anothers(path, &doomed.whose) && self.tree.remove_all(path).is_err());
        doomed.paths = left.collect();
        doomed.tries += 1;
        if doomed.paths.is_empty() {
            match doomed.whose {
                Whose::Sandbox(id) => self.forget_sandbox(&id),
                Whose::Container(id) => self.forget_container(&id),
            }
            self.sweep();
            for ticket in doomed.tickets {
                self.answer(ticket, Ok(Answer::Done), Vec::new());
            }
        } else if doomed.tries > 200 {
            let text = format!("cgroup {} does not become empty", doomed.paths[0]);
            eprintln!("supervisor: {text}");
            for ticket in doomed.tickets {
                self.answer(ticket, Err(Refusal::Failed(text.clone())), Vec::new());
            }
        } else {
            for path in &doomed.paths {
                if !self.tree.kill(path) {
                    self.tree.kill_each(path);
                }
            }
            self.doomed.push(doomed);
            self.set_timer();
        }
    }

    /// A pod's group that its next sandbox has already.
    fn is_anothers(&self, path: &str, whose: &Whose) -> bool {
        let Whose::Sandbox(own) = whose else { return false };
        self.sandboxes.iter().any(|(id, held)| id != own && held.record.spec.cgroup == path)
    }

    /// An error while its cgroup goes.
    pub(super) fn is_staying(&self, id: &ContainerId) -> Result<(), Refusal> {
        match self.doomed.iter().any(|doomed| doomed.whose == Whose::Container(id.clone())) {
            true => Err(Refusal::NotRunning(format!("container {} is being removed", id.0))),
            false => Ok(()),
        }
    }

    pub(super) fn update_sandbox(&mut self, id: &SandboxId, resources: Resources) -> Answered {
        let Some(held) = self.sandboxes.get_mut(id) else { return Err(Refusal::NotFound(format!("sandbox {}", id.0))) };
        self.tree.limit(&held.record.spec.cgroup, &resources, true)?;
        held.record.spec.resources = resources.clone();
        let sandbox = Box::new(held.seen(id));
        self.record(&Entry::SandboxLimits(id.clone(), resources))?;
        self.publish(Told::Sandbox { sandbox });
        Ok(Answer::Done)
    }

    /// Sockets made in the sandbox's network; the agent dials with them.
    pub(super) fn sockets(&mut self, id: &SandboxId, ticket: Ticket) -> Result<Option<Answer>, Refusal> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        let held = self.sandboxes.get(id).ok_or_else(|| Refusal::NotFound(format!("sandbox {}", id.0)))?;
        if !held.record.ready {
            return Err(Refusal::NotRunning(format!("sandbox {} is not ready", id.0)));
        }
        if let Some(net) = &held.kept.net {
            sys::setns(net.as_fd(), libc::CLONE_NEWNET)?;
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let families = [AddressFamily::INET, AddressFamily::INET6];
        let sockets = families.map(|family| socket_with(family, SocketType::STREAM, flags, None));
        let net = self.namespaces.net.as_fd();
        sys::setns(net, libc::CLONE_NEWNET).expect("a process may return to the namespaces it started in");
        self.answer(ticket, Ok(Answer::Done), sockets.into_iter().flatten().collect());
        Ok(None)
    }
}

fn set_sysctls(sysctls: &BTreeMap<&String, &String>) -> Result<(), Refusal> {
    for (name, value) in sysctls {
        if name.contains("..") {
            return Err(Refusal::Failed(format!("sysctl {name:?} is not a name")));
        }
        // A name with slashes keeps its dots (net/ipv4/conf/eth0.1/…).
        let below = if name.contains('/') { (*name).clone() } else { name.replace('.', "/") };
        let path = PathBuf::from("/proc/sys").join(below.trim_start_matches('/'));
        let written = std::fs::write(&path, value.as_bytes());
        written.map_err(|error| Refusal::Failed(format!("setting sysctl {name} to {value:?}: {error}")))?;
    }
    Ok(())
}
