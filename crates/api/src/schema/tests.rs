use serde_json::json;

use super::*;

#[test]
fn every_type_is_found_by_its_name_and_every_reference_leads_somewhere() {
    let names: Vec<_> = names().collect();
    assert!(names.len() > 1200);
    assert!(names.is_sorted());
    for name in names {
        let of = get(name).unwrap_or_else(|| panic!("{name} is not found"));
        assert_eq!(of.name, name);
        for field in &of.fields {
            assert!(field.of.leaf().is_none_or(|target| !target.name.is_empty()));
            if let Some(default) = field.default {
                serde_json::from_str::<Value>(default).unwrap();
            }
            for key in &field.keys {
                assert!(field.of.leaf().unwrap().field(key).is_some(), "{name}.{} has key {key}", field.name);
            }
            if !field.merge_key.is_empty() {
                assert!(field.of.leaf().unwrap().field(field.merge_key).is_some());
            }
        }
    }
    assert!(get("io.k8s.api.core.v1.Nothing").is_none());
    assert!(get("").is_none());
    assert!(get("zzz").is_none());
}

#[test]
fn a_field_carries_its_facts() {
    let container = get("io.k8s.api.core.v1.Container").unwrap();
    let ports = container.field("ports").unwrap();
    assert_eq!((ports.tag, ports.list, ports.merge, ports.merge_key), (6, Some(List::Map), true, "containerPort"));
    assert_eq!(ports.keys, ["containerPort", "protocol"]);
    assert_eq!(ports.go_type(), "[]v1.ContainerPort");
    let volume = get("io.k8s.api.core.v1.Volume").unwrap();
    let empty_dir = volume.field("emptyDir").unwrap();
    assert_eq!(volume.embeds[empty_dir.embed.unwrap()].tag, 2);
    assert_eq!(container.field("imagePullPolicy").unwrap().go_type(), "v1.PullPolicy");
}

#[test]
fn defaults_fill_what_is_absent() {
    let mut pod = json!({"spec": {"containers": [{"ports": [{"containerPort": 1}, {"protocol": "UDP"}]}]}});
    default("io.k8s.api.core.v1.Pod", &mut pod);
    let ports = json!([{"containerPort": 1, "protocol": "TCP"}, {"protocol": "UDP"}]);
    assert_eq!(pod["spec"]["containers"][0]["ports"], ports);
}

#[test]
fn an_object_that_nobody_filled_has_what_go_always_writes() {
    let port = json!({"Port": 0});
    let status = get("io.k8s.api.core.v1.NodeStatus").unwrap().skeleton();
    assert_eq!(
        (&status["nodeInfo"]["kernelVersion"], &status["daemonEndpoints"]["kubeletEndpoint"]),
        (&json!(""), &port)
    );
    let mut container = json!({"ready": true});
    get("io.k8s.api.core.v1.ContainerStatus").unwrap().complete(container.as_object_mut().unwrap());
    let want =
        json!({"ready": true, "name": "", "image": "", "imageID": "", "restartCount": 0, "lastState": {}, "state": {}});
    assert_eq!(container, want);
}
