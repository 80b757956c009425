//! The downward API: what a pod may know of itself, as an environment variable or a file.
//!
//! Matches pkg/fieldpath and pkg/api/v1/resource upstream: labels as sorted `key="value"` lines, a
//! resource divided by its divisor and rounded up, a missing limit as what the node has.

use std::collections::BTreeMap;

use crate::view::{Container, Pod, ResourceFieldSelector};
use api::quantity::Quantity;

/// What the pod's object cannot tell, or not yet.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub node_name: String,
    /// The preferred one first.
    pub host_ips: Vec<String>,
    pub pod_ips: Vec<String>,
    /// What a container without a limit may use: cpu, memory, ephemeral-storage, hugepages-….
    pub allocatable: BTreeMap<String, String>,
}

/// The value of a `fieldRef`. Errors name the path.
pub fn field(pod: &Pod, facts: &Facts, path: &str) -> Result<String, String> {
    let meta = &pod.metadata;
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let first = |list: &[String]| list.first().cloned().unwrap_or_default();
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => facts.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.as_ref().map(|s| text(&s.service_account_name)).unwrap_or_default(),
        "status.hostIP" => first(&facts.host_ips),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => first(&facts.pod_ips),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// The value of a `resourceFieldRef` of this container.
pub fn resource(container: &Container, facts: &Facts, reference: &ResourceFieldSelector) -> Result<String, String> {
    let parse = |text: &str| Quantity::parse(text).map_err(|e| format!("quantity {text:?}: {e}"));
    let (kind, name) = reference
        .resource
        .split_once('.')
        .filter(|(kind, _)| matches!(*kind, "limits" | "requests"))
        .ok_or_else(|| format!("unsupported container resource : {}", reference.resource))?;
    let resources = container.resources.as_ref();
    let requests = resources.and_then(|r| r.requests.as_ref());
    let limits = resources.and_then(|r| r.limits.as_ref());
    let given = match kind {
        "limits" => limits.and_then(|l| l.get(name)).map(|q| q.0.clone()).filter(|q| !is_zero(q)),
        _ => requests.and_then(|r| r.get(name)).map(|q| q.0.clone()),
    };
    let fallback = match kind {
        "limits" => facts.allocatable.get(name).cloned(),
        _ => None,
    };
    let quantity = parse(&given.or(fallback).unwrap_or_else(|| "0".into()))?;
    let divisor = match reference.divisor.as_ref().map(|q| q.0.as_str()) {
        None | Some("" | "0") => parse("1")?,
        Some(text) => parse(text)?,
    };
    let (amount, unit) = match name {
        "cpu" => (quantity.milli_value(), divisor.milli_value()),
        _ => (quantity.value(), divisor.value()),
    };
    let unit = unit.max(1);
    Ok((amount / unit + i64::from(amount % unit > 0)).to_string())
}

fn is_zero(text: &str) -> bool {
    Quantity::parse(text).is_ok_and(|q| q.is_zero())
}

/// `metadata.labels['key']` → the map's path and the key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// Sorted `key="value"` lines without a last newline; values are quoted as Go's %q does.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={}", quote(value));
    map.map(|m| m.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap_or_default()
}

/// A Go string literal.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\u{b}' => quoted.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c if is_printable(c) => quoted.push(c),
            c if (c as u32) < 0x1_0000 => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    quoted.push('"');
    quoted
}

/// Letters, marks, numbers, punctuation, symbols and the space (strconv.IsPrint). The standard library knows
/// them as what Debug leaves as it is, but for a mark at a text's start.
fn is_printable(c: char) -> bool {
    let text: String = ['a', c].iter().collect();
    c.is_ascii() || text.escape_debug().nth(1) == Some(c)
}

#[cfg(test)]
mod tests;
