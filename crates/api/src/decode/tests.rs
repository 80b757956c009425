use serde_json::json;

use super::*;

const POD: &str = "io.k8s.api.core.v1.Pod";

fn strict(body: &str) -> Result<Value, String> {
    decode(body.as_bytes(), "application/json", POD, FieldValidation::Strict).map(|d| d.value).map_err(|s| s.message)
}

#[test]
fn unknown_and_duplicate_fields_are_named_with_their_paths() {
    let body = r#"{"kind":"Pod","spec":{"foo":1,"containers":[{"name":"a","name":"b","x":{}}],
        "nodeSelector":{"a":"1","a":"2"}},"Metadata":{}}"#;
    let errors = r#"unknown field "spec.foo", duplicate field "spec.containers[0].name", "#.to_string()
        + r#"unknown field "spec.containers[0].x", duplicate field "spec.nodeSelector.a", unknown field "Metadata""#;
    let wrapped = format!("Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: {errors}");
    assert_eq!(strict(body), Err(wrapped));

    let warned = decode(body.as_bytes(), "application/json; charset=utf-8", POD, FieldValidation::Warn).unwrap();
    assert_eq!(warned.warnings.join(", "), errors);
    assert_eq!(warned.value["spec"]["containers"][0], json!({"name": "b", "resources": {}}));

    let ignored = decode(body.as_bytes(), "application/json", POD, FieldValidation::Ignore).unwrap();
    assert_eq!((ignored.warnings.len(), ignored.value), (0, warned.value));
}

