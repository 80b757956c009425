//! What a stock server says of the same requests (`cargo xtask compare`).

use http::Method;
use serde_json::{Value, json};

use crate::tests::{Cluster, cluster, read};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MERGE: &str = "application/merge-patch+json";

/// Code and message.
async fn told(c: &Cluster, method: Method, path: &str, media: &str, body: &Value) -> (u16, String) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (code, value) = read(c.raw(&c.admin, method, path, media, body).await);
    let message = if code >= 400 { value["message"].as_str().unwrap_or_default().to_owned() } else { String::new() };
    (code, message)
}

#[tokio::test]
async fn an_update_names_its_object_and_what_it_may_not_change_is_told() {
    let c = cluster().await;
    let map = |more: Value| {
        let mut map = json!({"metadata": {"name": "m", "generateName": "x-"}, "data": {"a": "b"}});
        for (key, value) in more.as_object().unwrap() {
            map["metadata"][key] = value.clone();
        }
        map
    };
    assert_eq!(c.post(MAPS, map(json!({}))).await.0, 201);
    let at = format!("{MAPS}/m?dryRun=All");
    let uid = "2a1c4c0e-0000-4000-8000-000000000000";
    let immutable = |what: &str| (422, format!("ConfigMap \"m\" is invalid: metadata.{what}: field is immutable"));
    for (more, want) in [
        (json!({}), (200, String::new())),
        (
            json!({"name": ""}),
            (400, "the name of the object (m based on URL) was undeterminable: name must be provided".into()),
        ),
        (json!({"name": "else"}), (400, "the name of the object (else) does not match the name on the URL (m)".into())),
        (json!({"resourceVersion": "0"}), (200, String::new())),
        (json!({"resourceVersion": "x"}), (500, "strconv.ParseUint: parsing \"x\": invalid syntax".into())),
        (
            json!({"resourceVersion": "99999999999999999999"}),
            (500, "strconv.ParseUint: parsing \"99999999999999999999\": value out of range".into()),
        ),
        (
            json!({"deletionTimestamp": "2020-01-01T00:00:00Z"}),
            immutable("deletionTimestamp: Invalid value: \"2020-01-01T00:00:00Z\""),
        ),
        (json!({"deletionGracePeriodSeconds": 5}), immutable("deletionGracePeriodSeconds: Invalid value: 5")),
        (json!({"creationTimestamp": "2020-01-01T00:00:00Z"}), (200, String::new())),
    ] {
        let body = map(more);
        assert_eq!(told(&c, Method::PUT, &at, "application/json", &body).await, want, "{body}");
    }
    let (code, status) = c.put(&at, map(json!({"resourceVersion": "x"}))).await;
    assert_eq!((code, status.get("reason")), (500, None));
    let (code, _) = c.put(&at, map(json!({"uid": uid}))).await;
    assert_eq!(code, 409);
    let patch = json!({"metadata": {"uid": uid}});
    let want = immutable(&format!("uid: Invalid value: {uid:?}"));
    assert_eq!(told(&c, Method::PATCH, &at, MERGE, &patch).await, want);
    let (_, changed) = c.put(&at, map(json!({"generateName": "y-", "selfLink": "l"}))).await;
    assert_eq!((&changed["metadata"]["generateName"], &changed["metadata"]["selfLink"]), (&json!("y-"), &json!("l")));
}

