//! System calls that the standard library lacks: the only unsafe code of the toolbox.
//!
//! The program is single-threaded wherever it forks (`sh`), so that a forked child may go on in Rust.

use std::ffi::CString;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Signals that arrived and were not yet looked at, one bit each.
static ARRIVED: AtomicU64 = AtomicU64::new(0);

pub const SIGNALS: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ABRT", libc::SIGABRT),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("SEGV", libc::SIGSEGV),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("WINCH", libc::SIGWINCH),
];

/// `TERM`, `SIGTERM`, `15`
pub fn signal_number(text: &str) -> Result<i32, String> {
    let name = text.strip_prefix("SIG").unwrap_or(text).to_ascii_uppercase();
    let named = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    named.or(text.parse().ok().filter(|n| (0..=64).contains(n))).ok_or_else(|| format!("{text}: no such signal"))
}

pub fn signal_name(number: i32) -> String {
    SIGNALS.iter().find(|(_, n)| *n == number).map_or_else(|| number.to_string(), |(name, _)| (*name).to_string())
}

/// Nanoseconds since the epoch.
pub fn now() -> i128 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut time) };
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// Nanoseconds of a clock that nobody sets.
pub fn monotonic() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// 0 in the child.
pub fn fork() -> io::Result<i32> {
    // SAFETY: the callers are single-threaded, so the child has no locks held by other threads.
    check(unsafe { libc::fork() })
}

/// Waits for one child, or with −1 for any: its pid and exit status as a shell sees it (128 + signal).
pub fn wait(pid: i32) -> io::Result<(i32, i32)> {
    wait_for(pid, 0)
}

fn wait_for(pid: i32, options: i32) -> io::Result<(i32, i32)> {
    let mut status = 0;
    // SAFETY: the pointer is to a live int.
    let pid = check(unsafe { libc::waitpid(pid, &mut status, options) })?;
    let code = if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    Ok((pid, code))
}

/// What `wait_unless` saw first.
pub enum Woken {
    /// Its pid and exit status, as `wait` has them.
    Ended(i32, i32),
    Signal(i32),
}

/// Waits for any child, or until one of these noted signals arrives; one that arrived already counts.
/// The signals stay blocked from the look to the wait, so that none is lost between the two.
pub fn wait_unless(signals: &[i32]) -> io::Result<Woken> {
    let watched = [signals, &[libc::SIGCHLD]].concat();
    block(&watched);
    let woken = loop {
        if let Some(signal) = waiting() {
            break Ok(Woken::Signal(signal));
        }
        match wait_for(-1, libc::WNOHANG) {
            Ok((0, _)) => {}
            ended => break ended.map(|(pid, status)| Woken::Ended(pid, status)),
        }
        if let Some(signal) = next_signal(&watched, None).filter(|signal| *signal != libc::SIGCHLD) {
            ARRIVED.fetch_or(1 << (signal & 63), Ordering::SeqCst);
        }
    };
    unblock(&watched);
    woken
}

/// Ends a forked child without the parent's exit hooks.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; never returns.
    unsafe { libc::_exit(code) }
}

/// Returns only if it fails.
pub fn exec(path: &str, arguments: &[String], environment: &[(String, String)]) -> io::Error {
    let text = |s: &str| CString::new(s).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL));
    let strings = || -> io::Result<_> {
        let arguments: Vec<CString> = arguments.iter().map(|a| text(a)).collect::<io::Result<_>>()?;
        let pairs = environment.iter().map(|(name, value)| text(&format!("{name}={value}")));
        Ok((text(path)?, arguments, pairs.collect::<io::Result<Vec<CString>>>()?))
    };
    let (path, arguments, environment) = match strings() {
        Ok(strings) => strings,
        Err(e) => return e,
    };
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    // SAFETY: both arrays end in null, and the strings live until the call returns.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

pub fn pipe() -> io::Result<(RawFd, RawFd)> {
    let mut ends = [0; 2];
    // SAFETY: the pointer is to two live ints.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((ends[0], ends[1]))
}

/// Makes `to` the same open file as `from`.
pub fn dup_onto(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::dup2(from, to) }).map(drop)
}

/// A copy out of the way of scripts, closed on exec.
pub fn dup_away(fd: RawFd) -> io::Result<RawFd> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 64) })
}

pub fn close(fd: RawFd) {
    // SAFETY: takes no pointers; closing what is not open is harmless here.
    unsafe { libc::close(fd) };
}

pub fn open(path: &str, flags: i32) -> io::Result<RawFd> {
    let path = CString::new(path).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the string lives until the call returns.
    check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o666) })
}

/// Takes a descriptor that nothing else owns.
pub fn file(fd: RawFd) -> std::fs::File {
    use std::os::fd::FromRawFd;
    // SAFETY: the callers just opened it, or are a forked child with a copy of their own.
    unsafe { std::fs::File::from_raw_fd(fd) }
}

pub fn read_byte(fd: RawFd) -> io::Result<Option<u8>> {
    let mut byte = 0u8;
    // SAFETY: the pointer is to one live byte.
    let n = unsafe { libc::read(fd, (&raw mut byte).cast(), 1) };
    match n {
        1 => Ok(Some(byte)),
        0 => Ok(None),
        _ => Err(io::Error::last_os_error()),
    }
}