#[test]
fn type_errors_are_worded_as_go_words_them() {
    let cases = [
        (r#"{"spec":{"priority":"1"}}"#, "string into Go struct field PodSpec.spec.priority of type int32"),
        (
            r#"{"spec":{"priority":4294967296}}"#,
            "number 4294967296 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (r#"{"spec":{"priority":1.5}}"#, "number 1.5 into Go struct field PodSpec.spec.priority of type int32"),
        (r#"{"spec":{"containers":{}}}"#, "object into Go struct field PodSpec.spec.containers of type []v1.Container"),
        (
            r#"{"spec":{"containers":[{"image":1}]}}"#,
            "number into Go struct field Container.spec.containers.image of type string",
        ),
        (
            r#"{"spec":{"containers":[{"imagePullPolicy":true}]}}"#,
            "bool into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy",
        ),
        (r#"{"metadata":{"labels":{"a":1}}}"#, "number into Go struct field ObjectMeta.metadata.labels of type string"),
        (r#"{"metadata":[]}"#, "array into Go struct field Pod.metadata of type v1.ObjectMeta"),
        (
            r#"{"spec":{"priority":"1","volumes":[{"name":1}]},"metadata":{"creationTimestamp":[]}}"#,
            "array into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
        ),
        (
            r#"{"spec":{"containers":[{"livenessProbe":{"httpGet":{"port":true}}}]}}"#,
            "bool into Go struct field HTTPGetAction.spec.containers.livenessProbe.ProbeHandler.httpGet.port of type int32",
        ),
    ];
    for (body, words) in cases {
        let wanted = format!("Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal {words}");
        assert_eq!(strict(body), Err(wanted), "{body}");
    }
}

#[test]
fn what_go_leaves_out_is_left_out_and_what_it_always_writes_is_there() {
    let body = r#"{"spec":{"hostNetwork":false,"priority":0,"nodeName":"","nodeSelector":{},"tolerations":[],
        "volumes":[{"name":"a","emptyDir":{}}],"containers":[{"name":"a","command":null}]},"metadata":null}"#;
    let wanted = json!({"metadata": {}, "status": {}, "spec": {"priority": 0,
        "volumes": [{"name": "a", "emptyDir": {}}], "containers": [{"name": "a", "resources": {}}]}});
    assert_eq!(strict(body), Ok(wanted));
}

#[test]
fn scalars_get_their_canonical_form() {
    let body = r#"{"metadata":{"creationTimestamp":"2024-01-02T03:04:05.9+01:00","generation":9007199254740993},
        "spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":1.50,"memory":"1024Mi"}},
        "livenessProbe":{"httpGet":{"port":80}},"readinessProbe":{"httpGet":{"port":"web"}}}]}}"#;
    let pod = strict(body).unwrap();
    assert_eq!(
        pod["metadata"],
        json!({"creationTimestamp": "2024-01-02T02:04:05Z", "generation": 9007199254740993i64})
    );
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"], json!({"cpu": "1500m", "memory": "1Gi"}));
    assert_eq!(container["livenessProbe"]["httpGet"]["port"], json!(80));
    assert!(strict(r#"{"metadata":{"creationTimestamp":"yesterday"}}"#).unwrap_err().contains("parsing time"));
    let secret = "io.k8s.api.core.v1.Secret";
    let bad = decode(br#"{"data":{"a":"%%"}}"#, "application/json", secret, FieldValidation::Strict).unwrap_err();
    assert!(bad.message.ends_with("illegal base64 data at input byte 0"), "{}", bad.message);
}

#[test]
fn yaml_is_read_as_kubectl_reads_it() {
    let body = "kind: Pod\nspec:\n  hostNetwork: yes\n  nodeSelector: {a: 'yes'}\n  volumes:\n  - name: v\n    \
                configMap: {name: c, defaultMode: 0644}\n  containers:\n  - {name: a, name: b}\n";
    let warned = decode(body.as_bytes(), "application/yaml", POD, FieldValidation::Warn).unwrap();
    assert_eq!(warned.value["spec"]["hostNetwork"], json!(true));
    assert_eq!(warned.value["spec"]["nodeSelector"], json!({"a": "yes"}));
    assert_eq!(warned.value["spec"]["volumes"][0]["configMap"]["defaultMode"], json!(420));
    assert_eq!(warned.warnings, ["line 9: key \"name\" already set in map"]);
    assert_eq!(untyped(b"a: [1.0, on, null]\n").unwrap(), json!({"a": [1, true, null]}));
}

#[test]
fn yaml_tells_the_lines_of_what_is_there_twice() {
    let body = "spec:\n  foo: 1\n  foo: 2\n  priority: 1\n  priority: 2\nmetadata: {x: 1, 5: y}\n";
    let strict = decode(body.as_bytes(), "application/yaml", POD, FieldValidation::Strict).unwrap_err().message;
    let wanted = "strict decoding error: yaml: unmarshal errors:\n  line 3: key \"foo\" already set in map\n  \
                  line 5: key \"priority\" already set in map, unknown field \"metadata.5\", \
                  unknown field \"metadata.x\", unknown field \"spec.foo\"";
    assert!(strict.ends_with(wanted), "{strict}");
    let warned = decode(body.as_bytes(), "application/yaml", POD, FieldValidation::Warn).unwrap();
    assert_eq!(
        warned.warnings[..2],
        ["line 3: key \"foo\" already set in map", "line 5: key \"priority\" already set in map"]
    );
}

#[test]
fn what_is_no_object_is_refused_with_its_first_bytes() {
    let message = strict("{\"a\"").unwrap_err();
    assert!(
        message.starts_with("the object provided is unrecognized (must be of type Pod): couldn't get version/kind")
    );
    assert!(message.ends_with("({\"a\")"));
    assert!(strict("[]").unwrap_err().ends_with("(5b5d)"));
    assert!(strict(&"[".repeat(100_000)).is_err());
    let other = decode(b"{}", "text/html", POD, FieldValidation::Strict).unwrap_err();
    assert_eq!(other.code, 415);
}

#[test]
fn a_tree_is_walked_like_a_body() {
    let decoded = tree(json!({"spec": {"foo": 1, "priority": 5}}), POD, FieldValidation::Warn).unwrap();
    assert_eq!(decoded.value, json!({"metadata": {}, "spec": {"containers": null, "priority": 5}, "status": {}}));
    assert_eq!(decoded.warnings, ["unknown field \"spec.foo\""]);
}

/// One object of each kind with every field set: nothing of it is unknown or changed.
#[test]
fn the_testdata_of_every_kind_survives() {
    let folder = std::path::Path::new("/work/shared/upstream/testdata");
    let Ok(files) = std::fs::read_dir(folder) else {
        eprintln!("skipped: no {}", folder.display());
        return;
    };
    let mut checked = 0;
    for file in files.flatten().map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "json")) {
        let body = std::fs::read(&file).unwrap();
        let wanted: Value = serde_json::from_slice(&body).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let Some(schema) = schema_of(&wanted) else { continue };
        let json = decode(&body, "application/json", schema, FieldValidation::Strict);
        assert_eq!(json.map(|d| d.value), Ok(wanted.clone()), "{name}");
        let text = std::fs::read(file.with_extension("yaml")).unwrap();
        let yaml = decode(&text, "application/yaml", schema, FieldValidation::Strict);
        assert_eq!(yaml.map(|d| d.value), Ok(wanted), "{name} as YAML");
        checked += 1;
    }
    assert!(checked > 191, "{checked}");
}

