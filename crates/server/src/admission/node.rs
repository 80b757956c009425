//! NodeRestriction: what a node's agent may write is itself and its pods.
//!
//! plugin/pkg/admission/noderestriction.

use api::Status;
use serde_json::Value;

use crate::authorize::Attributes;
use crate::node_keys;

use super::{Ask, Findings, NONE, Operation, Plugin, containers, each, is_mirror};

mod certificate;
/// Kinds beside pods, tokens and nodes.
mod others;

pub const PLUGIN: Plugin = Plugin {
    name: "NodeRestriction",
    operations: &[Operation::Create, Operation::Update, Operation::Delete],
    mutate,
    ..NONE
};

/// Labels that only an administrator sets.
const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// Labels of Kubernetes that an agent sets on its own node (kubelet pkg/apis/well_known_labels.go)…
const OWN: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// … and whole domains of them.
const OWN_DOMAINS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Volumes that name a Secret for their credentials.
const WITH_SECRETS: &[&str] = &["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];

fn mutate(ask: &Ask<'_>, object: &mut Value, _: &mut Findings) -> Result<(), Status> {
    let Some(node) = ask.identity.node() else { return Ok(()) };
    // Nor does an agent ever set one: what it makes in any namespace could not be deleted, nor the namespace
    // (upstream lets it).
    if ask.operation != Operation::Delete && !same_finalizers(ask.old, object) {
        return Err(ask.forbidden(object, &format!("node {node:?} is not allowed to modify finalizers")));
    }
    if ask.is("pods") {
        return pod(ask, object, node);
    }
    if ask.is("nodes") {
        return own_node(ask, object, node);
    }
    if ask.is("serviceaccounts") && (ask.operation, ask.subresource) == (Operation::Create, "token") {
        return token(ask, object, node);
    }
    others::judge(ask, object, node)
}

/// A node evicts only the pods that run on it (admitPodEviction).
fn evict(ask: &Ask<'_>, eviction: &Value, node: &str) -> Result<(), Status> {
    let pod = ask.snapshot().value("pods", ask.namespace, ask.name);
    let pod = pod.ok_or_else(|| Status::not_found("", "pods", ask.name))?;
    match pod["spec"]["nodeName"] == node {
        true => Ok(()),
        false => {
            let why = format!("node {node} can only evict pods with spec.nodeName set to itself");
            Err(ask.forbidden(eviction, &why))
        }
    }
}

/// For whom a node gets a token: an account of a pod that runs on it, for an audience that the pod names
/// (admitServiceAccount, validateNodeServiceAccountAudience: on by default since 1.33).
fn token(ask: &Ask<'_>, request: &Value, node: &str) -> Result<(), Status> {
    let refuse = |why: &str| Err(ask.forbidden(request, why));
    let bound = &request["spec"]["boundObjectRef"];
    let text = |field: &str| bound[field].as_str().unwrap_or_default();
    if text("apiVersion") != "v1" || text("kind") != "Pod" || text("name").is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    if text("uid").is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let pod = ask.snapshot().object("pods", ask.namespace, text("name"));
    let pod = pod.ok_or_else(|| Status::not_found("", "pods", text("name")))?;
    if pod.meta().uid != text("uid") {
        let uid = text("uid");
        return refuse(&format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        ));
    }
    let pod = pod.value();
    if pod["spec"]["nodeName"] != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    let audiences: Vec<&str> = each(&request["spec"]["audiences"]).filter_map(Value::as_str).collect();
    let audience = match audiences[..] {
        [] => "",
        [one] => one,
        _ => return refuse("node may only request 0 or 1 audiences"),
    };
    if each(&pod["spec"]["volumes"]).any(|volume| wants_audience(ask, &pod, volume, audience)) {
        return Ok(());
    }
    // The way for image credential providers: a grant whose resource is the audience.
    let asked = Attributes {
        verb: "request-serviceaccounts-token-audience".into(),
        version: "v1".into(),
        resource: audience.into(),
        namespace: ask.namespace.into(),
        name: ask.name.into(),
        ..Attributes::default()
    };
    let why = || {
        let user = ask.identity.name();
        format!("{user} is not authorized to request tokens for audience {audience:?}")
    };
    ask.server.authorize(ask.identity, &asked).or_else(|_| refuse(&why()))
}

