//! A container's spec, from its pod and all that was resolved for it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use crate::view as core;
use runtime::{ContainerSpec, Image, ImageUser, LogFile, Mount, MountSource, Propagation};

use crate::expand::expand;
use crate::pod::{
    self, LABEL_CONTAINER_NAME, LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID, NOTE_BACKOFF, NOTE_IMAGE_NAME,
    NOTE_IMAGE_REF, NOTE_MESSAGE_PATH, NOTE_MESSAGE_POLICY, NOTE_RESOURCES, NOTE_STOP_SIGNAL, Part,
};
use crate::spec::Mounted;
use crate::spec::argv::argv;
use crate::spec::{Settings, SpecError, cgroup, security};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Volumes that one image may declare: each is a mount and an open file of every start.
const VOLUMES_MAX: usize = 256;

/// What was looked up or made for one instance before its spec.
pub struct Resolved<'a> {
    pub image: &'a Image,
    pub user: &'a ImageUser,
    /// The pod's own variables, final.
    pub env: Vec<(String, String)>,
    pub volumes: &'a BTreeMap<String, Mounted>,
    pub hostname: &'a str,
    /// Files on the host; None where the pod has none.
    pub hosts_file: Option<PathBuf>,
    pub hostname_file: Option<PathBuf>,
    pub resolv_file: Option<PathBuf>,
    pub message_file: Option<PathBuf>,
    /// The seccomp profile that the pod names, as text.
    pub profile: Option<String>,
    pub attempt: u32,
    /// Seconds of back-off after its end.
    pub backoff: i64,
}

pub fn container_spec(
    pod: &core::Pod,
    part: &Part<'_>,
    settings: &Settings,
    resolved: &Resolved<'_>,
) -> Result<ContainerSpec, SpecError> {
    let c = part.spec;
    if c.volume_devices.as_ref().is_some_and(|d| !d.is_empty()) {
        return Err(SpecError::config("volumeDevices (block volumes) are not supported by this node"));
    }
    let shared = pod.spec.as_ref().and_then(|s| s.share_process_namespace).unwrap_or(false);
    if part.target.is_some() && !shared {
        let why = "targetContainerName needs a pod with shareProcessNamespace on this node";
        return Err(SpecError::config(why));
    }
    let env = environment(part, resolved);
    let argv = argv(c, resolved.image, &resolved.env);
    if argv.is_empty() {
        return Err(SpecError::create("no command specified"));
    }
    let (stop_signal, stop_name) = stop_signal(part, resolved.image)?;
    let unmasked = security::is_unmasked(part);
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(PathBuf::from).collect() };
    let own_dir = c.working_dir.as_deref().filter(|d| !d.is_empty()).map(PathBuf::from);
    let root = || PathBuf::from("/");
    let cwd = own_dir.unwrap_or_else(|| resolved.image.cwd.clone());
    Ok(ContainerSpec {
        name: part.name().to_owned(),
        attempt: resolved.attempt,
        labels: labels(pod, part),
        annotations: notes(part, resolved, stop_name),
        image: resolved.image.id.clone(),
        image_name: part.image().to_owned(),
        argv,
        cwd: if cwd.as_os_str().is_empty() { root() } else { cwd },
        user: security::user(pod, part, &resolved.image.user, resolved.user)?,
        mounts: mounts(part, resolved, &env)?,
        env,
        devices: Vec::new(),
        privileged: security::is_privileged(part),
        capabilities: security::capabilities(part),
        ambient_capabilities: Vec::new(),
        seccomp: security::seccomp(pod, part, resolved.profile.clone())?,
        apparmor: None,
        no_new_privileges: security::no_new_privileges(part),
        read_only_root: c.security_context.as_ref().and_then(|s| s.read_only_root_filesystem).unwrap_or(false),
        masked_paths: paths(security::MASKED_PATHS),
        read_only_paths: paths(security::READ_ONLY_PATHS),
        resources: cgroup::container_resources(pod, c.resources.as_ref()),
        oom_score_adj: cgroup::oom_score(pod, part, settings),
        rlimits: Vec::new(),
        stdin: c.stdin.unwrap_or(false),
        stdin_once: c.stdin_once.unwrap_or(false),
        tty: c.tty.unwrap_or(false),
        log: Some(LogFile {
            path: log_path(pod, part.name(), resolved.attempt, settings),
            size_max: settings.log_size_max,
            files_max: settings.log_files_max,
        }),
        stop_signal,
    })
}

