//! `down`: ends an instance: pods gracefully, then links, mounts, cgroups and rules.
//!
//! With a running server the pods are deleted through it, as anybody would; without one the runtime
//! is told directly. What is then left of the instance is removed.

use std::sync::Arc;

use client::{Client, DeleteOptions, Https, ListOptions, kubeconfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runtime::Engine;
use runtime::images::ImagesStore;
use runtime::native::NativeEngine;

use crate::cli::Down;
use crate::failure::{Context, Result, failure};
use crate::instance::{Instance, remove_folder};
use crate::parts::node::{Machine, engine_config, pods_cgroup};
use crate::verbs::{delete, resource};

pub async fn run(flags: Down) -> Result<()> {
    crate::log("warn");
    let instance = Instance::of(&flags.place)?;
    if let Some(pid) = instance.process() {
        if let Err(error) = end_pods(&instance).await {
            eprintln!("warning: the server did not end its pods ({error}); the runtime does");
        }
        end_process(pid).await?;
    }
    let _held = instance.hold()?;
    end_runtime(&instance).await?;
    end_network(&instance).await?;
    crate::parts::node::unmount_below(&[&instance.run_dir, &instance.data_dir])?;
    remove_folder(&instance.run_dir)?;
    if flags.purge {
        remove_folder(&instance.data_dir)?;
    }
    println!("gousse {:?} is down{}", instance.name, if flags.purge { ", its data is removed" } else { "" });
    Ok(())
}

/// After Ctrl-C: nothing stays behind where no pod does.
pub async fn clean_if_empty(instance: &Instance, machine: &Machine) -> Result<()> {
    let left = machine.engine.list().await.context("asking the runtime")?;
    if !left.is_empty() {
        println!("{} pods go on; `gousse up` takes them over, `gousse down` ends them", left.len());
        return Ok(());
    }
    end_engine(&machine.engine, instance).await?;
    machine.net.close().await.context("closing the network")?;
    crate::parts::node::unmount_below(&[&instance.run_dir, &instance.data_dir])
}

async fn end_pods(instance: &Instance) -> Result<()> {
    let loaded = kubeconfig::load(Some(&instance.kubeconfig()), None).context("reading the kubeconfig")?;
    let client = Client::new(Arc::new(Https::new(loaded.https).context("connecting")?)).named("gousse");
    let pods = resource::kind_of("pods")?;
    let listed = client.list(pods, "", &ListOptions::default()).await?;
    for pod in &listed.objects {
        let meta = pod.meta();
        match client.delete(pods, &meta.namespace, &meta.name, &DeleteOptions::default()).await {
            Err(status) if status.reason != api::Reason::NotFound => return Err(status.into()),
            _ => println!("pod/{} ends", meta.name),
        }
    }
    for pod in &listed.objects {
        let meta = pod.meta();
        // The mirror of a static pod comes back as long as its file is there; the runtime ends it.
        if !meta.annotations.contains_key("kubernetes.io/config.mirror") {
            delete::wait_gone(&client, pods, &meta.namespace, &meta.name, &meta.uid).await?;
        }
    }
    Ok(())
}

async fn end_process(pid: i32) -> Result<()> {
    let own = rustix::process::Pid::from_raw(pid).ok_or_else(|| failure(format!("process {pid} is no process")))?;
    let Ok(handle) = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()) else { return Ok(()) };
    kill(Pid::from_raw(pid), Signal::SIGTERM).context(format_args!("ending process {pid}"))?;
    let ended = tokio::task::spawn_blocking(move || {
        let mut handles = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut handles, None)
    });
    ended.await.context("waiting for its end")?.context("waiting for its end").map(|_| ())
}

async fn end_runtime(instance: &Instance) -> Result<()> {
    if !instance.run_dir.join("runtime").exists() {
        return Ok(());
    }
    let images = ImagesStore::open(&instance.data_dir.join("images")).context("opening the images")?;
    let engine = NativeEngine::open(engine_config(instance), images).context("opening the runtime")?;
    for sandbox in engine.list().await.context("asking the runtime")? {
        engine.remove_sandbox(&sandbox.id).await.context("ending a pod")?;
    }
    end_engine(&engine, instance).await
}

async fn end_engine(engine: &NativeEngine, instance: &Instance) -> Result<()> {
    engine.shut_down().await.context("ending the runtime")?;
    engine.remove_cgroup(&pods_cgroup(instance)).context("ending the runtime")
}

async fn end_network(instance: &Instance) -> Result<()> {
    let run_dir = instance.run_dir.join("net");
    if !run_dir.exists() {
        return Ok(());
    }
    let (net, _running) =
        net::Net::open(net::Config::left_in(&instance.name, &run_dir).context("reading the network")?)
            .context("opening the network")?;
    net.close().await.context("closing the network")
}
