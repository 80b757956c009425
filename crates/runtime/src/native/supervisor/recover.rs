//! What was there before this supervisor: the journal's records matched with what the keeper holds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::epoll::{self, EventFlags};
use rustix::fs::{Mode, OFlags};

use super::containers::{Held, Live, Pending, key};
use super::sandboxes::{Kept, Sandboxed};
use super::strays::Strays;
use super::words;
use super::{Child, Namespaces, Source, Supervisor, sandboxes};
use crate::disk;
use crate::native::cgroup::Tree;
use crate::native::journal::{ContainerRecord, Entry, Journal, Process, Records};
use crate::native::logfile::LogFile;
use crate::native::protocol::{FromKeeper, Refusal, ToKeeper};
use crate::native::pump::{self, Pump};
use crate::native::{Folders, channel, setup, sys};
use crate::spec::{ContainerId, SandboxId};
use crate::state::Phase;

type Lent = BTreeMap<String, BTreeMap<String, OwnedFd>>;

pub fn start(folders: Folders, keeper: OwnedFd, listener: OwnedFd) -> io::Result<Supervisor> {
    let mut lent = borrow_all(&keeper)?;
    let containers = folders.data.join("containers");
    std::fs::create_dir_all(&containers)?;
    disk::spread(std::fs::File::open(&containers)?);
    // While there is room for it: what is removed from a full disk goes through there.
    let _ = std::fs::create_dir_all(folders.data.join("trash"));
    let (journal, records) = Journal::open(&folders.data)?;
    let mut stage = lent.remove("pump").unwrap_or_default();
    let stage = pump::KEPT.map(|name| stage.remove(name));
    let stage = stage.into_iter().collect::<Option<Vec<_>>>().and_then(|fds| <[OwnedFd; 3]>::try_from(fds).ok());
    let known_stage = stage.is_some();
    let timer_flags = rustix::time::TimerfdFlags::CLOEXEC | rustix::time::TimerfdFlags::NONBLOCK;
    let (_, hard) = sys::rlimit(libc::RLIMIT_NOFILE);
    let null = setup::host::NullDevice::new()?;
    let mut supervisor = Supervisor {
        tree: Tree::find()?,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        timer: rustix::time::timerfd_create(rustix::time::TimerfdClockId::Monotonic, timer_flags)?,
        namespaces: own_namespaces(&folders)?,
        hangs_mounts: !setup::root::can_clone(null.as_fd()),
        null,
        // As container runtimes leave it: as high as the machine allows.
        files: (hard, hard),
        pump: Pump::new(stage)?,
        folders,
        keeper,
        listener,
        journal,
        sources: HashMap::new(),
        next: 0,
        peers: BTreeMap::new(),
        sandboxes: BTreeMap::new(),
        containers: BTreeMap::new(),
        sessions: BTreeMap::new(),
        delivered: Vec::new(),
        children: HashMap::new(),
        device_programs: Vec::new(),
        filters: Vec::new(),
        doomed: Vec::new(),
        again: VecDeque::new(),
        partial: Vec::new(),
        armed: false,
        unwritten: false,
        watched: Vec::new(),
        chores: super::chores::Chores::default(),
        graces: super::graces::Graces::new()?,
        outbox: Vec::new(),
        damage: Vec::new(),
        upgrade: None,
        quit: false,
    };
    if !known_stage {
        supervisor.keep("pump", &pump::KEPT, &supervisor.pump.to_keep())?;
    }
    supervisor.adopt(records, lent)?;
    for (fd, source) in [
        (rustix::io::fcntl_dupfd_cloexec(&supervisor.keeper, 5)?, Source::Keeper),
        (rustix::io::fcntl_dupfd_cloexec(&supervisor.listener, 5)?, Source::Listener),
        (rustix::io::fcntl_dupfd_cloexec(&supervisor.timer, 5)?, Source::Timer),
        (supervisor.graces.timer()?, Source::Grace),
    ] {
        rustix::io::ioctl_fionbio(&fd, true)?;
        supervisor.watch(fd.as_fd(), source, EventFlags::IN)?;
        supervisor.watched.push(fd);
    }
    supervisor.sweep();
    Ok(supervisor)
}