#[tokio::test]
async fn options_of_a_list_are_judged_all_at_once() {
    let c = cluster().await;
    let invalid = |why: &str| (422, format!("ListOptions.meta.k8s.io \"\" is invalid: {why}"));
    let bad = |why: &str| (400, why.to_owned());
    for (query, want) in [
        ("timeoutSeconds=x", bad("strconv.ParseInt: parsing \"x\": invalid syntax")),
        ("limit=x", bad("strconv.ParseInt: parsing \"x\": invalid syntax")),
        ("limit=99999999999999999999", bad("strconv.ParseInt: parsing \"99999999999999999999\": value out of range")),
        ("limit=", (200, String::new())),
        (
            "resourceVersionMatch=x",
            invalid(
                "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, \
                 resourceVersionMatch: Unsupported value: \"x\": supported values: \"Exact\", \"NotOlderThan\", \"\"]",
            ),
        ),
        ("sendInitialEvents=false", invalid("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list")),
        (
            "resourceVersion=x",
            bad(
                "invalid resource version: resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax",
            ),
        ),
        ("continue=x", bad("invalid continue token: continue key is not valid: illegal base64 data at input byte 0")),
        // {"v":"meta.k8s.io/v1","rv":1,"start":"x"}, {"v":"x"}
        (
            "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJzdGFydCI6IngifQ",
            bad(
                "invalid continue token: continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
        ),
        (
            "continue=eyJ2IjoieCJ9",
            bad("invalid continue token: continue key is not valid: server does not recognize this encoded version x"),
        ),
        (
            "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact",
            invalid(
                "[resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, \
                 resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]",
            ),
        ),
        (
            "watch=1&resourceVersion=x",
            (500, "resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax".into()),
        ),
    ] {
        let got = told(&c, Method::GET, &format!("{MAPS}?{query}"), "", &Value::Null).await;
        assert_eq!(got, want, "{query}");
        if !query.contains("watch") && want.0 >= 400 {
            let got = told(&c, Method::DELETE, &format!("{MAPS}?dryRun=All&{query}"), "", &Value::Null).await;
            assert_eq!(got, want, "deletion, {query}");
        }
    }
}

#[tokio::test]
async fn what_is_there_is_listed_as_a_whole() {
    let c = cluster().await;
    for name in ["a", "b", "c"] {
        assert_eq!(c.post(MAPS, json!({"metadata": {"name": name}})).await.0, 201);
    }
    let count = async |query: &str| c.get(&format!("{MAPS}?{query}")).await.1["items"].as_array().unwrap().len();
    assert_eq!((count("limit=1").await, count("limit=1&resourceVersion=0").await), (1, 3));
}

#[tokio::test]
async fn fields_are_owned_in_the_version_that_was_spoken() {
    let c = cluster().await;
    let event = json!({"metadata": {"name": "e"}, "note": "n", "reason": "r", "action": "a", "type": "Normal",
        "regarding": {"kind": "Pod", "namespace": "default"}, "reportingController": "x", "reportingInstance": "i",
        "eventTime": "2024-01-01T00:00:00.000000Z"});
    let (code, event) = c.post("/apis/events.k8s.io/v1/namespaces/default/events", event).await;
    assert_eq!(code, 201, "{event}");
    let entry = &event["metadata"]["managedFields"][0];
    assert_eq!(entry["apiVersion"], "events.k8s.io/v1");
    assert!(entry["fieldsV1"].get("f:note").is_some() && entry["fieldsV1"].get("f:message").is_none(), "{entry}");
}

#[tokio::test]
async fn metadata_of_a_changed_event_is_judged() {
    let c = cluster().await;
    let event = |labels: Value| json!({"metadata": {"name": "e", "labels": labels}, "involvedObject": {"namespace": "default"}});
    let path = "/api/v1/namespaces/default/events";
    assert_eq!(c.post(path, event(json!({}))).await.0, 201);
    assert_eq!(c.put(&format!("{path}/e"), event(json!({"x": "Not good!"}))).await.0, 422);
}

#[tokio::test]
async fn an_owner_is_named_once() {
    let c = cluster().await;
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"});
    let body = json!({"metadata": {"name": "m", "ownerReferences": [owner, owner]}});
    let made = c.raw(&c.admin, Method::POST, MAPS, "application/json", body.to_string()).await;
    assert_eq!(made.status, 201);
    let warning = |response: &crate::Response| response.headers["warning"].to_str().unwrap().to_owned();
    let said = |when: &str| {
        format!(
            "299 - \".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in \
             1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: y\""
        )
    };
    assert_eq!(warning(&made), said(""));
    assert_eq!(read(made).1["metadata"]["ownerReferences"], json!([owner]));
    let patch = json!({"metadata": {"ownerReferences": [owner, owner]}}).to_string();
    let patched = c.raw(&c.admin, Method::PATCH, &format!("{MAPS}/m"), MERGE, patch).await;
    assert_eq!(warning(&patched), said(" after mutating admission happens"));
    assert_eq!(read(patched).1["metadata"]["ownerReferences"], json!([owner]));
}

#[tokio::test]
async fn a_body_of_another_kind_is_told_as_what_it_is() {
    let c = cluster().await;
    for (body, want) in [
        (
            json!({"kind": "Else"}),
            "Else in version \"v1\" cannot be handled as a ConfigMap: no kind \"Else\" is registered for version \"v1\" in \
             scheme \"pkg/runtime/scheme.go:111\"",
        ),
        (
            json!({"apiVersion": "else/v1"}),
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \
             \"else/v1\" in scheme \"pkg/runtime/scheme.go:111\"",
        ),
        (
            json!({"kind": "Pod"}),
            "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown \
             conversion",
        ),
        (
            json!({"apiVersion": "a/b/c"}),
            "the object provided is unrecognized (must be of type ConfigMap): unexpected GroupVersion string: a/b/c \
             ({\"apiVersion\":\"a/b/c\"})",
        ),
        (
            json!({"kind": 7}),
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: \
             json: cannot unmarshal number into Go struct field .kind of type string ({\"kind\":7})",
        ),
    ] {
        assert_eq!(told(&c, Method::POST, MAPS, "application/json", &body).await, (400, want.to_owned()));
    }
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let old = json!({"apiVersion": "coordination.k8s.io/v1beta1", "metadata": {"name": "l"}});
    let want = "the API version in the data (coordination.k8s.io/v1beta1) does not match the expected API version \
                (coordination.k8s.io/v1)";
    assert_eq!(told(&c, Method::POST, leases, "application/json", &old).await, (400, want.to_owned()));
}

#[tokio::test]
async fn what_is_no_json_is_told_in_gos_words() {
    let c = cluster().await;
    let begin = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: ";
    for (body, why) in [
        ("", "unexpected end of JSON input (<empty>)"),
        ("{", "unexpected end of JSON input ({)"),
        ("hello", "invalid character 'h' looking for beginning of value (68656c6c6f)"),
        (r#"{"a":{}}{}"#, r#"invalid character '{' after top-level value ({"a":{}}{})"#),
        (r#"{"a":{},}"#, r#"invalid character '}' looking for beginning of object key string ({"a":{},})"#),
        (
            "[]",
            r#"json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (5b5d)"#,
        ),
    ] {
        let (code, value) = read(c.raw(&c.admin, Method::POST, MAPS, "application/json", body).await);
        assert_eq!((code, value["message"].as_str().unwrap()), (400, format!("{begin}{why}").as_str()));
    }
}

#[tokio::test]
async fn an_answer_has_the_form_that_was_asked_for_or_none() {
    let c = cluster().await;
    assert_eq!(c.post(MAPS, json!({"metadata": {"name": "m"}})).await.0, 201);
    let ask = async |path: &str, accept: &str| {
        let request = http::Request::builder().uri(path).header("accept", accept);
        read(c.server.handle(&c.admin, request.body(bytes::Bytes::new()).unwrap()).await)
    };
    let one = format!("{MAPS}/m");
    let made = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let streamed = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    for (path, accept, message) in [
        (one.as_str(), "text/html", format!("406: Not Acceptable\n\nAvailable representations: {made}")),
        (MAPS, "text/html", format!("406: Not Acceptable\n\nAvailable representations: {made}, {streamed}")),
        (
            MAPS,
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)".to_owned(),
        ),
        (
            one.as_str(),
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)"
                .to_owned(),
        ),
        (
            one.as_str(),
            "application/json;as=Nonsense;v=v1;g=meta.k8s.io",
            format!("only the following media types are accepted: {made}"),
        ),
    ] {
        let (code, status) = ask(path, accept).await;
        assert_eq!((code, status["message"].as_str()), (406, Some(message.as_str())), "{path} {accept} {status}");
    }
    // A refusal is in the form that was asked for, too.
    let request = http::Request::builder().uri(format!("{MAPS}?watch=1")).header("accept", "application/yaml");
    let refused = c.server.handle(&c.admin, request.body(bytes::Bytes::new()).unwrap()).await;
    let crate::Body::Bytes(text) = refused.body else { panic!("no bytes") };
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("reason: NotAcceptable") && text.contains(&streamed.replace(", ", ",\n  ")), "{text}");
    let table = "application/json;as=Table;v=v1beta1;g=meta.k8s.io";
    let (_, table_of) = ask(&format!("{one}?includeObject=Metadata"), table).await;
    assert_eq!(
        (&table_of["apiVersion"], &table_of["rows"][0]["object"]["apiVersion"]),
        (&json!("meta.k8s.io/v1beta1"), &json!("meta.k8s.io/v1beta1"))
    );
    let (_, table_of) = ask(&format!("{one}?includeObject=None"), table).await;
    assert_eq!(table_of["rows"][0]["object"], Value::Null);
    let (code, status) = ask(&format!("{one}?includeObject=x"), table).await;
    assert!(
        code == 400 && status["message"].as_str().unwrap().contains("includeObject: Invalid value: \"x\""),
        "{status}"
    );
    let (code, _) = ask(&one, "application/json;q=x").await;
    assert_eq!(code, 200);
    let (code, status) = c.call(Method::HEAD, &one, Value::Null).await;
    assert_eq!((code, &status["details"]), (405, &json!({})));
}

#[tokio::test]
async fn who_asks_for_what_is_deprecated_is_told() {
    let c = cluster().await;
    let path = "/api/v1/namespaces/default/endpoints";
    let said = "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
    for (method, path) in [(Method::GET, path), (Method::GET, &format!("{path}/missing")), (Method::POST, path)] {
        let response = c.raw(&c.admin, method, path, "application/json", "").await;
        assert_eq!(response.headers["warning"], said);
    }
    assert!(c.raw(&c.admin, Method::GET, MAPS, "", "").await.headers.get("warning").is_none());
    // Whatever else is said, of what is refused too; but not before a route was found.
    let twice = c.raw(&c.admin, Method::POST, path, "application/json", r#"{"a": 1, "a": 2}"#).await;
    assert!(twice.headers.get_all("warning").iter().count() > 1, "{:?}", twice.headers);
    let late = c.raw(&c.admin, Method::POST, &format!("{path}?timeout=x"), "application/json", "{}").await;
    assert_eq!((late.status.as_u16(), late.headers.get("warning")), (400, None));
}

#[tokio::test]
async fn a_new_object_is_warned_of_even_if_its_name_is_taken() {
    let c = cluster().await;
    let services = "/api/v1/namespaces/default/services";
    let body = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"clusterIP": "None", "externalIPs": ["192.0.2.1"], "ports": [{"port": 80}]}});
    for (query, code) in [("", 201), ("", 409), ("?dryRun=All", 409)] {
        let path = format!("{services}{query}");
        let answer = c.raw(&c.admin, Method::POST, &path, "application/json", body.to_string()).await;
        assert_eq!(answer.status.as_u16(), code);
        assert_eq!(answer.headers["warning"], "299 - \"spec.externalIPs is ignored for headless services\"");
    }
}