pub enum Disposition {
    Default,
    Ignore,
    /// Noted for `arrived`.
    Note,
}

pub fn dispose(signal: i32, disposition: Disposition) -> io::Result<()> {
    extern "C" fn note(signal: i32) {
        ARRIVED.fetch_or(1 << (signal & 63), Ordering::SeqCst);
    }
    let action = match disposition {
        Disposition::Default => libc::SIG_DFL,
        Disposition::Ignore => libc::SIG_IGN,
        Disposition::Note => note as *const () as libc::sighandler_t,
    };
    // SAFETY: an all-zero sigaction is valid (no flags: waits are interrupted), and `note` only touches an atomic.
    unsafe {
        let mut new: libc::sigaction = std::mem::zeroed();
        new.sa_sigaction = action;
        check(libc::sigaction(signal, &new, std::ptr::null_mut())).map(drop)
    }
}

/// The lowest signal that arrived since it was last asked for.
pub fn arrived() -> Option<i32> {
    let all = ARRIVED.load(Ordering::SeqCst);
    (all != 0).then(|| {
        let signal = all.trailing_zeros() as i32;
        ARRIVED.fetch_and(!(1 << signal), Ordering::SeqCst);
        signal
    })
}

/// The one that `arrived` would give; it stays.
pub fn waiting() -> Option<i32> {
    let all = ARRIVED.load(Ordering::SeqCst);
    (all != 0).then(|| all.trailing_zeros() as i32)
}

pub fn restore_sigpipe() {
    let _ = dispose(libc::SIGPIPE, Disposition::Default);
}

/// The kernel drops a default TERM or INT to PID 1; there, they end the program like anywhere else.
pub fn end_on_term_as_pid_1() {
    extern "C" fn end(signal: i32) {
        // SAFETY: async-signal-safe, and never returns.
        unsafe { libc::_exit(128 + signal) }
    }
    if std::process::id() != 1 {
        return;
    }
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: an all-zero sigaction is valid, and `end` only calls _exit.
        unsafe {
            let mut new: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction = end as *const () as libc::sighandler_t;
            libc::sigaction(signal, &new, std::ptr::null_mut());
        }
    }
}

/// Blocks these signals for `next_signal`.
pub fn block(signals: &[i32]) {
    let set = set_of(signals);
    // SAFETY: the set is live and initialised.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
}

pub fn unblock(signals: &[i32]) {
    let set = set_of(signals);
    // SAFETY: the set is live and initialised.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut()) };
}

/// The next blocked signal; None when the time is over.
pub fn next_signal(signals: &[i32], within: Option<Duration>) -> Option<i32> {
    let set = set_of(signals);
    let time = within.map(|d| libc::timespec { tv_sec: d.as_secs() as _, tv_nsec: d.subsec_nanos().into() });
    let time = time.as_ref().map_or(std::ptr::null(), |t| t as *const libc::timespec);
    loop {
        // SAFETY: the set and, if there is one, the time live until the call returns.
        let signal = unsafe { libc::sigtimedwait(&set, std::ptr::null_mut(), time) };
        if signal > 0 {
            return Some(signal);
        }
        if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set before anything reads it.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        signals.iter().for_each(|signal| {
            libc::sigaddset(&mut set, *signal);
        });
        set
    }
}

/// Real and effective user and group, and supplementary groups.
pub fn identity() -> (u32, u32, Vec<u32>) {
    let mut groups = vec![0; 65536];
    // SAFETY: the buffer holds as many groups as Linux allows (NGROUPS_MAX).
    let count = unsafe { libc::getgroups(groups.len() as i32, groups.as_mut_ptr()) };
    groups.truncate(count.max(0) as usize);
    // SAFETY: take no pointers and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid(), groups) }
}

/// sysname, nodename, release, version, machine
pub fn uname() -> [String; 5] {
    // SAFETY: uname fills the all-zero struct with NUL-terminated strings.
    unsafe {
        let mut names: libc::utsname = std::mem::zeroed();
        libc::uname(&mut names);
        let text = |field: &[libc::c_char]| std::ffi::CStr::from_ptr(field.as_ptr()).to_string_lossy().into_owned();
        [&names.sysname[..], &names.nodename, &names.release, &names.version, &names.machine].map(text)
    }
}

pub fn is_terminal(fd: RawFd) -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::isatty(fd) == 1 }
}

pub fn sync() {
    // SAFETY: takes no arguments.
    unsafe { libc::sync() };
}

pub fn umask(mask: u32) -> u32 {
    // SAFETY: takes no pointers.
    unsafe { libc::umask(mask) }
}

pub fn mkfifo(path: &str, mode: u32) -> io::Result<()> {
    let path = CString::new(path).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the string lives until the call returns.
    check(unsafe { libc::mkfifo(path.as_ptr(), mode) }).map(drop)
}

pub fn set_times(path: &str, seconds: i64) -> io::Result<()> {
    let path = CString::new(path).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let time = libc::timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = [time, time];
    // SAFETY: the string and both times live until the call returns.
    let result = unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), libc::AT_SYMLINK_NOFOLLOW) };
    check(result).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
