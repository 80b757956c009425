use super::*;

fn range(cluster: &str, mask: u8) -> NodeRange {
    NodeRange::new(cluster.parse().unwrap(), mask).unwrap()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn given(ledger: &mut Ledger, node: &str) -> Vec<String> {
    ledger.give(node).0.unwrap_or_default().iter().map(IpNet::to_string).collect()
}

#[test]
fn nodes_get_the_parts_of_both_families_in_turn() {
    let mut ledger = Ledger::of(&[range("10.244.0.0/16", 24), range("fd00:10::/48", 64)]);
    assert_eq!(given(&mut ledger, "a"), ["10.244.0.0/24", "fd00:10::/64"]);
    assert_eq!(given(&mut ledger, "b"), ["10.244.1.0/24", "fd00:10:0:1::/64"]);
    // Asked again before it is seen: the same.
    assert_eq!(given(&mut ledger, "a"), ["10.244.0.0/24", "fd00:10::/64"]);
}

#[test]
fn what_a_node_has_is_given_to_nobody_else_whatever_its_size() {
    let mut ledger = Ledger::of(&[range("10.0.0.0/22", 24)]);
    ledger.note("wide", Some(nets(&["10.0.0.0/23"])));
    ledger.note("narrow", Some(nets(&["10.0.2.128/25"])));
    ledger.note("beside", Some(nets(&["192.168.0.0/24", "fd00::/64"])));
    assert_eq!(given(&mut ledger, "a"), ["10.0.3.0/24"]);
    assert_eq!(ledger.give("b"), (None, true));
    assert_eq!(ledger.give("b"), (None, false), "told once");
    ledger.note("narrow", None);
    assert_eq!(given(&mut ledger, "b"), ["10.0.2.0/24"]);
    ledger.note("all", Some(nets(&["10.0.0.0/8"])));
    ledger.note("a", None);
    assert_eq!(ledger.give("c"), (None, true), "a range around that of the cluster");
}

#[test]
fn a_freed_range_rests_and_its_node_gets_it_back() {
    let mut ledger = Ledger::of(&[range("10.0.0.0/22", 24)]);
    assert_eq!(given(&mut ledger, "a"), ["10.0.0.0/24"]);
    ledger.note("a", None);
    assert_eq!(given(&mut ledger, "b"), ["10.0.1.0/24"]);
    assert_eq!(given(&mut ledger, "a"), ["10.0.0.0/24"]);
    ledger.note("a", None);
    for (node, part) in [("c", "10.0.2.0/24"), ("d", "10.0.3.0/24"), ("e", "10.0.0.0/24")] {
        assert_eq!(given(&mut ledger, node), [part]);
    }
    assert_eq!(ledger.give("a"), (None, true));
}

#[test]
fn a_range_that_an_earlier_version_gave_twice_is_free_when_both_are_gone() {
    let mut ledger = Ledger::of(&[range("10.0.0.0/24", 24)]);
    ledger.note("a", Some(nets(&["10.0.0.0/24"])));
    ledger.note("b", Some(nets(&["10.0.0.0/24"])));
    ledger.note("a", None);
    assert_eq!(ledger.give("c"), (None, true));
    ledger.note("b", None);
    assert_eq!(given(&mut ledger, "c"), ["10.0.0.0/24"]);
}

#[test]
fn masks_that_do_not_fit_are_refused() {
    let refused = |cluster: &str, mask| NodeRange::new(cluster.parse().unwrap(), mask).is_err();
    assert!(refused("10.244.0.0/16", 15) && refused("10.244.0.0/16", 31) && refused("10.0.0.0/8", 25));
    assert!(refused("fd00::/32", 64) && refused("fd00::/48", 127));
    assert!(!refused("10.0.0.0/8", 24) && !refused("10.244.0.0/24", 24) && !refused("fd00::/48", 64));
}

#[test]
fn what_no_part_of_the_cluster_was_is_not_given_again() {
    let mut ledger = Ledger::of(&[range("10.0.0.0/22", 24)]);
    for (node, foreign) in [("a", "192.168.5.0/24"), ("b", "10.0.2.128/25"), ("c", "10.0.0.0/23")] {
        ledger.note(node, Some(nets(&[foreign])));
        ledger.note(node, None);
    }
    assert_eq!(given(&mut ledger, "a"), ["10.0.0.0/24"]);
    assert_eq!(given(&mut ledger, "b"), ["10.0.1.0/24"]);
    assert_eq!(given(&mut ledger, "c"), ["10.0.2.0/24"]);
}
