use super::super::Limits;
use super::*;
use crate::identity::NODES;

fn user(name: &str) -> Identity {
    Identity::authenticated(name, "", vec![])
}

fn is_closed(connected: &Connected) -> bool {
    use futures::FutureExt;
    connected.closed().now_or_never().is_some()
}

fn places(connections: usize) -> Arc<Flow> {
    Flow::new(Limits { connections, share: 50, ..Limits::default() })
}

/// Two pods that opened connections and asked for /version had shut the API for everybody.
#[test]
fn who_is_not_known_only_closes_their_own() {
    let flow = places(40);
    let (pod, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let good = flow.connect(other);
    let mapped = flow.connect("::ffff:192.0.2.1".parse().unwrap());
    let mut held: Vec<_> = (0..8).map(|_| flow.connect(pod)).collect();
    assert!(!is_closed(&mapped));
    held.extend((0..30).map(|_| flow.connect(pod)));
    assert!(is_closed(&mapped) && !is_closed(&good));
    assert_eq!(held.iter().filter(|one| !is_closed(one)).count(), 9, "the newest, so that each gets its turn");
    assert!(!is_closed(held.last().unwrap()));
    // Whoever comes from elsewhere is let in at the expense of the pod.
    let more: Vec<_> = (0..4).map(|_| flow.connect(other)).collect();
    assert!(!is_closed(&good) && more.iter().all(|one| !is_closed(one)));
    drop((good, mapped, held, more));
    assert!(flow.connections.lock().unwrap().is_empty());
}

#[test]
fn all_of_an_ipv6_subnet_is_one_address() {
    let flow = places(40);
    let good = flow.connect("2001:db8:0:2::1".parse().unwrap());
    let _also = flow.connect("2001:db8:0:2::2".parse().unwrap());
    let held: Vec<_> = (0..30u16).map(|n| flow.connect(format!("2001:db8:0:1:{n:x}::1").parse().unwrap())).collect();
    assert!(!is_closed(&good) && is_closed(&held[0]));
}

#[test]
fn who_is_known_has_a_place_that_nobody_takes() {
    let flow = places(40);
    let known = |name: &str, groups: &[&str], by_certificate: bool| {
        let connected = flow.connect([192, 0, 2, 1].into());
        let groups = groups.iter().map(ToString::to_string).collect();
        connected.known(&Identity::authenticated(name, "", groups), by_certificate);
        connected
    };
    let tokens: Vec<_> = (0..30).map(|n| known(&format!("account-{}", n % 3), &[], false)).collect();
    let nodes: Vec<_> = (0..12).map(|n| known(&format!("node-{n}"), &[NODES], true)).collect();
    let admins: Vec<_> = (0..8).map(|_| known("admin", &[MASTERS], true)).collect();
    let unknown: Vec<_> = (0..50).map(|_| flow.connect([192, 0, 2, 9].into())).collect();
    assert_eq!(tokens.iter().filter(|one| one.known.get().is_some()).count(), 10, "a quarter for tokens");
    assert!(nodes.iter().chain(&admins).chain(&tokens[..10]).all(|one| !is_closed(one)));
    // Beyond its share one is served, but may be closed.
    let one: Vec<_> = (0..8).map(|_| known("node-0", &[NODES], true)).collect();
    assert!(one.iter().all(|one| one.known.get().is_none()));
    drop((tokens, nodes, admins, unknown, one));
    assert!(flow.connections.lock().unwrap().is_empty());
}

#[test]
fn what_was_closed_is_known_no_more() {
    let flow = places(4);
    let (old, new) = (flow.connect([192, 0, 2, 1].into()), flow.connect([192, 0, 2, 1].into()));
    old.known(&user("a"), true);
    new.known(&user("a"), true);
    assert!(is_closed(&old) && old.known.get().is_none() && new.known.get().is_some());
}

#[test]
fn zero_connections_are_no_bound() {
    let flow = places(0);
    let all: Vec<_> = (0..3000).map(|_| flow.connect([192, 0, 2, 1].into())).collect();
    assert!(all.iter().all(|one| !is_closed(one)));
}