/// `<root>/<namespace>_<name>_<uid>/<container>/<attempt>.log`
pub fn log_path(pod: &core::Pod, container: &str, attempt: u32, settings: &Settings) -> PathBuf {
    log_folder(pod, settings).join(container).join(format!("{attempt}.log"))
}

pub fn log_folder(pod: &core::Pod, settings: &Settings) -> PathBuf {
    settings.log_root.join(format!("{}_{}_{}", pod::namespace(pod), pod::name(pod), pod::uid(pod)))
}

fn labels(pod: &core::Pod, part: &Part<'_>) -> BTreeMap<String, String> {
    let all = [
        (LABEL_POD_NAME, pod::name(pod)),
        (LABEL_POD_NAMESPACE, pod::namespace(pod)),
        (LABEL_POD_UID, pod::uid(pod)),
        (LABEL_CONTAINER_NAME, part.name()),
    ];
    all.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn notes(part: &Part<'_>, resolved: &Resolved<'_>, stop_name: Option<String>) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::new();
    let mut note = |key: &str, value: String| notes.insert(key.to_owned(), value);
    note(NOTE_BACKOFF, resolved.backoff.to_string());
    if let Some(path) = &resolved.message_file {
        note(NOTE_MESSAGE_PATH, path.to_string_lossy().into_owned());
    }
    let policy = part.spec.termination_message_policy.clone().unwrap_or_else(|| "File".into());
    note(NOTE_MESSAGE_POLICY, policy);
    note(NOTE_IMAGE_NAME, image_name(part.image(), resolved.image));
    let reference = resolved.image.digests.first().cloned().unwrap_or_else(|| resolved.image.id.clone());
    note(NOTE_IMAGE_REF, reference);
    if let Some(name) = stop_name {
        note(NOTE_STOP_SIGNAL, name);
    }
    if let Some(text) = part.spec.resources.as_ref().and_then(|r| serde_json::to_string(r).ok()) {
        note(NOTE_RESOURCES, text);
    }
    notes
}

/// The image's own tag that ends like the pod's name for it; by digest, what the pod said.
fn image_name(asked: &str, image: &Image) -> String {
    if asked.contains('@') {
        return image.digests.iter().find(|d| d.ends_with(asked)).cloned().unwrap_or_else(|| asked.to_owned());
    }
    let last = asked.rsplit('/').next().unwrap_or(asked);
    let tagged = if last.contains(':') { asked.to_owned() } else { format!("{asked}:latest") };
    let ends = |tag: &&String| **tag == tagged || tag.ends_with(&format!("/{tagged}"));
    image.tags.iter().find(ends).or(image.tags.first()).cloned().unwrap_or_else(|| asked.to_owned())
}

/// HOSTNAME, the image's variables, then the pod's, each replacing its namesake.
fn environment(part: &Part<'_>, resolved: &Resolved<'_>) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    // An image may bring a million of them.
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut set = |name: &str, value: &str| match places.get(name) {
        Some(place) => env[*place].1 = value.to_owned(),
        None => {
            places.insert(name.to_owned(), env.len());
            env.push((name.to_owned(), value.to_owned()));
        }
    };
    set("PATH", DEFAULT_PATH);
    set("HOSTNAME", resolved.hostname);
    if part.spec.tty.unwrap_or(false) {
        set("TERM", "xterm");
    }
    for (name, value) in resolved.image.env.iter().chain(&resolved.env) {
        set(name, value);
    }
    let home = resolved.user.home.to_string_lossy();
    if !env.iter().any(|(n, _)| n == "HOME") && !home.is_empty() {
        env.push(("HOME".into(), home.into_owned()));
    }
    env
}

