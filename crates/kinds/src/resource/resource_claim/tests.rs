use super::*;
use crate::tests::{kind, told};

fn claim(requests: Value) -> Value {
    json!({"metadata": {"name": "c", "namespace": "n", "resourceVersion": "1"},
        "spec": {"devices": {"requests": requests}}})
}

fn at(subresource: &str) -> Context {
    Context { subresource: subresource.into(), ..Context::default() }
}

fn made(claim: &Value) -> Vec<String> {
    let mut claim = claim.clone();
    kind("resourceclaims").default(&mut claim);
    told(&kind("resourceclaims").validate(&claim, None, &Context::default()))
}

#[test]
fn a_request_is_for_one_device_unless_it_says_otherwise() {
    let mut claim = claim(json!([
        {"name": "a", "exactly": {"deviceClassName": "c", "derivedAttributes": [{}]}},
        {"name": "b", "firstAvailable": [{"name": "x", "allocationMode": "All"}]},
    ]));
    kind("resourceclaims").default(&mut claim);
    let requests = &claim["spec"]["devices"]["requests"];
    assert_eq!(requests[0]["exactly"], json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1}));
    assert_eq!(requests[1]["firstAvailable"][0], json!({"name": "x", "allocationMode": "All"}));
}

#[test]
fn what_is_wrong_with_requests_is_said_at_once() {
    assert_eq!(made(&claim(json!([{"name": "a", "exactly": {"deviceClassName": "c"}}]))), [""; 0]);
    assert_eq!(
        made(&claim(json!([
            {"name": "a"},
            {"name": "a", "exactly": {"deviceClassName": "c"}, "firstAvailable": [{"name": "x"}]},
            {"name": "c", "exactly": {"allocationMode": "All", "count": 2}},
            {"name": "d", "exactly": {"deviceClassName": "c", "count": -1}},
            {"name": "e", "firstAvailable": [{"name": "x", "deviceClassName": "c", "allocationMode": "Some"}]},
        ]))),
        [
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            "spec.devices.requests[1]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, \
             but multiple fields are set",
            "spec.devices.requests[2].exactly.count: Invalid value: 2: must not be specified when allocationMode is \
             'All'",
            "spec.devices.requests[3].exactly.count: Invalid value: -1: must be greater than zero",
            "spec.devices.requests[1]: Duplicate value: {\"exactly\":{\"allocationMode\":\"ExactCount\",\"count\":1,\
             \"deviceClassName\":\"c\"},\"firstAvailable\":[{\"allocationMode\":\"ExactCount\",\"count\":1,\"name\":\
             \"x\"}],\"name\":\"a\"}",
            "spec.devices.requests[1].firstAvailable[0].deviceClassName: Required value",
            "spec.devices.requests[2].exactly.deviceClassName: Required value",
            "spec.devices.requests[4].firstAvailable[0].allocationMode: Unsupported value: \"Some\": supported values: \
             \"All\", \"ExactCount\"",
        ]
    );
}

#[test]
fn constraints_and_configuration_name_requests() {
    let mut claim = claim(json!([
        {"name": "a", "exactly": {"deviceClassName": "c"}},
        {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "c"}]},
    ]));
    let devices = &mut claim["spec"]["devices"];
    devices["constraints"] = json!([{"requests": ["a", "b", "b/x"], "matchAttribute": "example.com/model"}]);
    devices["config"] = json!([{"requests": ["b/x"], "opaque": {"driver": "d", "parameters": {}}}]);
    assert_eq!(made(&claim), [""; 0]);
    let devices = &mut claim["spec"]["devices"];
    devices["constraints"] = json!([{"requests": ["a/x", "a/b/c", "a", "a"]}]);
    devices["config"] = json!([{"requests": ["z"]}]);
    let no_request = "must be the name of a request in the claim or the name of a request and a subrequest separated \
                      by '/'";
    assert_eq!(
        made(&claim),
        [
            format!("spec.devices.constraints[0].requests[0]: Invalid value: \"a/x\": {no_request}"),
            format!("spec.devices.constraints[0].requests[1]: Invalid value: \"a/b/c\": {no_request}"),
            "spec.devices.constraints[0].requests[3]: Duplicate value: \"a\"".to_string(),
            "spec.devices.constraints[0]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" \
             is required, but multiple fields are set"
                .to_string(),
            format!("spec.devices.config[0].requests[0]: Invalid value: \"z\": {no_request}"),
            "spec.devices.config[0].opaque: Required value".to_string(),
        ]
    );
}