#[tokio::test]
async fn there_are_no_namespaces_in_a_namespace() {
    let c = cluster().await;
    assert_eq!(c.get("/api/v1/namespaces/default").await.0, 200);
    for path in ["/api/v1/namespaces/default/namespaces", "/api/v1/namespaces/default/namespaces/kube-system"] {
        let (code, status) = c.get(path).await;
        assert_eq!((code, &status["message"]), (404, &json!("the server could not find the requested resource")));
    }
}

#[tokio::test]
async fn what_its_last_finalizer_held_is_answered_with_as_it_was_asked_for() {
    let c = cluster().await;
    let at = format!("{MAPS}/m");
    let (code, _) = c.post(MAPS, json!({"metadata": {"name": "m", "finalizers": ["example.com/x"]}})).await;
    assert_eq!(code, 201);
    let (_, marked) = c.delete(&at, Value::Null).await;
    let (code, freed) = c.patch(&at, MERGE, json!({"metadata": {"finalizers": null}})).await;
    assert_eq!((code, freed["metadata"].get("finalizers")), (200, None));
    assert_eq!(freed["metadata"]["resourceVersion"], marked["metadata"]["resourceVersion"]);
    assert_eq!(c.get(&at).await.0, 404);
}

#[tokio::test]
async fn one_object_is_not_watched_by_its_path() {
    let c = cluster().await;
    assert_eq!(c.post(MAPS, json!({"metadata": {"name": "m"}})).await.0, 201);
    assert_eq!(c.get(&format!("{MAPS}/m?watch=true")).await.1["kind"], "ConfigMap");
}

