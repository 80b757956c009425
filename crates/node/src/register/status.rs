//! The status of a node as a tree: addresses, resources, conditions, images, what it is.

use serde_json::{Map, Value, json};

use crate::pressure::Condition;
use crate::register::health;
use crate::register::resources::{allocatable, capacity, printed};
use crate::shared::Shared;

/// The version that this node agent behaves like.
const KUBELET_VERSION: &str = "v1.37.2";
const IMAGES_MAX: usize = 50;

/// The whole status; transition times are kept where the condition is as it was.
pub async fn status(shared: &Shared, old: Option<&Value>) -> Value {
    let config = &shared.config;
    let (runtime, version) = shared.engine.name();
    let resources = |all: std::collections::BTreeMap<String, i64>| -> Value {
        all.iter().map(|(r, m)| (r.clone(), json!(printed(r, *m)))).collect::<Map<_, _>>().into()
    };
    let mut addresses: Vec<Value> =
        config.addresses().map(|ip| json!({"type": "InternalIP", "address": ip.to_string()})).collect();
    addresses.push(json!({"type": "Hostname", "address": config.node_name}));
    let m = &config.machine;
    let mut status = json!({
        "addresses": addresses,
        "capacity": resources(capacity(config)),
        "allocatable": resources(allocatable(config)),
        "conditions": conditions(shared, old),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.port}},
        "nodeInfo": {
            "machineID": m.machine_id,
            "systemUUID": m.system_uuid,
            "bootID": m.boot_id,
            "kernelVersion": m.kernel_version,
            "osImage": m.os_image,
            "containerRuntimeVersion": format!("{runtime}://{version}"),
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": m.architecture,
        },
        "runtimeHandlers": [{"name": "", "features": {"recursiveReadOnlyMounts": true, "userNamespaces": false}}],
        "features": {"supplementalGroupsPolicy": true},
    });
    if m.swap > 0 {
        status["nodeInfo"]["swap"] = json!({"capacity": m.swap});
    }
    let images = images(shared).await;
    if !images.is_empty() {
        status["images"] = Value::Array(images);
    }
    status
}

/// Nothing differs but heartbeat times.
pub fn is_same(old: &Value, new: &Value) -> bool {
    let bare = |status: &Value| {
        let mut status = status.clone();
        for c in status["conditions"].as_array_mut().into_iter().flatten() {
            c["lastHeartbeatTime"] = Value::Null;
        }
        status
    };
    let (old, new) = (bare(old), bare(new));
    new.as_object().is_some_and(|fields| fields.iter().all(|(key, value)| is_covered(&old[key], value)))
}

/// The server may know more fields of a map than we write.
fn is_covered(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            new.iter().all(|(k, v)| is_covered(old.get(k).unwrap_or(&Value::Null), v))
        }
        (Value::Array(old), Value::Array(new)) => {
            old.len() >= new.len()
                && new.iter().all(|n| {
                    old.iter().any(|o| (n.get("type").is_none() || o["type"] == n["type"]) && is_covered(o, n))
                })
        }
        // What is empty need not be written.
        (Value::Null, Value::String(s)) => s.is_empty(),
        (Value::Null, Value::Bool(b)) => !b,
        _ => old == new,
    }
}

/// In upstream's order: Ready stands last.
fn conditions(shared: &Shared, old: Option<&Value>) -> Vec<Value> {
    let now = api::seconds(shared.config.now());
    let one = |type_: &str, status: &str, reason: &str, message: &str| {
        let known = old.and_then(|o| o["conditions"].as_array()).into_iter().flatten();
        let same = known.clone().find(|c| c["type"] == type_ && c["status"] == status);
        let since = same.and_then(|c| c["lastTransitionTime"].as_str()).unwrap_or(&now);
        json!({"type": type_, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": since})
    };
    let short = shared.standing.conditions();
    let mut all: Vec<Value> = Condition::ALL
        .iter()
        .map(|condition| {
            let is_short = short.contains(condition);
            let (reason, message) = condition.told(is_short);
            one(condition.name(), if is_short { "True" } else { "False" }, reason, message)
        })
        .collect();
    let trouble = health::trouble(shared);
    let ready = if trouble.is_none() { "True" } else { "False" };
    let (reason, message) = health::told(trouble);
    all.push(one("Ready", ready, reason, &message));
    all
}

/// The largest images, by all their names.
async fn images(shared: &Shared) -> Vec<Value> {
    let mut all = match shared.engine.images().list().await {
        Ok(all) => all,
        Err(why) => {
            tracing::warn!("the node's images are not listed: {why}");
            return Vec::new();
        }
    };
    all.sort_by_key(|i| std::cmp::Reverse(i.size));
    let one = |i: &runtime::Image| {
        let names: Vec<&String> = i.digests.iter().chain(&i.tags).collect();
        json!({"names": names, "sizeBytes": i.size})
    };
    all.iter().filter(|i| !i.digests.is_empty() || !i.tags.is_empty()).take(IMAGES_MAX).map(one).collect()
}
