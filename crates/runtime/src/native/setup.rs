//! From a fresh clone to the program: what a child of the supervisor does, step by step.
//!
//! Runs in a child only. One rule: privileged code never follows a path that a container controls, and
//! never enters a container's mounts with a descriptor that is not the container's. So the host's side
//! comes first (`host`, `root::prepare`); then all is closed but what the container gets and what was
//! opened for it; only then the child enters, and what is inside is reached by descriptor (`inside`).

use std::borrow::Cow;
use std::convert::Infallible;
use std::ffi::CString;
use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup::Join;
use super::channel;
use super::protocol::Layers;
use super::sys::{self, Number};
use crate::spec::{ContainerSpec, SandboxSpec};

/// Where others may look: a set-up that shows them nothing.
pub mod beside;
/// What is opened of the host.
pub mod host;
/// User, capabilities, limits, filter.
pub mod identity;
/// Paths walked inside a root, never out of it.
pub mod inside;
/// Finding and running the program.
pub mod program;
/// Mounts and devices.
pub mod root;
/// Terminals.
pub mod terminal;

/// Why a start failed, in words for the user.
pub type Result<T, E = String> = std::result::Result<T, E>;

/// What the supervisor sends once the start is on record; without it nothing is run.
pub const GO: &[u8] = b"g";
/// The child's messages begin with one of these. MOVED: it goes on as another process, whose pidfd comes
/// along.
pub const MOVED: u8 = b'M';
pub const TERMINAL: u8 = b'T';
pub const ERROR: u8 = b'E';
/// From the init of a shared PID namespace: its /proc comes along.
pub const PROC: u8 = b'P';

/// All that becomes a process of a container.
#[derive(Serialize, Deserialize)]
pub struct Setup<'a> {
    pub spec: Cow<'a, ContainerSpec>,
    pub argv: Cow<'a, [String]>,
    pub place: Home<'a>,
    /// A process of the PID namespace to live in, if others there may look into a new one's memory.
    pub beside: Option<Number>,
    pub join: Join,
    /// Compiled again where a program begins anew.
    #[serde(skip)]
    pub filter: Vec<libc::sock_filter>,
    pub streams: Streams,
    pub sync: Number,
    pub null: Number,
    /// The limit of open files before the supervisor raised its own.
    pub files: (u64, u64),
}

/// Where the program runs.
#[derive(Serialize, Deserialize)]
pub enum Home<'a> {
    New(Box<Birth<'a>>),
    /// With a process that is there.
    Running(Number),
}

/// Of what a new container is made.
#[derive(Serialize, Deserialize)]
pub struct Birth<'a> {
    pub sandbox: Cow<'a, SandboxSpec>,
    pub layers: Cow<'a, Layers>,
    /// Holds `upper` and `work`.
    pub folder: PathBuf,
    pub template: Number,
    /// Those that differ from the supervisor's own, with their kinds.
    pub namespaces: Vec<(Number, i32)>,
    pub shm: Option<Number>,
    pub mqueue: Option<Number>,
    /// Of a PID namespace that is shared.
    pub proc: Option<Number>,
    /// Name below /sys/fs/cgroup and source.
    pub views: Vec<(String, PathBuf)>,
}

/// Standard streams.
#[derive(Clone, Serialize, Deserialize)]
pub enum Streams {
    /// None: /dev/null.
    Pipes { stdin: Option<Number>, stdout: Option<Number>, stderr: Option<Number> },
    /// Made inside the container; its master goes to the supervisor.
    Terminal { size: Option<(u16, u16)> },
}

impl Streams {
    fn numbers(&self) -> impl Iterator<Item = Number> {
        let pipes = match self {
            Streams::Pipes { stdin, stdout, stderr } => [*stdin, *stdout, *stderr],
            Streams::Terminal { .. } => [None; 3],
        };
        pipes.into_iter().flatten()
    }
}

/// Builds or enters the container and becomes its program.
pub fn become_program(setup: Setup<'_>) -> ! {
    let sync = setup.sync;
    let done = if setup.beside.is_some() { beside::begin_anew(&setup) } else { carry_out(setup) };
    let failed = done.expect_err("success does not return");
    give_up(sync, &failed)
}

fn carry_out(mut setup: Setup<'_>) -> Result<Infallible> {
    begin();
    let mut host = host::Opened::new(&setup.join, Some(&*setup.spec))?;
    host::adjust_oom_score(setup.spec.oom_score_adj);
    host::silence(setup.null.as_fd())?;
    let needed: Vec<Number> = setup.streams.numbers().chain([setup.sync]).chain(host.numbers()).collect();
    let inside = match &setup.place {
        Home::New(birth) => build(&setup, birth, needed)?,
        Home::Running(target) => enter(&setup, *target, needed)?,
    };
    let filter = std::mem::take(&mut setup.filter);
    finish(&setup, &mut host, inside, &filter)
}

/// Inside: the root, and, of a new one, what it was made of.
struct Inside {
    root: OwnedFd,
    made: Option<(OwnedFd, OwnedFd)>,
}