/// Whether a volume of a pod, or the driver behind it, has tokens for an audience (podReferencesAudience).
fn wants_audience(ask: &Ask<'_>, pod: &Value, volume: &Value, audience: &str) -> bool {
    let is_it = |one: &Value| one["audience"].as_str().unwrap_or("") == audience;
    let mut sources = each(&volume["projected"]["sources"]).filter_map(|source| source.get("serviceAccountToken"));
    if sources.any(is_it) {
        return true;
    }
    let snapshot = ask.snapshot();
    let text = |of: &Value| of.as_str().map(String::from);
    let claim = match volume["ephemeral"]["volumeClaimTemplate"].is_object() {
        true => text(&pod["metadata"]["name"]).zip(text(&volume["name"])).map(|(pod, name)| format!("{pod}-{name}")),
        false => text(&volume["persistentVolumeClaim"]["claimName"]),
    };
    let driver = match claim {
        Some(claim) => {
            let claim = snapshot.value("persistentvolumeclaims", ask.namespace, &claim);
            let bound = claim.and_then(|claim| text(&claim["spec"]["volumeName"]));
            let bound = bound.and_then(|name| snapshot.value("persistentvolumes", "", &name));
            bound.and_then(|bound| text(&bound["spec"]["csi"]["driver"]))
        }
        None => text(&volume["csi"]["driver"]),
    };
    let driver = driver.and_then(|name| snapshot.value("csidrivers.storage.k8s.io", "", &name));
    driver.is_some_and(|driver| each(&driver["spec"]["tokenRequests"]).any(is_it))
}

/// Whether the finalizers of an object are those of the old one; of a new one none.
fn same_finalizers(old: Option<&Value>, object: &Value) -> bool {
    let old = old.unwrap_or(&Value::Null);
    each(&old["metadata"]["finalizers"]).eq(each(&object["metadata"]["finalizers"]))
}

fn pod(ask: &Ask<'_>, object: &Value, node: &str) -> Result<(), Status> {
    let refuse = |why: String| Err(ask.forbidden(object, &why));
    match (ask.operation, ask.subresource) {
        (Operation::Create, "") => {
            if !is_mirror(object) {
                let annotation = "kubernetes.io/config.mirror";
                return refuse(format!(
                    "pod does not have {annotation:?} annotation, node {node:?} can only create mirror pods"
                ));
            }
            if object["spec"]["nodeName"] != node {
                return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
            }
            own_mirror(ask, object, node)
        }
        (Operation::Create, "eviction") => evict(ask, object, node),
        (Operation::Delete, _) | (Operation::Update, "status") => {
            let old = ask.old.unwrap_or(object);
            if old["spec"]["nodeName"] != node {
                let what = if ask.operation == Operation::Delete { "delete" } else { "update pod status for" };
                return refuse(format!("node {node:?} can only {what} pods with spec.nodeName set to itself"));
            }
            if ask.operation == Operation::Delete {
                return Ok(());
            }
            let changed = |parent: &str, field: &str| old[parent].get(field) != object[parent].get(field);
            match () {
                () if changed("metadata", "labels") => {
                    refuse(format!("node {node:?} cannot update labels through pod status"))
                }
                () if changed("status", "resourceClaimStatuses") => {
                    refuse(format!("node {node:?} cannot update resource claim statues"))
                }
                () if changed("status", "extendedResourceClaimStatus") => {
                    refuse(format!("node {node:?} cannot update extended resource claim status"))
                }
                () if changed("status", "nodeAllocatableResourceClaimStatuses") => {
                    refuse(format!("node {node:?} cannot update node allocatable resource claim statuses"))
                }
                () => Ok(()),
            }
        }
        (_, sub) => refuse(format!("unexpected operation {:?} on {sub:?} by node {node:?}", ask.operation)),
    }
}

/// The owner of a mirror pod is its node, and it names no other object: a node that could make a pod
/// which does could read that object.
fn own_mirror(ask: &Ask<'_>, pod: &Value, node: &str) -> Result<(), Status> {
    let refuse = |why: &str| Err(ask.forbidden(pod, &format!("node {node:?} {why}")));
    let owners = pod["metadata"]["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    let owner = match owners {
        [owner] => owner,
        [] => return refuse("can only create pods with an owner reference set to itself"),
        _ => return refuse("can only create pods with a single owner reference set to itself"),
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return refuse("can only create pods with an owner reference set to itself");
    }
    if owner["controller"] != true {
        return refuse("can only create pods with a controller owner reference set to itself");
    }
    if owner["blockOwnerDeletion"] == true {
        return refuse("must not set blockOwnerDeletion on an owner reference");
    }
    let own = ask.snapshot().object("nodes", "", node).ok_or_else(|| Status::not_found("", "nodes", node))?;
    let (expected, got) = (owner["uid"].as_str().unwrap_or(""), &own.meta().uid);
    if expected != got {
        return Err(ask.forbidden(pod, &format!("node {node} UID mismatch: expected {expected} got {got}")));
    }
    match named_by(pod) {
        Some(what) => refuse(&format!("can not create pods that reference {what}")),
        None => Ok(()),
    }
}

