//! PodSecurity: the level that a namespace demands of its pods, by label.
//!
//! `enforce` refuses, `warn` warns; the checks and their words are upstream's
//! (pod-security-admission/policy, `latest`). `restricted` is all of `baseline` but the checks that
//! its own replace. Windows' checks are not here: no node runs it.

use api::Status;
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin};

mod baseline;
mod restricted;

pub const PLUGIN: Plugin =
    Plugin { name: "PodSecurity", operations: &[Operation::Create, Operation::Update], validate, ..NONE };

const PREFIX: &str = "pod-security.kubernetes.io/";

/// What a check found: the reason and the detail of a violation.
type Found = Option<(&'static str, String)>;

/// One check. The tables are in the order of upstream's identifiers.
struct Check {
    id: &'static str,
    /// The `restricted` check that replaces it there.
    replaced_by: &'static str,
    find: fn(&Value) -> Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Privileged,
    Baseline,
    Restricted,
}

fn validate(ask: &Ask<'_>, object: &Value, findings: &mut Findings) -> Result<(), Status> {
    let judged = ask.creates("pods")
        || (ask.is("pods") && ask.operation == Operation::Update && ask.subresource == "ephemeralcontainers");
    if !judged {
        return Ok(());
    }
    let Some(space) = ask.snapshot().entry("namespaces", "", ask.namespace) else { return Ok(()) };
    // Most namespaces demand nothing: told from the bytes.
    if memchr::memmem::find(&space.bytes, PREFIX.as_bytes()).is_none() {
        return Ok(());
    }
    let Ok(space) = api::Object::parse(space.bytes) else { return Ok(()) };
    let labels = &space.meta().labels;
    let demanded = |mode: &str| {
        let level = labels.get(&format!("{PREFIX}{mode}")).unwrap_or("");
        let version = labels.get(&format!("{PREFIX}{mode}-version")).unwrap_or("latest");
        (Level::of(level), format!("{level}:{version}"))
    };
    let (level, policy) = demanded("enforce");
    if let Some(found) = violations(object, level) {
        return Err(ask.forbidden(object, &format!("violates PodSecurity \"{policy}\": {found}")));
    }
    let (level, policy) = demanded("warn");
    if let Some(found) = violations(object, level) {
        findings.warn(format!("would violate PodSecurity \"{policy}\": {found}"));
    }
    Ok(())
}

impl Level {
    /// An unknown word demands the most, as upstream has it.
    fn of(text: &str) -> Level {
        match text {
            "" | "privileged" => Level::Privileged,
            "baseline" => Level::Baseline,
            _ => Level::Restricted,
        }
    }
}

/// `privileged (container "c" must not set …), …`; None if the pod conforms.
fn violations(pod: &Value, level: Level) -> Option<String> {
    let baseline = baseline::CHECKS
        .iter()
        .filter(|check| level == Level::Baseline || (level == Level::Restricted && check.replaced_by.is_empty()));
    let restricted = restricted::CHECKS.iter().filter(|_| level == Level::Restricted);
    let found: Vec<String> = baseline
        .chain(restricted)
        .filter_map(|check| {
            let (reason, detail) = (check.find)(pod)?;
            tracing::debug!(check = check.id, reason, "violated");
            Some(if detail.is_empty() { reason.to_string() } else { format!("{reason} ({detail})") })
        })
        .collect();
    (!found.is_empty()).then(|| found.join(", "))
}

/// Every container, in upstream's order of visiting.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    super::containers(pod, &["initContainers", "containers", "ephemeralContainers"])
}

/// The names of the containers of which something holds.
fn which(pod: &Value, holds: impl Fn(&Value) -> bool) -> Vec<&str> {
    containers(pod).filter(|c| holds(c)).filter_map(|c| c["name"].as_str()).collect()
}

fn volumes(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["spec"]["volumes"].as_array().into_iter().flatten()
}

/// `"a", "b"`
fn quoted<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    words.into_iter().map(|w| format!("{:?}", w.as_ref())).collect::<Vec<_>>().join(", ")
}

/// `container "a"`, `containers "a", "b"`
fn named(names: &[&str]) -> String {
    format!("{} {}", plural("container", names.len()), quoted(names))
}

fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.into() } else { format!("{word}s") }
}

/// Words without doubles, sorted.
fn sorted<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all: Vec<&str> = words.collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn added_capabilities(container: &Value) -> impl Iterator<Item = &str> {
    let added = container["securityContext"]["capabilities"]["add"].as_array();
    added.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests;
