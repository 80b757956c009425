use serde_json::json;

use super::*;
use crate::place::place;
use crate::place::tests::{asks, cluster, node, pod};

fn at(priority: i64, pod: Pod) -> Pod {
    Pod { priority, preempts: true, ..pod }
}

#[test]
fn as_few_and_as_unimportant_pods_as_possible_go() {
    let c = cluster(
        vec![node("a", json!({})), node("b", json!({}))],
        vec![
            ("a", at(1, pod("low", asks("2", "0")))),
            ("a", at(2, pod("mid", asks("2", "0")))),
            ("b", at(5, pod("high", asks("4", "0")))),
        ],
    );
    let new = at(10, pod("new", asks("2", "0")));
    let reasons = place(&new, &c).unwrap_err();
    let preemption = preempt(&new, &c, &reasons).unwrap();
    assert_eq!(&*preemption.node, "a");
    assert_eq!(preemption.victims.iter().map(|p| &*p.name).collect::<Vec<_>>(), ["low"]);
}

#[test]
fn why_nobody_can_go_is_told_in_upstreams_words() {
    let c = cluster(
        vec![node("a", json!({})), node("b", json!({})), node("c", json!({"spec": {"unschedulable": true}}))],
        vec![("a", at(1, pod("x", asks("4", "0")))), ("b", at(1, pod("y", asks("4", "0"))))],
    );
    let explain = |new: Pod| preempt(&new, &c, &place(&new, &c).unwrap_err()).unwrap_err();
    assert_eq!(
        explain(at(1, pod("new", asks("1", "0")))),
        "0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for \
         incoming pod."
    );
    assert_eq!(
        explain(at(9, pod("new", asks("5", "0")))),
        "0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    let polite = Pod { preempts: false, ..at(9, pod("new", asks("1", "0"))) };
    assert_eq!(explain(polite), "not eligible due to preemptionPolicy=Never.");
}