fn allocated_claim() -> Value {
    let mut claim = claim(json!([{"name": "a", "exactly": {"deviceClassName": "c"}}]));
    claim["status"] = json!({"allocation": {"devices": {"results": [
        {"request": "a", "driver": "d", "pool": "p", "device": "one"},
    ]}}, "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}]});
    claim
}

#[test]
fn a_claim_stays_as_it_was_made() {
    let (old, mut new) = (allocated_claim(), allocated_claim());
    new["metadata"]["labels"] = json!({"a": "b"});
    assert!(kind("resourceclaims").validate(&new, Some(&old), &at("")).is_empty());
    new["spec"]["devices"]["requests"][0]["name"] = "b".into();
    assert_eq!(
        told(&kind("resourceclaims").validate(&new, Some(&old), &at(""))),
        ["spec: Invalid value: null: field is immutable"]
    );
}

#[test]
fn status_says_what_was_allocated() {
    let kind = kind("resourceclaims");
    let judged = |new: &Value, old: &Value| told(&kind.validate(new, Some(old), &at("status")));
    let old = claim(json!([{"name": "a", "exactly": {"deviceClassName": "c"}}]));
    assert_eq!(judged(&allocated_claim(), &old), [""; 0]);
    let mut new = allocated_claim();
    new["status"]["allocation"]["devices"] = json!({
        "results": [{"request": "b", "driver": "d", "pool": "p", "device": "one", "shareID": "x"}],
        "config": [{"source": "Here"}],
    });
    assert_eq!(
        judged(&new, &old),
        [
            "status.allocation.devices.results[0].request: Invalid value: \"b\": must be the name of a request in the \
             claim or the name of a request and a subrequest separated by '/'",
            "status.allocation.devices.config[0].opaque: Required value",
            // Generated rules.
            "status.allocation.devices.results[0].shareID: Invalid value: \"x\": must be a lowercase UUID in \
             8-4-4-4-12 format",
            "status.allocation.devices.config[0].source: Unsupported value: \"Here\": supported values: \
             \"FromClaim\", \"FromClass\"",
        ]
    );
    let mut new = allocated_claim();
    new["status"]["allocation"]["devices"]["results"][0]["device"] = "two".into();
    assert_eq!(
        judged(&new, &allocated_claim()),
        ["status.allocation: Invalid value: null: field cannot be modified once set"]
    );
    let mut new = allocated_claim();
    new["status"] = json!({"reservedFor": [{"resource": "pods", "name": "p"}]});
    assert_eq!(
        judged(&new, &old),
        [
            "status.reservedFor[0].uid: Required value",
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
        ]
    );
    let mut old = allocated_claim();
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mut new = old.clone();
    new["status"]["reservedFor"] = json!([{"resource": "pods", "name": "q", "uid": "v"}]);
    assert_eq!(
        judged(&new, &old),
        ["status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or \
          `deletionTimestamp` are set"]
    );
}

#[test]
fn a_driver_tells_of_allocated_devices_only() {
    let mut new = allocated_claim();
    new["status"]["devices"] = json!([
        {"driver": "d", "pool": "p", "device": "one", "data": {"a": 1},
            "networkData": {"ips": ["10.0.0.1/24", "010.0.0.1/24"], "interfaceName": "a".repeat(257)}},
        {"driver": "d", "pool": "p", "device": "two", "conditions": [{"type": "Ready", "status": "Maybe"}]},
    ]);
    assert_eq!(
        told(&kind("resourceclaims").validate(&new, Some(&allocated_claim()), &at("status"))),
        [
            "status.devices[0].networkData.ips[1]: Invalid value: \"010.0.0.1/24\": must be in canonical form \
             (\"10.0.0.1/24\")",
            r#"status.devices[1]: Invalid value: {"Driver":"d","Pool":"p","Device":"two","ShareID":""}: must be an allocated device in the claim"#,
            "status.devices[1].conditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \
             \"True\", \"Unknown\"",
            "status.devices[1].conditions[0].lastTransitionTime: Required value",
            "status.devices[1].conditions[0].reason: Required value",
            // A generated rule.
            "status.devices[0].networkData.interfaceName: Too long: may not be more than 256 bytes",
        ]
    );
}

#[test]
fn what_was_said_of_a_device_goes_with_it_and_a_status_changes_no_metadata() {
    let kind = kind("resourceclaims");
    let mut old = allocated_claim();
    old["status"]["devices"] = json!([{"driver": "d", "pool": "p", "device": "one"}]);
    let mut new = old.clone();
    new["status"].as_object_mut().unwrap().remove("allocation");
    new["metadata"]["labels"] = json!({"a": "b"});
    kind.prepare(&mut new, Some(&old), &at("status"));
    assert!(new["status"].get("devices").is_none() && new["metadata"].get("labels").is_none(), "{new}");
    let mut kept = old.clone();
    kind.prepare(&mut kept, Some(&old), &at("status"));
    assert_eq!(kept, old);
}

#[test]
fn a_claim_shows_how_far_it_is() {
    let mut claim = allocated_claim();
    assert_eq!(state(&claim), "allocated,reserved");
    claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    assert_eq!(state(&claim), "deleted,allocated,reserved");
    claim["status"] = json!({});
    assert_eq!(state(&claim), "deleted");
    assert_eq!(state(&json!({})), "pending");
}
