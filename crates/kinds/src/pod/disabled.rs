//! Fields of features that are off in a stock server: they are dropped, unless they were there.
//!
//! Matches dropDisabledFields and its neighbours (pkg/api/pod/util.go) with the default gates of 1.37. Who sends one is
//! told nothing, as upstream: a pod of theirs means the same on either. Taking a row out is how a feature comes on;
//! ContainerStopSignals is on here (docs/compatibility.md).

use serde_json::Value;

/// A feature, and what it brought. In a path `x[]` is every element of a list, `containers[]` every container of any
/// sort; paths begin at the pod, or at its template.
struct Feature {
    paths: &'static [&'static str],
}

const OFF: &[Feature] = &[
    // EmptyDirVolumeMode
    Feature { paths: &["spec.volumes[].emptyDir.mode"] },
    // VolumeBindMountOptions
    Feature { paths: &["spec.containers[].volumeMounts[].bindMountOptions"] },
    // AtomicWriteVolumeUserFields
    Feature {
        paths: &[
            "spec.volumes[].secret.defaultUser",
            "spec.volumes[].secret.items[].user",
            "spec.volumes[].configMap.defaultUser",
            "spec.volumes[].configMap.items[].user",
            "spec.volumes[].downwardAPI.defaultUser",
            "spec.volumes[].downwardAPI.items[].user",
            "spec.volumes[].projected.defaultUser",
            "spec.volumes[].projected.sources[].secret.items[].user",
            "spec.volumes[].projected.sources[].configMap.items[].user",
            "spec.volumes[].projected.sources[].downwardAPI.items[].user",
            "spec.volumes[].projected.sources[].serviceAccountToken.user",
            "spec.volumes[].projected.sources[].clusterTrustBundle.user",
            "spec.volumes[].projected.sources[].podCertificate.user",
        ],
    },
    // H2CContainerProbe
    Feature {
        paths: &[
            "spec.containers[].livenessProbe.httpGet.protocol",
            "spec.containers[].readinessProbe.httpGet.protocol",
            "spec.containers[].startupProbe.httpGet.protocol",
            "spec.containers[].lifecycle.postStart.httpGet.protocol",
            "spec.containers[].lifecycle.preStop.httpGet.protocol",
        ],
    },
    // GRPCContainerProbeTLS
    Feature {
        paths: &[
            "spec.containers[].livenessProbe.grpc.mode",
            "spec.containers[].readinessProbe.grpc.mode",
            "spec.containers[].startupProbe.grpc.mode",
        ],
    },
    // GenericWorkload
    Feature { paths: &["spec.schedulingGroup"] },
    // EvictionRequestAPI
    Feature { paths: &["spec.evictionResponders"] },
    // CSIVolumeHealth
    Feature { paths: &["status.volumeHealth"] },
    // DRANodeAllocatableResources
    Feature { paths: &["status.nodeAllocatableResourceClaimStatuses"] },
    // ImageVolumeWithDigest
    Feature {
        paths: &[
            "status.containerStatuses[].volumeMounts[].volumeStatus",
            "status.initContainerStatuses[].volumeMounts[].volumeStatus",
            "status.ephemeralContainerStatuses[].volumeMounts[].volumeStatus",
        ],
    },
];

/// Drops them from a pod or a template; `old` is the same before the write.
pub fn drop_disabled(pod: &mut Value, old: Option<&Value>) {
    for feature in OFF {
        let in_use = |old: &Value| feature.paths.iter().any(|path| has(old, path));
        if old.is_some_and(in_use) {
            continue;
        }
        for path in feature.paths {
            remove(pod, path);
        }
    }
}

/// The lists that a step stands for: all containers, or one list.
fn lists(step: &str) -> Option<[&str; 3]> {
    match step.strip_suffix("[]")? {
        "containers" => Some(["initContainers", "containers", "ephemeralContainers"]),
        list => Some([list, "", ""]),
    }
}

fn has(value: &Value, path: &str) -> bool {
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    match lists(step) {
        Some(names) => {
            let items = names.iter().filter_map(|name| value.get(name)?.as_array()).flatten();
            items.into_iter().any(|item| has(item, rest))
        }
        None => match value.get(step) {
            None | Some(Value::Null) => false,
            Some(_) if rest.is_empty() => true,
            Some(part) => has(part, rest),
        },
    }
}

fn remove(value: &mut Value, path: &str) {
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(map) = value.as_object_mut() else { return };
    match lists(step) {
        Some(names) => {
            for name in names {
                let items = map.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten();
                items.for_each(|item| remove(item, rest));
            }
        }
        None if rest.is_empty() => drop(map.remove(step)),
        None => {
            let Some(part) = map.get_mut(step) else { return };
            remove(part, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_off_goes_unless_it_was_there() {
        let pod = || {
            json!({"spec": {"containers": [{"name": "a", "lifecycle": {"stopSignal": "SIGTERM"}}],
                "volumes": [{"configMap": {"name": "c", "items": [{"key": "k", "user": 1}]}}], "schedulingGroup": {}}})
        };
        let mut new = pod();
        drop_disabled(&mut new, None);
        let volumes = json!([{"configMap": {"name": "c", "items": [{"key": "k"}]}}]);
        let containers = pod()["spec"]["containers"].clone();
        assert_eq!(new, json!({"spec": {"containers": containers, "volumes": volumes}}), "signals are honoured");
        let mut kept = pod();
        drop_disabled(&mut kept, Some(&pod()));
        assert_eq!(kept, pod());
        let mut other = pod();
        drop_disabled(&mut other, Some(&json!({"spec": {"schedulingGroup": {}}})));
        assert_eq!(other["spec"]["volumes"], volumes);
        assert_eq!(other["spec"]["schedulingGroup"], json!({}), "each feature by itself");
        let mut empty = json!({"spec": {"containers": [{"lifecycle": {}}]}});
        drop_disabled(&mut empty, None);
        assert_eq!(empty, json!({"spec": {"containers": [{"lifecycle": {}}]}}));
    }
}
