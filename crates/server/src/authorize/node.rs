//! What a node's agent may do: upstream's node authorizer (plugin/pkg/auth/authorizer/node).
//!
//! The rules say which verbs a node has at all; Secrets, ConfigMaps and accounts only while a pod on
//! that node refers to them, pods and leases only its own. What it may write into them is admission's
//! business (`admission::node`).

use api::selector::Fields;
use serde_json::Value;

use super::{Attributes, Decision, Rule, resources};
use crate::records::Snapshot;
use crate::records::{each, is_mirror};

/// system:node
pub const RULES: &[Rule] = &[
    resources(&["create"], &["authentication.k8s.io"], &["tokenreviews"]),
    resources(&["create"], &["authorization.k8s.io"], &["subjectaccessreviews", "localsubjectaccessreviews"]),
    resources(&["get", "list", "watch"], &[""], &["services"]),
    resources(&["create", "get", "list", "watch"], &[""], &["nodes"]),
    resources(&["update", "patch"], &[""], &["nodes/status"]),
    resources(&["update", "patch"], &[""], &["nodes"]),
    resources(&["create", "update", "patch"], &["", "events.k8s.io"], &["events"]),
    resources(&["get", "list", "watch", "create", "delete"], &[""], &["pods"]),
    resources(&["update", "patch"], &[""], &["pods/status"]),
    resources(&["create"], &[""], &["pods/eviction"]),
    resources(&["get", "list", "watch"], &[""], &["secrets", "configmaps"]),
    resources(&["get"], &[""], &["serviceaccounts"]),
    resources(&["create"], &[""], &["serviceaccounts/token"]),
    resources(&["get", "create", "update", "patch", "delete"], &["coordination.k8s.io"], &["leases"]),
    resources(&["get", "list", "watch"], &["node.k8s.io"], &["runtimeclasses"]),
    resources(&["get", "list", "watch"], &["certificates.k8s.io"], &["clustertrustbundles"]),
    resources(&["get", "list", "watch", "create"], &["certificates.k8s.io"], &["podcertificaterequests"]),
    super::paths(&["post"], &[crate::route::JOIN_PATH]),
];

/// The lease of a node lies here.
const LEASES: &str = "kube-node-lease";

