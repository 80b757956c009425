//! What runs, or lies there, and is not on record as it should be: ended before anything else is done.
//!
//! A journal that lost records must not make anything run twice. Whose processes they are shows in their
//! cgroups' names: ids of ours, which nobody else has.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::Supervisor;
use super::chores::trash;
use super::sandboxes::{Doomed, Whose};
use crate::native::sys;
use crate::spec::{ContainerId, SandboxId};
use crate::state::Phase;

#[derive(Default)]
pub struct Strays {
    /// Ids of sandboxes and containers that the keeper, a folder or a record without its sandbox tells of.
    pub unknown: BTreeSet<String>,
    /// Containers on record, of which nothing should run.
    pub known: BTreeSet<String>,
    /// What was forgotten lately: only its folder may still be there.
    pub gone: BTreeSet<ContainerId>,
}

/// Nanoseconds until it is said that something does not end. What the kernel keeps in a call runs no more.
const PATIENCE: i128 = 5_000_000_000;
/// Nanoseconds between two looks at what still lives.
const MOMENT: i64 = 20_000_000;

impl Supervisor {
    pub(super) fn end_strays(&mut self, mut strays: Strays) {
        let folder = self.folders.data.join("containers");
        let folders = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let folders = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let folders: Vec<String> =
            folders.filter(|id| !self.containers.contains_key(&ContainerId(id.clone()))).collect();
        strays.unknown.extend(folders.iter().cloned());
        if strays.unknown.is_empty() && strays.known.is_empty() {
            return;
        }
        let ended = self.end_processes(&strays);
        let unrecorded: Vec<&String> = ended.keys().filter(|id| strays.unknown.contains(*id)).collect();
        if !unrecorded.is_empty() {
            self.damage.push(format!(
                "containers ran here that the runtime's journal does not know; they were ended: {unrecorded:?}"
            ));
        }
        for (id, group) in &ended {
            let id = ContainerId(id.clone());
            // Else its set-up was cloned and not recorded: it has not run.
            let ran = !self.damage.is_empty() && strays.known.contains(&id.0);
            if ran && matches!(self.containers[&id].seen.phase, Phase::Created) {
                self.set_phase(&id, Phase::Unknown { started_at: None });
            }
            self.let_pod_go(group);
        }
        self.put_away(&folder, &folders, &strays.gone);
    }

    /// Ends all processes in groups of these names, and waits for that; the groups where there were any.
    fn end_processes(&self, strays: &Strays) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let until = sys::now() + PATIENCE;
        while sys::now() < until {
            let living = living_in(|id| strays.unknown.contains(id) || strays.known.contains(id));
            if living.is_empty() {
                return found;
            }
            let groups: BTreeMap<String, String> =
                living.iter().map(|(id, group, _)| (id.clone(), group.clone())).collect();
            groups.values().filter(|group| !self.tree.kill(group)).for_each(|group| self.tree.kill_each(group));
            for (_, _, pidfd) in &living {
                let _ = sys::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
                has_ended(pidfd, MOMENT);
            }
            found.extend(groups);
        }
        eprintln!("supervisor: processes do not end: {:?}", found.values());
        found
    }

    /// The pod's group above that of a container, unless a sandbox on record has it.
    fn let_pod_go(&mut self, group: &str) {
        let pod = Path::new(group).parent().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        let is_free = self.sandboxes.values().all(|held| held.record.spec.cgroup != pod);
        if is_free && !pod.is_empty() {
            let whose = Whose::Sandbox(SandboxId(String::new()));
            self.remove_groups(Doomed { whose, paths: vec![pod], tickets: Vec::new(), tries: 0 });
        }
    }

    /// Folders that no record tells of: what was forgotten, or never begun, goes. All else is somebody's work.
    fn put_away(&mut self, folder: &Path, names: &[String], gone: &BTreeSet<ContainerId>) {
        let kept = self.folders.data.join("damaged");
        let mut missed = 0;
        for name in names {
            let from = folder.join(name);
            let is_spent = gone.contains(&ContainerId(name.clone())) || !from.join("work").exists();
            let to = if is_spent { trash(&self.folders) } else { kept.clone() };
            missed += usize::from(!is_spent);
            let moved = std::fs::create_dir_all(&to).and_then(|()| std::fs::rename(&from, to.join(name)));
            if let Err(error) = moved {
                eprintln!("supervisor: the folder of {name} stays: {error}");
            }
        }
        if missed > 0 {
            let (journal, kept) = (self.folders.data.join("journal"), kept.display());
            self.damage.push(format!(
                "{} does not know of {missed} containers whose folders are there: it was cut short or taken away. What \
                 they wrote lies in {kept}; remove that when it is not needed",
                journal.display()
            ));
        }
    }
}

/// Id, group and pidfd of each process in a group that bears such a name.
fn living_in(is_it: impl Fn(&str) -> bool) -> Vec<(String, String, OwnedFd)> {
    let mut living = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Before it is looked at: so what is seen is of this very process, or of none.
        let Ok(pidfd) = sys::pidfd_open(pid) else { continue };
        let groups = std::fs::read(entry.path().join("cgroup")).unwrap_or_default();
        let group = groups.split(|byte| *byte == b'\n').find_map(|line| named_group(line, &is_it));
        if let Some((id, group)) = group
            && !has_ended(&pidfd, 0)
            && !is_exiting(&entry.path())
        {
            living.push((id, group, pidfd));
        }
    }
    living
}

/// `4:memory:/pod/id/below`: the id, and the group down to it.
fn named_group(line: &[u8], is_it: impl Fn(&str) -> bool) -> Option<(String, String)> {
    let path = line.splitn(3, |byte| *byte == b':').nth(2)?;
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let group = path.ancestors().find(|group| group.file_name().and_then(|name| name.to_str()).is_some_and(&is_it))?;
    let id = group.file_name()?.to_str()?.to_owned();
    Some((id, group.strip_prefix("/").ok()?.to_str()?.to_owned()))
}

/// Waits for it so many nanoseconds.
fn has_ended(pidfd: &OwnedFd, nanoseconds: i64) -> bool {
    let limit = Timespec { tv_sec: 0, tv_nsec: nanoseconds };
    rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
}

/// None of its threads runs its program any more. The first process of a PID namespace stays so until all
/// others of it are reaped, for which the keeper waits for us.
fn is_exiting(process: &Path) -> bool {
    const PF_EXITING: u64 = 4;
    let exits = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // Behind the name, which may hold anything: the seventh field is the flags.
        let flags = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(6)?.parse::<u64>().ok());
        flags.is_none_or(|flags| flags & PF_EXITING != 0)
    };
    std::fs::read_dir(process.join("task")).is_ok_and(|mut tasks| tasks.all(|task| task.is_ok_and(exits)))
}
