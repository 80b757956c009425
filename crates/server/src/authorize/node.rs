//! What a node's agent may do: upstream's node authorizer (plugin/pkg/auth/authorizer/node).
//!
//! Secrets, ConfigMaps, claims, volumes and accounts only while a pod on that node refers to them, pods and leases
//! only its own; for the rest the rules of the ClusterRole `system:node`, which binds nobody. What it may write into
//! them is admission's business (`admission::node`).

use api::selector::Fields;
use serde_json::Value;

use super::{Attributes, Decision, defaults, edge, policies};
use crate::records::Snapshot;
use crate::records::{each, is_mirror};

/// The lease of a node lies here.
const LEASES: &str = "kube-node-lease";
const READ: &[&str] = &["get", "list", "watch"];

/// Decides for one node (node_authorizer.go Authorize).
pub fn authorize(node: &str, asked: &Attributes, snapshot: &Snapshot) -> Decision {
    match decide(node, asked, snapshot) {
        Ok(()) => Decision::Allow(None),
        Err(_) if edge::node_may(node, asked, snapshot) => Decision::Allow(None),
        Err(_) if policies::node_may(asked, snapshot) => Decision::Allow(None),
        Err(why) => Decision::Deny(why),
    }
}

fn decide(node: &str, asked: &Attributes, snapshot: &Snapshot) -> Result<(), String> {
    let (verb, sub) = (asked.verb.as_str(), asked.subresource.as_str());
    let related = || related(node, asked, snapshot);
    let of_node = |field: &str| of_node(&asked.fields, field, node);
    let refuse = |why: &str| Err(why.to_string());
    let get = || match (verb, sub) {
        ("get", "") => related(),
        ("get", _) => refuse("cannot get subresource"),
        _ => refuse("can only get individual resources of this type"),
    };
    let read = || match (verb, sub) {
        _ if !READ.contains(&verb) => refuse("can only read resources of this type"),
        (_, "") if asked.namespace.is_empty() => refuse("can only read namespaced object of this type"),
        (_, "") => related(),
        _ => refuse("cannot read subresource"),
    };
    match (asked.group.as_str(), asked.resource.as_str()) {
        ("", "secrets" | "configmaps") => read(),
        ("", "persistentvolumeclaims") if sub == "status" => match verb {
            "update" | "patch" => related(),
            _ => refuse("can only get/update/patch this type"),
        },
        ("", "persistentvolumeclaims" | "persistentvolumes") => get(),
        ("resource.k8s.io", "resourceclaims") | ("storage.k8s.io", "volumeattachments") => get(),
        ("", "serviceaccounts") => match (verb, sub) {
            ("get", "") => read(),
            ("create", _) if asked.name.is_empty() || asked.namespace.is_empty() => {
                refuse("can only create tokens for individual service accounts")
            }
            ("create", "token") => related(),
            ("create", _) => refuse("can only create token subresource of serviceaccount"),
            _ => refuse("can only create tokens for individual service accounts"),
        },
        ("coordination.k8s.io", "leases") => lease(node, asked),
        ("storage.k8s.io", "csinodes") => match (sub, verb) {
            ("", "create") => Ok(()),
            ("", "get" | "update" | "patch" | "delete") if asked.name == node => Ok(()),
            ("", "get" | "update" | "patch" | "delete") => {
                refuse("can only access CSINode with the same name as the requesting node")
            }
            ("", _) => refuse("can only get, create, update, patch, or delete a CSINode"),
            ("status", _) => refuse("CSINode status access requires CSIVolumeHealth feature"),
            _ => refuse("cannot authorize CSINode subresources"),
        },
        ("resource.k8s.io", "resourceslices") => match (sub, verb) {
            ("", "create") => Ok(()),
            ("", "get" | "update" | "patch" | "delete") => related(),
            ("", "watch" | "list" | "deletecollection") if of_node("spec.nodeName") => Ok(()),
            ("", "watch" | "list" | "deletecollection") => {
                refuse("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            ("", _) => refuse(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
                 delete, deletecollection",
            ),
            _ => refuse("cannot authorize ResourceSlice subresources"),
        },
        // What it writes is admission's business.
        ("", "nodes") => match (sub, verb, asked.name.as_str()) {
            ("", "create" | "update" | "patch", _) | ("status", "update" | "patch", _) => Ok(()),
            ("", "get" | "list" | "watch", name) if name == node => Ok(()),
            ("", "get" | "list" | "watch", "") => {
                Err(format!("node '{node}' cannot read all nodes, only its own Node object"))
            }
            ("", "get" | "list" | "watch", name) => {
                Err(format!("node '{node}' cannot read '{name}', only its own Node object"))
            }
            _ => refuse(""),
        },
        ("", "pods") => match (sub, verb) {
            ("", "list" | "watch") if of_node("spec.nodeName") => Ok(()),
            ("", "list" | "watch") if asked.name.is_empty() => {
                refuse("can only list/watch pods with spec.nodeName field selector")
            }
            ("", "get" | "list" | "watch") => related(),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => refuse(""),
        },
        ("certificates.k8s.io", "podcertificaterequests") => match (sub, verb) {
            ("", "create") => Ok(()),
            ("", "get") => related(),
            ("", "list" | "watch") if of_node("spec.nodeName") => Ok(()),
            ("", "list" | "watch") => refuse("can only list/watch podcertificaterequests with nodeName field selector"),
            ("", _) => Err(format!("nodes may not {verb} podcertificaterequests")),
            _ => refuse("nodes may not access the status subresource of PodCertificateRequests"),
        },
        _ if defaults::node_rules().iter().any(|rule| rule.allows(asked)) => Ok(()),
        _ => refuse(""),
    }
}

fn lease(node: &str, asked: &Attributes) -> Result<(), String> {
    let (verb, name) = (asked.verb.as_str(), asked.name.as_str());
    if !["get", "create", "update", "patch", "delete"].contains(&verb) {
        return Err("can only get, create, update, patch, or delete a node lease".into());
    }
    if asked.namespace != LEASES {
        return Err(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    // The name of a new one is looked at by admission.
    match verb == "create" || name == node {
        true => Ok(()),
        false => Err("can only access node lease with the same name as the requesting node".into()),
    }
}

/// Whether a field selector, read as the list itself will read it, leaves only what is of the node.
fn of_node(selector: &str, field: &str, node: &str) -> bool {
    Fields::parse(selector).is_ok_and(|fields| fields.exact(field) == Some(node))
}

/// Whether an object is the node's business (graph.go): by its own word, or since a pod on the node refers to it.
fn related(node: &str, asked: &Attributes, snapshot: &Snapshot) -> Result<(), String> {
    if asked.name.is_empty() {
        return Err("No Object name found".into());
    }
    let (namespace, name) = (asked.namespace.as_str(), asked.name.as_str());
    let at_node = |resource: &str, namespace: &str| {
        let object = snapshot.value(resource, namespace, name);
        object.is_some_and(|object| object["spec"]["nodeName"] == node)
    };
    let is_it = match asked.resource.as_str() {
        "pods" | "podcertificaterequests" if namespace.is_empty() => false,
        "pods" => at_node("pods", namespace),
        "podcertificaterequests" => at_node("podcertificaterequests.certificates.k8s.io", namespace),
        "volumeattachments" => at_node("volumeattachments.storage.k8s.io", ""),
        "resourceslices" => at_node("resourceslices.resource.k8s.io", ""),
        "persistentvolumes" => is_used_volume(node, name, snapshot),
        resource => {
            is_referred_to(node, resource, namespace, name, snapshot)
                || (resource == "secrets" && is_of_a_volume(node, namespace, name, snapshot))
        }
    };
    if is_it { Ok(()) } else { Err(format!("no relationship found between node '{node}' and this object")) }
}

/// Whether the claim that a volume is bound to is one of a pod on the node.
fn is_used_volume(node: &str, name: &str, snapshot: &Snapshot) -> bool {
    let Some(volume) = snapshot.value("persistentvolumes", "", name) else { return false };
    let claim = &volume["spec"]["claimRef"];
    let (Some(namespace), Some(name)) = (claim["namespace"].as_str(), claim["name"].as_str()) else { return false };
    is_referred_to(node, "persistentvolumeclaims", namespace, name, snapshot)
}

/// Whether a volume that a pod on the node uses needs the Secret there (pkg/api/v1/persistentvolume VisitPVSecretNames,
/// those that a kubelet sees).
fn is_of_a_volume(node: &str, namespace: &str, name: &str, snapshot: &Snapshot) -> bool {
    const OF_NODES: [&str; 3] = ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"];
    let needle = format!("{name:?}");
    let mut volumes = snapshot.all("persistentvolumes", "").into_iter();
    volumes.any(|entry| {
        let text = std::str::from_utf8(&entry.bytes).unwrap_or_default();
        if !text.contains(&needle) {
            return false;
        }
        let Ok(volume) = serde_json::from_str::<Value>(text) else { return false };
        let spec = &volume["spec"];
        let named = |of: &Value| of["name"] == name && of["namespace"] == namespace;
        let needs = OF_NODES.iter().any(|field| named(&spec["csi"][*field])) || named(&spec["flexVolume"]["secretRef"]);
        needs && is_used_volume(node, volume["metadata"]["name"].as_str().unwrap_or_default(), snapshot)
    })
}

/// Whether a pod on the node refers to an object of its namespace.
fn is_referred_to(node: &str, resource: &str, namespace: &str, name: &str, snapshot: &Snapshot) -> bool {
    if namespace.is_empty() {
        return false;
    }
    let needle = format!("{name:?}");
    // Most pods are ruled out without being parsed. An account, the certificate of every namespace and a claim
    // that is named after its pod do not stand there as they are called.
    let told = match resource {
        "secrets" => true,
        "configmaps" => name != "kube-root-ca.crt",
        _ => false,
    };
    let here = format!("\"nodeName\":{node:?}");
    snapshot.all("pods", namespace).iter().any(|entry| {
        let text = std::str::from_utf8(&entry.bytes).unwrap_or_default();
        if !text.contains(&here) || (told && !text.contains(&needle)) {
            return false;
        }
        let Ok(pod) = serde_json::from_str::<Value>(text) else { return false };
        // A node makes mirror pods itself: one that names an object grants nothing.
        pod["spec"]["nodeName"] == node && !is_mirror(&pod) && refers(&pod, resource, name)
    })
}

/// Whether a pod's spec names a Secret, ConfigMap, account or claim.
fn refers(pod: &Value, resource: &str, name: &str) -> bool {
    let spec = &pod["spec"];
    match resource {
        "serviceaccounts" => spec["serviceAccountName"] == name,
        "secrets" => each(&spec["imagePullSecrets"]).any(|s| s["name"] == name) || mentions(spec, "secret", name),
        "configmaps" => mentions(spec, "configMap", name),
        "persistentvolumeclaims" => each(&spec["volumes"]).any(|volume| {
            let of_pod =
                |volume: &Value| Some(format!("{}-{}", pod["metadata"]["name"].as_str()?, volume["name"].as_str()?));
            volume["persistentVolumeClaim"]["claimName"] == name
                || (volume["ephemeral"].is_object() && of_pod(volume).as_deref() == Some(name))
        }),
        "resourceclaims" => {
            let status = &pod["status"];
            each(&spec["resourceClaims"]).any(|claim| claim["resourceClaimName"] == name)
                || each(&status["resourceClaimStatuses"]).any(|claim| claim["resourceClaimName"] == name)
                || status["extendedResourceClaimStatus"]["resourceClaimName"] == name
        }
        _ => false,
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
