use serde_json::{Value, json};

use crate::{Context, built_in};

/// Prepares, defaults and judges an object as a create or an update would.
fn errors(group: &str, plural: &str, object: Value, old: Option<Value>, context: Context) -> Vec<String> {
    let kind = built_in().by_plural(group, plural).unwrap();
    let complete = |mut object: Value, old: Option<&Value>| {
        let metadata = object.as_object_mut().unwrap().entry("metadata").or_insert(json!({}));
        metadata["resourceVersion"] = json!("1");
        let metadata = metadata.as_object_mut().unwrap();
        metadata.entry("name").or_insert(json!("x"));
        if kind.namespaced {
            metadata.entry("namespace").or_insert(json!("default"));
        }
        kind.prepare(&mut object, old, &context);
        (kind.hooks.default)(kind, &mut object);
        object
    };
    let old = old.map(|old| complete(old, None));
    let object = complete(object, old.as_ref());
    kind.validate(&object, old.as_ref(), &context).iter().map(|e| e.to_string()).collect()
}

fn create(plural: &str, object: Value) -> Vec<String> {
    let group = match plural {
        "leases" => "coordination.k8s.io",
        "priorityclasses" => "scheduling.k8s.io",
        "runtimeclasses" => "node.k8s.io",
        _ => "",
    };
    errors(group, plural, object, None, Context::default())
}

fn update(plural: &str, old: Value, new: Value) -> Vec<String> {
    errors("", plural, new, Some(old), Context::default())
}

const NONE: [&str; 0] = [];

#[test]
fn metadata_is_judged_alike_for_every_kind() {
    assert_eq!(
        create("configmaps", json!({"metadata": {"name": "A", "labels": {"a b": "c"}, "ownerReferences": [{}]}})),
        [
            "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
             'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "metadata.labels: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or \
             '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
             regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "metadata.ownerReferences[0].apiVersion: Required value: must not be empty",
            "metadata.ownerReferences[0].kind: Required value: must not be empty",
            "metadata.ownerReferences[0].name: Required value: must not be empty",
            "metadata.ownerReferences[0].uid: Required value: must not be empty",
        ]
    );
    assert_eq!(
        create("namespaces", json!({"metadata": {"name": "n", "namespace": "m"}})),
        ["metadata.namespace: Forbidden: not allowed on this type"]
    );
    let old = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}});
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!(["a/b", "c/d"]);
    assert_eq!(
        update("configmaps", old, new),
        ["metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
         finalizers []string{\"c/d\"}"]
    );
}

#[test]
fn keys_of_config_maps_and_secrets_become_file_names() {
    assert_eq!(create("configmaps", json!({"data": {"a": "b"}, "binaryData": {"c": "ZA=="}})), NONE);
    assert_eq!(
        create("configmaps", json!({"data": {"..": "b", "k": "v"}, "binaryData": {"k": "ZA=="}})),
        [
            "data[..]: Invalid value: \"..\": must not be '..'",
            "data[k]: Invalid value: \"k\": duplicate of key present in binaryData"
        ]
    );
    assert_eq!(
        create("configmaps", json!({"data": {"a": "x".repeat(1 << 20) + "y"}})),
        [": Too long: may not be more than 1048576 bytes"]
    );
    assert_eq!(
        create("secrets", json!({"type": "kubernetes.io/tls"})),
        ["data[tls.crt]: Required value", "data[tls.key]: Required value"]
    );
    let old = json!({"immutable": true, "data": {"a": "YQ=="}});
    assert_eq!(
        update("secrets", old.clone(), json!({"immutable": true, "data": {"a": "Yg=="}})),
        ["data: Forbidden: field is immutable when `immutable` is set"]
    );
    assert_eq!(
        update("secrets", old, json!({"type": "x", "immutable": true, "data": {"a": "YQ=="}})),
        ["type: Invalid value: \"x\": field is immutable"]
    );
}

