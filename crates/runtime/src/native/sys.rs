//! System calls that no library wraps: clone3, pidfd status, seccomp, execve, capability sets.
//!
//! Below everything of the native engine. Each function is one call and returns the kernel's error;
//! none keeps state. Callers are single-threaded processes (keeper, supervisor and their children).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::str::FromStr;
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec};
use serde::{Deserialize, Serialize};

/// A descriptor by its number, as a child of the supervisor knows it: nothing is closed by forgetting it,
/// and it can be told to the program that the child goes on as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Number(RawFd);

impl<T: AsFd> From<&T> for Number {
    fn from(fd: &T) -> Number {
        Number(fd.as_fd().as_raw_fd())
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl AsFd for Number {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: whoever writes a number down keeps it open for as long as it is used: the supervisor until
        // it has cloned, the child until it closes it by `close_all_but`.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// The two sides of a clone.
pub enum Cloned {
    Child,
    Parent { pid: u32, pidfd: OwnedFd },
}

/// Clones this process: memory is copied, descriptors are shared, the given namespaces are new.
///
/// `CLONE_PARENT` makes the caller's parent (the keeper) the parent of the child.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain numbers; all zero is its empty value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    if flags & libc::CLONE_PARENT as u64 == 0 {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is a fork: the child runs on a copy of this stack. The caller is
    // single-threaded, so no lock of the allocator or the library is held by a thread that is not there.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel stored a new descriptor that nobody else owns.
        pid => Ok(Cloned::Parent { pid: pid as u32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// As `clone3`, by the older call, which system-call filters allow.
pub fn clone_plain(flags: i32) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let flags = (flags | libc::CLONE_PIDFD) as libc::c_long;
    // SAFETY: as in `clone3`; a null stack is the caller's own, copied, and the third argument is where the
    // pidfd goes, on every architecture.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel stored a new descriptor that nobody else owns.
        pid => Ok(Cloned::Parent { pid: pid as u32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// A process that ended, not yet reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub pid: u32,
    /// The exit status, or the signal if `by_signal`.
    pub status: i32,
    pub by_signal: bool,
}

/// A child that ended, any or only this one, left for `reap`.
pub fn peek_ended(only: Option<u32>) -> io::Result<Option<Ended>> {
    // SAFETY: siginfo_t is plain numbers; waitid fills it.
    let mut got: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let kind = if only.is_some() { libc::P_PID } else { libc::P_ALL };
    // SAFETY: `got` outlives the call.
    check(unsafe { libc::waitid(kind, only.unwrap_or(0), &raw mut got, options) })?;
    // SAFETY: waitid filled the fields of a SIGCHLD, or left zeroes.
    let (pid, status) = unsafe { (got.si_pid(), got.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    Ok(Some(Ended { pid: pid as u32, status, by_signal: got.si_code != libc::CLD_EXITED }))
}

/// Lets an ended child go.
pub fn reap(pid: u32) {
    // SAFETY: no pointer is passed.
    unsafe { libc::waitpid(pid as i32, std::ptr::null_mut(), libc::WNOHANG) };
}

/// How the process behind a pidfd ended, also after its reaping (Linux 6.15 and later).
pub fn exit_of(pidfd: BorrowedFd<'_>) -> io::Result<Option<Ended>> {
    #[repr(C)]
    #[derive(Default)]
    struct Asked {
        mask: u64,
        cgroupid: u64,
        pid: u32,
        tgid: u32,
        ppid: u32,
        ids: [u32; 8],
        exit_code: i32,
        coredump: u32,
        spare: u32,
    }
    const EXIT: u64 = 1 << 3;
    let mut asked = Asked { mask: EXIT, ..Asked::default() };
    // _IOWR(0xFF, 11, struct pidfd_info)
    let request = (3u64 << 30) | ((size_of::<Asked>() as u64) << 16) | (0xFF << 8) | 11;
    // SAFETY: the kernel writes at most the size encoded in the request, which is `asked`'s.
    check(unsafe { libc::ioctl(pidfd.as_raw_fd(), request as libc::Ioctl, &raw mut asked) })?;
    if asked.mask & EXIT == 0 {
        return Ok(None);
    }
    let code = asked.exit_code;
    let signal = code & 0x7f;
    let status = if signal != 0 { signal } else { (code >> 8) & 0xff };
    Ok(Some(Ended { pid: asked.pid, status, by_signal: signal != 0 }))
}

/// A descriptor for a process that lives or is not yet reaped.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed; the result is a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::c_long, 0) };
    owned(fd)
}

/// What no other process of this boot with the same number has: the inode of its pidfd or, before Linux
/// 6.9, where all pidfds share one inode, the moment it began.
pub fn unique_of(pid: u32, pidfd: BorrowedFd<'_>) -> io::Result<u64> {
    const PID_FS_MAGIC: u64 = 0x5049_4446;
    if rustix::fs::fstatfs(pidfd)?.f_type as u64 == PID_FS_MAGIC {
        return Ok(rustix::fs::fstat(pidfd)?.st_ino);
    }
    stat_field(pid, 22)
}

pub fn parent_of(pid: u32) -> io::Result<u32> {
    stat_field(pid, 4)
}

/// Whether it lives in a PID namespace below ours, where it has a further number.
pub fn is_below(pid: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("NSpid:")).is_some_and(|ids| ids.split_whitespace().count() > 1)
}

/// `R`, `S`, `D`, `T`, `t`, `Z`, … (proc_pid_stat(5)).
pub fn state_of(pid: u32) -> io::Result<char> {
    stat_field(pid, 3)
}

/// A field of /proc/<pid>/stat by its number in proc_pid_stat(5), from 3 on.
fn stat_field<T: FromStr>(pid: u32, number: usize) -> io::Result<T> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before may hold anything.
    let field = text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(number - 3)?.parse().ok());
    field.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat: {text:?}")))
}

/// A timer rings once after that time; zero stops it.
pub fn ring_once(timer: impl AsFd, pause: Duration) -> io::Result<()> {
    let spec = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let once =
        Itimerspec { it_interval: spec(0, 0), it_value: spec(pause.as_secs() as i64, pause.subsec_nanos().into()) };
    rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}

/// Blocks until the process has ended, reaped or not; false: it goes on after that long.
pub fn wait_for_end(pidfd: &OwnedFd, longest: rustix::event::Timespec) -> io::Result<bool> {
    let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut fds, Some(&longest)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed.
    let done = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    check(done as i32)
}

/// Joins the namespaces that a descriptor names: a namespace file, or a pidfd with several flags.
pub fn setns(fd: BorrowedFd<'_>, kinds: i32) -> io::Result<()> {
    // SAFETY: no pointer is passed; the caller is single-threaded.
    check(unsafe { libc::setns(fd.as_raw_fd(), kinds) })
}

pub fn unshare(kinds: i32) -> io::Result<()> {
    // SAFETY: no pointer is passed; the caller is single-threaded.
    check(unsafe { libc::unshare(kinds) })
}

/// All signals unblocked, those that Rust ignores back to their default: what a program expects to find.
pub fn default_signals() {
    // SAFETY: sets masks and dispositions of this process only; the pointers outlive the calls.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        // Handlers end with the execve by themselves; what is ignored would stay so.
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Ignores a signal in this process.
pub fn ignore_signal(signal: i32) {
    // SAFETY: no handler runs; the disposition is this process's own.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// A descriptor that reads as ready when one of the signals arrives, which are blocked otherwise.
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: the set lives on this stack during the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        owned(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) as libc::c_long)
    }
}

/// Installs a filter on this process.
pub fn seccomp(filter: &[libc::sock_filter], flags: u32) -> io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    check(done as i32)
}

/// Replaces the program; returns only on failure.
pub fn execve(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end in null and their strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// As `execve`, of an open file.
pub fn execve_fd(program: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    let flags = libc::AT_EMPTY_PATH;
    // SAFETY: both arrays end in null and their strings outlive the call.
    unsafe {
        let path = c"".as_ptr();
        libc::syscall(libc::SYS_execveat, program.as_raw_fd(), path, argv.as_ptr(), env.as_ptr(), flags);
    }
    io::Error::last_os_error()
}

/// Ends this process without running anything more.
pub fn exit(code: i32) -> ! {
    // SAFETY: ends the process; nothing is touched.
    unsafe { libc::_exit(code) }
}

/// Waits for any signal, reaping every child that ends: the whole life of a sandbox's init.
pub fn reap_for_ever() -> ! {
    loop {
        // SAFETY: no pointer is passed.
        let got = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
        if got < 0 {
            wait_for_child();
        }
    }
}

fn wait_for_child() {
    // SAFETY: the sets live on this stack; sigwaitinfo blocks until one of them is pending.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::sigwaitinfo(&raw const set, std::ptr::null_mut());
    }
}

/// Effective, permitted and inheritable sets, as bits.
pub fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let half = |set: u64, high: bool| if high { (set >> 32) as u32 } else { set as u32 };
    let sets: [[u32; 3]; 2] =
        [false, true].map(|high| [half(effective, high), half(permitted, high), half(inheritable, high)]);
    // SAFETY: header and the two triples have the kernel's layout for this version.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) } as i32)
}

/// The permitted set of this process.
pub fn permitted_capabilities() -> u64 {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: as in `set_capabilities`.
    unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    u64::from(sets[0][1]) | u64::from(sets[1][1]) << 32
}

/// One `prctl` with numbers only.
pub fn prctl(option: i32, a: u64, b: u64) -> io::Result<()> {
    // SAFETY: the options used take numbers, no pointers.
    check(unsafe { libc::prctl(option, a, b, 0u64, 0u64) })
}

/// One `prctl` that answers with a number; −1: not known here.
pub fn prctl_number(option: i32) -> i32 {
    // SAFETY: the options used take no pointers.
    unsafe { libc::prctl(option, 0u64, 0u64, 0u64, 0u64) }
}

/// Users, groups: real, effective and saved alike. The number that means "as it is" to the kernel names
/// nobody: it is refused, not obeyed.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    if groups.iter().chain([&uid, &gid]).any(|id| *id == NOBODY_AT_ALL) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the list outlives the call; the raw calls change this only thread.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) as i32)?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid) as i32)?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid) as i32)
    }
}

