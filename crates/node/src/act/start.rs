//! One instance of a container: image, user, environment, files, then create and start.
//!
//! Reasons and texts of what fails are kuberuntime_container.go's startContainer.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::view as core;
use client::recorder::Type;
use runtime::{ContainerId, ContainerSpec, MountSource, Resources, SandboxId};
use rustix::fs::AtFlags;
use tokio::sync::watch;

use crate::act::pull::{For, Puller};
use crate::act::{Act, Effect, Failure, Scene, Voice, known, remove};
use crate::env;
use crate::pod::{self, Part};
use crate::progress::{Waiting, Why};
use crate::shared::Shared;
use crate::spec::container::{Resolved, container_spec, log_path};
use crate::spec::{Mounted, SpecError, cgroup, names, security};
use crate::volumes::{HOSTNAME_FILE, HOSTS_FILE, RESOLV_FILE, messages_folder};

/// A start under way.
struct Starting {
    shared: Arc<Shared>,
    pod: Arc<core::Pod>,
    cancel: watch::Sender<bool>,
    voice: Voice,
    name: String,
    sandbox: SandboxId,
    /// Of the pod's cgroup as it is.
    limits: Resources,
    addresses: Vec<String>,
    volumes: Arc<BTreeMap<String, Mounted>>,
    id: String,
    attempt: u32,
    backoff: i64,
}

pub(super) fn start(scene: &Scene<'_>, name: &str, attempt: u32, backoff: i64) -> Option<Act> {
    let (part, sandbox) = (pod::part(scene.pod, name)?, scene.seen.current()?);
    let starting = Starting {
        shared: scene.shared.clone(),
        pod: scene.pod.clone(),
        cancel: scene.cancel.clone(),
        voice: Voice::new(scene, &part),
        name: name.to_owned(),
        sandbox: sandbox.id.clone(),
        limits: sandbox.spec.resources.clone(),
        addresses: scene.seen.addresses(),
        volumes: scene.progress.mounted.clone(),
        id: scene.shared.config.new_id(),
        attempt,
        backoff,
    };
    let hooked = part.post_start().map(|_| starting.id.clone());
    let images = pod::images_of(scene.pod, &part).into_iter().map(str::to_owned).collect();
    let effect = Effect::StartBegan { name: name.to_owned(), hooked };
    let work = async move {
        let name = starting.name.clone();
        Effect::Started { name, images, result: starting.run().await }
    };
    Some(Act { effect, beside: Some(Box::pin(work)) })
}

/// A back-off begins to be waited for: remembered for the status, told as events.
pub(super) fn wait(scene: &Scene<'_>, name: String, why: Why, message: String) -> Effect {
    let part = pod::part(scene.pod, &name);
    match (&why, &part) {
        (Why::CrashLoop, _) => {
            let text = format!("Back-off restarting failed container {name} in pod {}", pod::full_name(scene.pod));
            scene.event(part.as_ref(), Type::Warning, "BackOff", &text);
        }
        (Why::PullBackOff { image }, Some(part)) => {
            let text = format!("Back-off pulling image \"{image}\"");
            // What befalls a volume is told of the pod, not of a container.
            let own = image == part.image();
            scene.event(Some(part).filter(|_| own), Type::Normal, "BackOff", &text);
            scene.event(Some(part), Type::Warning, "Failed", &format!("Error: {}", why.reason()));
        }
        (Why::PullBackOff { .. } | Why::Failed(_), _) => {}
    }
    Effect::Waits { name, waiting: Waiting { why, message } }
}

impl Starting {
    async fn run(self) -> Result<String, Failure> {
        let spec = match self.resolve().await {
            Ok(spec) => spec,
            Err(failure) => return Err(failure),
        };
        let engine = self.shared.engine.clone();
        // Room for the new instance; what becomes smaller waits until it is seen that the memory is free.
        let whole = cgroup::larger(&self.limits, &cgroup::pod_resources(&self.pod, &self.shared.settings));
        if whole != self.limits
            && let Err(why) = known(|| engine.update_sandbox(&self.sandbox, whole.clone())).await
        {
            return Err(self.failed("CreateContainerError", why.to_string()));
        }
        let id = ContainerId(self.id.clone());
        if let Err(why) = known(|| engine.create_container(&self.sandbox, &id, spec.clone())).await {
            return Err(self.failed("CreateContainerError", why.to_string()));
        }
        self.voice.event(Type::Normal, "Created", "Container created");
        if let Err(why) = known(|| engine.start_container(&id)).await {
            let exited = matches!(why, runtime::Error::Start(_));
            let failure = self.failed("RunContainerError", why.to_string());
            return Err(Failure { exited, ..failure });
        }
        self.voice.event(Type::Normal, "Started", "Container started");
        self.link_log();
        Ok(self.id)
    }

