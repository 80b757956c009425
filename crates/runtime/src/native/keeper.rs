//! The keeper: parent of all containers; holds what must outlive the supervisor, and restarts it.
//!
//! It does so little that it hardly ever ends: it keeps descriptors by name, tells the supervisor of
//! each child that ended (one at a time, reaped only once the supervisor has it on the disk) and starts
//! a supervisor where none runs. It reads no state and knows no container.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::protocol::{FromKeeper, ToKeeper};
use super::sys::{self, Cloned, Ended};
use super::{Folders, channel};

/// Held, in the run folder, by the keeper that serves it.
pub const LOCK: &str = "keeper.lock";
/// Where the supervisor finds what the keeper leaves it.
pub const SUPERVISOR_KEEPER_FD: i32 = 3;
pub const SUPERVISOR_LISTENER_FD: i32 = 4;

/// Starts a keeper in the background: a session and, as far as can be, cgroups of its own. Returns once
/// its socket accepts, also if another keeper already serves these folders.
pub fn launch(folders: &Folders) -> io::Result<()> {
    // Nothing that the agent had open stays open here: its sockets, its files.
    sys::close_from(3);
    [&folders.run, &folders.data].into_iter().try_for_each(|folder| make_private(folder))?;
    let lock = std::fs::OpenOptions::new().create(true).append(true).open(folders.run.join(LOCK))?;
    if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let program = read_only(&std::fs::read_link("/proc/self/exe")?)?;
    let path = folders.socket();
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    if let Cloned::Parent { .. } = sys::clone3(0, None)? {
        return Ok(());
    }
    // From here on this is the keeper; the first process returns to the caller and ends.
    let ended = run(folders, &listener, program);
    drop(lock);
    let text = format!("keeper: {}\n", ended.err().map_or_else(|| "asked to end".into(), |e| e.to_string()));
    let _ = io::stderr().write_all(text.as_bytes());
    sys::exit(0)
}

/// For root alone, also where it was there: a container's files may be set-user-id, and other users of the
/// host would run them.
fn make_private(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
}

/// Begins anew without huge pages: the allocator's first few kilobytes would take two megabytes each
/// time, in the keeper and in every supervisor. Inherited; containers get the usual setting back.
pub fn begin_small(args: &[std::ffi::OsString]) {
    let set = sys::prctl_number(libc::PR_GET_THP_DISABLE) == 0 && small_pages().is_ok();
    let strings = args.iter().map(|arg| CString::new(arg.as_bytes()).ok()).collect::<Option<Vec<_>>>();
    if let (true, Some(argv)) = (set, strings) {
        let env: Vec<CString> = std::env::vars_os()
            .filter_map(|(key, value)| CString::new([key.as_bytes(), b"=", value.as_bytes()].concat()).ok())
            .collect();
        sys::execve(c"/proc/self/exe", &argv, &env);
    }
}

/// No huge pages from here on, in this process and those that it starts.
pub fn small_pages() -> io::Result<()> {
    sys::prctl(libc::PR_SET_THP_DISABLE, 1, 0)
}

/// A program on a read-only mount of its own: whoever gets hold of /proc/<pid>/exe from inside a
/// container cannot write to the file (the hole of CVE-2019-5736).
pub fn read_only(program: &Path) -> io::Result<OwnedFd> {
    use rustix::mount::{OpenTreeFlags, open_tree};
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let program = open_tree(rustix::fs::CWD, program, flags)?;
    sys::mount_setattr(program.as_fd(), false, sys::MOUNT_READ_ONLY, 0)?;
    Ok(program)
}

type Kept = BTreeMap<String, Vec<(String, OwnedFd)>>;

struct Keeper<'a> {
    folders: &'a Folders,
    listener: &'a UnixListener,
    program: OwnedFd,
    /// What an upgrade named; falls back to `program`.
    upgrade: Option<PathBuf>,
    kept: Kept,
    /// The socket to the supervisor, and its pid.
    supervisor: Option<(OwnedFd, u32)>,
    /// The pid last told and not yet reaped.
    told: Option<u32>,
    /// When children ended that are not reaped yet.
    ended: BTreeMap<u32, i128>,
    failures: u32,
    /// Until when no further supervisor is started.
    pause: Option<Timespec>,
    quit: bool,
}

fn run(folders: &Folders, listener: &UnixListener, program: OwnedFd) -> io::Result<()> {
    rustix::process::setsid()?;
    std::env::set_current_dir("/")?;
    redirect_output(folders)?;
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0)?;
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0)?;
    let _ = rustix::thread::set_name(c"gousse-keeper");
    if std::fs::write("/proc/self/oom_score_adj", "-999").is_err() {
        let _ = writeln!(io::stderr(), "keeper: this machine refuses a lower oom_score_adj");
    }
    leave_cgroups(folders);
    let (_, hard) = sys::rlimit(libc::RLIMIT_NOFILE);
    let _ = sys::set_rlimit(libc::RLIMIT_NOFILE, hard, hard);
    let signals = sys::signal_fd(&[libc::SIGCHLD, libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE])?;
    let kept = Kept::new();
    let mut keeper = Keeper {
        folders,
        listener,
        program,
        upgrade: None,
        kept,
        supervisor: None,
        told: None,
        ended: BTreeMap::new(),
        failures: 0,
        pause: None,
        quit: false,
    };
    keeper.serve(&signals)
}

