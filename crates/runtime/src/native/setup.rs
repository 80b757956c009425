//! From a fresh clone to the program: what the child of the supervisor does, step by step.
//!
//! Runs in the cloned child only, on a copy of the supervisor's memory. Sources of mounts are opened in
//! the host's mount namespace as detached trees; then the child leaves for a minimal one and builds the
//! container's root there, so that nothing of the host is reachable while paths of the image are walked.

use std::ffi::CString;
use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::cgroup::Join;
use super::channel;
use super::protocol::Layers;
use super::sys::{self, Cloned};
use crate::spec::{ContainerSpec, SandboxSpec};

/// User, capabilities, limits, filter.
pub mod identity;
/// Paths walked inside a root, never out of it.
pub mod inside;
/// Finding and running the program.
pub mod program;
/// Mounts and devices.
pub mod root;

/// Why a start failed, in words for the user.
pub type Result<T, E = String> = std::result::Result<T, E>;

/// What the supervisor sends once the start is on record; without it nothing is run.
pub const GO: &[u8] = b"g";
/// The child's messages begin with one of these. MOVED: it goes on as another process, whose pidfd comes
/// along.
pub const MOVED: u8 = b'M';
pub const TERMINAL: u8 = b'T';
pub const ERROR: u8 = b'E';

/// Standard streams.
pub enum Streams {
    /// None: /dev/null.
    Pipes { stdin: Option<OwnedFd>, stdout: Option<OwnedFd>, stderr: Option<OwnedFd> },
    /// Made inside the container; its master goes to the supervisor.
    Terminal { size: Option<(u16, u16)> },
}

impl Streams {
    fn fds(&self) -> Vec<RawFd> {
        match self {
            Streams::Pipes { stdin, stdout, stderr } => {
                [stdin, stdout, stderr].into_iter().flatten().map(AsRawFd::as_raw_fd).collect()
            }
            Streams::Terminal { .. } => Vec::new(),
        }
    }
}

/// All that the child of a new container needs.
pub struct Birth<'a> {
    pub spec: &'a ContainerSpec,
    pub sandbox: &'a SandboxSpec,
    pub layers: &'a Layers,
    /// Holds `upper` and `work`.
    pub folder: PathBuf,
    pub template: BorrowedFd<'a>,
    /// Those that differ from the supervisor's own, with their kinds.
    pub namespaces: Vec<(BorrowedFd<'a>, i32)>,
    pub shm: Option<BorrowedFd<'a>>,
    pub mqueue: Option<BorrowedFd<'a>>,
    pub join: Join,
    /// Name below /sys/fs/cgroup and source.
    pub views: Vec<(String, PathBuf)>,
    pub filter: Vec<libc::sock_filter>,
    pub streams: Streams,
    pub sync: BorrowedFd<'a>,
    /// The init of the PID namespace to live in, if others live there.
    pub shared: Option<BorrowedFd<'a>>,
    /// The limit of open files before the supervisor raised its own.
    pub files: (u64, u64),
}

/// A further process in a container.
pub struct Entry<'a> {
    pub spec: &'a ContainerSpec,
    pub argv: &'a [String],
    /// With a terminal of its own.
    pub terminal: bool,
    pub target: BorrowedFd<'a>,
    /// Not yet in the container's PID namespace: something there may look into other processes.
    pub outside: bool,
    pub join: Join,
    pub filter: Vec<libc::sock_filter>,
    pub streams: Streams,
    pub sync: BorrowedFd<'a>,
    pub files: (u64, u64),
}

/// Builds the container and becomes its program.
pub fn born(birth: Birth<'_>) -> ! {
    let sync = birth.sync;
    let failed = build(birth).expect_err("success does not return");
    give_up(sync, &failed)
}

/// Enters the container and becomes the program.
pub fn entered(entry: Entry<'_>) -> ! {
    let sync = entry.sync;
    let failed = enter(entry).expect_err("success does not return");
    give_up(sync, &failed)
}

/// All that the init of a shared PID namespace needs.
pub struct Init<'a> {
    pub join: Join,
    pub namespaces: Vec<(BorrowedFd<'a>, i32)>,
    pub template: BorrowedFd<'a>,
    pub filter: Vec<libc::sock_filter>,
    /// Where it says why it failed.
    pub told: BorrowedFd<'a>,
}

/// Becomes the init of a shared PID namespace: this program anew, so that nothing of the supervisor's
/// memory is there, in the minimal mount namespace and without rights. Containers may look into it.
pub fn init(init: &Init<'_>) -> ! {
    let failed = become_init(init).expect_err("success does not return");
    let _ = rustix::io::write(init.told, failed.as_bytes());
    sys::exit(1)
}

