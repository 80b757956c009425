//! Set-ups that go on as another process, inside a PID namespace where others live already.
//!
//! Only the second half of such a set-up is to be seen there (see `setup`). It says so with its pidfd, and
//! runs the program only once it is known here as the container's process.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::containers::Live;
use super::{Child, Supervisor};
use crate::native::journal::{Entry, Process};
use crate::native::protocol::Refusal;
use crate::native::{setup, sys};
use crate::spec::ContainerId;

impl Supervisor {
    /// The set-up goes on inside its PID namespace; only now it may run the program.
    pub(super) fn moved(&mut self, id: &ContainerId, pidfd: OwnedFd) -> Result<(), Refusal> {
        let gone = || Refusal::Failed("the set-up ended before the program ran".into());
        let process = self.child_behind(&pidfd).ok_or_else(gone)?;
        // Known already, if a supervisor that ended has heard it too.
        match self.children.get(&process.pid) {
            None => {}
            Some(Child::Container(known)) if known == id => {}
            Some(_) => return Err(gone()),
        }
        let live = self.live(id).ok_or_else(gone)?;
        let before = std::mem::replace(&mut live.process, process);
        live.pidfd = pidfd;
        self.children.remove(&before.pid);
        self.children.insert(process.pid, Child::Container(id.clone()));
        self.record(&Entry::Born(id.clone(), process))?;
        let held = self.containers.get_mut(id).ok_or_else(gone)?;
        held.seen.pid = Some(process.pid);
        if let Some(Live { birth: Some(pending), .. }) = &mut held.live {
            pending.moved = true;
            let _ = rustix::io::write(&pending.sync, setup::GO);
        }
        Ok(())
    }

    /// Whether that process only set the container up, and the container goes on as another.
    pub(super) fn has_moved(&mut self, id: &ContainerId, pid: u32) -> bool {
        self.live(id).is_some_and(|live| live.process.pid != pid)
    }

    /// A process that says it is a set-up's second half: only a child of the keeper can be one.
    pub(super) fn child_behind(&self, pidfd: &OwnedFd) -> Option<Process> {
        let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
        let pid: u32 = about.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
        let unique = sys::unique_of(pid, pidfd.as_fd()).ok()?;
        let ours = sys::parent_of(pid).ok()? == std::os::unix::process::parent_id();
        ours.then_some(Process { pid, unique })
    }
}
