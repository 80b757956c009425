use super::*;
use crate::tests::kind;

pub fn definition(change: Value) -> Value {
    let mut definition = json!({"metadata": {"name": "foos.example.com", "resourceVersion": "1", "generation": 1},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    definition["spec"].as_object_mut().unwrap().extend(change.as_object().cloned().unwrap());
    kind("customresourcedefinitions").default(&mut definition);
    definition
}

#[test]
fn names_and_conversion_are_completed() {
    let it = definition(json!({"conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"service": {}}}}}));
    let names = &it["spec"]["names"];
    assert_eq!((&names["singular"], &names["listKind"]), (&json!("foo"), &json!("FooList")));
    assert_eq!(it["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"], 443);
    assert_eq!(definition(json!({}))["spec"]["conversion"], json!({"strategy": "None"}));
}

#[test]
fn a_version_that_stores_is_remembered() {
    let kind = kind("customresourcedefinitions");
    let mut old = definition(json!({}));
    kind.prepare(&mut old, None, &Context::default());
    assert_eq!(old["status"]["storedVersions"], json!(["v1"]));
    let mut new = old.clone();
    new["spec"]["versions"][0]["storage"] = false.into();
    new["spec"]["versions"].as_array_mut().unwrap().push(json!({"name": "v2", "served": true, "storage": true}));
    kind.prepare(&mut new, Some(&old), &Context::default());
    assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
    assert_eq!(new["metadata"]["generation"], 2);
    let mut status = new.clone();
    status["status"]["storedVersions"] = json!(["v2"]);
    let context = Context { subresource: "status".into(), ..Context::default() };
    kind.prepare(&mut status, Some(&new), &context);
    assert_eq!(status["status"]["storedVersions"], json!(["v2"]), "a migration forgets what it emptied");
}

#[test]
fn formats_that_nobody_checks_are_told_once() {
    let with = |format: &str| {
        definition(json!({"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"properties": {
            "a": {"type": "string", "format": format}, "b": {"type": "integer", "format": "int32"},
            "c": {"type": "string", "format": "date-time"},
            "d": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}}}}}}]}))
    };
    let told = |new: &Value, old: Option<&Value>| kind("customresourcedefinitions").warnings(new, old);
    assert_eq!(
        told(&with("colour"), None)[..2],
        [
            "unrecognized format \"colour\"",
            "x-kubernetes-list-type: set for items of type \"object\" is not supported by server-side apply or CEL \
             validation rules"
        ]
    );
    assert_eq!(told(&with("colour"), Some(&with("colour"))), [""; 0]);
    assert_eq!(told(&with("taste"), Some(&with("colour"))), ["unrecognized format \"taste\""]);
}
