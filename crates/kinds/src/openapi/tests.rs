use super::*;
use crate::built_in;
use api::proto::gnostic;

const REVIEWS: &[Review] = &[Review {
    group: "authorization.k8s.io",
    version: "v1",
    plural: "localsubjectaccessreviews",
    kind: "LocalSubjectAccessReview",
    schema: "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    namespaced: true,
}];

fn subjects() -> Subjects<'static> {
    Subjects { kinds: built_in(), reviews: REVIEWS }
}

fn names(parameters: &Value) -> Vec<&str> {
    parameters.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
}

#[test]
fn kubectl_finds_what_it_looks_for() {
    let document = subjects().v3("api/v1");
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert_eq!(names(&patch["parameters"]), ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(patch["x-kubernetes-group-version-kind"], json!({"group": "", "kind": "Pod", "version": "v1"}));
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    assert_eq!(patch["operationId"], "patchCoreV1NamespacedPod");
    let container = &document["components"]["schemas"]["io.k8s.api.core.v1.Container"];
    assert_eq!(container["properties"]["ports"]["x-kubernetes-patch-merge-key"], "containerPort");
    let leases = subjects().v3("apis/coordination.k8s.io/v1");
    let paths: Vec<&String> = leases["paths"].as_object().unwrap().keys().collect();
    let base = "/apis/coordination.k8s.io/v1";
    let want = [
        "/",
        "/leases",
        "/namespaces/{namespace}/leases",
        "/namespaces/{namespace}/leases/{name}",
        "/watch/leases",
        "/watch/namespaces/{namespace}/leases",
        "/watch/namespaces/{namespace}/leases/{name}",
    ];
    assert_eq!(paths, want.map(|path| format!("{base}{path}")).iter().collect::<Vec<_>>());
}

#[test]
fn every_reference_of_a_document_leads_somewhere() {
    let mut documents: Vec<(String, Value)> = Vec::new();
    for root in subjects().v3_index()["paths"].as_object().unwrap().keys() {
        documents.push(("/components/schemas".into(), subjects().v3(root)));
    }
    documents.push(("/definitions".into(), subjects().v2()));
    for (place, document) in documents {
        let schemas = document.pointer(&place).cloned().unwrap_or_default();
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let target = part.split('"').next().unwrap();
            let name = target.strip_prefix(&place).unwrap().trim_start_matches('/');
            assert!(schemas.get(name).is_some(), "{name}");
        }
    }
}

#[test]
fn the_index_names_a_document_for_every_group_and_version() {
    let index = subjects().v3_index();
    let pods = index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(pods.starts_with("/openapi/v3/api/v1?hash="));
    assert!(index["paths"]["apis/events.k8s.io/v1"].is_object());
    for other in ["api", "apis", "apis/apps", "apis/authorization.k8s.io/v1", "version", "openid/v1/jwks"] {
        assert!(index["paths"][other].is_object(), "{other}");
    }
    assert_eq!(subjects().v3_index(), index);
}

/// Whatever has the form of a document comes back, but for defaults that are maps.
#[test]
fn documents_in_protobuf_are_the_same() {
    let v2 = subjects().v2();
    let body = gnostic::encode(&gnostic::V2, &v2);
    assert!(body.starts_with(b"\x0a\x032.0\x12\x12\x0a\x0aKubernetes"));
    assert!(gnostic::decode(&gnostic::V2, &body) == Some(v2));
    let v3 = subjects().v3("api/v1");
    let mut again = gnostic::decode(&gnostic::V3, &gnostic::encode(&gnostic::V3, &v3)).unwrap();
    let schemas = |document: &Value| document["components"]["schemas"].as_object().unwrap().clone();
    for (name, schema) in schemas(&v3) {
        assert_eq!(again["components"]["schemas"][&name], schema, "{name}");
    }
    again["components"]["schemas"] = v3["components"]["schemas"].clone();
    assert!(again == v3);
}

#[test]
fn what_all_operations_of_a_path_take_stands_at_the_path() {
    let document = subjects().v3("api/v1");
    let check = |path: &str, method: &str, at_path: &[&str], own: &[&str]| {
        let item = &document["paths"][path];
        let found = (names(&item["parameters"]), names(&item[method]["parameters"]));
        assert_eq!(found, (at_path.to_vec(), own.to_vec()), "{path}");
    };
    check(
        "/api/v1/namespaces/{name}/finalize",
        "put",
        &["dryRun", "fieldManager", "fieldValidation", "name", "pretty"],
        &[],
    );
    check("/api/v1/nodes/{name}/proxy/{path}", "options", &["name", "path", "path"], &[]);
    check(
        "/api/v1/namespaces/{namespace}/pods/{name}",
        "put",
        &["name", "namespace", "pretty"],
        &["dryRun", "fieldManager", "fieldValidation"],
    );
}

