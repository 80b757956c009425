//! One attempt of a probe or hook: exec, HTTP, TCP or gRPC, and what came of it.
//!
//! Thresholds and periods are the plan's; here is only the attempt. Matches pkg/probe upstream:
//! a failure is an answer, an error means that nobody could ask.

use std::time::Duration;

use api::view::api::core::v1::{Container, ExecAction, GRPCAction, HTTPGetAction, Probe, TCPSocketAction};
use api::view::apimachinery::pkg::util::intstr::IntOrString;
use runtime::{ContainerId, Engine};

use crate::expand::expand;

mod exec;
mod grpc;
mod http;
mod tcp;

use exec::Late;

/// What an attempt found.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Success,
    /// A success with something to say: event ProbeWarning.
    Warning(String),
    Failure(String),
    /// Nobody could ask: the last result stands.
    Error(String),
    /// It was asked, and the answer was lost: it stands for nothing.
    Unknown(String),
}

/// Whom an attempt asks.
pub struct Target<'a> {
    pub engine: &'a dyn Engine,
    pub container: &'a Container,
    pub id: &'a ContainerId,
    /// Empty while the pod has none: an error for network probes.
    pub pod_ip: &'a str,
}

/// Runs the probe once, within its own time-out.
pub async fn run(probe: &Probe, target: &Target<'_>) -> Outcome {
    let limit = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).max(1) as u64);
    if let Some(action) = &probe.exec {
        exec::run("", static_argv(action, target.container), target, limit, Late::Ends).await
    } else if let Some(action) = &probe.http_get {
        http_get(action, target, "kube-probe/1.37", limit).await
    } else if let Some(action) = &probe.tcp_socket {
        tcp_socket(action, target, limit).await
    } else if let Some(action) = &probe.grpc {
        grpc_check(action, target, limit).await
    } else {
        Outcome::Error(format!("missing probe handler for {}", target.container.name))
    }
}

/// An exec hook: its exit status decides, its output is not kept. Under the same name it is the same run.
pub async fn exec_hook(name: &str, action: &ExecAction, target: &Target<'_>, limit: Duration) -> Outcome {
    exec::run(name, action.command.clone().unwrap_or_default(), target, limit, Late::GoesOn).await
}

/// A probe's command knows the values that the spec itself gives to variables, and takes others for
/// empty (kubelet/container/helpers.go ExpandContainerCommandOnlyStatic); a hook's is not expanded.
fn static_argv(action: &ExecAction, container: &Container) -> Vec<String> {
    let given = |name: &str| container.env.iter().flatten().rfind(|variable| variable.name == name);
    let value = |name: &str| given(name).map(|variable| variable.value.clone().unwrap_or_default());
    action.command.iter().flatten().map(|word| expand(word, value)).collect()
}

/// An HTTP hook: any answer is a success. HTTPS to a server that speaks plain HTTP is asked again so,
/// without its credentials; the warning says it (kubelet/lifecycle/handlers.go runHTTPHandler).
pub async fn http_hook(action: &HTTPGetAction, target: &Target<'_>, limit: Duration) -> Outcome {
    let (host, port) = match address(action.host.as_deref(), &action.port, target) {
        Ok(asked) => asked,
        Err(error) => return Outcome::Error(error),
    };
    let ask =
        async |action: &HTTPGetAction, limit| match http::get(action, host, port, "kube-lifecycle/1.37", limit).await {
            Outcome::Failure(text) if text.starts_with(http::STATUS_TEXT) => Outcome::Success,
            Outcome::Warning(_) => Outcome::Success,
            other => other,
        };
    let begun = tokio::time::Instant::now();
    let outcome = ask(action, limit).await;
    if !matches!(&outcome, Outcome::Failure(text) if text.ends_with(http::PLAIN_TEXT)) {
        return outcome;
    }
    let mut plain = HTTPGetAction { scheme: Some("HTTP".into()), ..action.clone() };
    plain.http_headers.iter_mut().for_each(|headers| headers.retain(|h| !h.name.eq_ignore_ascii_case("authorization")));
    match ask(&plain, limit.saturating_sub(begun.elapsed())).await {
        Outcome::Success => Outcome::Warning(format!(
            "request to HTTPS lifecycle hook {host}:{port} got HTTP response, retry with HTTP succeeded"
        )),
        _ => outcome,
    }
}

async fn http_get(action: &HTTPGetAction, target: &Target<'_>, agent: &str, limit: Duration) -> Outcome {
    match address(action.host.as_deref(), &action.port, target) {
        Ok((host, port)) => http::get(action, host, port, agent, limit).await,
        Err(error) => Outcome::Error(error),
    }
}

async fn tcp_socket(action: &TCPSocketAction, target: &Target<'_>, limit: Duration) -> Outcome {
    match address(action.host.as_deref(), &action.port, target) {
        Ok((host, port)) => tcp::connect(host, port, limit).await,
        Err(error) => Outcome::Error(error),
    }
}

/// Whom to ask: the host that is named, else the pod.
fn address<'a>(host: Option<&'a str>, port: &IntOrString, target: &Target<'a>) -> Result<(&'a str, u16), String> {
    let host = host.filter(|host| !host.is_empty()).unwrap_or(target.pod_ip);
    number_of(port, target.container).map(|port| (host, port))
}

async fn grpc_check(action: &GRPCAction, target: &Target<'_>, limit: Duration) -> Outcome {
    let service = action.service.as_deref().unwrap_or_default();
    match u16::try_from(action.port) {
        Ok(port) => grpc::check(target.pod_ip, port, service, limit).await,
        Err(_) => Outcome::Error(format!("invalid port number: {}", action.port)),
    }
}

/// A number, or the container's port of that name.
fn number_of(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            match (named, name.parse()) {
                (Some(port), _) => port.container_port,
                (None, Ok(number)) => number,
                // The text of Go's strconv.Atoi, which clients know.
                (None, Err(_)) => return Err(format!("strconv.Atoi: parsing {name:?}: invalid syntax")),
            }
        }
    };
    u16::try_from(number).ok().filter(|n| *n > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

#[cfg(test)]
mod tests;