/// −1 as an id.
pub const NOBODY_AT_ALL: u32 = u32::MAX;

/// A session keyring of its own, so that containers do not share the keeper's. Kernels without keyrings, and
/// machines that grant none, have nothing to share.
pub fn new_session_keyring() -> io::Result<()> {
    // KEYCTL_JOIN_SESSION_KEYRING, anonymous. SAFETY: a null name is allowed.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, 1, std::ptr::null::<u8>()) };
    match check(joined as i32) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        other => other,
    }
}

/// Sets one limit; `u64::MAX` is infinity.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the limit outlives the call.
    check(unsafe { libc::setrlimit(resource, &raw const limit) })
}

/// Soft and hard limit.
pub fn rlimit(resource: u32) -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit outlives the call.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}

/// Marks every descriptor from `first` on as closed at exec.
pub fn close_on_exec_from(first: u32) {
    // SAFETY: only flags of this process's descriptors change.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Closes every descriptor but the standard streams and these. For a process that owns none of the others
/// any more.
pub fn close_all_but(needed: impl IntoIterator<Item = Number>) {
    let mut needed: Vec<Number> = needed.into_iter().collect();
    needed.sort_unstable();
    let mut first = 3;
    for number in needed.into_iter().map(|number| number.0 as u32).filter(|number| *number > 2) {
        if number > first {
            // SAFETY: the caller (a child that never returns to Rust owners) holds none of them.
            unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) };
        }
        first = number + 1;
    }
    close_from(first);
}

