use super::*;
use crate::built_in;

#[test]
fn kubectl_finds_what_it_looks_for() {
    let document = v3("v1", built_in());
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    let names: Vec<&str> = patch["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(patch["x-kubernetes-group-version-kind"], json!({"group": "", "kind": "Pod", "version": "v1"}));
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    assert_eq!(patch["operationId"], "patchCoreV1NamespacedPod");
    let container = &document["components"]["schemas"]["io.k8s.api.core.v1.Container"];
    assert_eq!(container["properties"]["ports"]["x-kubernetes-patch-merge-key"], "containerPort");
    assert_eq!(v3("coordination.k8s.io/v1", built_in())["paths"].as_object().unwrap().len(), 3);
}

#[test]
fn every_reference_of_a_document_leads_somewhere() {
    let mut documents: Vec<(String, Value)> = Vec::new();
    for kind in built_in().iter() {
        documents.push(("/components/schemas".into(), v3(&kind.api_version(), built_in())));
    }
    documents.push(("/definitions".into(), v2(built_in())));
    for (place, document) in documents {
        let schemas = document.pointer(&place).unwrap();
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
    let index = v3_index(built_in());
    let pods = index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(pods.starts_with("/openapi/v3/api/v1?hash="));
    assert!(index["paths"]["apis/events.k8s.io/v1"].is_object());
    assert_eq!(v3_index(built_in()), index);
}

#[test]
fn version_2_has_a_protobuf_form() {
    let body = v2_protobuf(built_in());
    assert!(body.starts_with(b"\x0a\x032.0\x12\x15\x0a\x0aKubernetes"));
    let extension = br#"[{"group":"","kind":"Pod","version":"v1"}]"#;
    assert!(body.windows(extension.len()).any(|part| part == extension));
}

#[test]
fn delete_answers_with_the_object_where_the_server_does() {
    let document = v3("v1", built_in());
    let answer = |plural: &str| {
        let path = format!("/api/v1/namespaces/{{namespace}}/{plural}/{{name}}");
        let answer = &document["paths"][path]["delete"]["responses"]["200"]["content"]["application/json"];
        answer["schema"]["$ref"].as_str().unwrap().rsplit('.').next().unwrap().to_string()
    };
    let of = ["pods", "serviceaccounts", "services", "configmaps"].map(answer);
    assert_eq!(of, ["Pod", "ServiceAccount", "Service", "Status"]);
}

/// Of which upstream says nothing.
const SILENT: [&str; 1] = ["io.k8s.api.certificates.v1.CertificateSigningRequest metadata"];

#[test]
fn every_type_and_field_says_what_it_means() {
    let document = v2(built_in());
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
    assert_eq!(silent, SILENT);
}
