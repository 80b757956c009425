use serde_json::json;

use super::*;

const POD: &str = "io.k8s.api.core.v1.Pod";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const SERVICE: &str = "io.k8s.api.core.v1.Service";

fn apply(schema: &str, live: Value, patch: Value) -> Result<Value, String> {
    strategic(schema, &live, patch.to_string().as_bytes()).map_err(|s| format!("{} {}", s.code, s.message))
}

fn pod(spec: Value) -> Value {
    json!({ "spec": spec })
}

#[test]
fn a_strategic_patch_merges_by_field_and_by_key() {
    let cases = [
        (
            "a scalar is replaced, null deletes, the rest stays",
            json!({"a": 1, "b": 2, "c": 3}),
            json!({"a": 5, "b": null}),
            json!({"a": 5, "c": 3}),
        ),
        (
            "items merge by their key, new ones come last",
            json!({"containers": [{"name": "a", "image": "1", "tty": true}]}),
            json!({"containers": [{"name": "b"}, {"name": "a", "image": "2"}]}),
            json!({"containers": [{"name": "b"}, {"name": "a", "image": "2", "tty": true}]}),
        ),
        (
            "what only the server has keeps its place before what the patch names",
            json!({"containers": [{"name": "side"}, {"name": "a"}]}),
            json!({"containers": [{"name": "a", "image": "2"}]}),
            json!({"containers": [{"name": "side"}, {"name": "a", "image": "2"}]}),
        ),
        (
            "$patch: delete removes an item",
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b"}]}),
        ),
        (
            "$patch: replace among the items replaces the list",
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "c"}, {"$patch": "replace"}]}),
            json!({"containers": [{"name": "c"}]}),
        ),
        (
            "$patch: replace replaces an object",
            json!({"securityContext": {"runAsUser": 1}}),
            json!({"securityContext": {"runAsGroup": 2, "$patch": "replace"}}),
            json!({"securityContext": {"runAsGroup": 2}}),
        ),
        (
            "$patch: delete empties an object",
            json!({"securityContext": {"runAsUser": 1}}),
            json!({"securityContext": {"$patch": "delete"}}),
            json!({"securityContext": {}}),
        ),
        (
            "a list without a strategy is replaced",
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "b"}]}),
        ),
        (
            "$setElementOrder orders items, those of the server in between",
            json!({"containers": [{"name": "a"}, {"name": "s"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "x"}]}),
            json!({"containers": [{"name": "s"}, {"name": "b"}, {"name": "a", "image": "x"}]}),
        ),
        (
            "$retainKeys drops what it does not name",
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
        ),
        (
            "directives of added values go, and so do nulls",
            json!({}),
            json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "b", "image": null}]}),
            json!({"containers": [{"name": "b"}]}),
        ),
        (
            "maps of strings merge",
            json!({"nodeSelector": {"a": "1", "b": "2"}}),
            json!({"nodeSelector": {"b": null, "c": "3"}}),
            json!({"nodeSelector": {"a": "1", "c": "3"}}),
        ),
    ];
    for (why, live, patch, wanted) in cases {
        assert_eq!(apply(POD, pod(live), pod(patch)), Ok(pod(wanted)), "{why}");
    }
}

#[test]
fn lists_of_scalars_are_sets_with_a_deletion_list() {
    let live = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d", "a"]}});
    let wanted = json!({"metadata": {"finalizers": ["d", "a", "c"]}});
    // Deletions come first: `$` sorts before letters.
    assert_eq!(apply(POD, live, patch), Ok(wanted));
    let live = json!({"metadata": {"finalizers": ["a", "b"]}});
    let patch = json!({"metadata": {"$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"],
        "$deleteFromPrimitiveList/finalizers": ["a"]}});
    assert_eq!(apply(POD, live, patch), Ok(json!({"metadata": {"finalizers": ["c", "b"]}})));
}

