use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn driver(spec: Value) -> Value {
    let mut driver = json!({"metadata": {"name": "d", "resourceVersion": "1"}, "spec": spec});
    default(kind("csidrivers"), &mut driver);
    driver
}

fn judged(new: &Value, old: Option<&Value>) -> Vec<String> {
    told(&kind("csidrivers").validate(new, old, &Context::default()))
}

#[test]
fn a_driver_is_as_most_are_unless_it_says_otherwise() {
    let spec = json!({"attachRequired": true, "fsGroupPolicy": "ReadWriteOnceWithFSType", "podInfoOnMount": false,
        "preventPodSchedulingIfMissing": false, "requiresRepublish": false, "seLinuxMount": false,
        "storageCapacity": false, "volumeLifecycleModes": ["Persistent"]});
    assert_eq!(driver(json!({}))["spec"], spec);
    assert_eq!(judged(&driver(json!({})), None), [""; 0]);
    let wrong =
        driver(json!({"fsGroupPolicy": "x", "volumeLifecycleModes": ["x"], "nodeAllocatableUpdatePeriodSeconds": 9,
        "tokenRequests": [{"audience": ""}, {"audience": "", "expirationSeconds": 1},
            {"audience": "a", "expirationSeconds": 599}, {"audience": "b", "expirationSeconds": 4294967297u64}]}));
    assert_eq!(
        judged(&wrong, None),
        [
            "spec.fsGroupPolicy: Unsupported value: \"x\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
            "spec.tokenRequests[1].audience: Duplicate value: \"\"",
            "spec.tokenRequests[2].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
            "spec.tokenRequests[3].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than \
             2^32 seconds",
            "spec.volumeLifecycleModes: Unsupported value: \"x\": supported values: \"Persistent\", \"Ephemeral\"",
            "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
        ]
    );
    assert_eq!(
        judged(&driver(json!({"serviceAccountTokenInSecrets": false})), None),
        ["spec.serviceAccountTokenInSecrets: Invalid value: false: serviceAccountTokenInSecrets is set but no \
             tokenRequests are specified"]
    );
}

#[test]
fn how_volumes_are_attached_stays_and_changes_are_counted() {
    let old = driver(json!({}));
    let mut new =
        driver(json!({"attachRequired": false, "volumeLifecycleModes": ["Ephemeral"], "podInfoOnMount": true}));
    prepare(kind("csidrivers"), &mut new, Some(&old), &Context::default());
    assert_eq!(new["metadata"]["generation"], 1);
    assert_eq!(
        judged(&new, Some(&old)),
        [
            "spec.attachedRequired: Invalid value: false: field is immutable",
            "spec.volumeLifecycleModes: Invalid value: [\"Ephemeral\"]: field is immutable",
        ]
    );
    let mut same = old.clone();
    prepare(kind("csidrivers"), &mut same, Some(&old), &Context::default());
    assert_eq!(same, old);
}

#[test]
fn tokens_that_may_be_logged_are_worth_a_word_when_they_are_asked_for() {
    let kind = kind("csidrivers");
    let asks = driver(json!({"tokenRequests": [{"audience": "a"}]}));
    let quiet = driver(json!({"tokenRequests": [{"audience": "a"}], "serviceAccountTokenInSecrets": true}));
    let words = |driver, old| warnings(kind, driver, old).len();
    assert_eq!([words(&asks, None), words(&asks, Some(&asks)), words(&quiet, None)], [1, 0, 0]);
    assert_eq!(words(&asks, Some(&driver(json!({})))), 1);
    assert_eq!((audiences(&asks), audiences(&driver(json!({})))), ("a".into(), "<unset>".into()));
    assert_eq!(modes(&json!({})), "<none>");
}
