//! The processes of this namespace: who is who, and what strikes them.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::history::{Blow, Part};

#[derive(Clone, Debug)]
pub struct Process {
    pub pid: i32,
    pub name: String,
    pub command: String,
}

/// All that live.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let read = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        (!rest.starts_with(['Z', 'X'])).then(|| Process { pid, name: name.to_owned(), command })
    };
    pids.filter_map(read).collect()
}

/// The instance's keeper or supervisor, if it lives; `data` is its data folder.
pub fn find(part: Part, data: &Path) -> Option<i32> {
    let data = data.to_string_lossy().into_owned();
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace("self");
    let is = |process: &Process| match part {
        Part::Up => false,
        Part::Keeper => process.name == "gousse-keeper",
        // Not a child that is about to become a container.
        Part::Supervisor => {
            process.command.starts_with("gousse supervisor ") && namespace(&process.pid.to_string()) == own
        }
    };
    all().into_iter().find(|process| process.command.contains(&data) && is(process)).map(|process| process.pid)
}

/// Puppets that live: pid and UID of the pod, from their own command line.
pub fn puppets() -> Vec<(i32, String)> {
    let of = |process: &Process| {
        let mut words = process.command.split(' ').skip_while(|word| *word != "--diary").skip(1);
        let prefix = words.next()?.rsplit('/').next()?;
        Some((process.pid, prefix.rsplit_once('.')?.0.to_owned()))
    };
    all().iter().filter(|process| process.name == "puppet").filter_map(of).collect()
}

/// False if it was gone already.
pub fn strike(pid: i32, blow: Blow) -> bool {
    let signal = match blow {
        Blow::Kill => Signal::KILL,
        Blow::Stop => Signal::STOP,
        Blow::Continue => Signal::CONT,
    };
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}