#[test]
fn bad_patches_are_refused_in_upstreams_words() {
    let live = || pod(json!({"containers": [{"name": "a"}], "volumes": [{"name": "v", "emptyDir": {}}]}));
    let cases = [
        (json!({"containers": [{"image": "x"}]}), "500 map: map[image:x] does not contain declared merge key: name"),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            "500 merging lists cannot yet be specified in the patch",
        ),
        (json!({"$patch": "x"}), "500 unknown patch type: x in map: map[$patch:x]"),
        (json!({"containers": [["a"]]}), "422 the server rejected our request due to an error in our request"),
        (
            json!({"volumes": [{"name": "v", "$retainKeys": ["name"], "hostPath": {}}]}),
            "400 invalid patch format of retainKeys",
        ),
        (json!({"$deleteFromPrimitiveList": ["x"]}), "400 invalid patch format of primitive list"),
        (json!({"$setElementOrder": ["x"]}), "400 invalid patch format of setElementOrder list"),
    ];
    for (patch, message) in cases {
        let found = apply(POD, live(), pod(patch.clone()));
        let list_first = json!({"containers": [["a"]]});
        let live_list =
            if patch == list_first { apply(POD, pod(json!({"containers": [["b"]]})), pod(patch)) } else { found };
        assert_eq!(live_list, Err(message.to_string()));
    }
    let unknown = strategic("com.example.v1.Thing", &json!({}), b"{}").unwrap_err();
    assert_eq!(unknown.code, 415);
    let array = strategic(POD, &json!({}), b"[]").unwrap_err();
    assert_eq!(array.message, "json: cannot unmarshal array into Go value of type map[string]interface {}");
}

#[test]
fn a_difference_applied_gives_the_other_object() {
    let a = json!({"metadata": {"labels": {"x": "1"}, "finalizers": ["a", "b"]}, "spec": {
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "template": {"spec": {"containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 80}]}, {"name": "b"}],
            "volumes": [{"name": "v", "emptyDir": {}}]}}}});
    let b = json!({"metadata": {"labels": {"y": "2"}, "finalizers": ["c", "b"]}, "spec": {
        "strategy": {"type": "Recreate"},
        "template": {"spec": {"containers": [{"name": "c"}, {"name": "a", "image": "2", "ports": [{"containerPort": 81}]}],
            "volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}}});
    for (from, to) in [(&a, &b), (&b, &a), (&a, &a)] {
        let patch = two_way_strategic(DEPLOYMENT, from, to).unwrap();
        assert_eq!(apply(DEPLOYMENT, from.clone(), patch.clone()), Ok(to.clone()), "{patch:#}");
    }
    let patch = two_way_strategic(DEPLOYMENT, &a, &b).unwrap();
    let wanted = json!({
        "metadata": {"labels": {"x": null, "y": "2"}, "finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"],
            "$setElementOrder/finalizers": ["c", "b"]},
        "spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": null, "type": "Recreate"}, "template": {"spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "c"}, {"name": "a", "image": "2", "$setElementOrder/ports": [{"containerPort": 81}],
                "ports": [{"containerPort": 81}, {"containerPort": 80, "$patch": "delete"}]}, {"name": "b", "$patch": "delete"}],
            "$setElementOrder/volumes": [{"name": "v"}],
            "volumes": [{"name": "v", "$retainKeys": ["hostPath", "name"], "emptyDir": null, "hostPath": {"path": "/x"}}]}}}});
    assert_eq!(patch, wanted);
}

#[test]
fn items_with_the_same_key_are_told_apart() {
    let ports = |udp: &str| json!({"spec": {"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP", "name": udp}]}});
    assert_eq!(two_way_strategic(SERVICE, &ports("a"), &ports("a")), Ok(json!({})));
    let wanted =
        json!({"spec": {"$setElementOrder/ports": [{"port": 53}, {"port": 53}], "ports": [{"port": 53, "name": "b"}]}});
    assert_eq!(two_way_strategic(SERVICE, &ports("a"), &ports("b")), Ok(wanted));
}

#[test]
fn the_three_way_patch_keeps_what_others_set() {
    let applied =
        json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81}], "selector": {"app": "x", "old": "y"}}});
    let wanted = json!({"spec": {"ports": [{"port": 80, "name": "b"}], "selector": {"app": "x"}}});
    let live = json!({"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80, "name": "a", "nodePort": 3000}, {"port": 81}],
        "selector": {"app": "x", "old": "y", "theirs": "z"}}});
    let patch = three_way_strategic(SERVICE, &applied, &wanted, &live).unwrap();
    let after = apply(SERVICE, live.clone(), patch).unwrap();
    let expected = json!({"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80, "name": "b", "nodePort": 3000}],
        "selector": {"app": "x", "theirs": "z"}}});
    assert_eq!(after, expected);
    let patch = three_way_merge(&applied, &wanted, &live);
    let mut merged = live;
    json_patch::merge(&mut merged, &patch);
    assert_eq!(merged["spec"]["selector"], json!({"app": "x", "theirs": "z"}));
    assert_eq!(merged["spec"]["ports"], wanted["spec"]["ports"]);
}