impl Keeper<'_> {
    fn serve(&mut self, signals: &OwnedFd) -> io::Result<()> {
        while !self.quit {
            if self.supervisor.is_none() && self.pause.is_none() {
                self.start()?;
            }
            let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
            if let Some((socket, _)) = &self.supervisor {
                fds.push(PollFd::new(socket, PollFlags::IN));
            }
            match poll(&mut fds, self.pause.as_ref()) {
                Ok(0) => self.pause = None,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
            if !fds[0].revents().is_empty() {
                drain_signals(signals);
                self.note_ends();
            }
            if ready {
                self.listen();
            }
            self.tell_ended();
        }
        Ok(())
    }

    /// Tells the supervisor the first ended child; another one only when that is reaped.
    fn tell_ended(&mut self) {
        let Some((socket, supervisor)) = &self.supervisor else { return };
        // Looked for by itself: an older child, told and not reaped, hides it from a look for any.
        if let Ok(Some(ended)) = sys::peek_ended(Some(*supervisor)) {
            let _ = writeln!(io::stderr(), "keeper: supervisor {} ended: {ended:?}", ended.pid);
            // What it said before counts: descriptors of what runs may be among it.
            self.listen();
            if self.supervisor.is_some() {
                sys::reap(ended.pid);
                self.lost_supervisor();
            }
            return;
        }
        let Ok(Some(ended)) = sys::peek_ended(None) else { return };
        // The supervisor, if it ended between the two looks: the signal for that is still to be read.
        if self.told == Some(ended.pid) || ended.pid == *supervisor {
            return;
        }
        let Ended { pid, status, by_signal } = ended;
        let at = *self.ended.entry(pid).or_insert_with(sys::now);
        if tell(socket.as_fd(), &FromKeeper::Ended { pid, status, by_signal, at }, &[]).is_ok() {
            self.told = Some(pid);
        }
    }

    /// Who ends while others wait for their turn, or for a supervisor, ends now and not when it is told.
    fn note_ends(&mut self) {
        if self.told.is_none() && self.supervisor.is_some() {
            return;
        }
        // Where the kernel does not list them the moment of the telling stands for it.
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            if !self.ended.contains_key(&pid) && sys::peek_ended(Some(pid)).is_ok_and(|ended| ended.is_some()) {
                self.ended.insert(pid, sys::now());
            }
        }
    }

    fn lost_supervisor(&mut self) {
        self.supervisor = None;
        self.told = None;
        self.failures += 1;
        // At once the first times, then slower: a supervisor that cannot start must not burn a core.
        let millis = if self.failures < 5 { 0 } else { (10 << (self.failures - 5).min(7)).min(1000) };
        self.pause = Some(Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 + 100_000 });
    }

    /// Does what the supervisor asks, all that has arrived.
    fn listen(&mut self) {
        loop {
            let Some((socket, _)) = &self.supervisor else { return };
            let mut bytes = vec![0; 64 << 10];
            let mut fds = VecDeque::new();
            match rustix::io::ioctl_fionbio(socket, true).map_err(io::Error::from) {
                Ok(()) => {}
                Err(_) => return,
            }
            let Ok(got) = channel::receive(socket, &mut bytes, &mut fds) else { return };
            if got == 0 {
                // Its end shows as a child that ended; until then there is nothing to read.
                self.hang_up();
                return;
            }
            match serde_json::from_slice(&bytes[..got]) {
                Ok(message) => self.obey(message, fds),
                Err(error) => drop(writeln!(io::stderr(), "keeper: not understood: {error}")),
            }
        }
    }

    /// A supervisor without its socket is of no use: make sure of its end, wait for it, go on.
    fn hang_up(&mut self) {
        if let Some(pid) = self.supervisor.as_ref().and_then(|(_, pid)| rustix::process::Pid::from_raw(*pid as i32)) {
            let _ = writeln!(io::stderr(), "keeper: supervisor {pid} hung up");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
        self.lost_supervisor();
    }

    fn obey(&mut self, message: ToKeeper, fds: VecDeque<OwnedFd>) {
        match message {
            ToKeeper::Hello => drop(self.tell_all()),
            ToKeeper::Keep { key, names } => {
                let kept = self.kept.entry(key).or_default();
                kept.retain(|(name, _)| !names.contains(name));
                kept.extend(names.into_iter().zip(fds));
            }
            ToKeeper::Drop { key, names } if names.is_empty() => drop(self.kept.remove(&key)),
            ToKeeper::Drop { key, names } => {
                if let Some(kept) = self.kept.get_mut(&key) {
                    kept.retain(|(name, _)| !names.contains(name));
                }
            }
            ToKeeper::Reap { pid } => {
                sys::reap(pid);
                self.ended.remove(&pid);
                self.told = None;
                self.failures = 0;
            }
            ToKeeper::Program { path } => self.upgrade = Some(path),
            ToKeeper::Quit => {
                let _ = std::fs::remove_file(self.folders.socket());
                self.quit = true;
            }
        }
    }

    /// Tells a supervisor that begins, anew or as another program, all that is kept and who has ended.
    fn tell_all(&mut self) -> io::Result<()> {
        let Some((socket, _)) = &self.supervisor else { return Ok(()) };
        // It reads them as they come.
        rustix::io::ioctl_fionbio(socket, false)?;
        for (key, kept) in &self.kept {
            for some in kept.chunks(channel::FDS_MAX) {
                let names = some.iter().map(|(name, _)| name.clone()).collect();
                let fds: Vec<_> = some.iter().map(|(_, fd)| fd.as_fd()).collect();
                tell(socket.as_fd(), &FromKeeper::Kept { key: key.clone(), names }, &fds)?;
            }
        }
        tell(socket.as_fd(), &FromKeeper::Ready, &[])?;
        rustix::io::ioctl_fionbio(socket, true)?;
        self.told = None;
        self.tell_ended();
        Ok(())
    }

    fn start(&mut self) -> io::Result<()> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        for socket in [&ours, &theirs] {
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(socket, 1 << 20);
        }
        match sys::clone3(0, None)? {
            Cloned::Child => self.become_supervisor(theirs.as_fd()),
            Cloned::Parent { pid, .. } => {
                drop(theirs);
                self.told = None;
                self.supervisor = Some((ours, pid));
                Ok(())
            }
        }
    }

    fn become_supervisor(&self, socket: BorrowedFd<'_>) -> ! {
        sys::default_signals();
        let argv = supervisor_argv(self.folders);
        let env = environment();
        // Away from the fixed numbers.
        let program = rustix::io::fcntl_dupfd_cloexec(&self.program, 10);
        let placed = place_descriptors(socket, self.listener.as_fd());
        if let (Ok(program), Ok(())) = (program, placed) {
            sys::close_on_exec_from(5);
            if let Some(Ok(upgrade)) = self.upgrade.as_deref().map(read_only) {
                sys::execve_fd(upgrade.as_fd(), &argv, &env);
            }
            let error = sys::execve_fd(program.as_fd(), &argv, &env);
            let _ = writeln!(io::stderr(), "keeper: starting the supervisor: {error}");
        }
        sys::exit(70)
    }
}