impl Supervisor {
    fn adopt(&mut self, records: Records, mut lent: Lent) -> io::Result<()> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        // Where it is not on record, what the keeper holds shows it.
        let same_boot = records.boot == boot || records.boot.is_empty() && !lent.is_empty();
        let rebooted = !same_boot && !records.boot.is_empty();
        self.damage.extend(self.journal.complaint());
        for (id, record) in records.sandboxes {
            let kept = lent.remove(&sandboxes::key(&id));
            self.adopt_sandbox(&id, record, kept.filter(|_| same_boot), same_boot);
        }
        let mut strays = Strays { gone: records.gone, ..Strays::default() };
        for (id, record) in records.containers {
            if !self.sandboxes.contains_key(&record.sandbox) {
                strays.unknown.insert(id.0);
                continue;
            }
            let was_alive = matches!(record.container.phase, Phase::Created | Phase::Running { .. });
            let kept = lent.remove(&key(&id));
            if let Err(refusal) = self.adopt_container(&id, record, kept, same_boot) {
                eprintln!("supervisor: taking over {}: {refusal:?}", id.0);
            }
            if was_alive && !rebooted && !self.containers[&id].is_alive() {
                strays.known.insert(id.0);
            }
        }
        for (key, kept) in lent {
            match key.split_once('/') {
                Some(("e", _)) => self.adopt_exec(&key, kept),
                Some(("c" | "s", id)) => drop(strays.unknown.insert(id.to_owned())),
                _ => {}
            }
            if !key.starts_with("e/") {
                self.unkeep(&key, &[]);
            }
        }
        self.end_strays(strays);
        self.take_unknown_down();
        let ids: Vec<SandboxId> = self.sandboxes.keys().cloned().collect();
        for id in ids {
            let lost = !self.sandboxes[&id].record.ready;
            if lost {
                self.containers_of(&id).iter().for_each(|container| self.kill_container(container));
            }
        }
        if !same_boot {
            // The last word: until all is recorded that the reboot ended, the next one must know of it.
            self.record_always(&Entry::Boot(boot));
        }
        self.damage.iter().for_each(|text| eprintln!("supervisor: {text}"));
        if !self.damage.is_empty() {
            self.unwritten = true;
            // It sets the timer where there is no room.
            let _ = self.write_whole_journal();
        }
        Ok(())
    }

    fn adopt_sandbox(
        &mut self,
        id: &SandboxId,
        mut record: crate::native::journal::SandboxRecord,
        lent: Option<BTreeMap<String, OwnedFd>>,
        same_boot: bool,
    ) {
        let mut lent = lent.unwrap_or_default();
        let mut take = |name: &str| lent.remove(name);
        let mut kept = Kept {
            ipc: take("ipc"),
            uts: take("uts"),
            net: take("net"),
            shm: take("shm"),
            mqueue: take("mqueue"),
            proc: take("proc"),
            init: None,
        };
        let spec = &record.spec;
        let complete = (kept.ipc.is_some() || spec.ipc == crate::spec::Share::Host)
            && (kept.uts.is_some() || spec.network == crate::spec::Network::Host);
        // A reboot ends also those that share everything with the host: their cgroups are gone.
        let mut whole = complete && same_boot;
        if let Some(process) = record.init.filter(|_| same_boot)
            && let Some(pidfd) = find(process)
        {
            if is_keepers(process) {
                kept.init = Some(pidfd);
                self.children.insert(process.pid, Child::Init(id.clone()));
            } else {
                // Of an earlier keeper: nobody will tell us of its end, so it is not waited for.
                let _ = sys::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
            }
        }
        if kept.init.is_none() {
            record.init = None;
            whole &= spec.pid != crate::spec::Share::Sandbox;
        }
        // Nor can anything start where the namespace's /proc is not at hand: a sandbox of an older version.
        whole &= kept.proc.is_some() || spec.pid != crate::spec::Share::Sandbox;
        let ready = record.ready;
        let held = Sandboxed::of(record, kept);
        self.sandboxes.insert(id.clone(), held);
        if ready && !whole {
            self.lose_sandbox(id);
        }
    }

    fn adopt_container(
        &mut self,
        id: &ContainerId,
        record: ContainerRecord,
        lent: Option<BTreeMap<String, OwnedFd>>,
        same_boot: bool,
    ) -> Result<(), Refusal> {
        let ContainerRecord { sandbox, container, layers, process } = record;
        let phase = container.phase.clone();
        let held = Held { seen: container, sandbox, layers, live: None };
        self.containers.insert(id.clone(), held);
        let (Phase::Created | Phase::Running { .. }) = phase else {
            if lent.is_some() {
                self.unkeep(&key(id), &[]);
            }
            return Ok(());
        };
        let Some(process) = process else {
            // Either never started, or cloned and not recorded: then it ends when the sync socket closes.
            if lent.is_some() {
                self.unkeep(&key(id), &[]);
            }
            return Ok(());
        };
        let process = match lent.as_ref().and_then(|lent| lent.get("sync")) {
            Some(sync) => self.moved_meanwhile(id, sync, process),
            None => process,
        };
        // Another boot's number is some other process here, whatever its pidfd says.
        match (lent, same_boot.then(|| find(process)).flatten()) {
            (Some(lent), Some(pidfd)) if is_keepers(process) => {
                let adopted = self.adopt_process(id, process, pidfd, lent);
                // Known to run and not to be reached is worse than gone.
                if adopted.is_err() && self.live(id).is_none() {
                    self.lost(id, &phase, find(process), same_boot);
                }
                adopted
            }
            (_, found) => {
                self.lost(id, &phase, found, same_boot);
                Ok(())
            }
        }
    }

    /// A set-up that went on as another process: its word may still lie there, on record already or not.
    fn moved_meanwhile(&mut self, id: &ContainerId, sync: &OwnedFd, recorded: Process) -> Process {
        let Some((pidfd, sender)) = words::moved(sync) else { return recorded };
        match self.child_behind(&pidfd) {
            Some(process) if process.pid == recorded.pid || sender == Some(recorded.pid) => {
                self.record_always(&Entry::Born(id.clone(), process));
                words::taken(sync);
                process
            }
            // Not its own word: heard, and refused, as any other.
            _ => recorded,
        }
    }

    fn adopt_process(
        &mut self,
        id: &ContainerId,
        process: Process,
        pidfd: OwnedFd,
        mut lent: BTreeMap<String, OwnedFd>,
    ) -> Result<(), Refusal> {
        self.children.insert(process.pid, Child::Container(id.clone()));
        let sandbox = self.containers.get(id).and_then(|held| self.sandboxes.get(&held.sandbox));
        let shared = sandbox.is_some_and(|sandbox| sandbox.record.spec.pid == crate::spec::Share::Sandbox);
        let has_moved = shared && sys::is_below(process.pid);
        let mut birth = None;
        if let Some(sync) = lent.remove("sync") {
            // The start is on record, so it may go on; a second word to one that went on already is lost.
            let _ = rustix::io::write(&sync, setup::GO);
            words::know_senders(&sync)?;
            rustix::io::ioctl_fionbio(&sync, true).map_err(io::Error::from)?;
            let token = self.watch(sync.as_fd(), Source::Birth(id.clone()), EventFlags::IN)?;
            birth = Some(Pending { sync, token, tickets: Vec::new(), moved: has_moved });
        }
        let held = self.containers.get_mut(id).expect("inserted above");
        held.seen.pid = Some(process.pid);
        // A place that takes no log now is no reason to let the container go: it is tried again with each line.
        let log = held.seen.spec.log.as_ref().and_then(|log| {
            LogFile::open(log).inspect_err(|error| eprintln!("supervisor: the log of {}: {error}", id.0)).ok()
        });
        let (outputs, taps, removing) = (Vec::new(), Vec::new(), Vec::new());
        held.live = Some(Live { pidfd, process, birth, outputs, stdin: None, log, taps, removing });
        for (name, fd) in lent {
            match name.as_str() {
                "terminal" => self.add_output(id, fd, "stdout", true)?,
                name => self.add_pipe(id, name, fd)?,
            }
        }
        // A start of which the outcome was recorded, and only letting go of the socket was not.
        if matches!(self.containers[id].seen.phase, Phase::Created) && self.live(id).is_some_and(|l| l.birth.is_none())
        {
            self.set_phase(id, Phase::Running { started_at: sys::now() });
        }
        Ok(())
    }

    /// Without the keeper's descriptors nothing can go on: what is left is ended.
    fn lost(&mut self, id: &ContainerId, phase: &Phase, found: Option<OwnedFd>, same_boot: bool) {
        let path = self.group_of(id);
        if same_boot && !self.tree.kill(&path) {
            self.tree.kill_each(&path);
        }
        if let Some(pidfd) = found {
            let _ = sys::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
        }
        let started_at = match phase {
            Phase::Running { started_at } => Some(*started_at),
            _ => None,
        };
        self.set_phase(id, Phase::Unknown { started_at });
        self.unkeep(&key(id), &[]);
    }

    /// What the journal says, as it is now.
    fn records(&self) -> Records {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let sandboxes = self.sandboxes.iter().map(|(id, held)| (id.clone(), held.record.clone())).collect();
        let containers = self.containers.iter().map(|(id, held)| (id.clone(), held.record())).collect();
        Records { boot, sandboxes, containers, ..Records::default() }
    }

    /// A disk that takes nothing must not end us: what makes room on it is asked of us.
    pub(super) fn sync_journal(&mut self) {
        if self.journal.needs_sync()
            && let Err(error) = self.journal.sync()
        {
            eprintln!("supervisor: the journal: {error}; written anew every second");
            self.unwritten = true;
            self.set_timer();
        }
    }

    pub(super) fn shorten_journal(&mut self) {
        if self.journal.is_long() {
            let records = self.records();
            if let Err(error) = self.journal.rewrite(&records) {
                eprintln!("supervisor: the journal stays long: {error}");
                self.journal.stay_long();
            }
        }
    }

    /// Records something that has happened and cannot be refused. If the disk takes nothing, the whole
    /// journal is written again when it does.
    pub(super) fn record_always(&mut self, entry: &Entry) {
        if let Err(error) = self.journal.write(entry) {
            eprintln!("supervisor: the journal: {error}; tried again every second");
            self.unwritten = true;
            self.set_timer();
        }
    }

    /// If it lacks something.
    pub(super) fn write_whole_journal(&mut self) -> io::Result<()> {
        if self.unwritten {
            let records = self.records();
            self.journal.rewrite(&records).inspect_err(|_| self.set_timer())?;
            self.unwritten = false;
        }
        Ok(())
    }
}

