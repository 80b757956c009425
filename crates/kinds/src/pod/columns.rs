//! What `kubectl get pods` shows: READY, STATUS, RESTARTS, and the wide columns.
//!
//! Matches pkg/printers/internalversion/printers.go (printPod): the first container that has a
//! reason gives the status its word, since the loop runs backwards.

use serde_json::{Value, json};

use crate::row::*;
use api::{age, tree};

pub(super) fn columns() -> Vec<Column> {
    vec![
        NAME,
        computed("Ready", "How many of the containers are ready.", |pod, _| {
            let s = summary(pod);
            json!(format!("{}/{}", s.ready, s.total))
        }),
        computed("Status", "What the pod is doing, in one word.", |pod, _| json!(summary(pod).reason)),
        computed("Restarts", "How often containers were restarted, and when last.", |pod, now| {
            let s = summary(pod);
            json!(match s.last_restart {
                last if s.restarts != 0 && !last.is_empty() =>
                    format!("{} ({} ago)", s.restarts, age::since(last, now)),
                _ => s.restarts.to_string(),
            })
        }),
        AGE,
        wide(computed("IP", "The pod's address.", |pod, _| {
            json!(or_none(tree::list(pod, "status.podIPs").first().map_or("", |ip| tree::text(ip, "ip"))))
        })),
        wide(computed("Node", "Where it runs.", |pod, _| json!(or_none(tree::text(pod, "spec.nodeName"))))),
        wide(computed("Nominated Node", "Where room is being made for it.", |pod, _| {
            json!(or_none(tree::text(pod, "status.nominatedNodeName")))
        })),
        wide(computed("Readiness Gates", "How many of its readiness gates are open.", |pod, _| json!(gates(pod)))),
    ]
}

/// Rows of pods that ended are marked.
pub(super) fn row_condition(pod: &Value) -> Option<Value> {
    let (reason, message) = match tree::text(pod, "status.phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

struct Summary<'a> {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    /// RFC 3339; empty if no container was restarted.
    last_restart: &'a str,
}

fn summary(pod: &Value) -> Summary<'_> {
    let phase = tree::text(pod, "status.phase");
    let status_reason = tree::text(pod, "status.reason");
    let mut s = Summary {
        ready: 0,
        total: tree::list(pod, "spec.containers").len(),
        reason: if status_reason.is_empty() { phase.into() } else { status_reason.into() },
        restarts: 0,
        last_restart: "",
    };
    let conditions = tree::list(pod, "status.conditions");
    let is = |kind: &str, field: &str, value: &str| {
        conditions.iter().any(|c| tree::text(c, "type") == kind && tree::text(c, field) == value)
    };
    if is("PodScheduled", "reason", "SchedulingGated") {
        s.reason = "SchedulingGated".into();
    }
    let sidecars: Vec<&str> = tree::list(pod, "spec.initContainers")
        .iter()
        .filter(|c| tree::text(c, "restartPolicy") == "Always")
        .map(|c| tree::text(c, "name"))
        .collect();
    s.total += sidecars.len();
    let (initializing, sidecar_restarts, sidecar_last) = init(pod, &sidecars, &mut s);
    if !initializing || is("Initialized", "status", "True") {
        s.restarts = sidecar_restarts;
        s.last_restart = sidecar_last;
        regular(pod, is("Ready", "status", "True"), &mut s);
    }
    if tree::has(pod, "metadata.deletionTimestamp") {
        if status_reason == "NodeLost" {
            s.reason = "Unknown".into();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            s.reason = "Terminating".into();
        }
    }
    s
}

/// The init containers up to the first that is not done; returns whether there is one, and the
/// restarts of the sidecars seen on the way.
fn init<'a>(pod: &'a Value, sidecars: &[&str], s: &mut Summary<'a>) -> (bool, i64, &'a str) {
    let (mut restarts, mut last) = (0, "");
    let count = tree::list(pod, "spec.initContainers").len();
    for (index, container) in tree::list(pod, "status.initContainerStatuses").iter().enumerate() {
        let again = tree::int(container, "restartCount").unwrap_or(0);
        let ended = tree::text(container, "lastState.terminated.finishedAt");
        let is_sidecar = sidecars.contains(&tree::text(container, "name"));
        s.restarts += again;
        s.last_restart = later(s.last_restart, ended);
        if is_sidecar {
            restarts += again;
            last = later(last, ended);
        }
        let terminated = tree::at(container, "state.terminated");
        let exit = tree::int(terminated, "exitCode").unwrap_or(0);
        let waiting = tree::text(container, "state.waiting.reason");
        match () {
            _ if !terminated.is_null() && exit == 0 => continue,
            _ if is_sidecar && tree::flag(container, "started") => {
                s.ready += usize::from(tree::flag(container, "ready"));
                continue;
            }
            _ if !terminated.is_null() => s.reason = format!("Init:{}", end_of(terminated)),
            _ if !waiting.is_empty() && waiting != "PodInitializing" => s.reason = format!("Init:{waiting}"),
            _ => s.reason = format!("Init:{index}/{count}"),
        }
        return (true, restarts, last);
    }
    (false, restarts, last)
}

fn regular<'a>(pod: &'a Value, pod_is_ready: bool, s: &mut Summary<'a>) {
    let (mut has_running, mut error) = (false, String::new());
    for container in tree::list(pod, "status.containerStatuses").iter().rev() {
        s.restarts += tree::int(container, "restartCount").unwrap_or(0);
        s.last_restart = later(s.last_restart, tree::text(container, "lastState.terminated.finishedAt"));
        let waiting = tree::text(container, "state.waiting.reason");
        let terminated = tree::at(container, "state.terminated");
        if !waiting.is_empty() {
            s.reason = waiting.into();
        } else if !terminated.is_null() {
            s.reason = end_of(terminated);
            if tree::int(terminated, "exitCode").unwrap_or(0) != 0 {
                error = s.reason.clone();
            }
        } else if tree::flag(container, "ready") && tree::has(container, "state.running") {
            has_running = true;
            s.ready += 1;
        }
    }
    if s.reason == "Completed" {
        match () {
            _ if has_running && pod_is_ready => s.reason = "Running".into(),
            _ if !error.is_empty() => s.reason = error,
            _ if has_running => s.reason = "NotReady".into(),
            _ => {}
        }
    }
}

fn end_of(terminated: &Value) -> String {
    match (tree::text(terminated, "reason"), tree::int(terminated, "signal").unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", tree::int(terminated, "exitCode").unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    }
}

/// Times are RFC 3339 in UTC with whole seconds, so that their order is the strings'.
fn later<'a>(a: &'a str, b: &'a str) -> &'a str {
    if b > a { b } else { a }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

fn gates(pod: &Value) -> String {
    let gates = tree::list(pod, "spec.readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = gates.iter().filter(|gate| {
        let kind = tree::text(gate, "conditionType");
        let condition = tree::list(pod, "status.conditions").iter().find(|c| tree::text(c, "type") == kind);
        condition.is_some_and(|c| tree::text(c, "status") == "True")
    });
    format!("{}/{}", open.count(), gates.len())
}
