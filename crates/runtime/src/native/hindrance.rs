//! What holds a process of ours up; one that somebody stopped is continued.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::{keeper, sys};

/// Why a process does nothing, however long one waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// SIGSTOP, or its like.
    Stopped,
    Debugger,
    /// The kernel waits; it would not let the process end either.
    Device,
}

impl Hindrance {
    /// As /proc tells; None: it runs, or is gone.
    pub fn of(pid: u32) -> Option<Hindrance> {
        match sys::state_of(pid) {
            Ok('T') => Some(Hindrance::Stopped),
            Ok('t') => Some(Hindrance::Debugger),
            Ok('D') => Some(Hindrance::Device),
            _ => None,
        }
    }
}

impl Display for Hindrance {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hindrance::Stopped => "was stopped",
            Hindrance::Debugger => "is held by a debugger",
            Hindrance::Device => "waits for a device, or a file system",
        })
    }
}

/// Continues a process that somebody stopped. `is_ours` proves it, once the process can no longer become
/// another of its number. True: it was stopped, and goes on.
pub fn go_on(pid: u32, is_ours: impl FnOnce() -> bool) -> io::Result<bool> {
    let process = sys::pidfd_open(pid)?;
    if !is_ours() || Hindrance::of(pid) != Some(Hindrance::Stopped) {
        return Ok(false);
    }
    sys::pidfd_signal(process.as_fd(), libc::SIGCONT)?;
    Ok(true)
}

/// The keeper that serves this run folder: the process that holds its lock, by a descriptor of its own.
pub fn keeper_of(run: &Path) -> Option<u32> {
    let lock = run.join(keeper::LOCK).canonicalize().ok()?;
    let number = rustix::fs::stat(&lock).ok()?.st_ino.to_string();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.into_iter().any(|fd| {
            let is_it = std::fs::read_link(fd.path()).is_ok_and(|target| target == lock);
            let held = format!("/proc/{pid}/fdinfo/{}", fd.file_name().display());
            is_it && std::fs::read_to_string(held).is_ok_and(|held| holds(&held, &number))
        })
    })
}

/// `lock: 1: FLOCK  ADVISORY  WRITE 4127 fe:00:9994596 0 EOF`, in proc_pid_fdinfo(5).
fn holds(held: &str, number: &str) -> bool {
    let mut locks = held.lines().filter_map(|line| line.strip_prefix("lock:"));
    locks.any(|lock| {
        let words: Vec<&str> = lock.split_whitespace().collect();
        words.get(1) == Some(&"FLOCK")
            && words.iter().any(|word| word.rsplit(':').next() == Some(number) && word.contains(':'))
    })
}
