//! `down`: ends an instance: pods gracefully, then links, mounts, cgroups and rules.
//!
//! With a running server the pods are deleted through it, as anybody would; without one the runtime
//! is told directly. What is then left of the instance is removed.

use std::sync::Arc;
use std::time::Duration;

use api::resource::PODS;
use api::{Object, WatchEvent};
use client::{Client, DeleteOptions, Https, ListOptions, WatchOptions, kubeconfig};
use futures::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::Engine;
use runtime::images::ImagesStore;
use runtime::native::NativeEngine;
use runtime::native::hindrance::{self, Hindrance, keeper_of};

use crate::cli::Down;
use crate::instance::Instance;
use crate::parts::node::{Machine, engine_config, pods_cgroup};
use kubectl::failure::{Context, Result, failure};
use kubectl::output;

/// What a node has beyond a pod's grace to say that it is gone. A node that is away never does.
const SLACK: Duration = Duration::from_secs(20);
/// What a process has to end politely.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long something is waited for without a word.
const SILENCE: Duration = Duration::from_secs(2);
/// What a server has to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// What the runtime has for a pod: its layers may be large.
const REMOVAL_MAX: Duration = Duration::from_secs(120);

const GOUSSE: &str = "gousse";
const KEEPER: &str = "the runtime's keeper";

pub async fn run(flags: Down) -> Result<()> {
    crate::log("warn");
    let instance = Instance::of(&flags.place)?;
    if flags.purge {
        instance.require_removable_data()?;
    }
    // Before the process is believed that stands in them.
    instance.take_folders_to_end()?;
    continue_stopped(&instance);
    if let Some(pid) = instance.process() {
        if let Err(error) = end_pods(&instance, pid).await {
            output::note(format_args!("warning: the server did not end its pods ({error}); the runtime does"));
        }
        end_process(pid).await?;
    }
    let _held = instance.lock()?;
    end_runtime(&instance).await?;
    end_network(&instance).await?;
    // Of a run that could not take it out itself.
    if let Err(error) = crate::parts::host_dns::Place::of(&instance.name).leave() {
        output::note(format_args!("warning: {}", error.printed()));
    }
    crate::parts::node::unmount(&instance)?;
    instance.remove_run_folder()?;
    if flags.purge {
        instance.remove_data_folder()?;
    }
    output::line(format_args!(
        "gousse {:?} is down{}",
        instance.name,
        if flags.purge { ", its data is removed" } else { "" }
    ))?;
    Ok(())
}

/// After Ctrl-C: nothing stays behind where no pod does.
pub async fn clean_if_empty(instance: &Instance, machine: &Machine) -> Result<()> {
    let left = machine.engine.list().await.context("asking the runtime")?;
    if !left.is_empty() {
        output::tell(format_args!("{} pods go on; `gousse up` takes them over, `gousse down` ends them", left.len()));
        return Ok(());
    }
    end_engine(&machine.engine, instance).await?;
    machine.network.close().await.context("closing the network")?;
    crate::parts::node::unmount(instance)
}

/// Continues what somebody stopped of ours, as its lock proves: it would answer nobody, and end nothing.
fn continue_stopped(instance: &Instance) {
    let run_dir = engine_config(instance).run_dir;
    let gousse = || instance.process().and_then(|pid| u32::try_from(pid).ok());
    let keeper = || keeper_of(&run_dir);
    for (role, holder) in [(GOUSSE, &gousse as &dyn Fn() -> Option<u32>), (KEEPER, &keeper)] {
        let Some(pid) = holder() else { continue };
        match hindrance::go_on(pid, || holder() == Some(pid)) {
            Ok(true) => output::note(format_args!("warning: {role} (process {pid}) was stopped, and is continued")),
            Ok(false) => {}
            Err(why) => output::note(format_args!("warning: {role} (process {pid}) cannot be continued: {why}")),
        }
    }
}