/// Narrows the rules to one node (node_authorizer.go Authorize).
pub fn authorize(node: &str, asked: &Attributes, snapshot: &Snapshot) -> Decision {
    let deny = |why: String| Decision::Deny(why);
    match (asked.group.as_str(), asked.resource.as_str(), asked.subresource.as_str()) {
        // authorizeReadNamespacedObject: one object, by namespace and name. Over all namespaces one name
        // would be that of many objects.
        ("", "secrets" | "configmaps", _) => match (asked.namespace.as_str(), asked.name.as_str()) {
            ("", _) => deny("can only read namespaced object of this type".into()),
            (_, "") => deny("No Object name found".into()),
            _ => related(node, asked, snapshot),
        },
        ("", "serviceaccounts", sub) => match (asked.namespace.as_str(), asked.name.as_str()) {
            ("", _) | (_, "") if sub == "token" => {
                deny("can only create tokens for individual service accounts".into())
            }
            ("", _) | (_, "") => deny("can only get individual service accounts".into()),
            _ => related(node, asked, snapshot),
        },
        // authorizePod
        ("", "pods", "") => match asked.verb.as_str() {
            "list" | "watch" if of_node(&asked.fields, node) => Decision::Allow,
            "list" | "watch" if asked.name.is_empty() => {
                deny("can only list/watch pods with spec.nodeName field selector".into())
            }
            "create" => Decision::Allow,
            // What is gone may be deleted once more; what it may delete is admission's business, too.
            "delete" if snapshot.entry("pods", &asked.namespace, &asked.name).is_none() => Decision::Allow,
            _ if runs(node, asked, snapshot) => Decision::Allow,
            _ => deny(unrelated(node)),
        },
        // What it writes is admission's business.
        ("", "nodes", "") if ["get", "list", "watch"].contains(&asked.verb.as_str()) => match asked.name.as_str() {
            name if name == node => Decision::Allow,
            "" => deny(format!("node '{node}' cannot read all nodes, only its own Node object")),
            name => deny(format!("node '{node}' cannot read '{name}', only its own Node object")),
        },
        ("coordination.k8s.io", "leases", _) => match (asked.namespace.as_str(), asked.name.as_str()) {
            (LEASES, "") if asked.verb == "create" => Decision::Allow,
            (LEASES, name) if name == node => Decision::Allow,
            (LEASES, _) => deny("can only access node lease with the same name as the requesting node".into()),
            _ => deny(format!("can only access leases in the \"{LEASES}\" system namespace")),
        },
        // What it asks for is admission's business.
        ("certificates.k8s.io", "podcertificaterequests", _) => match asked.verb.as_str() {
            "create" => Decision::Allow,
            "list" | "watch" if of_node(&asked.fields, node) => Decision::Allow,
            "list" | "watch" if asked.name.is_empty() => {
                deny("can only list/watch podcertificaterequests with nodeName field selector".into())
            }
            _ if asks_for(node, asked, snapshot) => Decision::Allow,
            _ => deny(unrelated(node)),
        },
        _ => Decision::Allow,
    }
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

/// Whether the pod is there and on the node: one pod, by namespace and name.
fn runs(node: &str, asked: &Attributes, snapshot: &Snapshot) -> bool {
    let named = !asked.namespace.is_empty() && !asked.name.is_empty();
    let pod = if named { snapshot.value("pods", &asked.namespace, &asked.name) } else { None };
    pod.is_some_and(|pod| pod["spec"]["nodeName"] == node)
}

/// Whether a request for a pod's certificate is there and the node's.
fn asks_for(node: &str, asked: &Attributes, snapshot: &Snapshot) -> bool {
    let named = !asked.namespace.is_empty() && !asked.name.is_empty();
    let request = || snapshot.value("podcertificaterequests.certificates.k8s.io", &asked.namespace, &asked.name);
    named && request().is_some_and(|request| request["spec"]["nodeName"] == node)
}

/// Whether a field selector, read as the list itself will read it, leaves only the pods of the node.
fn of_node(selector: &str, node: &str) -> bool {
    Fields::parse(selector).is_ok_and(|fields| fields.exact("spec.nodeName") == Some(node))
}

/// Whether a pod on the node refers to the object (graph.go).
fn related(node: &str, asked: &Attributes, snapshot: &Snapshot) -> Decision {
    let needle = format!("\"{}\"", asked.name);
    for entry in snapshot.all("pods", &asked.namespace) {
        // Most pods are ruled out without being parsed.
        let text = std::str::from_utf8(&entry.bytes).unwrap_or_default();
        let plain = asked.resource == "configmaps" && asked.name == "kube-root-ca.crt";
        if !plain && asked.resource != "serviceaccounts" && !text.contains(&needle) {
            continue;
        }
        let Ok(pod) = serde_json::from_str::<Value>(text) else { continue };
        // A node makes mirror pods itself: one that names an object grants nothing.
        let granted = pod["spec"]["nodeName"] == node && !is_mirror(&pod);
        if granted && refers(&pod, &asked.resource, &asked.name) {
            return Decision::Allow;
        }
    }
    Decision::Deny(unrelated(node))
}

/// Whether a pod's spec names a Secret, ConfigMap or account.
fn refers(pod: &Value, resource: &str, name: &str) -> bool {
    let spec = &pod["spec"];
    match resource {
        "serviceaccounts" => spec["serviceAccountName"] == name,
        "secrets" => each(&spec["imagePullSecrets"]).any(|s| s["name"] == name) || mentions(spec, "secret", name),
        _ => mentions(spec, "configMap", name),
    }
}

/// env valueFrom, envFrom, volumes and projected sources of one kind.
fn mentions(spec: &Value, kind: &str, name: &str) -> bool {
    let (key_ref, env_ref) = (format!("{kind}KeyRef"), format!("{kind}Ref"));
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let mut containers = lists.iter().flat_map(|list| each(&spec[*list]));
    let in_env = containers.any(|c| {
        each(&c["env"]).any(|e| e["valueFrom"][&key_ref]["name"] == name)
            || each(&c["envFrom"]).any(|e| e[&env_ref]["name"] == name)
    });
    in_env
        || each(&spec["volumes"]).any(|v| {
            let direct = if kind == "secret" { &v["secret"]["secretName"] } else { &v["configMap"]["name"] };
            direct == name || each(&v["projected"]["sources"]).any(|s| s[kind]["name"] == name)
        })
}
