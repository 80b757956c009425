//! Control groups, version 1, 2 and hybrid: make, limit, join, kill, measure, remove.
//!
//! On a hybrid machine every group also exists in the version 2 tree, without controllers: it gives
//! atomic birth in the group, `cgroup.kill` and the device program there as well.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::spec::Resources;
use crate::state::Usage;

/// Who may open which device.
pub mod devices;

/// The machine's hierarchies.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Where version 2 is mounted.
    pub unified: Option<PathBuf>,
    /// Version 1 hierarchies that we use: mount point and controllers.
    pub v1: Vec<(PathBuf, Vec<String>)>,
}

/// How a process gets into a group.
#[derive(Serialize, Deserialize)]
pub struct Join {
    pub now: Vec<PathBuf>,
    /// Only when the set-up is done: it would otherwise run with the share of a pod that may have next to
    /// none.
    pub late: Vec<PathBuf>,
}

/// Version 1 controllers in which every group is made; cpuset and hugetlb only where a limit asks.
const ALWAYS: [&str; 4] = ["cpu", "cpuacct", "memory", "pids"];
/// What version 2 hands down to pods.
const V2: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "hugetlb", "io"];

impl Tree {
    /// As mounted here.
    pub fn find() -> io::Result<Tree> {
        let mut tree = Tree { unified: None, v1: Vec::new() };
        // As bytes: a mount point of any user's is any name.
        for line in std::fs::read("/proc/self/mounts")?.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b' ').skip(1);
            let (Some(target), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let (Ok(kind), Ok(options)) = (std::str::from_utf8(kind), std::str::from_utf8(options)) else { continue };
            if !kind.starts_with("cgroup") {
                continue;
            }
            let target = unescaped(target);
            if kind == "cgroup2" && tree.unified.is_none() {
                tree.unified = Some(target.clone());
            }
            let known = |option: &&str| ALWAYS.contains(option) || ["devices", "cpuset", "hugetlb"].contains(option);
            let controllers: Vec<String> = options.split(',').filter(known).map(str::to_owned).collect();
            let new = tree.v1.iter().all(|(_, other)| *other != controllers);
            if kind == "cgroup" && !controllers.is_empty() && new {
                tree.v1.push((target, controllers));
            }
        }
        if tree.unified.is_none() && tree.v1.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no cgroup hierarchy is mounted"));
        }
        Ok(tree)
    }

    /// Version 2 only, with its controllers.
    pub fn is_v2(&self) -> bool {
        !self.v1.iter().any(|(_, controllers)| controllers.iter().any(|c| c == "memory"))
    }

    /// Puts this process into a group of that name wherever it is in one that is not the root.
    pub fn adopt_self(&self, name: &str) -> io::Result<()> {
        // A group's path is bytes too; ours or not shows in what comes before it.
        let own = std::fs::read("/proc/self/cgroup")?;
        for line in String::from_utf8_lossy(&own).lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            if path == "/" {
                continue;
            }
            let mount = if controllers.is_empty() {
                self.unified.as_ref()
            } else {
                let same =
                    |(_, mine): &&(PathBuf, Vec<String>)| controllers.split(',').any(|c| mine.iter().any(|m| m == c));
                self.v1.iter().find(same).map(|(mount, _)| mount)
            };
            if let Some(mount) = mount {
                std::fs::create_dir_all(mount.join(name))?;
                std::fs::write(mount.join(name).join("cgroup.procs"), "0")?;
            }
        }
        Ok(())
    }

    /// Makes a pod's group, whose children get the controllers too.
    pub fn make_pod(&self, path: &str, resources: &Resources) -> io::Result<()> {
        self.make(path, resources)?;
        if let Some(root) = &self.unified
            && self.is_v2()
        {
            let mut folder = root.clone();
            self.hand_down(&folder, &V2);
            for part in Path::new(path).components() {
                folder.push(part);
                self.hand_down(&folder, &V2);
            }
        }
        self.limit(path, resources, false)
    }

    /// Makes a group below a pod's, with its limits. One of version 2 that is there, and empty, is made anew: who
    /// is cloned into a group that was ever killed is killed too (Linux 6.14 and later).
    pub fn make_container(&self, path: &str, resources: &Resources) -> io::Result<()> {
        if let Some(root) = &self.unified {
            let _ = std::fs::remove_dir(root.join(path));
        }
        self.make(path, resources)?;
        self.limit(path, resources, false)
    }

    fn make(&self, path: &str, resources: &Resources) -> io::Result<()> {
        for folder in self.folders(path, resources) {
            match std::fs::create_dir(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) => std::fs::create_dir_all(&folder).map_err(|e| told(&folder, &e))?,
            }
        }
        if !resources.cpuset_cpus.is_empty()
            && let Some(root) = self.v1_root("cpuset")
        {
            fill_cpuset(root, path)?;
        }
        if let Some(root) = &self.unified
            && !self.is_v2()
            && !resources.hugepages.is_empty()
        {
            let mut folder = root.clone();
            self.hand_down(&folder, &["hugetlb"]);
            for part in Path::new(path).parent().into_iter().flat_map(Path::components) {
                folder.push(part);
                self.hand_down(&folder, &["hugetlb"]);
            }
        }
        Ok(())
    }

    fn hand_down(&self, folder: &Path, wanted: &[&str]) {
        let Ok(there) = std::fs::read_to_string(folder.join("cgroup.controllers")) else { return };
        for controller in there.split_whitespace().filter(|c| wanted.contains(c)) {
            // Refused where processes live in the folder; the limit's own write then says so.
            let _ = std::fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }

    /// All folders of a group, version 2 first.
    fn folders(&self, path: &str, resources: &Resources) -> Vec<PathBuf> {
        let wanted = |controllers: &Vec<String>| {
            controllers.iter().any(|c| match c.as_str() {
                "cpuset" => !resources.cpuset_cpus.is_empty(),
                "hugetlb" => !resources.hugepages.is_empty(),
                "devices" => self.unified.is_none(),
                _ => true,
            })
        };
        let v1 = self.v1.iter().filter(|(_, controllers)| wanted(controllers)).map(|(root, _)| root);
        self.unified.iter().chain(v1).map(|root| root.join(path)).collect()
    }

    fn v1_root(&self, controller: &str) -> Option<&Path> {
        let carries = |(_, controllers): &&(PathBuf, Vec<String>)| controllers.iter().any(|c| c == controller);
        self.v1.iter().find(carries).map(|(root, _)| root.as_path())
    }

    /// The folder that carries a controller for this group.
    fn folder(&self, controller: &str, path: &str) -> Option<PathBuf> {
        self.v1_root(controller).or(self.unified.as_deref()).map(|root| root.join(path))
    }

    /// The version 2 folder, opened for a birth inside it.
    pub fn open(&self, path: &str) -> io::Result<Option<OwnedFd>> {
        use rustix::fs::{Mode, OFlags};
        let Some(root) = &self.unified else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Some(rustix::fs::open(root.join(path), flags, Mode::empty())?))
    }

    /// Files to which a process writes "0" to be in the group (version 1: one for each hierarchy).
    pub fn join_files(&self, path: &str, resources: &Resources) -> Join {
        let unified = self.unified.as_ref().map(|root| root.join(path));
        // `tasks` moves the single thread that writes it, without the lock over all thread groups that
        // `cgroup.procs` takes.
        let folders = self.folders(path, resources).into_iter();
        let files = folders.filter(|f| Some(f) != unified.as_ref()).map(|f| f.join("tasks"));
        let cpu = self.v1_root("cpu");
        let (late, now) = files.partition(|file| cpu.is_some_and(|root| file.starts_with(root)));
        Join { now, late }
    }

    /// What a container sees in /sys/fs/cgroup: name there (empty: the folder itself) and source. On a
    /// hybrid machine version 2 stays unseen, as under runc: programs would look for their limits there.
    pub fn views(&self, path: &str, resources: &Resources) -> Vec<(String, PathBuf)> {
        if self.is_v2() {
            return self.unified.iter().map(|root| (String::new(), root.join(path))).collect();
        }
        let name = |root: &Path| root.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let unified = |folder: &PathBuf| self.unified.as_ref().is_some_and(|root| folder.starts_with(root));
        let folders = self.folders(path, resources).into_iter().filter(|f| !unified(f));
        let mut views: Vec<_> = folders.map(|f| (String::new(), f)).collect();
        let roots = self.v1.iter().map(|(root, _)| root);
        for (view, folder) in &mut views {
            if let Some(root) = roots.clone().find(|root| folder.starts_with(root)) {
                *view = name(root);
            }
        }
        views
    }

    /// Writes the limits. `all`: also those that are now absent, as no limit.
    pub fn limit(&self, path: &str, resources: &Resources, all: bool) -> io::Result<()> {
        for (controller, file, value) in limits(resources, self.is_v2(), all) {
            let Some(folder) = self.folder(controller, path) else { continue };
            let file = folder.join(file);
            match std::fs::write(&file, &value) {
                Ok(()) => {}
                // A kernel without that controller (memory, hugetlb): lived with unless the limit counts.
                Err(error) if error.kind() == io::ErrorKind::NotFound && controller != "memory" => {}
                Err(error) => return Err(told(&file, &error)),
            }
        }
        Ok(())
    }

    /// Of what has ended: version 1 lets no group have less than one below it, and a resize may give the pod less.
    pub fn lift_quota(&self, path: &str) {
        if self.v1_root("cpu").is_some()
            && let Some(folder) = self.folder("cpu", path)
            && let Err(error) = std::fs::write(folder.join("cpu.cfs_quota_us"), "-1")
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!("{}: {error}", folder.display());
        }
    }

    /// Kills every process in the group and below it. False: this kernel cannot; kill them one by one.
    pub fn kill(&self, path: &str) -> bool {
        self.unified.as_ref().is_some_and(|root| std::fs::write(root.join(path).join("cgroup.kill"), "1").is_ok())
    }

    /// Sends SIGKILL to each process in the group and below it, for kernels without `cgroup.kill`.
    pub fn kill_each(&self, path: &str) {
        if let Some(folder) = self.folder("pids", path).or_else(|| self.folder("memory", path)) {
            kill_below(&folder);
        }
    }

    /// Removes the group in all hierarchies; absent is fine. An error: something still lives in it.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let mut result = Ok(());
        for root in self.unified.iter().chain(self.v1.iter().map(|(root, _)| root)) {
            match std::fs::remove_dir(root.join(path)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Removes the group and every group below it, whoever made them. An error: something still lives there.
    pub fn remove_all(&self, path: &str) -> io::Result<()> {
        let mut result = Ok(());
        for root in self.unified.iter().chain(self.v1.iter().map(|(root, _)| root)) {
            result = remove_below(&root.join(path)).and(result);
        }
        result
    }

    /// How often the kernel killed for want of memory in this group.
    pub fn oom_kills(&self, path: &str) -> u64 {
        let Some(folder) = self.folder("memory", path) else { return 0 };
        let file = if self.v1_root("memory").is_some() { "memory.oom_control" } else { "memory.events" };
        std::fs::read_to_string(folder.join(file)).map_or(0, |text| field(&text, "oom_kill"))
    }

    /// Processes and threads that a group may have; None: no bound.
    pub fn processes_max(&self, path: &Path) -> Option<u64> {
        let file = self.folder("pids", path.to_str()?)?.join("pids.max");
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    }

    pub fn usage(&self, path: &str) -> io::Result<Usage> {
        let read = |controller: &str, file: &str| {
            let folder = self.folder(controller, path).unwrap_or_default();
            std::fs::read_to_string(folder.join(file)).map_err(|error| told(&folder.join(file), &error))
        };
        let number = |text: String| text.trim().parse().unwrap_or(0);
        let memory_v1 = self.v1_root("memory").is_some();
        let stat = read("memory", "memory.stat")?;
        let used: u64 = number(read("memory", if memory_v1 { "memory.usage_in_bytes" } else { "memory.current" })?);
        let (inactive, resident) =
            if memory_v1 { ("total_inactive_file", "total_rss") } else { ("inactive_file", "anon") };
        let cpu_nanoseconds = if self.v1_root("cpuacct").is_some() {
            number(read("cpuacct", "cpuacct.usage")?)
        } else {
            field(&read("cpu", "cpu.stat")?, "usage_usec") * 1000
        };
        Ok(Usage {
            cpu_nanoseconds,
            memory: used,
            memory_working_set: used.saturating_sub(field(&stat, inactive)),
            memory_rss: field(&stat, resident),
            writable_layer: 0,
            writable_inodes: 0,
            pids: read("pids", "pids.current").map(number).unwrap_or(0),
        })
    }
}

/// (controller, file, value) for each limit.
fn limits(resources: &Resources, v2: bool, all: bool) -> Vec<(&'static str, String, String)> {
    let mut limits = Vec::new();
    let mut add = |controller, file: &str, value: String| limits.push((controller, file.to_owned(), value));
    let none = if v2 { "max" } else { "-1" };
    if resources.cpu_shares != 0 {
        match v2 {
            true => add("cpu", "cpu.weight", weight_of(resources.cpu_shares).to_string()),
            false => add("cpu", "cpu.shares", resources.cpu_shares.to_string()),
        }
    }
    let period = if resources.cpu_period == 0 { 100_000 } else { resources.cpu_period };
    if resources.cpu_quota > 0 || all {
        let quota = if resources.cpu_quota > 0 { resources.cpu_quota.to_string() } else { none.to_owned() };
        if v2 {
            add("cpu", "cpu.max", format!("{quota} {period}"));
        } else {
            add("cpu", "cpu.cfs_period_us", period.to_string());
            add("cpu", "cpu.cfs_quota_us", quota);
        }
    }
    if resources.memory > 0 || all {
        let file = if v2 { "memory.max" } else { "memory.limit_in_bytes" };
        let limit = if resources.memory > 0 { resources.memory.to_string() } else { none.to_owned() };
        add("memory", file, limit);
    }
    if resources.pids > 0 || all {
        let limit = if resources.pids > 0 { resources.pids.to_string() } else { "max".to_owned() };
        add("pids", "pids.max", limit);
    }
    if !resources.cpuset_cpus.is_empty() {
        add("cpuset", "cpuset.cpus", resources.cpuset_cpus.clone());
    }
    for (size, bytes) in &resources.hugepages {
        let file = if v2 { "max" } else { "limit_in_bytes" };
        add("hugetlb", &format!("hugetlb.{size}.{file}"), bytes.to_string());
    }
    if resources.oom_group && v2 {
        add("memory", "memory.oom.group", "1".to_owned());
    }
    limits
}

/// Shares of version 1 as a weight of version 2, by the formula that runc and crun use since 2025
/// (2 → 1, 1024 → 100, 262144 → 10000; opencontainers/cgroups utils.go).
pub fn weight_of(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

fn kill_below(folder: &Path) {
    groups_in(folder).iter().for_each(|group| kill_below(group));
    let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in text.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Most often nothing is below.
fn remove_below(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            let below = groups_in(folder);
            if below.is_empty() {
                return Err(error);
            }
            below.iter().try_for_each(|group| remove_below(group))?;
            std::fs::remove_dir(folder)
        }
        Ok(()) => Ok(()),
    }
}

fn groups_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// A new cpuset of version 1 is empty, and an empty one takes no process: fill it from above.
fn fill_cpuset(root: &Path, path: &str) -> io::Result<()> {
    let mut folder = root.to_owned();
    for part in Path::new(path).components() {
        let above = folder.clone();
        folder.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if std::fs::read_to_string(folder.join(file))?.trim().is_empty() {
                std::fs::write(folder.join(file), std::fs::read_to_string(above.join(file))?.trim())?;
            }
        }
    }
    Ok(())
}

/// A mount point as the table writes it: blanks, tabs, newlines and backslashes stand as octal.
fn unescaped(field: &[u8]) -> PathBuf {
    let (mut out, mut rest) = (Vec::new(), field);
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        let byte = octal.map(|digits| digits.iter().fold(0u8, |n, digit| n.wrapping_mul(8) + (digit - b'0')));
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

fn field(text: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

fn told(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