/// `the runtime's keeper (process 12, which is held by a debugger)`
fn named(role: &str, pid: Option<u32>) -> String {
    match (pid, pid.and_then(Hindrance::of)) {
        (None, _) => role.into(),
        (Some(pid), None) => format!("{role} (process {pid})"),
        (Some(pid), Some(hindrance)) => format!("{role} (process {pid}, which {hindrance})"),
    }
}

/// Says what is waited for, where it takes its time.
async fn said<T>(what: impl Fn() -> String, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    match tokio::time::timeout(SILENCE, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            output::note(format_args!("waiting for {}", what()));
            work.await
        }
    }
}

/// The same, not for ever.
async fn within<T>(limit: Duration, what: impl Fn() -> String, work: impl Future<Output = T>) -> Result<T> {
    let done = tokio::time::timeout(limit, said(&what, work)).await;
    done.map_err(|_| failure(format!("gave up waiting for {} after {} seconds", what(), limit.as_secs())))
}

async fn end_pods(instance: &Instance, pid: i32) -> Result<()> {
    let server = || named(GOUSSE, u32::try_from(pid).ok()) + " to answer";
    let loaded = kubeconfig::load(Some(&instance.kubeconfig()), None).context("reading the kubeconfig")?;
    let client = Client::new(Arc::new(Https::new(loaded.https).context("connecting")?)).named("gousse");
    let listed = within(ANSWER_MAX, server, client.list(&PODS, "", &ListOptions::default())).await??;
    let mut leaving = Vec::new();
    for pod in &listed.objects {
        let meta = pod.meta();
        let options = DeleteOptions::default();
        match within(ANSWER_MAX, server, client.delete(&PODS, &meta.namespace, &meta.name, &options)).await? {
            Ok(ending) => {
                output::tell(format_args!("pod/{} ends", meta.name));
                // The mirror of a static pod comes back as long as its file is there; the runtime ends it.
                if pod.annotation("kubernetes.io/config.mirror").is_none() {
                    leaving.push(ending);
                }
            }
            Err(status) if status.reason == api::Reason::NotFound => {}
            Err(status) => return Err(status.into()),
        }
    }
    let longest = leaving.iter().filter_map(grace_of).max().unwrap_or_default();
    let names = leaving.iter().map(|pod| pod.meta().name.as_str()).collect::<Vec<_>>().join(", ");
    let limit = tokio::time::Instant::now() + longest + SLACK;
    said(|| format!("the node to end its pods: {names}"), all_ended(&client, &leaving, limit)).await
}

/// Waits until the node is done with them; tells which it is not done with at the limit.
async fn all_ended(client: &Client, leaving: &[Object], limit: tokio::time::Instant) -> Result<()> {
    for pod in leaving {
        let meta = pod.meta();
        let ended = tokio::time::timeout_at(limit, ended(client, pod)).await;
        let why = match ended.unwrap_or_else(|_| Ok(Some("its node does not say that it is gone".into())))? {
            None => continue,
            Some(why) => why,
        };
        output::note(format_args!(
            "warning: pod/{} of namespace {} stays in the store: {why}",
            meta.name, meta.namespace
        ));
    }
    Ok(())
}

/// The grace that the server recorded.
fn grace_of(pod: &Object) -> Option<Duration> {
    pod.value()["metadata"]["deletionGracePeriodSeconds"].as_u64().map(Duration::from_secs)
}

/// Waits until the node is done with a pod; tells what keeps the object all the same. A node's last word
/// is a deletion with grace 0, which finalizers outlive.
async fn ended(client: &Client, pod: &Object) -> Result<Option<String>> {
    let meta = pod.meta();
    let held = |object: &Object| {
        let finalizers = &object.meta().finalizers;
        let is_over = object.meta().uid == meta.uid && grace_of(object) == Some(Duration::ZERO);
        (is_over && !finalizers.is_empty()).then(|| format!("its finalizers {finalizers:?} hold it"))
    };
    let field_selector = format!("metadata.name={}", meta.name);
    loop {
        let options = ListOptions { field_selector: field_selector.clone(), ..ListOptions::default() };
        let listed = client.list(&PODS, &meta.namespace, &options).await?;
        match listed.objects.iter().find(|object| object.meta().uid == meta.uid) {
            None => return Ok(None),
            Some(object) => {
                if let Some(why) = held(object) {
                    return Ok(Some(why));
                }
            }
        }
        let resource_version = listed.revision.to_string();
        let options =
            WatchOptions { field_selector: field_selector.clone(), resource_version, ..WatchOptions::default() };
        let mut watch = client.watch(&PODS, &meta.namespace, &options).await?;
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Deleted(object) if object.meta().uid == meta.uid => return Ok(None),
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    if let Some(why) = held(&object) {
                        return Ok(Some(why));
                    }
                }
                WatchEvent::Error(_) => break,
                _ => {}
            }
        }
    }
}

