use super::super::tests::{base64, certificate, key, request as asked};
use super::*;
use crate::tests::{kind, told};

fn request() -> Value {
    json!({"metadata": {"name": "r", "resourceVersion": "1"}, "spec": {"request": base64(asked(&key())),
        "signerName": "example.com/s", "usages": ["client auth"]}, "status": {}})
}

fn judged(new: &Value, old: Option<&Value>, subresource: &str) -> Vec<String> {
    let context = Context { subresource: subresource.into(), ..Context::default() };
    told(&kind("certificatesigningrequests").validate(new, old, &context))
}

fn with(pointer: &str, value: Value) -> Value {
    let mut request = request();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    request.pointer_mut(parent).unwrap()[field] = value;
    request
}

#[test]
fn a_request_is_signed_by_its_key_and_says_what_for() {
    assert_eq!(judged(&request(), None, ""), [""; 0]);
    // It may have any name that fits into a path.
    assert_eq!(judged(&with("/metadata/name", json!("Any_Name:1")), None, ""), [""; 0]);
    assert_eq!(judged(&with("/metadata/name", json!("a/b")), None, "").len(), 1);
    let text = base64("text");
    assert_eq!(
        judged(&with("/spec/request", json!(text)), None, ""),
        [format!("spec.request: Invalid value: {text:?}: PEM block type must be CERTIFICATE REQUEST")]
    );
    let stolen = {
        let der = |pem: &str| crate::certificates::x509::request_of(pem.as_bytes()).unwrap();
        let mut der = der(&asked(&key()));
        *der.last_mut().unwrap() ^= 1;
        base64(pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der)))
    };
    assert!(judged(&with("/spec/request", json!(stolen)), None, "")[0].contains("signature"));
    assert_eq!(judged(&with("/spec/usages", json!([])), None, ""), ["spec.usages: Required value"]);
    let wrong = judged(&with("/spec/usages", json!(["client auth", "coffee", "client auth"])), None, "");
    assert!(
        wrong[0].starts_with("spec.usages[1]: Unsupported value: \"coffee\": supported values: \"any\", \"cert sign\"")
    );
    assert_eq!(wrong[1], "spec.usages[2]: Duplicate value: \"client auth\"");
    assert_eq!(
        judged(&with("/spec/signerName", json!("kubernetes.io/legacy-unknown")), None, ""),
        ["spec.signerName: Invalid value: \"kubernetes.io/legacy-unknown\": the legacy signerName is not allowed via \
          this API version"]
    );
    assert_eq!(
        judged(&with("/spec/expirationSeconds", json!(599)), None, ""),
        ["spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)"]
    );
}

#[test]
fn only_approval_gives_a_verdict_and_nobody_takes_it_back() {
    let old = request();
    let said = |kinds: &[&str]| {
        let mut next = old.clone();
        next["status"]["conditions"] = kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
        next
    };
    assert_eq!(judged(&said(&["Approved"]), Some(&old), "approval"), [""; 0]);
    const ADD: &str = "status.conditions: Forbidden: updates may not add a condition of type \"Approved\"";
    assert_eq!(judged(&said(&["Approved"]), Some(&old), "status"), [ADD]);
    assert_eq!(judged(&said(&["Failed"]), Some(&old), "status"), [""; 0]);
    const REMOVE: &str = "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"";
    assert_eq!(judged(&old, Some(&said(&["Approved"])), "approval"), [REMOVE]);
    let both = judged(&said(&["Approved", "Denied"]), Some(&said(&["Approved"])), "approval");
    assert_eq!(
        both,
        [
            r#"status.conditions: Invalid value: "{conditions[{\"type\": \"Approved\"}], conditions[{\"type\": \"Denied\"}]}": must specify at most one of: `conditions[{"type": "Approved"}]`, `conditions[{"type": "Denied"}]`"#
        ]
    );
    let mut odd = said(&["", "A", "A", "Failed", "B"]);
    odd["status"]["conditions"][3]["status"] = json!("False");
    odd["status"]["conditions"][4]["status"] = json!("");
    assert_eq!(
        judged(&odd, Some(&old), "approval"),
        [
            "status.conditions[0].type: Required value",
            "status.conditions[3].status: Unsupported value: \"False\": supported values: \"True\"",
            "status.conditions[4].status: Required value",
            "status.conditions[2].type: Duplicate value: \"A\"",
        ]
    );
    // What was stored so may stay.
    assert_eq!(judged(&said(&["", "A", "A"]), Some(&said(&["", "A", "A"])), "approval"), [""; 0]);
    let mut other = said(&["Approved"]);
    other["status"]["conditions"][0]["reason"] = json!("x");
    const MODIFY: &str = "status.conditions: Forbidden: updates may not modify a condition of type \"Approved\"";
    assert_eq!(judged(&other, Some(&said(&["Approved"])), "status"), [MODIFY]);
}