#[test]
fn operations_are_named_as_upstream_names_them() {
    let document = subjects().v2();
    for (path, method, want) in [
        ("/api/v1/pods", "get", "listCoreV1PodForAllNamespaces"),
        ("/api/v1/watch/pods", "get", "watchCoreV1PodListForAllNamespaces"),
        ("/api/v1/watch/namespaces/{namespace}/pods", "get", "watchCoreV1NamespacedPodList"),
        ("/api/v1/watch/namespaces/{namespace}/pods/{name}", "get", "watchCoreV1NamespacedPod"),
        ("/api/v1/watch/nodes/{name}", "get", "watchCoreV1Node"),
        ("/api/v1/nodes/{name}/proxy/{path}", "head", "connectCoreV1HeadNodeProxyWithPath"),
        ("/api/v1/namespaces/{namespace}/pods", "delete", "deleteCoreV1CollectionNamespacedPod"),
        ("/api/v1/", "get", "getCoreV1APIResources"),
        ("/apis/rbac.authorization.k8s.io/", "get", "getRbacAuthorizationAPIGroup"),
        ("/version/", "get", "getCodeVersion"),
        (
            "/apis/authorization.k8s.io/v1/namespaces/{namespace}/localsubjectaccessreviews",
            "post",
            "createAuthorizationV1NamespacedLocalSubjectAccessReview",
        ),
    ] {
        assert_eq!(document["paths"][path][method]["operationId"], want, "{path}");
    }
}

#[test]
fn values_are_enumerated_where_they_are_used() {
    let document = subjects().v2();
    let of = |name: &str, path: &str| document["definitions"][name].pointer(path).cloned().unwrap_or_default();
    let policies = of("io.k8s.api.core.v1.Container", "/properties/imagePullPolicy/enum");
    assert_eq!(policies, json!(["Always", "IfNotPresent", "Never"]));
    let families = of("io.k8s.api.core.v1.ServiceSpec", "/properties/ipFamilies/items/enum");
    assert_eq!(families, json!(["", "IPv4", "IPv6"]));
    for line in include_str!("unions.txt").lines() {
        let (name, unions) = line.split_once(' ').unwrap();
        assert!(api::schema::names().any(|known| known.ends_with(name)), "{name}");
        assert!(serde_json::from_str::<Value>(unions).unwrap().is_array(), "{unions}");
    }
    for line in include_str!("enums.txt").lines() {
        let [name, field, ..] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let of = api::schema::get(name).unwrap_or_else(|| panic!("{name}"));
        assert!(of.field(field).is_some(), "{line}");
    }
}

#[test]
fn delete_answers_with_the_object_where_the_server_does() {
    let document = subjects().v3("api/v1");
    let answer = |plural: &str| {
        let path = format!("/api/v1/namespaces/{{namespace}}/{plural}/{{name}}");
        let answer = &document["paths"][path]["delete"]["responses"]["200"]["content"]["application/json"];
        answer["schema"]["$ref"].as_str().unwrap().rsplit('.').next().unwrap().to_string()
    };
    let of = ["pods", "serviceaccounts", "services", "configmaps"].map(answer);
    assert_eq!(of, ["Pod", "ServiceAccount", "Service", "Status"]);
}

#[test]
fn every_type_and_field_says_what_it_means() {
    let document = subjects().v2();
    let mut silent = Vec::new();
    for (name, schema) in document["definitions"].as_object().unwrap() {
        let fields = schema["properties"].as_object().into_iter().flatten();
        let parts = fields.map(|(field, schema)| (format!("{name} {field}"), schema));
        for (part, schema) in parts.chain([(name.clone(), schema)]) {
            if schema["description"].as_str().is_none_or(str::is_empty) {
                silent.push(part);
            }
        }
    }
    // Upstream says nothing of them either.
    const SILENT: &[&str] = &[
        ".GroupResource ",
        ".JSONSchemaProps ",
        ".ExternalDocumentation ",
        ".CertificateSigningRequest metadata",
        ".version.Info ",
    ];
    silent.retain(|part| !SILENT.iter().any(|of| part.contains(of)));
    assert!(silent.is_empty(), "{silent:#?}");
}
