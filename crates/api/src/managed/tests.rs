use serde_json::json;

use super::*;
use crate::decode::{FieldValidation, tree};

const POD: &str = "io.k8s.api.core.v1.Pod";
const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

fn by<'a>(schema: &'a str, manager: &'a str, time: &'a str) -> Write<'a> {
    let api_version = if schema == DEPLOYMENT { "apps/v1" } else { "v1" };
    Write { schema, api_version, manager, subresource: "", time, resets: &[&["status"]] }
}

fn decoded(schema: &str, value: Value) -> Value {
    tree(value, schema, FieldValidation::Strict).unwrap().value
}

fn applied(write: &Write, live: Option<&Value>, config: Value, force: bool) -> Result<Value, Status> {
    apply(write, live, &config, force).map(|object| decoded(write.schema, object))
}

fn owned(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let line = |e: &Value| {
        let of = |key: &str| e[key].as_str().unwrap_or("").to_string();
        format!("{} {} {}: {}", of("manager"), of("operation"), &of("time")[..4], e["fieldsV1"])
    };
    entries.iter().map(line).collect()
}

/// What `kubectl run nginx --image nginx` leaves behind on a stock cluster.
#[test]
fn a_created_pod_is_owned_as_upstream_says() {
    let mut pod = decoded(
        POD,
        json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "nginx", "namespace": "default", "labels": {"run": "nginx"}, "uid": "u", "generation": 1,
            "creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "nginx", "image": "nginx", "imagePullPolicy": "Always",
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "restartPolicy": "Always",
            "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30,
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "volumes": [{"name": "v", "emptyDir": {}}]},
        "status": {"phase": "Pending", "qosClass": "BestEffort"}}),
    );
    update(&by(POD, "kubectl-run", "2024-01-01T00:00:00Z"), None, &mut pod);
    let wanted = json!([{"manager": "kubectl-run", "operation": "Update", "apiVersion": "v1",
        "time": "2024-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {
            "f:metadata": {"f:labels": {".": {}, "f:run": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"nginx\"}": {".": {}, "f:image": {}, "f:imagePullPolicy": {},
                "f:name": {}, "f:resources": {}, "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}}},
                "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {}, "f:schedulerName": {},
                "f:securityContext": {}, "f:terminationGracePeriodSeconds": {}, "f:tolerations": {},
                "f:volumes": {".": {}, "k:{\"name\":\"v\"}": {".": {}, "f:emptyDir": {}, "f:name": {}}}}}}]);
    assert_eq!(pod["metadata"]["managedFields"], wanted);

    let mut next = pod.clone();
    next["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    next["spec"]["priority"] = json!(5);
    let status = Write { subresource: "status", resets: &[&["spec"]], ..by(POD, "kubelet", "2024-01-02T00:00:00Z") };
    update(&status, Some(&pod), &mut next);
    let entry = &next["metadata"]["managedFields"][1];
    assert_eq!((&entry["subresource"], &entry["time"]), (&json!("status"), &json!("2024-01-02T00:00:00Z")));
    let wanted = json!({"f:status": {"f:conditions": {".": {}, "k:{\"type\":\"Ready\"}":
        {".": {}, "f:status": {}, "f:type": {}}}}});
    assert_eq!(entry["fieldsV1"], wanted);
}

#[test]
fn who_changes_a_field_owns_it() {
    let mut first = json!({"metadata": {"name": "c"}, "data": {"a": "1", "b": "1"}});
    update(&by(CONFIG_MAP, "one", "2001"), None, &mut first);
    let mut second = first.clone();
    second["data"] = json!({"a": "2", "b": "1"});
    update(&by(CONFIG_MAP, "two", "2002"), Some(&first), &mut second);
    let wanted = [r#"one Update 2001: {"f:data":{".":{},"f:b":{}}}"#, r#"two Update 2002: {"f:data":{"f:a":{}}}"#];
    assert_eq!(owned(&second), wanted);

    let mut third = second.clone();
    third["data"] = json!({"a": "2"});
    update(&by(CONFIG_MAP, "three", "2003"), Some(&second), &mut third);
    let wanted = [r#"one Update 2001: {"f:data":{}}"#, r#"two Update 2002: {"f:data":{"f:a":{}}}"#];
    assert_eq!(owned(&third), wanted);

    let mut same = third.clone();
    update(&by(CONFIG_MAP, "four", "2004"), Some(&third), &mut same);
    assert_eq!(same, third);

    let mut reset = third.clone();
    reset["metadata"]["managedFields"] = json!([]);
    update(&by(CONFIG_MAP, "five", "2005"), Some(&third), &mut reset);
    assert_eq!(reset["metadata"]["managedFields"], Value::Null);
    let untracked = reset.clone();
    reset["data"] = json!({});
    update(&by(CONFIG_MAP, "six", "2006"), Some(&untracked), &mut reset);
    assert_eq!(reset["metadata"]["managedFields"], Value::Null);
}

#[test]
fn applying_merges_owns_and_removes() {
    let config =
        |data: Value| json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": data});
    let one = by(CONFIG_MAP, "one", "2001-01-01T00:00:00Z");
    let first = applied(&one, None, config(json!({"a": "1", "b": "1"})), false).unwrap();
    assert_eq!(first["data"], json!({"a": "1", "b": "1"}));
    assert_eq!(owned(&first), [r#"one Apply 2001: {"f:data":{"f:a":{},"f:b":{}}}"#]);

    let two = by(CONFIG_MAP, "two", "2002-01-01T00:00:00Z");
    let conflict = applied(&two, Some(&first), config(json!({"a": "2", "c": "2"})), false).unwrap_err();
    assert_eq!(conflict.message, "Apply failed with 1 conflict: conflict with \"one\": .data.a");
    assert_eq!((conflict.code, conflict.causes[0].reason.as_str()), (409, "FieldManagerConflict"));
    assert_eq!(conflict.causes[0].message, "conflict with \"one\"");
    assert_eq!(conflict.causes[0].field, ".data.a");

    let forced = applied(&two, Some(&first), config(json!({"a": "2", "c": "2"})), true).unwrap();
    assert_eq!(forced["data"], json!({"a": "2", "b": "1", "c": "2"}));
    let wanted = [r#"one Apply 2001: {"f:data":{"f:b":{}}}"#, r#"two Apply 2002: {"f:data":{"f:a":{},"f:c":{}}}"#];
    assert_eq!(owned(&forced), wanted);

    // Shared: both apply the same value; then one of them no longer names it.
    let shared = applied(&one, Some(&forced), config(json!({"b": "1", "c": "2"})), false).unwrap();
    let later = Write { time: "2003-01-01T00:00:00Z", ..two.clone() };
    let kept = applied(&later, Some(&shared), config(json!({"a": "2"})), false).unwrap();
    assert_eq!(kept["data"], json!({"a": "2", "b": "1", "c": "2"}));
    let gone = applied(&later, Some(&kept), config(json!({})), false).unwrap();
    assert_eq!(gone["data"], json!({"b": "1", "c": "2"}));

    let again = applied(
        &Write { time: "2009-01-01T00:00:00Z", ..one },
        Some(&gone),
        config(json!({"b": "1", "c": "2"})),
        false,
    );
    assert_eq!(again.unwrap(), gone, "an apply that changes nothing keeps its time");
}

#[test]
fn lists_are_owned_by_their_keys_and_sets_by_their_values() {
    let pod = |spec: Value, finalizers: Value| json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "finalizers": finalizers}, "spec": spec});
    let one = by(POD, "one", "2001-01-01T00:00:00Z");
    let two = by(POD, "two", "2002-01-01T00:00:00Z");
    let base = pod(
        json!({"containers": [{"name": "a", "image": "x", "args": ["1"], "ports": [{"containerPort": 80}]}]}),
        json!(["x/a"]),
    );
    let first = applied(&one, None, base, false).unwrap();
    let fields = &first["metadata"]["managedFields"][0]["fieldsV1"];
    let wanted = json!({"f:metadata": {"f:finalizers": {"v:\"x/a\"": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {
        ".": {}, "f:args": {}, "f:image": {}, "f:name": {},
        "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}});
    assert_eq!(*fields, wanted);

    let side = pod(json!({"containers": [{"name": "b", "image": "y"}, {"name": "a", "args": ["2"]}]}), json!(["x/b"]));
    let conflict = applied(&two, Some(&first), side.clone(), false).unwrap_err();
    assert_eq!(conflict.causes[0].field, ".spec.containers[name=\"a\"].args");
    let forced = applied(&two, Some(&first), side, true).unwrap();
    let names: Vec<&Value> = forced["spec"]["containers"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(forced["metadata"]["finalizers"], json!(["x/a", "x/b"]));

    let less = pod(json!({"containers": [{"name": "a", "args": ["2"]}]}), json!([]));
    let smaller = applied(&two, Some(&forced), less, false).unwrap();
    assert_eq!(smaller["metadata"]["finalizers"], json!(["x/a"]));
    assert_eq!(smaller["spec"]["containers"].as_array().unwrap().len(), 1);
    assert_eq!(smaller["spec"]["containers"][0]["image"], "x");
}

#[test]
fn what_cannot_be_applied_is_refused_in_upstreams_words() {
    let write = by(DEPLOYMENT, "one", "2001-01-01T00:00:00Z");
    let config = |kind: &str, version: &str, rest: Value| {
        let mut object = json!({"kind": kind, "apiVersion": version, "metadata": {"name": "d", "namespace": "n"}});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object
    };
    let cases = [
        (config("Deployment", "apps/v1beta1", json!({})), 400, "invalid object type: apps/v1beta1, Kind=Deployment"),
        (config("Pod", "v1", json!({})), 400, "invalid object type: /v1, Kind=Pod"),
        (
            config("Deployment", "apps/v1", json!({"metadata": {"managedFields": []}})),
            400,
            "metadata.managedFields must be nil",
        ),
        (
            config("Deployment", "apps/v1", json!({"spec": {"foo": 1}})),
            500,
            "failed to create typed patch object (n/d; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema",
        ),
        (
            config(
                "Deployment",
                "apps/v1",
                json!({"spec": {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}}),
            ),
            500,
            "failed to create typed patch object (n/d; apps/v1, Kind=Deployment): .spec.template.spec.containers: \
          duplicate entries for key [name=\"a\"]",
        ),
    ];
    let typed = |spec: Value, why: &str| {
        let message = format!("failed to create typed patch object (n/d; apps/v1, Kind=Deployment): {why}");
        (config("Deployment", "apps/v1", json!({ "spec": spec })), message)
    };
    for (config, message) in [
        typed(json!({"replicas": "x"}), ".spec.replicas: expected numeric (int or float), got string"),
        typed(json!({"replicas": null}), ""),
        typed(json!({"paused": "x"}), ".spec.paused: expected boolean, got &{x}"),
        typed(
            json!({"strategy": {"type": 7, "rollingUpdate": {"maxSurge": {}}}}),
            ".spec.strategy.type: expected string, got &value.valueUnstructured{Value:7}",
        ),
        typed(json!({"template": []}), ".spec.template: expected map, got &{[]}"),
        typed(
            json!({"template": {"spec": {"containers": [{"name": {}}]}}}),
            ".spec.template.spec.containers[name=].name: expected string, got \
             &value.valueUnstructured{Value:map[string]interface {}{}}",
        ),
        typed(
            json!({"template": {"spec": {"containers": [{"name": "a", "args": [{}], "env": "x"}]}}}),
            "errors:\n  .spec.template.spec.containers[name=\"a\"].args[0]: expected string, got \
             &value.valueUnstructured{Value:map[string]interface {}{}}\n  \
             .spec.template.spec.containers[name=\"a\"].env: expected list, got &{x}",
        ),
    ] {
        let told = check_applied(&write, &config).err().map(|error| error.message);
        assert_eq!(told, (!message.ends_with(": ")).then_some(message));
    }
    for (config, code, message) in cases {
        let error = apply(&write, None, &config, false).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (code, message));
    }
}

#[test]
fn client_side_apply_hands_over_to_kubectls_server_side_apply() {
    let config = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": "1"}});
    let mut live = config.clone();
    live["metadata"]["annotations"] = json!({ LAST_APPLIED: config.to_string() });
    update(&by(CONFIG_MAP, "kubectl-client-side-apply", "2001-01-01T00:00:00Z"), None, &mut live);
    let mut wanted = config.clone();
    wanted["data"]["a"] = json!("2");
    let taken =
        applied(&by(CONFIG_MAP, "kubectl", "2002-01-01T00:00:00Z"), Some(&live), wanted.clone(), false).unwrap();
    assert_eq!(taken["data"], json!({"a": "2"}));
    assert_eq!(taken["metadata"]["annotations"][LAST_APPLIED], json!(format!("{wanted}\n")));
    let other = applied(&by(CONFIG_MAP, "other", "2002"), Some(&live), wanted, false).unwrap_err();
    assert_eq!(
        other.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.a"
    );
}

#[test]
fn too_many_updaters_become_one() {
    let mut object = json!({"metadata": {"name": "c"}, "data": {}});
    let mut last = None;
    for number in 0..14 {
        object["data"][format!("k{number:02}")] = json!("x");
        let (name, time) = (format!("m{number:02}"), format!("20{number:02}-01-01T00:00:00Z"));
        update(&by(CONFIG_MAP, &name, &time), last.as_ref(), &mut object);
        last = Some(object.clone());
    }
    let owned = owned(&object);
    assert_eq!(owned.len(), 10);
    assert_eq!(
        owned[0],
        r#"ancient-changes Update 2004: {"f:data":{".":{},"f:k00":{},"f:k01":{},"f:k02":{},"f:k03":{},"f:k04":{}}}"#
    );
}

#[test]
fn a_write_that_changes_only_times_is_none() {
    let mut object = json!({"metadata": {"name": "c"}, "data": {"a": "1"}});
    update(&by(CONFIG_MAP, "one", "2001"), None, &mut object);
    let mut later = object.clone();
    later["metadata"]["managedFields"][0]["time"] = json!("2002");
    keep_times(&object, &mut later);
    assert_eq!(later, object);
}

#[test]
fn field_sets_are_read_and_written() {
    let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:a:b": {}}}, "f:spec": {"f:l": {"k:{\"a\":1,\"b\":\"x\"}": {".": {}, "f:c": {}}},
        "f:s": {"v:\"x\"": {}, "v:5": {}}, "f:i": {"i:0": {}}}});
    let set = Set::from_fields(&fields);
    assert_eq!(set.to_fields(), fields);
    let paths: Vec<String> = set.paths().iter().map(Path::to_string).collect();
    assert_eq!(
        paths,
        [
            ".metadata.labels",
            ".metadata.labels.a:b",
            ".spec.i[0]",
            ".spec.l[a=1,b=\"x\"]",
            ".spec.l[a=1,b=\"x\"].c",
            ".spec.s[=\"x\"]",
            ".spec.s[=5]"
        ]
    );
}

/// As many items as a body may bring; what is compared pair by pair takes minutes.
#[test]
fn ownership_of_very_long_lists_is_found_in_passes() {
    const MANY: usize = 20_000;
    let named = |names: &mut dyn Iterator<Item = usize>| {
        let env: Vec<Value> = names.map(|n| json!({ "name": format!("v{n}") })).collect();
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "c", "env": env}]}})
    };
    let at = "/metadata/managedFields/0/fieldsV1/f:spec/f:containers/k:{\"name\":\"c\"}/f:env";
    let owned = |pod: &Value| pod.pointer(at).and_then(Value::as_object).map_or(0, serde_json::Map::len);
    let write = by(POD, "m", "2024-01-01T00:00:00Z");
    let mut old = named(&mut (0..MANY));
    update(&write, None, &mut old);
    assert_eq!(owned(&old), MANY + 1);
    // The other way round and every second one new: sets are joined from pieces that interleave.
    let mut new = named(&mut (0..MANY).rev().map(|n| if n % 2 == 0 { n } else { n + MANY }));
    update(&write, Some(&old), &mut new);
    assert_eq!(owned(&new), MANY + 1);
    let applied = apply(&write, Some(&old), &named(&mut (0..MANY).rev()), true).unwrap();
    assert_eq!(applied["spec"]["containers"][0]["env"].as_array().map(Vec::len), Some(MANY));
}