fn build(setup: &Setup<'_>, birth: &Birth<'_>, needed: Vec<Number>) -> Result<Inside> {
    let prepared = root::prepare(&setup.spec, birth)?;
    for (fd, kind) in &birth.namespaces {
        sys::setns(fd.as_fd(), *kind).or_fail("joining the sandbox's namespaces")?;
    }
    if let Some(neighbour) = setup.beside {
        sys::setns(neighbour.as_fd(), libc::CLONE_NEWPID).or_fail("joining the PID namespace")?;
    }
    sys::setns(birth.template.as_fd(), libc::CLONE_NEWNS).or_fail("entering the private mount namespace")?;
    sys::close_all_but(needed.into_iter().chain(prepared.numbers()));
    sys::unshare(libc::CLONE_NEWNS).or_fail("making a mount namespace")?;
    let root::Inside { root, dev, devpts } = root::assemble(&setup.spec, prepared)?;
    Ok(Inside { root, made: Some((dev, devpts)) })
}

fn enter(setup: &Setup<'_>, target: Number, needed: Vec<Number>) -> Result<Inside> {
    sys::close_all_but(needed.into_iter().chain([target]).chain(setup.beside));
    let kinds =
        libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNET | libc::CLONE_NEWCGROUP;
    let of_children = if setup.beside.is_some() { libc::CLONE_NEWPID } else { 0 };
    sys::setns(target.as_fd(), kinds | of_children).or_fail("joining the container's namespaces")?;
    sys::close_in_child(target.as_fd());
    Ok(Inside { root: inside::root().or_fail("opening the root")?, made: None })
}

/// Inside the root, about to become the program.
fn finish(
    setup: &Setup<'_>,
    host: &mut host::Opened,
    inside: Inside,
    filter: &[libc::sock_filter],
) -> Result<Infallible> {
    let (spec, sync) = (&*setup.spec, setup.sync.as_fd());
    let is_new = inside.made.is_some();
    let terminal = matches!(setup.streams, Streams::Terminal { .. });
    connect(setup, &inside)?;
    let Inside { root, .. } = inside;
    if is_new && spec.read_only_root {
        root::make_read_only(root.as_fd())?;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    sys::new_session_keyring().or_fail("making a session keyring")?;
    identity::limit(&spec.rlimits, setup.files)?;
    let cwd = if spec.cwd.as_os_str().is_empty() { Path::new("/") } else { &spec.cwd };
    let at_work = inside::change_folder(root.as_fd(), cwd)?;
    if setup.beside.is_none() {
        if terminal {
            take_terminal()?;
        }
        wait_for_go(sync);
    }
    host.join_late()?;
    if is_new && !spec.privileged {
        sys::unshare(libc::CLONE_NEWCGROUP).or_fail("making a cgroup namespace")?;
    }
    let program = program::Program::new(&setup.argv, &spec.env, terminal)?;
    // The supervisor does without huge pages; programs need not.
    let _ = sys::prctl(libc::PR_SET_THP_DISABLE, 0, 0);
    sys::close_on_exec_from(3);
    host.ask_for_profile(spec)?;
    identity::assume(spec, filter)?;
    if !at_work && !inside::change_folder(root.as_fd(), cwd)? {
        return Err(format!("chdir to cwd ({cwd:?}) set in config.json failed: permission denied"));
    }
    identity::confine(spec, filter)?;
    if setup.beside.is_some() {
        beside::step_inside(sync)?;
        if terminal {
            take_terminal()?;
        }
        wait_for_go(sync);
    }
    Err(program.run())
}

/// A session of its own, plain signals, no umask: modes are meant as they are written here. Not to be
/// looked into until the program's own execve.
fn begin() {
    sys::default_signals();
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0, 0);
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::empty());
}

/// Puts the streams onto 0, 1 and 2, where /dev/null is until then.
fn connect(setup: &Setup<'_>, inside: &Inside) -> Result<()> {
    let uid = setup.spec.user.uid;
    match &setup.streams {
        Streams::Pipes { stdin, stdout, stderr } => {
            for (number, stream) in [stdin, stdout, stderr].into_iter().enumerate() {
                let Some(stream) = stream else { continue };
                // As its own user, the program may reopen its streams by name (/dev/stdout).
                let owner = rustix::fs::Uid::from_raw(uid);
                let _ = rustix::fs::fchown(stream, Some(owner), None);
                sys::dup_to(stream.as_fd(), number as i32).or_fail("placing the standard streams")?;
            }
            Ok(())
        }
        Streams::Terminal { size } => {
            let doing = "making a terminal";
            let terminal = match &inside.made {
                Some((dev, devpts)) => {
                    let made = terminal::open(devpts.as_fd(), uid).or_fail(doing)?;
                    terminal::show_as_console(&made, dev.as_fd(), devpts.as_fd()).or_fail(doing)?;
                    made
                }
                None => terminal::open(terminal::devpts(inside.root.as_fd())?.as_fd(), uid).or_fail(doing)?,
            };
            if let Some((columns, rows)) = *size {
                let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                let _ = rustix::termios::tcsetwinsize(&terminal.slave, size);
            }
            for number in 0..3 {
                sys::dup_to(terminal.slave.as_fd(), number).or_fail("placing the terminal")?;
            }
            let sent = channel::send(setup.sync, &[TERMINAL], &[terminal.master.as_fd()]);
            sent.or_fail("handing over the terminal")?;
            Ok(())
        }
    }
}

/// Of the session that this process leads.
fn take_terminal() -> Result<()> {
    rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).or_fail("taking the terminal")
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

fn give_up(sync: impl AsFd, text: &str) -> ! {
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
