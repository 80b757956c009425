//! ServiceAccount: every pod has one, with its token mounted (plugin/pkg/admission/serviceaccount).

use api::Status;
use serde_json::{Value, json};

use super::{Ask, Findings, NONE, Operation, Plugin, containers, is_mirror, list_mut};
use crate::write;

pub const PLUGIN: Plugin = Plugin { name: "ServiceAccount", operations: &[Operation::Create], mutate, ..NONE };

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// One hour and a bit that nobody asks for by hand: the server extends such tokens.
const TOKEN_SECONDS: i64 = 3607;
const LISTS: &[&str] = &["initContainers", "containers"];

fn mutate(ask: &Ask<'_>, object: &mut Value, _: &mut Findings) -> Result<(), Status> {
    if !ask.creates("pods") {
        return Ok(());
    }
    if is_mirror(object) {
        return mirror(ask, object);
    }
    let name = match object["spec"]["serviceAccountName"].as_str() {
        None | Some("") => "default".to_string(),
        Some(name) => name.to_string(),
    };
    let namespace = ask.namespace;
    let Some(account) = ask.snapshot().value("serviceaccounts", namespace, &name) else {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found");
        return Err(ask.forbidden(object, &why));
    };
    let spec = &mut object["spec"];
    spec["serviceAccountName"] = json!(name);
    spec["serviceAccount"] = json!(name);
    let wanted = spec["automountServiceAccountToken"].as_bool().or(account["automountServiceAccountToken"].as_bool());
    if wanted.unwrap_or(true) {
        mount(ask, object);
    }
    let spec = &mut object["spec"];
    let secrets = account["imagePullSecrets"].as_array().filter(|s| !s.is_empty());
    if let Some(secrets) = secrets
        && spec["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
    {
        spec["imagePullSecrets"] = secrets.clone().into();
    }
    Ok(())
}

/// Mounts the token in every container that has nothing of its own there.
fn mount(ask: &Ask<'_>, pod: &mut Value) {
    let mounted = |container: &Value| {
        let mounts = container["volumeMounts"].as_array();
        mounts.into_iter().flatten().any(|m| m["mountPath"] == MOUNT_PATH)
    };
    if containers(pod, LISTS).all(mounted) {
        return;
    }
    let volumes = pod["spec"]["volumes"].as_array();
    let names: Vec<&str> = volumes.into_iter().flatten().filter_map(|v| v["name"].as_str()).collect();
    let existing = names.iter().find(|n| n.starts_with(VOLUME_PREFIX)).map(|n| n.to_string());
    let name = existing.clone().unwrap_or_else(|| {
        let fresh = || write::generated(VOLUME_PREFIX, &ask.server.0.config.entropy);
        let mut name = fresh();
        for _ in 0..16 {
            if !names.contains(&name.as_str()) {
                break;
            }
            name = fresh();
        }
        name
    });
    for list in LISTS {
        for container in pod["spec"].get_mut(*list).and_then(Value::as_array_mut).into_iter().flatten() {
            if !mounted(container) {
                let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
                list_mut(container, "volumeMounts").push(mount);
            }
        }
    }
    if existing.is_none() {
        list_mut(&mut pod["spec"], "volumes").push(volume(&name));
    }
}

fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

/// A mirror pod has no account and no secrets.
fn mirror(ask: &Ask<'_>, pod: &Value) -> Result<(), Status> {
    if !matches!(pod["spec"]["serviceAccountName"].as_str(), None | Some("")) {
        return Err(ask.forbidden(pod, "a mirror pod may not reference service accounts"));
    }
    let sources = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut sources = sources.flat_map(|v| {
        let projected = v["projected"]["sources"].as_array().into_iter().flatten();
        projected.map(|s| s.get("serviceAccountToken")).chain([v.get("secret")])
    });
    if sources.any(|s| s.is_some()) {
        return Err(ask.forbidden(pod, "a mirror pod may not reference secrets"));
    }
    Ok(())
}
