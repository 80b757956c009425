//! emptyDir: a folder, tmpfs or huge pages that live as long as the pod, shared over restarts.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use crate::view::{EmptyDirVolumeSource, Pod, Volume};
use api::quantity::Quantity;
use runtime::MountSource;

use crate::volumes::plugin::Plugin;
use crate::volumes::{mounts, ownership};

pub(super) const PLUGIN: Plugin = Plugin {
    name: "kubernetes.io~empty-dir",
    is: |volume| volume.empty_dir.is_some(),
    set_up: |ask| {
        let source = ask.volume.empty_dir.iter();
        let mut made = source.map(|source| set_up(ask.folder, ask.pod, source, ownership::group_of(ask.pod)));
        let made = made.next().unwrap_or(Ok(()));
        Box::pin(std::future::ready(made.map(|()| MountSource::Host(ask.folder.to_owned()))))
    },
    ..Plugin::NEW
};

/// Whether what is written to the volume takes disk space.
pub(super) fn is_on_disk(volume: &Volume) -> bool {
    volume.empty_dir.as_ref().is_some_and(|source| source.medium.as_deref().unwrap_or_default().is_empty())
}

/// Makes it once: an existing one is left as the containers have it. It gets its name when it is
/// complete, so that an agent killed meanwhile leaves none that only looks ready.
fn set_up(folder: &Path, pod: &Pod, source: &EmptyDirVolumeSource, group: Option<u32>) -> Result<(), String> {
    let medium = source.medium.as_deref().unwrap_or_default();
    let told = |e: io::Error| e.to_string();
    match (medium, medium.strip_prefix("HugePages")) {
        ("", _) => on_disk(folder, group).map_err(told),
        ("Memory", _) => {
            let limit = source.size_limit.as_ref().and_then(|q| Quantity::parse(&q.0).ok()).map(|q| q.value());
            // Like every fresh tmpfs, in which nobody removes another's files.
            mounted(folder, "tmpfs", || options(0o1777, limit.map(|bytes| ("size", bytes)), group)).map_err(told)
        }
        (_, Some(_)) => {
            let size = page_size(pod, medium)?;
            mounted(folder, "hugetlbfs", || options(0o777, Some(("pagesize", size)), group)).map_err(told)
        }
        _ => Err(format!("unknown storage medium {medium:?}")),
    }
}

fn on_disk(folder: &Path, group: Option<u32>) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    // No volume's name begins with a dot.
    let unfinished = folder.with_file_name(format!(".{}", folder.file_name().unwrap_or_default().display()));
    fs::create_dir_all(&unfinished)?;
    ownership::open_to_all(&unfinished)?;
    if let Some(group) = group {
        ownership::give(&unfinished, group, false)?;
    }
    fs::rename(&unfinished, folder)
}

fn mounted(folder: &Path, kind: &str, options: impl FnOnce() -> String) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if runtime::removal::is_mount(folder)? { Ok(()) } else { mounts::mounted(folder, kind, &options()) }
}

/// What `ownership` makes of a folder, from the mount on.
fn options(mode: u32, amount: Option<(&str, i64)>, group: Option<u32>) -> String {
    let mut options =
        group.map_or(format!("mode={mode:04o}"), |group| format!("mode={:04o},gid={group}", mode | 0o2000));
    if let Some((name, bytes)) = amount.filter(|(_, bytes)| *bytes > 0) {
        options.push_str(&format!(",{name}={bytes}"));
    }
    options
}

/// The pages of `HugePages-2Mi`, or of `HugePages` where the pod asks for those of one size only
/// (pkg/volume/emptydir getPageSizeMountOption).
fn page_size(pod: &Pod, medium: &str) -> Result<i64, String> {
    let bytes = |text: &str| Quantity::parse(text).ok().map(|q| q.value());
    let spec = pod.spec.iter();
    let containers = spec.clone().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let all = spec.map(|s| &s.resources).chain(containers.map(|c| &c.resources));
    let names = all.flatten().flat_map(|r| r.requests.iter().flatten()).map(|(name, _)| name);
    let asked: BTreeSet<i64> = names.filter_map(|name| bytes(name.strip_prefix("hugepages-")?)).collect();
    let found = match medium.strip_prefix("HugePages-") {
        Some(size) => bytes(size).filter(|size| asked.contains(size)),
        None if asked.len() > 1 => {
            return Err(format!("medium: {medium} can't be used if container requests multiple huge page sizes"));
        }
        None => asked.first().copied(),
    };
    found.ok_or_else(|| {
        format!("medium {medium}: hugePages storage requested, but there is no resource request for huge pages")
    })
}

#[cfg(test)]
mod tests;