/// The first kind of object that a pod refers to (pkg/api/pod/util.go HasAPIObjectReference).
fn named_by(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    let in_env = |key: &str, from: &str| {
        containers(pod, &["containers", "initContainers", "ephemeralContainers"]).any(|container| {
            each(&container["env"]).any(|one| one["valueFrom"].get(key).is_some())
                || each(&container["envFrom"]).any(|one| one.get(from).is_some())
        })
    };
    let volume = |kind: &str| each(&spec["volumes"]).any(|volume| volume.get(kind).is_some());
    let projected = |kind: &str| {
        let mut sources = each(&spec["volumes"]).flat_map(|volume| each(&volume["projected"]["sources"]));
        sources.any(|one| one.get(kind).is_some())
    };
    let secret = |kind: &str| each(&spec["volumes"]).any(|volume| volume[kind].get("secretRef").is_some());
    let secrets = each(&spec["imagePullSecrets"]).next().is_some()
        || in_env("secretKeyRef", "secretRef")
        || volume("secret")
        || projected("secret");
    let config_maps = in_env("configMapKeyRef", "configMapRef") || volume("configMap") || projected("configMap");
    let cases = [
        (spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()), "serviceaccounts"),
        (secrets, "secrets"),
        (config_maps, "configmaps"),
        (each(&spec["resourceClaims"]).next().is_some(), "resourceclaims"),
        (volume("csi"), "csidrivers (via CSI volumes)"),
        (volume("glusterfs"), "endpoints (via glusterFS volumes)"),
        (volume("persistentVolumeClaim"), "persistentvolumeclaims"),
        (volume("ephemeral"), "persistentvolumeclaims (via ephemeral volumes)"),
        (volume("azureFile"), "secrets (via azureFile volumes)"),
        (WITH_SECRETS.iter().any(|kind| secret(kind)), "secrets"),
        (projected("serviceAccountToken"), "serviceaccounts (via projected volumes)"),
        (projected("clusterTrustBundle"), "clustertrustbundles"),
        (projected("podCertificate"), "podcertificates"),
    ];
    cases.iter().find(|(is, _)| *is).map(|(_, what)| *what)
}

const RANGES: [&str; 2] = ["podCIDR", "podCIDRs"];

fn own_node(ask: &Ask<'_>, object: &mut Value, node: &str) -> Result<(), Status> {
    if let (Operation::Create, Some(key)) = (ask.operation, ask.identity.key()) {
        // A Node that was deleted belongs to the first who makes it again.
        object["metadata"]["annotations"][node_keys::ANNOTATION] = key.into();
    }
    // With the range of another node it would have that node's pods' addresses (upstream lets it). A new one
    // loses what it brings, since agents of former versions bring one.
    if ask.operation == Operation::Create
        && let Some(spec) = object["spec"].as_object_mut()
    {
        RANGES.iter().for_each(|field| drop(spec.remove(*field)));
    }
    let object = &*object;
    let refuse = |why: String| Err(ask.forbidden(object, &why));
    let name = ask.name_of(object);
    if name != node {
        return refuse(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    match (ask.operation, ask.old) {
        (Operation::Create, _) => match forbidden_labels(&object["metadata"]["labels"], &Value::Null) {
            labels if labels.is_empty() => Ok(()),
            labels => refuse(format!("node {node:?} is not allowed to set the following labels: {labels}")),
        },
        (Operation::Update, Some(old)) => {
            if RANGES.iter().any(|field| object["spec"].get(*field) != old["spec"].get(*field)) {
                return refuse(format!("node {node:?} is not allowed to modify podCIDRs"));
            }
            if object["spec"]["taints"] != old["spec"]["taints"] {
                return refuse(format!("node {node:?} is not allowed to modify taints"));
            }
            if object["metadata"]["ownerReferences"] != old["metadata"]["ownerReferences"] {
                return refuse(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            if node_keys::recorded(object) != node_keys::recorded(old) {
                return refuse(format!(
                    "node {node:?} is not allowed to modify annotation {:?}",
                    node_keys::ANNOTATION
                ));
            }
            match forbidden_labels(&object["metadata"]["labels"], &old["metadata"]["labels"]) {
                labels if labels.is_empty() => Ok(()),
                labels => refuse(format!("is not allowed to modify labels: {labels}")),
            }
        }
        (Operation::Delete, _) => refuse(format!("node {node:?} is not allowed to delete nodes")),
        _ => Ok(()),
    }
}

/// Of the labels that differ, those that a node may not touch, sorted, with commas.
fn forbidden_labels(new: &Value, old: &Value) -> String {
    let within = |domain: &str, suffix: &str| {
        domain.strip_suffix(suffix).is_some_and(|front| front.is_empty() || front.ends_with('.'))
    };
    let forbidden = |key: &str| {
        let Some((domain, _)) = key.split_once('/') else { return false };
        let of_kubernetes = within(domain, "kubernetes.io") || within(domain, "k8s.io");
        let own = OWN.contains(&key) || OWN_DOMAINS.iter().any(|own| within(domain, own));
        within(domain, RESTRICTED) || (of_kubernetes && !own)
    };
    let keys = [new, old].into_iter().flat_map(|labels| labels.as_object().into_iter().flatten());
    let changed: std::collections::BTreeSet<&str> =
        keys.map(|(key, _)| key.as_str()).filter(|key| new.get(key) != old.get(key) && forbidden(key)).collect();
    changed.into_iter().collect::<Vec<_>>().join(", ")
}
