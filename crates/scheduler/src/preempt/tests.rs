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
    let reasons = place(&new, &c, &Profile::default()).unwrap_err();
    let preemption = preempt(&new, &c, &Profile::default(), &reasons).unwrap();
    assert_eq!(&*preemption.node, "a");
    assert_eq!(preemption.victims.iter().map(|p| &*p.name).collect::<Vec<_>>(), ["low"]);
}

#[test]
fn why_nobody_can_go_is_told_in_upstreams_words() {
    let c = cluster(
        vec![node("a", json!({})), node("b", json!({})), node("c", json!({"spec": {"unschedulable": true}}))],
        vec![("a", at(1, pod("x", asks("4", "0")))), ("b", at(1, pod("y", asks("4", "0"))))],
    );
    let explain = |new: Pod| {
        preempt(&new, &c, &Profile::default(), &place(&new, &c, &Profile::default()).unwrap_err()).unwrap_err()
    };
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

fn chosen(new: &Pod, c: &Cluster) -> (String, Vec<String>, usize) {
    let profile = Profile::default();
    let preemption = preempt(new, c, &profile, &place(new, c, &profile).unwrap_err()).unwrap();
    let victims = preemption.victims.iter().map(|p| p.name.to_string()).collect();
    (preemption.node.to_string(), victims, preemption.violations)
}

#[test]
fn budgets_are_kept_where_they_can_be_and_broken_where_not() {
    let of = |name: &str, app: &str| {
        let mut change = asks("2", "0");
        change["metadata"] = json!({"labels": {"app": app}});
        at(1, pod(name, change))
    };
    let budget = |allowed: i64| {
        Budget::of_tree(&json!({"spec": {"selector": {"matchLabels": {"app": "kept"}}},
            "status": {"disruptionsAllowed": allowed}}))
    };
    let mut c = cluster(vec![node("a", json!({}))], vec![("a", of("kept", "kept")), ("a", of("other", "other"))]);
    let new = at(10, pod("new", asks("2", "0")));
    c.budgets.insert(("default".into(), "b".into()), budget(0));
    assert_eq!(chosen(&new, &c), ("a".into(), vec!["other".into()], 0));
    let huge = at(10, pod("new", asks("4", "0")));
    assert_eq!(chosen(&huge, &c), ("a".into(), vec!["kept".into(), "other".into()], 1));
    // A node where no budget is broken goes first, although more important pods go there.
    c.set_node(node("b", json!({})));
    c.add_pod(Arc::new(Pod { node: "b".into(), priority: 5, ..of("x", "x") }));
    c.add_pod(Arc::new(Pod { node: "b".into(), priority: 5, ..of("y", "y") }));
    assert_eq!(chosen(&huge, &c), ("b".into(), vec!["x".into(), "y".into()], 0));
    c.budgets.insert(("default".into(), "b".into()), budget(1));
    assert_eq!(chosen(&huge, &c).0, "a");
    // Budgets of other namespaces do not matter, in whatever order they stand.
    for namespace in ["a", "z"] {
        c.budgets.insert((namespace.into(), "b".into()), budget(0));
    }
    assert_eq!(chosen(&huge, &c).0, "a");
    // A budget elsewhere is none here.
    c.budgets.clear();
    c.budgets.insert(("elsewhere".into(), "b".into()), budget(0));
    assert_eq!(chosen(&huge, &c), ("a".into(), vec!["kept".into(), "other".into()], 0));
}

#[test]
fn those_go_that_repel_and_promises_of_the_less_important_are_void() {
    let hermit = json!({"metadata": {"labels": {"app": "hermit"}}, "spec": {"affinity": {"podAntiAffinity":
        {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {"matchLabels": {"app": "web"}},
            "topologyKey": "kubernetes.io/hostname"}]}}}});
    let mut c = cluster(
        vec![node("a", json!({}))],
        vec![("a", at(1, pod("hermit", hermit))), ("a", at(1, pod("other", json!({}))))],
    );
    c.nominate(&Arc::new(Pod { nominated: "a".into(), ..at(3, pod("promised", json!({}))) }));
    let web = at(10, pod("new", json!({"metadata": {"labels": {"app": "web"}}})));
    assert_eq!(chosen(&web, &c), ("a".into(), vec!["hermit".into()], 0));
    let profile = Profile::default();
    let preemption = preempt(&web, &c, &profile, &place(&web, &c, &profile).unwrap_err()).unwrap();
    assert_eq!(preemption.displaced.iter().map(|p| &*p.name).collect::<Vec<_>>(), ["promised"]);
}
