use super::*;
use crate::tests::{kind, told};

fn judged(name: &str, spec: Value) -> Vec<String> {
    let kind = kind("prioritylevelconfigurations");
    let mut level = json!({"metadata": {"name": name}, "spec": spec});
    kind.default(&mut level);
    told(&kind.validate(&level, None, &Context::default()))
}

fn queues(queuing: Value) -> Vec<String> {
    judged("l", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}}))
}

#[test]
fn a_level_is_limited_or_exempt() {
    assert_eq!(judged("l", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}})), [""; 0]);
    assert_eq!(judged("exempt", json!({"type": "Exempt", "exempt": {"lendablePercent": 5}})), [""; 0]);
    assert_eq!(
        judged("l", json!({"type": "Exempt", "limited": {"limitResponse": {"type": "Reject"}}})),
        [
            "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'",
            "spec.limited: Forbidden",
        ]
    );
    assert_eq!(
        judged("l", json!({"type": "Limited", "exempt": {}})),
        ["spec.exempt: Forbidden", "spec.limited: Required value"]
    );
    assert_eq!(judged("l", json!({})), ["spec.type: Required value"]);
    assert_eq!(
        judged("l", json!({"type": "X"})),
        [r#"spec.type: Unsupported value: "X": supported values: "Exempt", "Limited""#]
    );
    assert_eq!(
        judged(
            "l",
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": -1, "lendablePercent": 101,
                "borrowingLimitPercent": -1, "limitResponse": {"type": "Reject", "queuing": {}}}})
        ),
        [
            "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
            "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
            "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
            "spec.limited.limitResponse.queuing: Forbidden",
        ]
    );
    let why = "must equal the fixed value";
    let level = judged("catch-all", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}));
    assert!(level[0].ends_with(&format!("spec of 'catch-all' {why}")), "{level:?}");
    let level =
        judged("exempt", json!({"type": "Exempt", "exempt": {}, "limited": {"limitResponse": {"type": "Reject"}}}));
    assert!(level[0].ends_with(&format!("spec of 'exempt' except the 'spec.exempt' field {why}")), "{level:?}");
}

#[test]
fn queues_can_be_dealt() {
    let at = "spec.limited.limitResponse.queuing";
    assert_eq!(queues(json!({})), [""; 0]);
    assert_eq!(
        queues(json!({"queues": -1, "handSize": -1, "queueLengthLimit": -1})),
        [
            format!("{at}.queueLengthLimit: Invalid value: -1: must be positive"),
            format!("{at}.queues: Invalid value: -1: must be positive"),
            format!("{at}.handSize: Invalid value: -1: must be positive"),
        ]
    );
    assert_eq!(
        queues(json!({"queues": 4, "handSize": 5})),
        [format!("{at}.handSize: Invalid value: 5: should not be greater than queues (4)")]
    );
    assert_eq!(
        queues(json!({"queues": 512, "handSize": 8})),
        [format!(
            "{at}.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater \
             than 60"
        )]
    );
    assert_eq!(
        queues(json!({"queues": 10_000_001, "handSize": 1})),
        [format!("{at}.queues: Invalid value: 10000001: must not be greater than 10000000")]
    );
}

#[test]
fn a_level_is_shown_with_its_queues() {
    let level =
        json!({"spec": {"limited": {"nominalConcurrencyShares": 3, "limitResponse": {"queuing": {"queues": 4}}}}});
    assert_eq!(shown(&level, "nominalConcurrencyShares"), 3);
    assert_eq!(shown(&level, "limitResponse.queuing.queues"), 4);
    assert_eq!(shown(&json!({}), "nominalConcurrencyShares"), "<none>");
}
