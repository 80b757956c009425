//! What the machine is: processors, memory, disk, kernel, identifiers. Read once at the start.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::collect::Room;

/// Facts for the Node object and for limits; a simulator makes its own.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub cpus: u32,
    /// Bytes.
    pub memory: i64,
    pub swap: i64,
    /// Bytes of the file system that holds the data directory.
    pub disk: i64,
    /// `2Mi` to bytes.
    pub hugepages: BTreeMap<String, i64>,
    pub hostname: String,
    pub kernel_version: String,
    pub os_image: String,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    /// `amd64`, `arm64`
    pub architecture: String,
    /// The kernel enforces AppArmor profiles.
    pub apparmor: bool,
    /// The host's resolver file, with its real servers where systemd-resolved stands before them.
    pub resolv_conf: String,
    pub hosts: String,
}

impl Machine {
    /// Looks at this machine; what cannot be read stays empty.
    pub fn read(data_dir: &Path) -> Machine {
        let meminfo = text("/proc/meminfo");
        let kib = |key: &str| {
            let line = meminfo.lines().find_map(|l| l.strip_prefix(key))?.strip_prefix(':')?;
            line.split_whitespace().next()?.parse::<i64>().ok()
        };
        let system_uuid = text("/sys/class/dmi/id/product_uuid").trim().to_owned();
        let machine_id = text("/etc/machine-id").trim().to_owned();
        Machine {
            cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
            memory: kib("MemTotal").unwrap_or(0) * 1024,
            swap: kib("SwapTotal").unwrap_or(0) * 1024,
            disk: disk_size(data_dir),
            hugepages: hugepages(),
            hostname: text("/proc/sys/kernel/hostname").trim().to_owned(),
            kernel_version: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            os_image: os_image(),
            system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
            machine_id,
            boot_id: text("/proc/sys/kernel/random/boot_id").trim().to_owned(),
            architecture: architecture().to_owned(),
            // As runc asks (its libcontainer/apparmor).
            apparmor: text("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
            resolv_conf: resolv_conf(),
            hosts: text("/etc/hosts"),
        }
    }
}

/// Memory that can be had now without swapping, as the kernel estimates it; None: it does not say.
pub fn memory_room() -> Option<Room> {
    let meminfo = text("/proc/meminfo");
    let bytes = |key: &str| {
        let line = meminfo.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
    };
    Some(Room { available: bytes("MemAvailable")?, capacity: bytes("MemTotal")? })
}

/// Processes and threads that the kernel can have besides those it has; None: it does not say
/// (kubelet/stats/pidlimit).
pub fn process_room() -> Option<Room> {
    let capacity = processes_max()?;
    let load = text("/proc/loadavg");
    let running: u64 = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(Room { available: capacity.saturating_sub(running), capacity })
}

/// Processes and threads that the kernel can have at all; None: it does not say.
pub fn processes_max() -> Option<u64> {
    let limit = |file: &str| text(file).trim().parse::<u64>().ok();
    ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].into_iter().filter_map(limit).min()
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn os_image() -> String {
    let release = text("/etc/os-release");
    let line = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux");
    line.trim_matches('"').to_owned()
}

fn disk_size(folder: &Path) -> i64 {
    let stat = nix::sys::statvfs::statvfs(folder).ok();
    stat.map_or(0, |s| i64::try_from(s.blocks() as u128 * u128::from(s.fragment_size())).unwrap_or(i64::MAX))
}

/// `/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages`
fn hugepages() -> BTreeMap<String, i64> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(kib) = name.strip_prefix("hugepages-").and_then(|n| n.strip_suffix("kB")?.parse::<i64>().ok()) else {
            continue;
        };
        let count = fs::read_to_string(entry.path().join("nr_hugepages")).unwrap_or_default();
        let size = if kib % (1 << 20) == 0 { format!("{}Gi", kib >> 20) } else { format!("{}Mi", kib >> 10) };
        found.insert(size, count.trim().parse().unwrap_or(0) * kib * 1024);
    }
    found
}

/// A loopback resolver is of no use inside a pod: systemd-resolved keeps the real ones elsewhere.
fn resolv_conf() -> String {
    let plain = text("/etc/resolv.conf");
    let servers: Vec<String> = crate::spec::names::Resolv::parse(&plain).servers;
    let only_local = !servers.is_empty() && servers.iter().all(|s| s.starts_with("127.") || s == "::1");
    let real = text("/run/systemd/resolve/resolv.conf");
    if only_local && !real.is_empty() { real } else { plain }
}
