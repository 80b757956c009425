use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_request_goes_an_hour_after_its_end_and_a_day_after_it_was_left() {
    let due_of =
        |status: Value| due(&json!({"metadata": {"creationTimestamp": "2026-09-01T00:00:00Z"}, "status": status}));
    let said = |kind: &str| json!([{"type": kind, "status": "True", "lastUpdateTime": "2026-09-02T00:00:00Z"}]);
    assert_eq!(due_of(json!({})), Some(at("2026-09-02T00:00:00Z")));
    assert_eq!(due_of(json!({"conditions": said("Approved")})), Some(at("2026-09-03T00:00:00Z")));
    assert_eq!(due_of(json!({"conditions": said("Denied")})), Some(at("2026-09-02T01:00:00Z")));
    assert_eq!(due_of(json!({"conditions": said("Failed")})), Some(at("2026-09-02T01:00:00Z")));
    assert_eq!(due_of(json!({"conditions": said("Other")})), None);
    let issued = |end: rcgen::CertificateParams| {
        let pem = end.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
        due_of(json!({"conditions": said("Approved"), "certificate": STANDARD.encode(pem)}))
    };
    assert_eq!(issued(CertificateParams::default()), Some(at("2026-09-02T01:00:00Z")));
    let mut short = CertificateParams::default();
    short.not_after = rcgen::date_time_ymd(2026, 9, 2);
    assert_eq!(issued(short), Some(at("2026-09-02T00:00:00Z")), "with its certificate");
}

#[test]
fn a_pods_request_goes_after_a_quarter_of_an_hour() {
    let request = json!({"metadata": {"creationTimestamp": "2026-09-01T00:00:00Z"}});
    assert_eq!(of_pod(&request), Some(at("2026-09-01T00:15:00Z")));
}