/// Upstream's strategies of these two name filters that no storage hands to the installer.
#[test]
fn an_apply_to_resize_owns_all_that_it_names() {
    let live = decoded(
        POD,
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    );
    let config = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "status": {"phase": "Running"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
    for subresource in ["resize", "ephemeralcontainers"] {
        let write = Write { subresource, resets: &[], ..by(POD, "m", "2024-01-01T00:00:00Z") };
        let object = applied(&write, Some(&live), config.clone(), true).unwrap();
        let entries = object["metadata"]["managedFields"].as_array().unwrap();
        let mine = entries.iter().find(|e| e["subresource"] == subresource).unwrap();
        let wanted = json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {},
            "f:resources": {"f:requests": {"f:cpu": {}}}}}}, "f:status": {"f:phase": {}}});
        assert_eq!(mine["fieldsV1"], wanted);
    }
}

#[test]
fn thousands_of_updaters_are_united() {
    let entry = |n: usize| {
        json!({"manager": format!("m{n}"), "operation": "Update", "apiVersion": format!("v{}", n % 2),
            "time": "2024-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {format!("f:a{n}"): {}}})
    };
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    map["metadata"]["managedFields"] = (0..5000).map(entry).collect();
    update(&by(CONFIG_MAP, "me", "2025-01-01T00:00:00Z"), None, &mut map);
    let entries = map["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    let fields = |e: &Value| e["fieldsV1"].as_object().unwrap().len();
    assert_eq!(entries.iter().filter(|e| e["manager"] != "me").map(fields).sum::<usize>(), 5000);
}