/// The schema of an object whose group and version are in the table.
pub(crate) fn schema_of(value: &Value) -> Option<&'static str> {
    let (group, version) =
        value["apiVersion"].as_str()?.rsplit_once('/').unwrap_or(("core", value["apiVersion"].as_str()?));
    let tail = format!(".{version}.{}", value["kind"].as_str()?);
    let package = format!(".{}.", group.split('.').next()?.replace("internal", "apiserverinternal"));
    crate::schema::names().find(|n| n.ends_with(&tail) && (n.contains(&package) || n.contains(".meta.")))
}

/// Whatever is accepted must be read, changed and deleted later.
#[test]
fn what_is_accepted_can_be_read_back_and_sent_again() {
    let schema = "io.k8s.api.apps.v1.ControllerRevision";
    let nested =
        |levels: usize, key: &str| format!("{}1{}", format!("{{\"{key}\": ").repeat(levels), "}".repeat(levels));
    let body = |data: usize, fields: usize| {
        let fields = nested(fields, "f:a");
        format!(
            "{{\"metadata\": {{\"name\": \"a\", \"managedFields\": [{{\"manager\": \"m\", \"operation\": \"Update\", \
             \"apiVersion\": \"apps/v1\", \"fieldsType\": \"FieldsV1\", \"fieldsV1\": {fields}}}]}}, \
             \"revision\": 1, \"data\": {}}}",
            nested(data, "a")
        )
    };
    let write = crate::managed::Write {
        schema,
        api_version: "apps/v1",
        manager: "me",
        subresource: "",
        time: "2024-01-01T00:00:00Z",
        resets: &[&["status"]],
    };
    for depth in [1, 50, 90, 99, 100, 105, 106, 107, 120, 126, 130, 400] {
        for (data, fields) in [(depth, 1), (1, depth)] {
            let body = body(data, fields);
            let yaml = decode(body.as_bytes(), "application/yaml", schema, FieldValidation::Strict);
            let json = decode(body.as_bytes(), "application/json", schema, FieldValidation::Strict);
            // The YAML parser's own bound is lower.
            assert_eq!(json.is_ok() && depth < 60, yaml.is_ok(), "{data} {fields}");
            assert_eq!(json.is_ok(), data < 100 && fields <= 106, "{data} {fields}");
            let Ok(mut decoded) = json else { continue };
            crate::managed::update(&write, None, &mut decoded.value);
            let object = crate::Object::from_value(&decoded.value).unwrap();
            assert_eq!(tree(object.value(), schema, FieldValidation::Strict).map(|d| d.value), Ok(decoded.value));
        }
    }
    assert!(untyped("{a: ".repeat(1000).as_bytes()).is_err());
    let aliases: String = (1..1000).map(|n| format!("a{n}: &a{n} {{x: *a{}}}\n", n - 1)).collect();
    assert!(untyped(format!("a0: &a0 {{}}\n{aliases}").as_bytes()).is_err());
}

/// 600 bytes that stand for a billion words cost no more than the words that they are.
#[test]
fn what_aliases_stand_for_counts_as_if_it_were_written_out() {
    let tower = |floors: usize| -> String {
        let floor = |n: usize| format!("x{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","));
        "x0: &a0 [l,l,l,l,l,l,l,l,l,l]\n".to_owned() + &(1..floors).map(floor).collect::<String>()
    };
    assert!(untyped(tower(3).as_bytes()).is_ok());
    for floors in [4, 5, 10] {
        let why = untyped(tower(floors).as_bytes()).unwrap_err().message;
        assert!(why.contains("budget"), "{why}");
    }
    let word = "w".repeat(100 << 10);
    let said = |times: usize| format!("a: &a {word}\nb: [{}]\n", vec!["*a"; times].join(","));
    assert!(untyped(said(2).as_bytes()).is_ok());
    assert!(untyped(said(4).as_bytes()).is_err());
}

#[test]
fn yaml_is_slow_and_so_is_json_of_which_only_the_yaml_parser_knows_the_lines() {
    let apply = "application/apply-patch+yaml; charset=utf-8";
    for (body, media, slow) in [
        ("a: 1", "application/yaml", true),
        ("{\"a\": 1}", "text/yaml", true),
        ("{\"a\": 1}", "application/json", false),
        (" {\"a\": 1}", apply, false),
        ("{\"a\": 1, \"a\": 2}", apply, true),
        ("{a: 1}", apply, true),
        ("a: 1", apply, true),
    ] {
        assert_eq!(is_slow(body.as_bytes(), media), slow, "{body} {media}");
    }
}

#[test]
fn protobuf_holds_no_deeper_json_either() {
    let schema = "io.k8s.api.apps.v1.ControllerRevision";
    let of = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
    for (levels, fits) in [(99, true), (100, false), (126, false)] {
        let object = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "data": of(levels), "revision": 1});
        let body = proto::encode(schema, &object).unwrap();
        let decoded = decode(&body, proto::MEDIA_TYPE, schema, FieldValidation::Strict);
        assert_eq!(decoded.is_ok(), fits, "{levels}");
    }
}

