//! Work that takes a while, in processes of its own: emptying the trash, compressing older log files.
//!
//! One process of each kind at a time, however fast containers end and write. They hold no descriptor of
//! the supervisor's, and make way for everything else.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::{Child, Supervisor};
use crate::native::setup::host;
use crate::native::sys::{self, Cloned};
use crate::native::{Folders, logfile};
use crate::removal::{self, Mounts};

#[derive(Default)]
pub struct Chores {
    sweeper: Option<OwnedFd>,
    /// Came while the sweeper ran.
    more_trash: bool,
    packer: Option<OwnedFd>,
    /// Logs with older files to compress.
    to_pack: BTreeSet<PathBuf>,
}

/// Least urgent of all (setpriority(2)).
const NICE: i32 = 19;

pub fn trash(folders: &Folders) -> PathBuf {
    folders.data.join("trash")
}

impl Supervisor {
    /// Empties the trash. What cannot be deleted stays until the next time.
    pub(super) fn sweep(&mut self) {
        if self.chores.sweeper.is_some() {
            self.chores.more_trash = true;
            return;
        }
        let trash = trash(&self.folders);
        if std::fs::read_dir(&trash).is_ok_and(|mut entries| entries.next().is_some()) {
            self.chores.sweeper = self.begin_chore(Child::Sweeper, || {
                for entry in std::fs::read_dir(&trash).into_iter().flatten().flatten() {
                    if let Err(why) = removal::remove(&entry.path(), Mounts::Refused) {
                        eprintln!("supervisor: the trash: {why}");
                    }
                }
            });
        }
    }

    pub(super) fn swept(&mut self) {
        self.chores.sweeper = None;
        if std::mem::take(&mut self.chores.more_trash) {
            self.sweep();
        }
    }

    /// Compresses a log's older files.
    pub(super) fn pack(&mut self, log: PathBuf) {
        self.chores.to_pack.insert(log);
        self.go_on_packing();
    }

    pub(super) fn packed(&mut self) {
        self.chores.packer = None;
        self.go_on_packing();
    }

    fn go_on_packing(&mut self) {
        if self.chores.packer.is_none() && !self.chores.to_pack.is_empty() {
            let logs = std::mem::take(&mut self.chores.to_pack);
            self.chores.packer = self.begin_chore(Child::Packer, || logs.iter().for_each(|log| logfile::pack(log)));
        }
    }

    /// At the end of all: both can be done another time.
    pub(super) fn end_chores(&self) {
        for chore in [&self.chores.sweeper, &self.chores.packer].into_iter().flatten() {
            let _ = sys::pidfd_signal(chore.as_fd(), libc::SIGKILL);
        }
    }

    fn begin_chore(&mut self, child: Child, work: impl FnOnce()) -> Option<OwnedFd> {
        match sys::clone3(libc::CLONE_PARENT as u64, None) {
            Ok(Cloned::Child) => {
                let _ = rustix::thread::set_name(c"gousse-chore");
                sys::close_from(3);
                host::adjust_oom_score(0);
                let _ = rustix::process::setpriority_process(None, NICE);
                work();
                sys::exit(0)
            }
            Ok(Cloned::Parent { pid, pidfd }) => {
                self.children.insert(pid, child);
                Some(pidfd)
            }
            Err(error) => {
                eprintln!("supervisor: the trash stays, or a log's older files as they are: {error}");
                None
            }
        }
    }
}
