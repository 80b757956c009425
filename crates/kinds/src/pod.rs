//! Pod: containers that share an address, volumes and a fate. The row, and what a write does.
//!
//! `prepare` says who owns which field (pkg/registry/core/pod/strategy.go), `defaults` fills in,
//! `validate` judges, `columns` shows. What others ask of a pod stands in `api::pod`.

use api::tree;
use serde_json::{Value, json};

use crate::row::*;

pub mod app_armor;
mod columns;
pub(crate) mod defaults;
pub(crate) mod disabled;
mod prepare;
pub mod unsupported;
pub mod validate;

pub(crate) use defaults::{canonical, resource_lists};

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![
            connect("attach", Act::Exec, "PodAttachOptions"),
            act("binding", Act::Bind, "Binding", "", CREATE),
            spec_part("ephemeralcontainers"),
            act("eviction", Act::Evict, "Eviction", "policy/v1", CREATE),
            connect("exec", Act::Exec, "PodExecOptions"),
            Subresource { query: "io.k8s.api.core.v1.PodLogOptions", ..act("log", Act::Log, "", "", GET) },
            connect("portforward", Act::PortForward, "PodPortForwardOptions"),
            proxy("PodProxyOptions"),
            spec_part("resize"),
            Subresource {
                resets: &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
                ..STATUS
            },
        ],
        columns: columns::columns(),
        field_selectors: vec![
            field("spec.nodeName"),
            field("spec.restartPolicy"),
            field("spec.schedulerName"),
            field("spec.serviceAccountName"),
            made("spec.hostNetwork", |pod| tree::flag(pod, "spec.hostNetwork").to_string()),
            field("status.phase"),
            made("status.podIP", first_ip),
            // Accepted, but never matched by upstream unless empty (ToSelectableFields has no such key).
            made("status.podIPs", |_| String::new()),
            field("status.nominatedNodeName"),
            // For clients of a very old form.
            renamed("spec.host", "spec.nodeName"),
        ],
        hooks: Hooks {
            prepare: prepare::prepare,
            default: |_, pod| defaults::default(pod),
            validate: validate::validate,
            warnings: validate::warnings::warnings,
            status_warnings: validate::warnings::of_status,
            row_condition: columns::row_condition,
        },
        writes: Writes { returns_deleted: true, leads_to_less, awaits, ..WRITES },
        delete: DeleteStrategy::Graceful(grace_of),
        ..Kind::namespaced("v1", "Pod", "pods").judged_as_new().short("po").in_all()
    }
}

const fn connect(name: &'static str, does: Act, options: &'static str) -> Subresource {
    act(name, does, options, "", CONNECT)
}

/// Its strategy has a filter, but the storage that the installer asks does not pass it on: what an apply
/// names it owns (registry/core/pod/storage, apiserver endpoints/installer.go).
const fn spec_part(name: &'static str) -> Subresource {
    Subresource { name, shares: &["spec"], resets: &[], ..PART }
}

fn first_ip(pod: &Value) -> String {
    tree::list(pod, "status.podIPs").first().map_or(String::new(), |ip| tree::text(ip, "ip").into())
}

/// The status that a pod is born with.
pub(crate) fn born(qos: &str) -> Value {
    json!({"phase": "Pending", "qosClass": qos})
}

/// It has ended, or will soon.
fn leads_to_less(pod: &Value) -> bool {
    let is_target = |condition: &Value| condition["type"] == "DisruptionTarget" && condition["status"] == "True";
    matches!(tree::text(pod, "status.phase"), "Succeeded" | "Failed")
        || tree::list(pod, "status.conditions").iter().any(is_target)
}

/// A new namespace gets its account a moment after itself: a pod that is quicker waits for it
/// (plugin/pkg/admission/serviceaccount getServiceAccount). A mirror pod has none.
fn awaits(pod: &Value) -> Option<(&'static str, &'static str)> {
    let by_default = matches!(tree::text(pod, "spec.serviceAccountName"), "" | "default");
    let is_mirror = tree::at(pod, "metadata.annotations").get(validate::MIRROR).is_some();
    (by_default && !is_mirror).then_some(("serviceaccounts", "default"))
}

/// A pod's grace at its first deletion (pkg/registry/core/pod/strategy.go CheckGracefulDelete).
fn grace_of(pod: &Value, asked: Option<i64>) -> i64 {
    let grace = asked.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
    let unscheduled = pod["spec"]["nodeName"].as_str().unwrap_or("").is_empty();
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    match grace {
        _ if unscheduled || ended => 0,
        negative if negative < 0 => 1,
        grace => grace,
    }
}

#[cfg(test)]
mod tests;