#[tokio::test]
async fn what_is_not_there_and_what_was_found_before_a_refusal_is_told() {
    let c = cluster().await;
    let drivers = "/apis/storage.k8s.io/v1/csidrivers/x";
    let driver = json!({"metadata": {"name": "x"}, "spec": {}});
    let want = "csidrivers.storage.k8s.io \"x\" not found".to_owned();
    assert_eq!(told(&c, Method::PUT, drivers, "application/json", &driver).await, (404, want));
    let invalid = "invalid timeout specified in the request URL - time: invalid duration \"x\"".to_owned();
    assert_eq!(told(&c, Method::GET, &format!("{MAPS}?timeout=x"), "", &Value::Null).await, (400, invalid));
    let set = json!({"metadata": {"name": "m", "resourceVersion": "5"}});
    let why = "resourceVersion should not be set on objects to be created".to_owned();
    assert_eq!(told(&c, Method::POST, MAPS, "application/json", &set).await, (500, why));
    let held = json!({"metadata": {"name": "h", "finalizers": ["example.com/h"]}});
    assert_eq!(c.post(MAPS, held.clone()).await.0, 201);
    c.delete(&format!("{MAPS}/h"), Value::Null).await;
    let why = "object is being deleted: configmaps \"h\" already exists".to_owned();
    assert_eq!(told(&c, Method::POST, MAPS, "application/json", &held).await, (409, why));
    let typo = json!({"metadata": {"name": "No"}, "dat": 1}).to_string();
    let refused = c.raw(&c.admin, Method::POST, MAPS, "application/json", typo).await;
    assert_eq!(refused.status.as_u16(), 422);
    assert_eq!(refused.headers["warning"], "299 - \"unknown field \\\"dat\\\"\"");
    // Of a path that nobody serves there is no Status.
    let lost = c.raw(&c.admin, Method::GET, "/apis/else.example.com/v1/x", "", String::new()).await;
    assert_eq!(lost.status.as_u16(), 404);
    assert_eq!(lost.headers["x-content-type-options"], "nosniff");
    let crate::Body::Bytes(text) = lost.body else { panic!("no bytes") };
    assert_eq!(&text[..], b"404 page not found\n");
}