    /// All that the spec is made of.
    async fn resolve(&self) -> Result<ContainerSpec, Failure> {
        let pod = &*self.pod.clone();
        let gone = || Failure::waiting("CreateContainerError", "the container is no longer in the pod");
        let part = pod::part(pod, &self.name).ok_or_else(gone)?;
        let volumes = self.image_volumes(&part).await?;
        let image = self.puller().image(For::Container, part.image(), policy(&part)).await?;
        let config = |why: SpecError| (why.reason, why.message);
        let facts = self.shared.downward(self.addresses.clone());
        let variables = env::environment(pod, part.spec, &facts, &*self.shared.sources, &volumes).await;
        let variables = variables.map_err(|why| self.failed("CreateContainerConfigError", why.message))?;
        for (reason, message) in variables.warnings {
            self.voice.event_of_pod(Type::Warning, reason, &message);
        }
        let wanted = security::wanted_user(pod, &part, &image.user);
        let user = self.shared.engine.images().user(&image.id, &wanted).await;
        let user = user.map_err(|why| self.failed("CreateContainerError", why.to_string()))?;
        let profile = self.profile(pod, &part)?;
        let hostname = names::hostname(pod, &self.shared.settings);
        let hostname = hostname.map_err(|why| self.failed("CreateContainerError", why))?;
        let folder = self.shared.volumes.pod_folder(pod::uid(pod));
        let hostname_file =
            hostname_file(&folder, &hostname).map_err(|why| self.failed("CreateContainerError", why))?;
        let message_file = self.message_file(&folder).map_err(|why| self.failed("CreateContainerError", why))?;
        let resolved = Resolved {
            image: &image,
            user: &user,
            env: variables.variables,
            volumes: &volumes,
            hostname: &hostname,
            hosts_file: Some(folder.join(HOSTS_FILE)),
            hostname_file: Some(hostname_file),
            resolv_file: Some(folder.join(RESOLV_FILE)),
            message_file: Some(message_file),
            profile,
            attempt: self.attempt,
            backoff: self.backoff,
        };
        let spec = container_spec(pod, &part, &self.shared.settings, &resolved).map_err(config);
        let spec = spec.map_err(|(reason, message)| self.failed(reason, message))?;
        self.prepare_sub_paths(&part, &spec).await?;
        Ok(spec)
    }

    /// A sub path that leads out of its volume is told before there is a container (kubelet_pods.go makeMounts).
    async fn prepare_sub_paths(&self, part: &Part<'_>, spec: &ContainerSpec) -> Result<(), Failure> {
        for mount in &spec.mounts {
            let (MountSource::Host(volume), Some(sub_path)) = (&mount.source, &mount.sub_path) else { continue };
            let (volume, sub_path) = (volume.clone(), sub_path.clone());
            // On a thread of its own: a volume of the network may not answer.
            let prepared = tokio::task::spawn_blocking(move || runtime::native::prepare_sub_path(&volume, &sub_path));
            if let Err(why) = prepared.await.unwrap_or_else(|e| Err(e.to_string())) {
                let is_it = |m: &&core::VolumeMount| Path::new(&m.mount_path) == mount.target;
                let volume = part.spec.volume_mounts.iter().flatten().find(is_it).map_or("", |m| &m.name);
                tracing::info!("container {} of pod {}: {why}", self.name, pod::name(&self.pod));
                let message =
                    format!("failed to prepare subPath for volumeMount {volume:?} of container {:?}", self.name);
                return Err(self.failed("CreateContainerConfigError", message));
            }
        }
        Ok(())
    }

