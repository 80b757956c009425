//! A pod's network, its files and its sandbox: made in this order, let go in the reverse.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::view as core;
use client::ObjectReference;
use client::recorder::Type;
use net::AttachSpec;
use runtime::{Network, SandboxId};

use crate::act::{Act, Effect, Scene, known};
use crate::pod;
use crate::progress::Job;
use crate::shared::Shared;
use crate::spec::{names, sandbox};
use crate::volumes::{HOSTS_FILE, RESOLV_FILE};

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";

/// `changed`: a former one was lost.
pub(super) fn run(scene: &Scene<'_>, attempt: u32, changed: bool) -> Act {
    if changed {
        let text = "Pod sandbox changed, it will be killed and re-created.";
        scene.event(None, Type::Normal, "SandboxChanged", text);
    }
    let (shared, pod, reference) = (scene.shared.clone(), scene.pod.clone(), scene.subject.reference());
    Act::job(Job::Sandbox, async move {
        let resolv = resolver(&shared, &pod, reference).await;
        Effect::Sandbox(make(&shared, &pod, attempt, &resolv).await)
    })
}

/// The pod's resolv.conf. Where the cluster's DNS is, a node is told soon after its start; without any word a
/// pod asks whom its node asks (kubelet/network/dns/dns.go GetPodDNS).
async fn resolver(shared: &Shared, pod: &core::Pod, reference: ObjectReference) -> String {
    let event = |reason: &str, message: String| {
        shared.recorder.event(reference.clone(), "", Type::Warning, reason, message);
    };
    let mut known = shared.config.cluster_dns.clone();
    let mut cluster_dns = Vec::new();
    if names::asks_cluster(pod) {
        let told = tokio::time::timeout(PATIENCE, known.wait_for(Option::is_some)).await;
        match told {
            Ok(Ok(known)) => cluster_dns = known.clone().unwrap_or_default(),
            _ => event("MissingClusterDNS", missing(pod)),
        }
    }
    let (resolv, cut) = names::resolv(pod, &shared.settings, &cluster_dns);
    if let Some(message) = cut {
        event("DNSConfigForming", message);
    }
    resolv.text()
}

/// How long a pod waits until its node knows where the cluster's DNS is.
const PATIENCE: Duration = Duration::from_secs(5);

fn missing(pod: &core::Pod) -> String {
    format!(
        "pod: \"{}_{}({})\". kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy.",
        pod::name(pod),
        pod::namespace(pod),
        pod::uid(pod)
    )
}

pub(super) fn stop(scene: &Scene<'_>, id: String) -> Act {
    let shared = scene.shared.clone();
    Act::job(Job::StopSandbox(id.clone()), async move {
        let result = let_go(&shared, &id).await;
        Effect::SandboxStopped { id, result }
    })
}

async fn make(shared: &Arc<Shared>, pod: &core::Pod, attempt: u32, resolv: &str) -> Result<(), String> {
    check_handler(shared, pod).await?;
    let id = shared.config.new_id();
    let result = attach_and_run(shared, pod, attempt, resolv, &id).await;
    if result.is_err() {
        // Half a sandbox is none; both calls are idempotent. Its network is let go only after it: where that
        // fails it is seen, and stopped like any other.
        let sandbox = SandboxId(id.clone());
        match known(|| shared.engine.remove_sandbox(&sandbox)).await {
            Ok(()) => detach(shared, &id).await?,
            Err(why) => tracing::warn!("the rest of a failed sandbox: {why}"),
        }
    }
    result
}

/// A RuntimeClass must exist, and name the one handler that there is (or none).
async fn check_handler(shared: &Shared, pod: &core::Pod) -> Result<(), String> {
    let named = pod.spec.as_ref().and_then(|s| s.runtime_class_name.as_deref()).filter(|n| !n.is_empty());
    let Some(name) = named else { return Ok(()) };
    let kind = &*api::resource::RUNTIME_CLASSES;
    let class = shared.client.get(kind, "", name).await;
    let class = class.map_err(|status| format!("failed to get sandbox runtime: {}", status.message))?;
    let handler = class.value()["handler"].as_str().unwrap_or("").to_owned();
    match handler.as_str() {
        "" | "gousse" | "runc" => Ok(()),
        other => Err(format!("failed to get sandbox runtime: no runtime for {other:?} is configured")),
    }
}

async fn attach_and_run(
    shared: &Arc<Shared>,
    pod: &core::Pod,
    attempt: u32,
    resolv: &str,
    id: &str,
) -> Result<(), String> {
    let (network, addresses) = if pod::host_network(pod) {
        (Network::Host, shared.facts.host_ips.clone())
    } else if shared.engine.makes_networks() {
        (Network::Own, Vec::new())
    } else {
        shared.looker.note_attached(id);
        let (ingress, egress) = (sandbox::bandwidth(pod, INGRESS)?, sandbox::bandwidth(pod, EGRESS)?);
        let (host_ports, owner) = (sandbox::host_ports(pod), pod::uid(pod).to_owned());
        let ask = AttachSpec { id: id.into(), host_ports, ingress, egress, owner };
        let made = shared
            .network
            .attach(ask, sandbox::subject(pod))
            .await
            .map_err(|e| format!("setting up the network: {e}"))?;
        (Network::Namespace(made.namespace), made.addresses.iter().map(ToString::to_string).collect())
    };
    let write = |name: &str, text: &str| write(shared, pod, name, text);
    write(HOSTS_FILE, &names::hosts(pod, &shared.settings, &addresses))?;
    write(RESOLV_FILE, resolv)?;
    let spec = sandbox::sandbox_spec(pod, &shared.settings, attempt, network, &addresses)?;
    let sandbox = SandboxId(id.into());
    let own = known(|| shared.engine.run_sandbox(&sandbox, spec.clone())).await.map_err(|e| e.to_string())?;
    if !own.is_empty() {
        let own: Vec<String> = own.iter().map(ToString::to_string).collect();
        write(HOSTS_FILE, &names::hosts(pod, &shared.settings, &own))?;
    }
    Ok(())
}

fn write(shared: &Shared, pod: &core::Pod, name: &str, text: &str) -> Result<(), String> {
    let folder = shared.volumes.pod_folder(pod::uid(pod));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(name), text));
    written.map_err(|e| format!("writing {name} of the pod: {e}"))
}

/// Stops a sandbox, then lets its network go.
async fn let_go(shared: &Shared, id: &str) -> Result<(), String> {
    let stopped = shared.engine.stop_sandbox(&SandboxId(id.to_owned())).await;
    match stopped {
        Ok(()) | Err(runtime::Error::NotFound(_)) => {}
        Err(why) => return Err(format!("a sandbox was not stopped: {why}")),
    }
    detach(shared, id).await
}

pub(super) async fn detach(shared: &Shared, id: &str) -> Result<(), String> {
    shared.network.detach(id).await.map_err(|e| format!("a network was not let go: {e}"))?;
    shared.looker.note_detached(id);
    Ok(())
}