/// Closes every descriptor from `first` on. For a process that owns none of them any more.
pub fn close_from(first: u32) {
    // SAFETY: the caller (a child that never returns to Rust owners) holds none of them.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Closes the child's copy of a descriptor that its parent goes on using.
pub fn close_in_child(fd: BorrowedFd<'_>) {
    // SAFETY: this copy of memory never drops the owner: the child ends in execve or _exit.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Lets a program that follows have it.
pub fn keep_over_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: only a flag of this process's descriptor changes.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) })
}

/// A descriptor that tokio watches.
pub fn async_fd(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is returned, open until that is dropped, and never changes.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(fd) }?)
}

/// Makes `to` the same as `from`, kept over exec.
pub fn dup_to(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    // SAFETY: numbers only. A fixed low number is replaced on purpose.
    unsafe {
        if from.as_raw_fd() == to {
            return check(libc::fcntl(to, libc::F_SETFD, 0));
        }
        check(libc::dup2(from.as_raw_fd(), to))
    }
}

/// Takes over a descriptor that was inherited under a known number.
pub fn inherited(fd: RawFd) -> OwnedFd {
    // SAFETY: whoever started this process left the number for it, and it is taken once, at the start.
    unsafe {
        libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        OwnedFd::from_raw_fd(fd)
    }
}

/// A bpf(2) call; `attributes` has the layout of the command's part of the union.
pub fn bpf<T>(command: u32, attributes: &mut T) -> io::Result<i64> {
    // SAFETY: the kernel reads and writes at most the given size; pointers inside are the caller's.
    let got = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(got) }
}

/// A bpf(2) call that makes a descriptor.
pub fn bpf_fd<T>(command: u32, attributes: &mut T) -> io::Result<OwnedFd> {
    owned(bpf(command, attributes)? as libc::c_long)
}

/// Changes attributes or propagation of a mount, optionally of all below it.
pub fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, set: u64, propagation: u64) -> io::Result<()> {
    let attributes: [u64; 4] = [set, 0, propagation, 0];
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: struct mount_attr is four 64-bit numbers; it outlives the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    check(done as i32)
}

const AT_RECURSIVE: i32 = 0x8000;
pub const MOUNT_READ_ONLY: u64 = 0x1;
/// Read-only, no set-uid, no devices, nothing to execute.
pub const MOUNT_DATA_ONLY: u64 = 0x1 | 0x2 | 0x4 | 0x8;

/// The wall clock, in nanoseconds since the epoch. Keeper and supervisor are processes of their own,
/// outside any simulation, and take it from the system.
pub fn now() -> i128 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this number to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The allocator's own, which its crate does not tell of: mi_option_purge_delay in mimalloc.h.
const PURGE_DELAY: libc::c_int = 15;

unsafe extern "C" {
    fn mi_option_set(option: libc::c_int, value: libc::c_long);
}

/// How long freed memory stays with the allocator, in milliseconds.
pub fn set_purge_delay(milliseconds: i64) {
    use libmimalloc_sys as _;
    // SAFETY: stores a number in the allocator's table of options, which it reads when it frees.
    unsafe { mi_option_set(PURGE_DELAY, milliseconds) }
}
