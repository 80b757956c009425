use serde_json::json;

use super::*;
use crate::tests::{kind, told};

#[test]
fn a_template_is_judged_as_its_claims_and_stays() {
    let template = |spec: Value| {
        let mut template = json!({"metadata": {"name": "t", "namespace": "n", "resourceVersion": "1"}, "spec": spec});
        kind("resourceclaimtemplates").default(&mut template);
        template
    };
    let judged = |new: &Value, old: Option<&Value>| {
        told(&kind("resourceclaimtemplates").validate(new, old, &Context::default()))
    };
    let good = template(json!({"metadata": {"labels": {"a": "b"}, "creationTimestamp": null},
        "spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c"}}]}}}));
    assert_eq!(judged(&good, None), [""; 0]);
    assert_eq!(good["spec"]["spec"]["devices"]["requests"][0]["exactly"]["count"], 1);
    let bad =
        template(json!({"metadata": {"name": "x", "uid": "u"}, "spec": {"devices": {"requests": [{"name": "a"}]}}}));
    assert_eq!(
        judged(&bad, None),
        [
            "spec.metadata.name: Forbidden: cannot be set",
            "spec.metadata.uID: Forbidden: cannot be set",
            "spec.spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
        ]
    );
    let mut other = good.clone();
    other["spec"]["metadata"]["labels"]["a"] = "c".into();
    let errors = judged(&other, Some(&good));
    assert!(errors.len() == 1 && errors[0].ends_with(": field is immutable"), "{errors:?}");
}