#[test]
fn keys_that_an_apply_patch_has_twice_are_told() {
    let yaml = "kind: Pod\nmetadata:\n  name: a\n  name: b\nspec: {x: 1, x: 2}\n";
    let json = "{\"kind\": \"Pod\", \"metadata\": {\"name\": \"a\",\n \"name\": \"b\"}}";
    for (body, lines) in [
        (yaml, vec!["line 4: key \"name\" already set in map", "line 5: key \"x\" already set in map"]),
        (json, vec!["line 2: key \"name\" already set in map"]),
    ] {
        let strict = applied(body.as_bytes(), FieldValidation::Strict).unwrap_err();
        let wanted = format!(
            "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
            lines.join("\n  ")
        );
        assert_eq!((strict.code, strict.message), (400, wanted));
        let warned = applied(body.as_bytes(), FieldValidation::Warn).unwrap();
        assert_eq!(
            (warned.warnings, &warned.value["metadata"]),
            (lines.into_iter().map(String::from).collect(), &json!({"name": "b"}))
        );
        assert!(applied(body.as_bytes(), FieldValidation::Ignore).unwrap().warnings.is_empty());
    }
    let broken = applied(b"a: [", FieldValidation::Warn).unwrap_err();
    assert!(broken.message.starts_with("error decoding patch: error converting YAML to JSON: yaml: "), "{broken:?}");
}

#[test]
fn half_an_emoji_is_read_as_go_reads_it() {
    let body = r#"{"kind":"Pod","metadata":{"annotations":{"a":"x \ud83d"}}}"#;
    assert_eq!(strict(body).unwrap()["metadata"]["annotations"]["a"], "x \u{fffd}");
    let patch = r#"{"metadata":{"annotations":{"b\ude00":"\ud83d"}}}"#;
    assert_eq!(untyped(patch.as_bytes()).unwrap()["metadata"]["annotations"]["b\u{fffd}"], "\u{fffd}");
    let merged = crate::patch::merge(&json!({"metadata": {}}), patch.as_bytes()).unwrap();
    assert_eq!(merged["metadata"]["annotations"]["b\u{fffd}"], "\u{fffd}");
}

#[test]
fn a_body_in_yaml_is_one_document() {
    let yaml = |body: &str| {
        decode(body.as_bytes(), "application/yaml", POD, FieldValidation::Strict).map(|d| d.value["kind"].clone())
    };
    assert_eq!(yaml("---\nkind: Pod\n---\n").unwrap(), "Pod");
    assert_eq!(yaml("--- {kind: Pod}\n").unwrap(), "Pod");
    let refused = yaml("kind: Pod\n--- {kind: Pod}\n").unwrap_err().message;
    assert!(refused.contains("2 documents where one is expected"), "{refused}");
}

#[test]
fn a_moment_with_microseconds_has_all_of_them() {
    let layout = "2006-01-02T15:04:05.000000Z07:00";
    let wrong = |text: &str, rest: &str, wanted: &str| {
        Err(format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {wanted:?}"))
    };
    let check = |text: &str, want: Result<&str, String>| {
        assert_eq!(super::leaf::micro_time(text), want.map(str::to_owned), "{text}");
    };
    check("2020-01-01T00:00:00.000001Z", Ok("2020-01-01T00:00:00.000001Z"));
    check("2020-01-01T02:00:00.500000+02:00", Ok("2020-01-01T00:00:00.500000Z"));
    check("2020-01-01T00:00:00Z", wrong("2020-01-01T00:00:00Z", "Z", ".000000"));
    check("2020-01-01T00:00:00.5Z", wrong("2020-01-01T00:00:00.5Z", ".5Z", ".000000"));
    check("2020-01-01T00:00:00.0000001Z", wrong("2020-01-01T00:00:00.0000001Z", "1Z", "Z07:00"));
    check("x", wrong("x", "x", "2006"));
}

#[test]
fn a_claims_kind_is_told_of_as_go_names_it() {
    let body = r#"{"spec": {"volumeClaimTemplates": [{"kind": 7}]}}"#;
    let schema = "io.k8s.api.apps.v1.StatefulSet";
    let refused = decode(body.as_bytes(), "application/json", schema, FieldValidation::Strict).unwrap_err();
    let why = "json: cannot unmarshal number into Go struct field \
               PersistentVolumeClaim.spec.volumeClaimTemplates.TypeMeta.kind of type string";
    assert!(refused.message.ends_with(why), "{}", refused.message);
}