#[test]
fn services_are_judged_by_their_type() {
    let port = json!([{"port": 80}]);
    assert_eq!(create("services", json!({"spec": {"ports": port}})), NONE);
    assert_eq!(create("services", json!({"spec": {}})), ["spec.ports: Required value"]);
    assert_eq!(create("services", json!({"spec": {"clusterIP": "None"}})), NONE);
    assert_eq!(create("services", json!({"spec": {"type": "ExternalName"}})), ["spec.externalName: Required value"]);
    assert_eq!(
        create(
            "services",
            json!({"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 3}, {"port": 80}]}})
        ),
        [
            "spec.ports[0].name: Required value",
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            "spec.ports[1].name: Required value",
            "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\
             \"TargetPort\":0,\"NodePort\":0}",
        ]
    );
    let old = json!({"spec": {"clusterIP": "10.0.0.1", "ports": port}});
    assert_eq!(update("services", old.clone(), json!({"spec": {"ports": port}})), NONE);
    assert_eq!(
        update("services", old, json!({"spec": {"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1"], "ports": port}})),
        ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"]
    );
}

#[test]
fn endpoints_refuse_addresses_that_lead_nowhere() {
    assert_eq!(
        create("endpoints", json!({"subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 0}]}]})),
        [
            "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, \
         ::1/128)",
            "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"
        ]
    );
}

#[test]
fn nodes_and_namespaces_keep_what_is_the_systems() {
    assert_eq!(
        create(
            "nodes",
            json!({"spec": {"taints": [{"key": "a", "effect": "X"}], "podCIDRs": ["10.0.0.1/8"]},
            "status": {"capacity": {"cpu": "-1"}}})
        ),
        [
            "metadata.taints[0].effect: Unsupported value: \"X\": supported values: \"NoSchedule\", \
             \"PreferNoSchedule\", \"NoExecute\"",
            "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
            "status.allocatable.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.podCIDRs[0]: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length",
        ]
    );
    assert_eq!(
        create("namespaces", json!({"spec": {"finalizers": ["mine"]}})),
        [
            "spec.finalizers: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified"
        ]
    );
}

#[test]
fn leases_and_classes_have_their_ranges() {
    assert_eq!(
        create("leases", json!({"spec": {"leaseDurationSeconds": 0}})),
        ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]
    );
    assert_eq!(
        create("priorityclasses", json!({"value": 1_000_000_001})),
        ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
    );
    assert_eq!(
        create("priorityclasses", json!({"metadata": {"name": "system-x"}, "value": 1})),
        ["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. \
         error: system-x is not a known system priority class"]
    );
    assert_eq!(
        create("priorityclasses", json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000})),
        NONE
    );
    assert_eq!(create("runtimeclasses", json!({})), ["handler: Required value"]);
}

#[test]
fn events_of_the_new_group_are_judged_more_strictly() {
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "other"}, "type": "Normal"});
    assert_eq!(
        create("events", event.clone()),
        ["involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"]
    );
    let context = Context { api_version: "events.k8s.io/v1".into(), ..Context::default() };
    let new = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}, "type": "Odd",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "a/b", "reportingInstance": "i", "reason": "r"});
    assert_eq!(
        errors("", "events", new, None, context),
        ["action: Required value", "type: Invalid value: \"\": has invalid value: Odd"]
    );
}

#[test]
fn managed_fields_are_judged_entry_by_entry() {
    let of = |entries: Value| create("configmaps", json!({"metadata": {"name": "m", "managedFields": entries}}));
    let good = json!([{"manager": "käse ☃ e\u{301}", "operation": "Apply", "fieldsType": "FieldsV1"}]);
    assert_eq!(of(good), NONE);
    let long = "x".repeat(300);
    assert_eq!(
        of(json!([{"manager": "a\n", "fieldsType": "FieldsV2"}, {"manager": long, "operation": "Odd",
            "subresource": long}])),
        [
            "metadata.managedFields[0].operation: Required value: must not be empty",
            "metadata.managedFields[0].fieldsType: Invalid value: \"FieldsV2\": must be `FieldsV1`",
            "metadata.managedFields[0].manager: Invalid value: \"a\\n\": invalid character U+000A (at position 1)",
            "metadata.managedFields[1].operation: Unsupported value: \"Odd\": supported values: \"Apply\", \"Update\"",
            "metadata.managedFields[1].manager: Too long: may not be more than 128 bytes",
            "metadata.managedFields[1].subresource: Too long: may not be more than 256 bytes",
        ]
    );
    let asked: Vec<String> = super::meta::asked_manager("a\u{a0}b").iter().map(|e| e.to_string()).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].ends_with("invalid character U+00A0 (at position 1)"), "{asked:?}");
}