#[test]
fn a_patch_request_is_decoded_like_a_body() {
    let live = json!({"metadata": {"name": "a"}, "spec": {"priority": 5}, "status": {}});
    let patch = br#"{"spec":{"foo":1,"foo":2,"nodeName":"n"}}"#;
    let warned = patched(PatchKind::Merge, POD, &live, patch, FieldValidation::Warn).unwrap();
    assert_eq!(warned.warnings, [r#"duplicate field "spec.foo""#, r#"unknown field "spec.foo""#]);
    assert_eq!(warned.value["spec"], json!({"containers": null, "nodeName": "n", "priority": 5}));
    let strict = patched(PatchKind::Merge, POD, &live, patch, FieldValidation::Strict).unwrap_err();
    assert_eq!(strict.code, 422);
    assert!(strict.message.starts_with(r#" "" is invalid: patch: Invalid value: "{"#), "{}", strict.message);
    assert!(strict.message.ends_with(r#"strict decoding error: duplicate field "spec.foo", unknown field "spec.foo""#));
    let moved =
        br#"[{"op":"replace","path":"/spec/priority","value":6},{"op":"test","path":"/spec/priority","value":6}]"#;
    assert_eq!(
        patched(PatchKind::Json, POD, &live, moved, FieldValidation::Strict).unwrap().value["spec"]["priority"],
        6
    );
    let failing = json(&live, br#"[{"op":"test","path":"/spec/priority","value":7}]"#).unwrap_err();
    assert_eq!(
        (failing.code, failing.message.as_str()),
        (422, "the server rejected our request due to an error in our request")
    );
    assert!(json(&live, b"{}").is_err());
    let bomb =
        vec![r#"{"op":"copy","from":"/spec","path":"/spec/x"},{"op":"copy","from":"/spec","path":"/spec/y"}"#; 30]
            .join(",");
    assert_eq!(json(&live, format!("[{bomb}]").as_bytes()).unwrap_err().code, 422);
    assert_eq!(PatchKind::of("application/apply-patch+yaml"), Some(PatchKind::Apply));
}

/// `{"a":{"a":…1…}}`
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }))
}

#[test]
fn a_json_patch_cannot_nest_an_object_until_the_stack_ends() {
    let live = json!({"metadata": {"name": "a"}});
    let annotations = "/metadata/annotations";
    let mut operations = vec![json!({"op": "add", "path": annotations, "value": nested(100)})];
    let mut depth = 100;
    for _ in 0..11 {
        let path = format!("{annotations}{}", "/a".repeat(depth));
        operations.push(json!({"op": "copy", "from": annotations, "path": path}));
        depth *= 2;
    }
    let refused = |operations: &[Value]| {
        let body = serde_json::to_vec(operations).unwrap();
        json(&live, &body).map_err(|status| (status.code, status.message)).unwrap_err()
    };
    let wanted = (400, "a JSON patch may not nest deeper than 110 levels".to_string());
    assert_eq!(refused(&operations), wanted);
    // The same in many small steps, by moving.
    let mut steps = vec![json!({"op": "add", "path": "/x", "value": nested(60)})];
    for step in 0..60 {
        steps.push(json!({"op": "add", "path": "/y", "value": {}}));
        steps.push(json!({"op": "move", "from": "/x", "path": "/y/a"}));
        steps.push(json!({"op": "move", "from": "/y", "path": "/x"}));
        let body = serde_json::to_vec(&steps).unwrap();
        assert_eq!(json(&live, &body).is_ok(), step < 49, "{step}");
    }
}

#[test]
fn a_patched_object_that_could_not_be_read_back_is_refused() {
    let live = json!({"metadata": {"name": "a"}, "data": {}, "revision": 1});
    let schema = "io.k8s.api.apps.v1.ControllerRevision";
    for (levels, code) in [(50, 0), (98, 0), (99, 0), (100, 422), (120, 422)] {
        let patch = json!({ "data": nested(levels) }).to_string();
        for kind in [PatchKind::Merge, PatchKind::Strategic] {
            let found = patched(kind, schema, &live, patch.as_bytes(), FieldValidation::Strict);
            assert_eq!(found.map_or_else(|status| status.code, |_| 0), code, "{kind:?} {levels}");
        }
    }
}

/// As many items as a body may bring; pair by pair they take minutes.
#[test]
fn a_strategic_patch_of_very_long_lists_is_merged_in_passes() {
    const MANY: usize = 8_000;
    let list = |of: &dyn Fn(usize) -> Value| (0..MANY).map(of).collect::<Vec<_>>();
    let env = |n: usize| json!({"name": format!("v{n}"), "value": "x"});
    let live = json!({
        "metadata": {"finalizers": list(&|n| json!(format!("a/{n}")))},
        "spec": {"containers": [{"name": "c", "env": list(&env)}]},
    });
    let half = |n: usize| n + MANY / 2;
    let patch = json!({
        "metadata": {"finalizers": list(&|n| json!(format!("a/{}", half(n)))),
            "$deleteFromPrimitiveList/finalizers": list(&|n| json!(format!("a/{}", n / 4)))},
        "spec": {"containers": [{"name": "c", "$setElementOrder/env": list(&|n| json!({"name": format!("v{}", half(n))})),
            "env": list(&|n| json!({"name": format!("v{}", half(n)), "value": "y"}))}]},
    });
    let merged = apply(POD, live, patch).unwrap();
    let finalizers = merged["metadata"]["finalizers"].as_array().unwrap();
    assert_eq!((finalizers.len(), &finalizers[0]), (MANY / 2 * 3 - MANY / 4, &json!(format!("a/{}", MANY / 4))));
    let env = merged["spec"]["containers"][0]["env"].as_array().unwrap();
    assert_eq!((env.len(), &env[0]["value"], &env[MANY]["value"]), (MANY / 2 * 3, &json!("x"), &json!("y")));
}

#[test]
fn a_json_patch_is_read_as_upstreams_library_reads_it() {
    let live = json!({"metadata": {"name": "m", "finalizers": ["a"]}});
    let told = |patch: &str| json_patched(&live, patch).map_err(|status| (status.code, status.message));
    let refused = |code: u16, message: &str| Err((code, message.to_owned()));
    let rejected = || refused(422, "the server rejected our request due to an error in our request");
    let changed = |field: &str, value: Value| {
        let mut object = live.clone();
        object["metadata"][field] = value;
        Ok(object)
    };
    for (patch, want) in [
        ("null", Ok(live.clone())),
        ("", refused(400, "invalid JSON patch")),
        ("[", refused(400, "invalid JSON patch")),
        (
            "{}",
            refused(
                400,
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
        ),
        (
            "[1]",
            refused(
                400,
                "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
            ),
        ),
        ("[{}]", rejected()),
        (r#"[{"op":"nonsense","path":"/metadata"}]"#, rejected()),
        (r#"[{"op":"add","path":"metadata","value":1}]"#, rejected()),
        (r#"[{"op":"copy","path":"/metadata/x"}]"#, rejected()),
        (r#"[{"op":"add","path":"/metadata/x"}]"#, changed("x", Value::Null)),
        (r#"[{"op":"add","op":"add","path":"/metadata/x","value":1}]"#, changed("x", json!(1))),
        (r#"[{"op":"test","path":"/metadata/x","value":null}]"#, Ok(live.clone())),
        (r#"[{"op":"test","path":"/metadata/x","value":1}]"#, rejected()),
        (r#"[{"op":"replace","path":"/metadata/x","value":1}]"#, changed("x", json!(1))),
        (r#"[{"op":"replace","path":"/metadata/finalizers/0","value":"b"}]"#, changed("finalizers", json!(["b"]))),
        (r#"[{"op":"replace","path":"/metadata/finalizers/1","value":"b"}]"#, rejected()),
        (r#"[{"op":"replace","path":"/nowhere/x","value":1}]"#, rejected()),
    ] {
        assert_eq!(told(patch), want, "{patch}");
    }
    let patch = r#"[{"op":"add","path":"/metadata/labels","value":{},"more":1}]"#;
    let schema = "io.k8s.api.core.v1.ConfigMap";
    let decoded = patched(PatchKind::Json, schema, &live, patch.as_bytes(), FieldValidation::Warn).unwrap();
    assert_eq!(decoded.warnings, ["json patch unknown field \"[0].more\""]);
    let error = patched(PatchKind::Merge, schema, &live, b"null", FieldValidation::Warn).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (400, "Invalid JSON Patch"));
}

fn json_patched(live: &Value, patch: &str) -> Result<Value, Status> {
    json(live, patch.as_bytes())
}

#[test]
fn a_test_for_null_passes_where_there_is_no_such_field() {
    let live = json!({"metadata": {"labels": {"a": "b"}}, "list": [1]});
    let test = |path: &str| {
        let patch = json!([{"op": "test", "path": path, "value": null}]);
        json(&live, patch.to_string().as_bytes()).map_err(|status| status.code)
    };
    assert_eq!(test("/metadata/finalizers"), Ok(live.clone()));
    for there in ["/metadata/labels/a", "/metadata/annotations/a", "/list/1"] {
        assert_eq!(test(there), Err(422), "{there}");
    }
}
