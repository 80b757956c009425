//! What is there of an instance: processes, mounts, links, cgroups, folders, logs, rules.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use super::instance::Instance;
use super::processes;

/// What belongs to pods; the instance runs on.
pub fn of_pods(instance: &Instance) -> Vec<String> {
    let mut left: Vec<String> =
        processes::puppets().into_iter().map(|(pid, uid)| format!("process {pid} of pod {uid}")).collect();
    let own = [instance.data.clone(), instance.run.join("volumes")];
    left.extend(
        mounts(&instance.home)
            .into_iter()
            .filter(|mount| !own.contains(mount))
            .map(|mount| format!("mount {}", mount.display())),
    );
    let quality = |path: &Path| ["besteffort", "burstable", "guaranteed"].iter().any(|name| path.ends_with(name));
    let groups = cgroups(&instance.name)
        .into_iter()
        .filter(|group| !quality(group) && !group.to_string_lossy().ends_with(&format!("-{}", instance.name)));
    left.extend(groups.map(|group| format!("cgroup {}", group.display())));
    left.extend(links().into_iter().map(|link| format!("link {link}")));
    let folders =
        ["data/pods", "data/log/pods", "data/log/containers", "data/runtime/containers", "data/runtime/trash"];
    for folder in folders.iter().chain(&["run/net/netns", "run/net/attachments", "run/volumes"]) {
        left.extend(entries(&instance.home.join(folder)).into_iter().map(|name| format!("{folder}/{name}")));
    }
    left
}

/// What is there after `down --purge`.
pub fn of_all(instance: &Instance) -> Vec<String> {
    let mut left = of_pods(instance);
    let gousse = processes::all().into_iter().filter(|process| process.name.starts_with("gousse"));
    left.extend(gousse.map(|process| format!("process {} {}", process.pid, process.command)));
    left.extend(cgroups(&instance.name).into_iter().map(|group| format!("cgroup {}", group.display())));
    match tables() {
        Ok(0) => {}
        Ok(count) => left.push(format!("{count} tables of rules")),
        Err(why) => left.push(format!("rules cannot be read: {why}")),
    }
    left
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn mounts(below: &Path) -> Vec<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let table = String::from_utf8_lossy(&table);
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(below)).collect()
}

/// But for those that the run itself made.
fn links() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = table.lines().skip(2).filter_map(|line| Some(line.trim().split_once(':')?.0.to_owned()));
    names.filter(|name| !matches!(name.as_str(), "lo" | "eth0" | "outside")).collect()
}

/// Version 2 has its groups at the root, version 1 below each controller.
fn cgroups(instance: &str) -> Vec<PathBuf> {
    let folders = |path: &Path| {
        entries(path).into_iter().map(|name| path.join(name)).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let root = PathBuf::from("/sys/fs/cgroup");
    let hierarchies = folders(&root).into_iter().chain([root]);
    let ending = format!("-{instance}");
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = hierarchies
        .flat_map(|hierarchy| folders(&hierarchy))
        .filter(|group| group.to_string_lossy().ends_with(&ending))
        .collect();
    while let Some(group) = open.pop() {
        open.extend(folders(&group));
        found.push(group);
    }
    found
}

/// How many nft tables this network namespace has, from the kernel itself.
fn tables() -> std::io::Result<usize> {
    const GET_TABLE: u16 = (10 << 8) | 1;
    const DONE: u16 = 3;
    const DUMP: u16 = 0x301;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
    let mut request = 20u32.to_ne_bytes().to_vec();
    request.extend([GET_TABLE.to_ne_bytes(), DUMP.to_ne_bytes()].concat());
    request.extend([0; 12]);
    sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let (mut buffer, mut count) = (vec![0u8; 64 << 10], 0);
    loop {
        let (_, length) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let mut rest = &buffer[..length];
        while rest.len() >= 16 {
            let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            match u16::from_ne_bytes([rest[4], rest[5]]) {
                DONE => return Ok(count),
                2 => return Err(std::io::Error::other("the kernel refused")),
                _ => count += 1,
            }
            rest = &rest[size.next_multiple_of(4).clamp(16, rest.len())..];
        }
    }
}