#[test]
fn a_certificate_is_given_once_and_is_one() {
    let old = request();
    let given = |text: &str| {
        let mut next = old.clone();
        next["status"]["certificate"] = json!(base64(text));
        next
    };
    let (one, two) = (certificate(&key(), &["a"], 0, 10), certificate(&key(), &["b"], 0, 10));
    assert_eq!(judged(&given(&format!("{one}{two}")), Some(&old), "status"), [""; 0]);
    assert_eq!(
        judged(&given(&one), Some(&old), "approval"),
        ["status.certificate: Forbidden: updates may not set certificate content"]
    );
    assert_eq!(
        judged(&given(&two), Some(&given(&one)), "status"),
        ["status.certificate: Forbidden: updates may not modify existing certificate content"]
    );
    let error = |why: &str| [format!("status.certificate: Invalid value: \"<certificate data>\": {why}")];
    assert_eq!(judged(&given("text"), Some(&old), "status"), error("must contain at least one CERTIFICATE PEM block"));
    assert_eq!(
        judged(&given(&key().serialize_pem()), Some(&old), "status"),
        error("only CERTIFICATE PEM blocks are allowed, found \"PRIVATE KEY\"")
    );
    let headed = one.replacen("-----\n", "-----\nA: b\n\n", 1);
    assert_eq!(judged(&given(&headed), Some(&old), "status"), error("no PEM block headers are permitted"));
}

#[test]
fn a_write_changes_only_its_own_part() {
    let kind = kind("certificatesigningrequests");
    let condition = |kind: &str, with: Value| {
        let mut one = json!({"type": kind, "status": "True"});
        one.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        one
    };
    let dated = json!({"lastUpdateTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-02T00:00:00Z"});
    let mut old = request();
    old["status"] = json!({"conditions": [condition("Approved", dated.clone())]});
    let prepared = |subresource: &str, change: &dyn Fn(&mut Value)| {
        let context =
            Context { subresource: subresource.into(), now: "2026-09-21T14:13:20Z".into(), ..Context::default() };
        let mut new = old.clone();
        change(&mut new);
        kind.prepare(&mut new, Some(&old), &context);
        new
    };
    let meddle = |new: &mut Value| {
        new["spec"]["signerName"] = json!("example.com/other");
        new["status"]["certificate"] = json!("eA==");
        new["status"]["conditions"][0]["reason"] = json!("mine");
        new["status"]["conditions"].as_array_mut().unwrap().push(condition("Failed", json!({})));
    };
    assert_eq!(prepared("", &meddle), old);
    let status = prepared("status", &meddle);
    assert_eq!((&status["spec"], &status["status"]["certificate"]), (&old["spec"], &json!("eA==")));
    assert_eq!(status["status"]["conditions"][0], old["status"]["conditions"][0]);
    let now = json!("2026-09-21T14:13:20Z");
    let failed = &status["status"]["conditions"][1];
    assert_eq!((&failed["lastUpdateTime"], &failed["lastTransitionTime"]), (&now, &now));
    let approval = prepared("approval", &meddle);
    assert_eq!((&approval["spec"], approval["status"].get("certificate")), (&old["spec"], None));
    assert_eq!(approval["status"]["conditions"][0]["reason"], "mine");
    // Without times the transition is that of the same type and state before.
    let undated = prepared("approval", &|new| new["status"]["conditions"][0] = condition("Approved", json!({})));
    let times = &undated["status"]["conditions"][0];
    assert_eq!((&times["lastUpdateTime"], &times["lastTransitionTime"]), (&now, &dated["lastTransitionTime"]));
}

#[test]
fn a_row_shows_how_far_it_is() {
    let shown = |status: Value| {
        let mut request = request();
        request["status"] = status;
        kind("certificatesigningrequests").columns[5].of(&request, "").as_str().unwrap().to_owned()
    };
    let is = |kind: &str| json!({"type": kind, "status": "True"});
    assert_eq!(shown(json!({})), "Pending");
    assert_eq!(shown(json!({"conditions": [is("Approved")], "certificate": "eA=="})), "Approved,Issued");
    assert_eq!(shown(json!({"conditions": [is("Approved"), is("Denied"), is("Failed")]})), "Denied,Failed");
    let row = kind("certificatesigningrequests");
    let cells = |request: &Value| [2, 4].map(|i| row.columns[i].of(request, ""));
    assert_eq!(cells(&with("/spec/expirationSeconds", json!(3600))), ["example.com/s", "60m"]);
    assert_eq!(cells(&json!({})), ["<none>", "<none>"]);
}
