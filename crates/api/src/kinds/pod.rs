//! Pod: containers that share an address, volumes and a fate. The row, and what a write does.
//!
//! `prepare` says who owns which field (pkg/registry/core/pod/strategy.go), `defaults` fills in,
//! `validate` judges, `columns` shows. `facts` are what scheduler and node agents ask of a pod.

pub mod app_armor;
pub mod columns;
pub mod defaults;
pub mod facts;
pub mod prepare;
pub mod unsupported;

pub use facts::{Amounts, Demands, container_ports, is_critical, is_terminal, qos_class, requests};

use serde_json::{Value, json};

use super::shared::*;
use crate::kind::{DeleteStrategy, FieldSelector, Hooks, Kind, Subresource};
use crate::tree;

pub static POD: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    namespaced: true,
    schema: "io.k8s.api.core.v1.Pod",
    verbs: ALL_VERBS,
    subresources: &[
        body("attach", "PodAttachOptions", "", CONNECT),
        body("binding", "Binding", "", CREATE),
        Subresource { owns: &["spec"], ..body("ephemeralcontainers", "", "", WRITE_BACK) },
        body("eviction", "Eviction", "policy/v1", CREATE),
        body("exec", "PodExecOptions", "", CONNECT),
        body("log", "", "", GET),
        body("portforward", "PodPortForwardOptions", "", CONNECT),
        body("proxy", "PodProxyOptions", "", PROXY),
        Subresource { owns: &["spec"], ..body("resize", "", "", WRITE_BACK) },
        STATUS,
    ],
    columns: columns::COLUMNS,
    field_selectors: &[
        FieldSelector { name: "spec.nodeName", value: |pod| tree::text(pod, "spec.nodeName").into() },
        FieldSelector { name: "spec.restartPolicy", value: |pod| tree::text(pod, "spec.restartPolicy").into() },
        FieldSelector { name: "spec.schedulerName", value: |pod| tree::text(pod, "spec.schedulerName").into() },
        FieldSelector {
            name: "spec.serviceAccountName",
            value: |pod| tree::text(pod, "spec.serviceAccountName").into(),
        },
        FieldSelector { name: "spec.hostNetwork", value: |pod| tree::flag(pod, "spec.hostNetwork").to_string() },
        FieldSelector { name: "status.phase", value: |pod| tree::text(pod, "status.phase").into() },
        FieldSelector { name: "status.podIP", value: first_ip },
        // Accepted, but never matched by upstream unless empty (ToSelectableFields has no such key).
        FieldSelector { name: "status.podIPs", value: |_| String::new() },
        FieldSelector {
            name: "status.nominatedNodeName",
            value: |pod| tree::text(pod, "status.nominatedNodeName").into(),
        },
        // For clients of a very old form.
        FieldSelector { name: "spec.host", value: |pod| tree::text(pod, "spec.nodeName").into() },
    ],
    versions: &[],
    hooks: Hooks {
        prepare: prepare::prepare,
        default: defaults::default,
        validate: crate::validate::pod::validate,
        warnings: crate::validate::pod::warnings,
    },
    delete: DeleteStrategy::Graceful,
};

fn first_ip(pod: &Value) -> String {
    tree::list(pod, "status.podIPs").first().map_or(String::new(), |ip| tree::text(ip, "ip").into())
}

/// The status that a pod is born with.
pub(crate) fn born(qos: &str) -> Value {
    json!({"phase": "Pending", "qosClass": qos})
}

#[cfg(test)]
mod tests;