fn mounts(part: &Part<'_>, resolved: &Resolved<'_>, env: &[(String, String)]) -> Result<Vec<Mount>, SpecError> {
    let mut mounts = Vec::new();
    let mut own_targets = Vec::new();
    let read_only_root = part.spec.security_context.as_ref().and_then(|s| s.read_only_root_filesystem) == Some(true);
    for m in part.spec.volume_mounts.iter().flatten() {
        let Some(volume) = resolved.volumes.get(&m.name) else {
            return Err(SpecError::config(format!("volume {:?} of mount {:?} is not ready", m.name, m.mount_path)));
        };
        let target = absolute(&m.mount_path);
        own_targets.push(target.clone());
        let read_only = m.read_only.unwrap_or(false) || volume.read_only;
        mounts.push(Mount {
            source: volume.source.clone(),
            target,
            read_only,
            recursive_read_only: matches!(m.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible")),
            propagation: match m.mount_propagation.as_deref() {
                Some("HostToContainer") => Propagation::HostToContainer,
                Some("Bidirectional") => Propagation::Bidirectional,
                _ => Propagation::Private,
            },
            sub_path: sub_path(m, env)?,
            hosts_mounts: volume.read_only && matches!(volume.source, MountSource::Host(_)),
        });
    }
    // A volume that the image declares is the container's own, and new with each one (containerd, internal/cri
    // volumeMounts).
    if resolved.image.volumes.len() > VOLUMES_MAX {
        let why = format!("the image declares {} volumes, more than {VOLUMES_MAX}", resolved.image.volumes.len());
        return Err(SpecError::create(why));
    }
    for declared in &resolved.image.volumes {
        let target = absolute(&declared.to_string_lossy());
        if !own_targets.contains(&target) {
            own_targets.push(target.clone());
            mounts.push(Mount { source: MountSource::Own, target, ..Mount::default() });
        }
    }
    let message_path = part.spec.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    let files = [
        (resolved.hosts_file.as_ref(), "/etc/hosts", false),
        (resolved.hostname_file.as_ref(), "/etc/hostname", read_only_root),
        (resolved.resolv_file.as_ref(), "/etc/resolv.conf", read_only_root),
        (resolved.message_file.as_ref(), message_path, false),
    ];
    for (file, target, read_only) in files {
        let target = absolute(target);
        if let Some(file) = file.filter(|_| !own_targets.contains(&target)) {
            mounts.push(Mount { source: MountSource::Host(file.clone()), target, read_only, ..Mount::default() });
        }
    }
    // None hides another that is below it; of the same depth they stay in their order (containerd, internal/cri
    // orderedMounts).
    mounts.sort_by_key(|mount| mount.target.components().count());
    Ok(mounts)
}

fn absolute(path: &str) -> PathBuf {
    let path = Path::new("/").join(path);
    path.components().filter(|c| *c != Component::CurDir).collect()
}

/// subPath, or subPathExpr with every variable known; never out of the volume.
fn sub_path(m: &core::VolumeMount, env: &[(String, String)]) -> Result<Option<PathBuf>, SpecError> {
    let path = match (m.sub_path.as_deref(), m.sub_path_expr.as_deref()) {
        (Some(path), _) if !path.is_empty() => path.to_owned(),
        (_, Some(expr)) if !expr.is_empty() => {
            let missing = std::cell::RefCell::new(None);
            let value = |name: &str| {
                let found = env.iter().rfind(|(n, _)| n == name).map(|(_, v)| v.clone());
                if found.is_none() {
                    missing.borrow_mut().get_or_insert_with(|| name.to_owned());
                }
                found
            };
            let path = expand(expr, value);
            if let Some(name) = missing.into_inner() {
                return Err(SpecError::config(format!("missing value for {name:?}")));
            }
            path
        }
        _ => return Ok(None),
    };
    let path = PathBuf::from(path);
    if path.is_absolute() {
        return Err(SpecError::config(format!("error SubPath `{}` must not be an absolute path", path.display())));
    }
    if path.components().any(|c| c == Component::ParentDir) {
        return Err(SpecError::config(format!(
            "unable to provision SubPath `{}`: must not contain '..'",
            path.display()
        )));
    }
    Ok(Some(path))
}

/// The signal that asks the container to end, and its name where the pod or image gave one.
fn stop_signal(part: &Part<'_>, image: &Image) -> Result<(i32, Option<String>), SpecError> {
    let own = part.spec.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref());
    let named = own.or(Some(image.stop_signal.as_str())).filter(|s| !s.is_empty());
    let Some(name) = named else { return Ok((15, Some("SIGTERM".into()))) };
    let number = signal_number(name).ok_or_else(|| SpecError::create(format!("unknown stop signal {name:?}")))?;
    let shown = if name.starts_with("SIG") || name.parse::<i32>().is_ok() { name.into() } else { format!("SIG{name}") };
    Ok((number, Some(shown)))
}

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
pub fn signal_number(name: &str) -> Option<i32> {
    const NAMES: &[&str] = &[
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = name.to_uppercase();
    let bare = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(offset) = bare.strip_prefix("RTMIN") {
        let offset = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    if let Some(offset) = bare.strip_prefix("RTMAX") {
        let offset: i32 = if offset.is_empty() { 0 } else { offset.strip_prefix('-')?.parse().ok()? };
        return (0..=14).contains(&offset).then_some(64 - offset);
    }
    let bare = match bare {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        other => other,
    };
    NAMES.iter().position(|n| *n == bare).and_then(|i| i32::try_from(i + 1).ok())
}