/// Everything that the keeper holds, by key and name.
fn borrow_all(keeper: &OwnedFd) -> io::Result<Lent> {
    rustix::io::ioctl_fionbio(keeper, false)?;
    let hello = serde_json::to_vec(&ToKeeper::Hello).expect("a message holds nothing that JSON cannot");
    channel::send(keeper, &hello, &[])?;
    let mut lent = Lent::new();
    loop {
        let mut bytes = [0; 16 << 10];
        let mut fds = VecDeque::new();
        let got = channel::receive(keeper, &mut bytes, &mut fds)?;
        if got == 0 {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the keeper is gone"));
        }
        match serde_json::from_slice(&bytes[..got])? {
            FromKeeper::Kept { key, names } => lent.entry(key).or_default().extend(names.into_iter().zip(fds)),
            FromKeeper::Ready => return Ok(lent),
            // Meant for the program that was here before; told again after this.
            FromKeeper::Ended { .. } => {}
        }
    }
}

/// The very process that was recorded, alive or not yet reaped.
pub fn find(process: Process) -> Option<OwnedFd> {
    let pidfd = sys::pidfd_open(process.pid).ok()?;
    (sys::unique_of(process.pid, pidfd.as_fd()).ok()? == process.unique).then_some(pidfd)
}

/// Whether our keeper will tell of its end: a new keeper is no parent to what the one before it left.
pub fn is_keepers(process: Process) -> bool {
    sys::parent_of(process.pid).is_ok_and(|parent| parent == std::os::unix::process::parent_id())
}

fn own_namespaces(folders: &Folders) -> io::Result<Namespaces> {
    let open = |name: &str| std::fs::File::open(format!("/proc/self/ns/{name}")).map(OwnedFd::from);
    let host = open("mnt")?;
    let template = template(host.as_fd(), &folders.run)?;
    Ok(Namespaces { ipc: open("ipc")?, uts: open("uts")?, net: open("net")?, pid: open("pid")?, template })
}

/// A mount namespace with one small file system: each container starts from a copy of it, so that the
/// length of the host's mount table costs it nothing.
fn template(host: BorrowedFd<'_>, place: &Path) -> io::Result<OwnedFd> {
    use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
    let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    sys::unshare(libc::CLONE_NEWNS)?;
    let made = (|| -> io::Result<OwnedFd> {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        mount("tmpfs", place, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"size=64k,mode=755")?;
        std::fs::create_dir(place.join("mnt"))?;
        rustix::process::chdir(place)?;
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        // The init of a shared PID namespace lives here, where containers may see it.
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        sys::mount_setattr(root.as_fd(), false, sys::MOUNT_READ_ONLY, 0)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&proc, "self/ns/mnt", flags, Mode::empty())?)
    })();
    sys::setns(host, libc::CLONE_NEWNS)?;
    made
}