/// SIGTERM, and SIGKILL for what does not heed it: the runtime's processes are ended after it either way.
async fn end_process(pid: i32) -> Result<()> {
    let own = rustix::process::Pid::from_raw(pid).ok_or_else(|| failure(format!("process {pid} is no process")))?;
    let Ok(handle) = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()) else { return Ok(()) };
    let handle = Arc::new(handle);
    for (signal, patience) in [(Signal::SIGTERM, PATIENCE), (Signal::SIGKILL, PATIENCE)] {
        kill(Pid::from_raw(pid), signal).context(format_args!("ending process {pid}"))?;
        let handle = handle.clone();
        let limit = rustix::event::Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: 0 };
        let ended = tokio::task::spawn_blocking(move || {
            let mut handles = [rustix::event::PollFd::new(&*handle, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut handles, Some(&limit))
        });
        let what = || named(GOUSSE, u32::try_from(pid).ok()) + " to end";
        if said(what, ended).await.context("waiting for its end")?.context("waiting for its end")? > 0 {
            return Ok(());
        }
        output::note(format_args!("warning: process {pid} goes on {} seconds after {signal}", patience.as_secs()));
    }
    Err(failure(format!("process {pid} cannot be ended")))
}

async fn end_runtime(instance: &Instance) -> Result<()> {
    if !instance.run_dir.join("runtime").exists() {
        return Ok(());
    }
    let images = ImagesStore::open(&instance.data_dir.join("images")).context("opening the images")?;
    let engine = NativeEngine::open(engine_config(instance), images).context("opening the runtime")?;
    let keeper = |to: &str| named(KEEPER, keeper_of(&engine_config(instance).run_dir)) + to;
    let listed = within(PATIENCE, || keeper(" to tell what runs"), engine.list()).await?;
    for sandbox in listed.context("asking the runtime")? {
        let name = &sandbox.id;
        let removed =
            within(REMOVAL_MAX, || keeper(&format!(" to end pod {}", name.0)), engine.remove_sandbox(name)).await?;
        removed.context("ending a pod")?;
    }
    end_engine(&engine, instance).await
}

async fn end_engine(engine: &NativeEngine, instance: &Instance) -> Result<()> {
    let keeper = || named(KEEPER, keeper_of(&engine_config(instance).run_dir)) + " to end";
    within(REMOVAL_MAX, keeper, engine.shut_down()).await?.context("ending the runtime")?;
    engine.remove_cgroup(&pods_cgroup(instance)).context("ending the runtime")
}

async fn end_network(instance: &Instance) -> Result<()> {
    let run_dir = instance.run_dir.join("net");
    let left = net::Config::left_in(&instance.name, &run_dir).context("reading the network")?;
    let Some(config) = left else { return Ok(()) };
    let (net, _running) = net::Net::open(config).context("opening the network")?;
    net.close().await.context("closing the network")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_is_given_up_by_name() {
        let what = || named(KEEPER, Some(std::process::id())) + " to end";
        assert_eq!(within(ANSWER_MAX, what, async { 7 }).await.unwrap(), 7);
        let error = within(ANSWER_MAX, what, std::future::pending::<()>()).await.unwrap_err().printed();
        let name = format!("the runtime's keeper (process {})", std::process::id());
        assert_eq!(error, format!("error: gave up waiting for {name} to end after 10 seconds"));
    }
}