    /// Image volumes are pulled like the container's own image, then stand by their ids.
    async fn image_volumes(&self, part: &Part<'_>) -> Result<BTreeMap<String, Mounted>, Failure> {
        let mut volumes = BTreeMap::clone(&self.volumes);
        let pod = self.pod.clone();
        let mounted = |name: &str| part.spec.volume_mounts.iter().flatten().any(|m| m.name == name);
        for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).filter(|v| mounted(&v.name)) {
            let Some(source) = &volume.image else { continue };
            let reference = source.reference.as_deref().unwrap_or_default();
            let policy = source.pull_policy.as_deref().unwrap_or_else(|| default_policy(reference));
            let image = self.puller().image(For::Volume, reference, policy).await?;
            let ready = Mounted { source: MountSource::Image(image.id), read_only: true };
            volumes.insert(volume.name.clone(), ready);
        }
        Ok(volumes)
    }

    /// The seccomp profile that the pod names, below `<data_dir>/seccomp`.
    fn profile(&self, pod: &core::Pod, part: &Part<'_>) -> Result<Option<String>, Failure> {
        let Some(name) = security::localhost_profile(pod, part) else { return Ok(None) };
        if name.split('/').any(|p| p == "..") || name.starts_with('/') {
            return Err(
                self.failed("CreateContainerError", format!("seccomp profile {name:?} leads out of its folder"))
            );
        }
        let path = self.shared.config.data_dir.join("seccomp").join(&name);
        let text = fs::read_to_string(&path);
        let text = text.map_err(|e| {
            self.failed("CreateContainerError", format!("cannot load seccomp profile {:?}: {e}", path.display()))
        })?;
        Ok(Some(text))
    }

    /// An empty file that the container may write its last words to.
    fn message_file(&self, folder: &Path) -> Result<PathBuf, String> {
        let path = messages_folder(folder, &self.name).join(&self.id[..8]);
        let made = fs::create_dir_all(path.parent().unwrap_or(folder))
            .and_then(|()| fs::write(&path, ""))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o666)));
        made.map(|()| path.clone()).map_err(|e| format!("making {}: {e}", path.display()))
    }

    /// `/var/log/containers/<pod>_<namespace>_<container>-<id>.log`, which log collectors follow.
    fn link_log(&self) {
        let log = log_path(&self.pod, &self.name, self.attempt, &self.shared.settings);
        let (pod, namespace) = (pod::name(&self.pod), pod::namespace(&self.pod));
        let link = format!("{pod}_{namespace}_{}-{}.log", self.name, self.id);
        let links = remove::links_folder(&self.shared.config.log_dir, true);
        if let Err(why) = links.and_then(|links| make_link(&log, &links, &link)) {
            tracing::debug!("{link} was not made among the links to logs: {why}");
        }
    }

    fn failed(&self, reason: &'static str, message: String) -> Failure {
        self.voice.event(Type::Warning, "Failed", &format!("Error: {message}"));
        Failure::waiting(reason, message)
    }

    fn puller(&self) -> Puller<'_> {
        Puller { shared: &self.shared, pod: &self.pod, container: &self.voice, cancel: &self.cancel }
    }
}

/// Where links come and go, ext4 takes long to find room for one (`disk::spread`): it is made beside its log and
/// moved, unless that is on another disk.
fn make_link(log: &Path, links: &OwnedFd, name: &str) -> io::Result<()> {
    if let Ok(beside) = runtime::native::open_log_folder(log, false)
        && rustix::fs::symlinkat(log, &beside, name).is_ok()
    {
        if rustix::fs::renameat(&beside, name, links, name).is_ok() {
            return Ok(());
        }
        let _ = rustix::fs::unlinkat(&beside, name, AtFlags::empty());
    }
    Ok(rustix::fs::symlinkat(log, links, name)?)
}

/// Made once for all containers of the pod, which may write to it.
fn hostname_file(folder: &Path, hostname: &str) -> Result<PathBuf, String> {
    let path = folder.join(HOSTNAME_FILE);
    let made = match path.exists() {
        true => Ok(()),
        false => fs::create_dir_all(folder).and_then(|()| fs::write(&path, format!("{hostname}\n"))),
    };
    made.map(|()| path.clone()).map_err(|e| format!("making {}: {e}", path.display()))
}

fn policy<'a>(part: &'a Part<'_>) -> &'a str {
    part.spec.image_pull_policy.as_deref().unwrap_or_else(|| default_policy(part.image()))
}

/// No tag, or `latest`: Always.
fn default_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        _ if image.contains('@') => "IfNotPresent",
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

#[cfg(test)]
mod tests;