/// The command line of a supervisor, for the keeper and for the supervisor's own renewal.
pub fn supervisor_argv(folders: &Folders) -> Vec<CString> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("came from a command line");
    let mut argv = vec![c"gousse".to_owned(), c"supervisor".to_owned()];
    argv.extend([c"--run-dir".to_owned(), text(&folders.run), c"--data-dir".to_owned(), text(&folders.data)]);
    argv.extend([c"--cgroup".to_owned(), text(Path::new(&folders.cgroup))]);
    argv
}

/// Nothing of the caller's environment but what helps to find a fault.
pub fn environment() -> Vec<CString> {
    ["PATH", "RUST_BACKTRACE", "RUST_LOG"]
        .iter()
        .filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)))
        .filter_map(|pair| CString::new(pair).ok())
        .collect()
}

fn place_descriptors(keeper: BorrowedFd<'_>, listener: BorrowedFd<'_>) -> io::Result<()> {
    // Away from the fixed numbers first, so that neither overwrites the other.
    let high = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 10).map_err(io::Error::from);
    let (keeper, listener) = (high(keeper)?, high(listener)?);
    sys::dup_to(keeper.as_fd(), SUPERVISOR_KEEPER_FD)?;
    sys::dup_to(listener.as_fd(), SUPERVISOR_LISTENER_FD)
}

fn tell(socket: BorrowedFd<'_>, message: &FromKeeper, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message).expect("messages hold nothing that JSON cannot");
    channel::send(socket, &bytes, fds).map(drop)
}

fn redirect_output(folders: &Folders) -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    sys::dup_to(null.as_fd(), 0)?;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folders.run.join("runtime.log"));
    let log = log.unwrap_or(null);
    sys::dup_to(log.as_fd(), 1)?;
    sys::dup_to(log.as_fd(), 2)?;
    Ok(())
}

/// Into cgroups of our own, so that whatever ends the agent's does not end us and the containers.
fn leave_cgroups(folders: &Folders) {
    let Ok(tree) = super::cgroup::Tree::find() else { return };
    if let Err(error) = tree.adopt_self(&folders.cgroup) {
        let _ = writeln!(io::stderr(), "keeper: stays in the cgroup it was started in: {error}");
    }
}

fn drain_signals(signals: &OwnedFd) {
    let mut buffer = [0u8; 1024];
    while rustix::io::read(signals, &mut buffer).is_ok_and(|got| got > 0) {}
}

#[cfg(test)]
mod tests;