fn become_init(init: &Init<'_>) -> Result<std::convert::Infallible> {
    use rustix::fs::{Mode, OFlags};
    begin();
    for mut file in join(&init.join)? {
        file.write_all(b"0").or_fail("joining the cgroup")?;
    }
    for (fd, kind) in &init.namespaces {
        sys::setns(*fd, *kind).or_fail("joining the sandbox's namespaces")?;
    }
    let program = rustix::fs::open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let program = program.or_fail("opening /proc/self/exe")?;
    silence()?;
    sys::close_on_exec_from(3);
    sys::setns(init.template, libc::CLONE_NEWNS).or_fail("entering the private mount namespace")?;
    identity::renounce(&init.filter)?;
    let argv = [c"gousse".to_owned(), CString::new(INIT).expect("it is a plain word")];
    Err(plain(&sys::execve_fd(program.as_fd(), &argv, &[])))
}

/// The word on the command line of an init.
pub const INIT: &str = "sandbox-init";

/// The whole life of the init of a shared PID namespace: reap what is left to it.
pub fn sandbox_init() -> ! {
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0, 0);
    let _ = rustix::thread::set_name(c"gousse-init");
    sys::close_from(0);
    sys::reap_for_ever()
}

/// Goes on as a child in a PID namespace where other processes may look at it, without any descriptor but
/// those that it needs and away from the host's mounts. The one that stays behind says who it is.
fn step_inside(namespace: BorrowedFd<'_>, sync: BorrowedFd<'_>, mut needed: Vec<RawFd>) -> Result<()> {
    sys::setns(namespace, libc::CLONE_NEWPID).or_fail("joining the PID namespace")?;
    needed.extend([0, 1, 2, sync.as_raw_fd()]);
    sys::close_all_but(needed);
    match sys::clone3(libc::CLONE_PARENT as u64, None).or_fail("cloning into the PID namespace")? {
        Cloned::Child => {
            let _ = rustix::process::setsid();
            Ok(())
        }
        Cloned::Parent { pidfd, .. } => {
            let _ = channel::send(sync, &[MOVED], &[pidfd.as_fd()]);
            sys::exit(0)
        }
    }
}

/// The supervisor's own streams are nobody else's business.
fn silence() -> Result<()> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").or_fail("opening /dev/null")?;
    (0..3).try_for_each(|number| sys::dup_to(null.as_fd(), number).or_fail("closing the streams"))
}

fn build(birth: Birth<'_>) -> Result<std::convert::Infallible> {
    begin();
    let late = join(&birth.join)?;
    let spec = birth.spec;
    identity::adjust_oom_score(spec.oom_score_adj);
    let prepared = root::prepare(&birth)?;
    if birth.shared.is_some() {
        silence()?;
    }
    for (fd, kind) in &birth.namespaces {
        sys::setns(*fd, *kind).or_fail("joining the sandbox's namespaces")?;
    }
    sys::setns(birth.template, libc::CLONE_NEWNS).or_fail("entering the private mount namespace")?;
    sys::unshare(libc::CLONE_NEWNS).or_fail("making a mount namespace")?;
    if let Some(init) = birth.shared {
        step_inside(init, birth.sync, [prepared.fds(), birth.streams.fds(), numbers(&late)].concat())?;
    }
    root::assemble(&birth, prepared)?;
    let (argv, terminal) = (&spec.argv, spec.tty);
    let fresh = Fresh { spec, argv, terminal, late, filter: birth.filter, sync: birth.sync, files: birth.files };
    fresh.run(birth.streams, true)
}

fn enter(entry: Entry<'_>) -> Result<std::convert::Infallible> {
    begin();
    // Not visible to the processes inside until the program's own execve.
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0, 0);
    let late = join(&entry.join)?;
    identity::adjust_oom_score(entry.spec.oom_score_adj);
    if entry.outside {
        silence()?;
    }
    let kinds =
        libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNET | libc::CLONE_NEWCGROUP;
    sys::setns(entry.target, kinds).or_fail("joining the container's namespaces")?;
    if entry.outside {
        step_inside(entry.target, entry.sync, [entry.streams.fds(), numbers(&late)].concat())?;
    }
    let Entry { spec, argv, terminal, filter, streams, sync, files, .. } = entry;
    Fresh { spec, argv, terminal, late, filter, sync, files }.run(streams, false)
}

/// Inside the root, about to become the program.
struct Fresh<'a> {
    spec: &'a ContainerSpec,
    argv: &'a [String],
    terminal: bool,
    /// Cgroups still to join.
    late: Vec<std::fs::File>,
    filter: Vec<libc::sock_filter>,
    sync: BorrowedFd<'a>,
    files: (u64, u64),
}

