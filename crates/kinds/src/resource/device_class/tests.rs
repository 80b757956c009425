use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn class(spec: Value) -> Value {
    json!({"metadata": {"name": "c", "resourceVersion": "1"}, "spec": spec})
}

#[test]
fn a_class_selects_and_configures() {
    let judged = |spec: Value| told(&kind("deviceclasses").validate(&class(spec), None, &Context::default()));
    assert_eq!(judged(json!({"selectors": [{"cel": {"expression": "false"}}]})), [""; 0]);
    let long = "a".repeat(10 * 1024 + 1);
    assert_eq!(
        judged(json!({
            "selectors": [{}, {"cel": {"expression": long}}],
            "config": [{}, {"opaque": {"driver": "d", "parameters": []}}],
            "extendedResourceName": "gpu"
        })),
        [
            "spec.selectors[0].cel: Required value",
            "spec.selectors[1].cel.expression: Too long: may not be more than 10240 bytes",
            "spec.config[0].opaque: Required value",
            "spec.config[1].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object",
            "spec.extendedResourceName: Invalid value: \"gpu\": a name must be a domain-prefixed path, such as \
             'example.com/my-prop'",
        ]
    );
    let many = vec![json!({"cel": {"expression": "true"}}); 33];
    assert_eq!(judged(json!({"selectors": many})), ["spec.selectors: Too many: 33: must have at most 32 items"]);
}

#[test]
fn an_expression_that_is_stored_stays_good() {
    let class = class(json!({"selectors": [{"cel": {"expression": "a".repeat(10 * 1024 + 1)}}]}));
    let mut new = class.clone();
    assert!(kind("deviceclasses").validate(&new, Some(&class), &Context::default()).is_empty());
    new["spec"]["selectors"][0]["cel"]["expression"] = "b".repeat(10 * 1024 + 1).into();
    assert_eq!(kind("deviceclasses").validate(&new, Some(&class), &Context::default()).len(), 1);
}

#[test]
fn a_name_is_judged_when_it_is_made() {
    let judged = |metadata: Value| {
        let class = json!({"metadata": metadata, "spec": {}});
        told(&kind("deviceclasses").validate(&class, None, &Context::default()))
    };
    assert_eq!(judged(json!({"name": "x", "generateName": "X"})), [""; 0]);
    assert_eq!(
        judged(json!({"name": "x", "generateName": "a/"})),
        ["metadata.generateName: Invalid value: \"a/\": may not contain '/'"]
    );
    let long = judged(json!({"name": "a".repeat(254)}));
    assert!(long.len() == 1 && long[0].ends_with("must be no more than 253 bytes"), "{long:?}");
}