impl Fresh<'_> {
    fn run(self, streams: Streams, console: bool) -> Result<std::convert::Infallible> {
        let Fresh { spec, argv, terminal, late, filter, sync, files } = self;
        connect(streams, spec, sync, console)?;
        if console && spec.read_only_root {
            root::make_read_only()?;
        }
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        sys::new_session_keyring();
        identity::limit(&spec.rlimits, files)?;
        let cwd = if spec.cwd.as_os_str().is_empty() { Path::new("/") } else { &spec.cwd };
        rustix::process::chdir(cwd).or_fail(&format!("chdir to cwd ({:?}) set in config.json failed", spec.cwd))?;
        wait_for_go(sync);
        for mut file in late {
            file.write_all(b"0").or_fail("joining the cgroup")?;
        }
        if console && !spec.privileged {
            sys::unshare(libc::CLONE_NEWCGROUP).or_fail("making a cgroup namespace")?;
        }
        let program = program::Program::new(argv, &spec.env, terminal)?;
        // The supervisor does without huge pages; programs need not.
        let _ = sys::prctl(libc::PR_SET_THP_DISABLE, 0, 0);
        sys::close_on_exec_from(3);
        identity::assume(spec, &filter)?;
        identity::confine(spec, &filter)?;
        Err(program.run())
    }
}

/// A session of its own, plain signals, no umask: modes are meant as they are written here.
fn begin() {
    sys::default_signals();
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::empty());
}

/// Joins what is to be joined now; opens what comes later, while it can be named.
fn join(join: &Join) -> Result<Vec<std::fs::File>> {
    let doing = |file: &Path| format!("joining {}", file.display());
    join.now.iter().try_for_each(|file| std::fs::write(file, "0").or_fail(&doing(file)))?;
    join.late.iter().map(|file| std::fs::File::options().write(true).open(file).or_fail(&doing(file))).collect()
}

/// Puts the streams onto 0, 1 and 2.
fn connect(streams: Streams, spec: &ContainerSpec, sync: BorrowedFd<'_>, console: bool) -> Result<()> {
    match streams {
        Streams::Pipes { stdin, stdout, stderr } => {
            use rustix::fs::{Mode, OFlags};
            let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
            let null = null.or_fail("opening /dev/null")?;
            for (number, stream) in [stdin, stdout, stderr].into_iter().enumerate() {
                if let Some(stream) = &stream {
                    // As its own user, the program may reopen its streams by name (/dev/stdout).
                    let owner = rustix::fs::Uid::from_raw(spec.user.uid);
                    let _ = rustix::fs::fchown(stream, Some(owner), None);
                }
                let stream = stream.as_ref().map_or(null.as_fd(), |fd| fd.as_fd());
                sys::dup_to(stream, number as i32).or_fail("placing the standard streams")?;
            }
            Ok(())
        }
        Streams::Terminal { size } => {
            let terminal = root::open_terminal(spec.user.uid, console).or_fail("making a terminal")?;
            if let Some((columns, rows)) = size {
                let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                let _ = rustix::termios::tcsetwinsize(&terminal.slave, size);
            }
            for number in 0..3 {
                sys::dup_to(terminal.slave.as_fd(), number).or_fail("placing the terminal")?;
            }
            rustix::process::ioctl_tiocsctty(&terminal.slave).or_fail("taking the terminal")?;
            channel::send(sync, &[TERMINAL], &[terminal.master.as_fd()]).or_fail("handing over the terminal")?;
            Ok(())
        }
    }
}

fn numbers(files: &[std::fs::File]) -> Vec<RawFd> {
    files.iter().map(AsRawFd::as_raw_fd).collect()
}

fn wait_for_go(sync: BorrowedFd<'_>) {
    let mut byte = [0; 1];
    loop {
        match rustix::io::read(sync, &mut byte) {
            Ok(1) if byte == GO => return,
            Err(rustix::io::Errno::INTR) => {}
            // The supervisor does not know of this child: nothing has run, and nothing will.
            _ => sys::exit(0),
        }
    }
}

fn give_up(sync: BorrowedFd<'_>, text: &str) -> ! {
    let mut message = vec![ERROR];
    message.extend_from_slice(&text.as_bytes()[..text.len().min(8 << 10)]);
    let _ = rustix::io::write(sync, &message);
    sys::exit(128)
}

/// Errors with what was being done.
pub trait OrFail<T> {
    fn or_fail(self, doing: &str) -> Result<T>;
}

impl<T, E: Into<io::Error>> OrFail<T> for std::result::Result<T, E> {
    fn or_fail(self, doing: &str) -> Result<T> {
        self.map_err(|error| format!("{doing}: {}", plain(&error.into())))
    }
}

/// The error without Rust's `(os error 2)`, in lower case, as other runtimes word it.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// A path or word for the kernel.
pub fn c_string(text: impl AsRef<std::ffi::OsStr>, what: impl Display) -> Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| format!("{what} contains a null byte"))
}
