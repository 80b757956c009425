use super::*;
use crate::identity::NODES;

fn user(name: &str) -> Identity {
    Identity::authenticated(name, "", vec![])
}

fn limits() -> Limits {
    Limits { reads: 4, writes: 2, body_bytes: 100, share: 50, connections: 4 }
}

#[test]
fn one_user_gets_a_share_and_all_together_no_more_than_there_is() {
    let flow = Flow::new(limits());
    let take = |name: &str| flow.admit(&user(name), Cost::Read);
    let a = [take("a").unwrap(), take("a").unwrap()];
    let refused = take("a").err().unwrap();
    assert_eq!((refused.code, refused.retry_after_seconds), (429, Some(1)));
    assert_eq!(
        refused.message,
        "Too many requests, please try again later: user \"a\" has 2 reading requests under way \
         (--max-requests-inflight, --max-user-share)"
    );
    let _b = [take("b").unwrap(), take("b").unwrap()];
    assert!(take("c").err().unwrap().message.contains("all users together have 4 reading"));
    // Writes are counted apart, and what lasts is not.
    let _write = flow.admit(&user("a"), Cost::Write).unwrap();
    assert!(flow.admit(&user("a"), Cost::Write).err().unwrap().message.contains("--max-mutating-requests-inflight"));
    let _lasting: Vec<_> = (0..9).map(|_| flow.admit(&user("a"), Cost::Lasting).unwrap()).collect();
    drop(a);
    assert!(take("c").is_ok());
}

#[test]
fn nodes_have_a_pool_of_their_own_and_administrators_none() {
    let flow = Flow::new(limits());
    let _full: Vec<_> = ["a", "a", "b", "b"].map(|name| flow.admit(&user(name), Cost::Read).unwrap()).into();
    let node = Identity::authenticated("system:node:n", "", vec![NODES.into()]);
    let mut body = flow.admit(&node, Cost::Read).unwrap().unwrap();
    body.take(50).unwrap();
    let admin = Identity::authenticated("x", "", vec![MASTERS.into()]);
    assert!(flow.admit(&admin, Cost::Read).unwrap().is_none());
    // Who only calls itself a node stands with everybody else.
    assert!(flow.admit(&user("system:node:n"), Cost::Read).is_err());
}

#[test]
fn bytes_come_back_with_their_request_and_nothing_is_left_of_a_user() {
    let flow = Flow::new(limits());
    let mut a = flow.admit(&user("a"), Cost::Write).unwrap().unwrap();
    a.take(30).unwrap();
    a.take(20).unwrap();
    assert_eq!(a.take(1).unwrap_err().code, 429);
    let mut lasting = flow.admit(&user("a"), Cost::Lasting).unwrap().unwrap();
    assert_eq!(lasting.take(1).unwrap_err().code, 429);
    let mut b = flow.admit(&user("b"), Cost::Read).unwrap().unwrap();
    b.take(50).unwrap();
    drop(a);
    lasting.take(50).unwrap();
    drop((lasting, b));
    assert!(flow.pools.iter().all(|pool| pool.lock().unwrap().users.is_empty()));
    assert!(flow.pools.iter().all(|pool| pool.lock().unwrap().all == Taken::default()));
}

#[test]
fn zero_is_no_bound() {
    let flow = Flow::new(Limits { reads: 0, writes: 0, body_bytes: 0, share: 1, connections: 0 });
    let mut many: Vec<_> = (0..2000).map(|_| flow.admit(&user("a"), Cost::Read).unwrap().unwrap()).collect();
    many[0].take(1 << 40).unwrap();
    let _all: Vec<_> = (0..2000).map(|_| flow.connect([192, 0, 2, 1].into()).unwrap()).collect();
}

#[test]
fn one_address_cannot_take_every_connection() {
    let flow = Flow::new(limits());
    let (a, b) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let held = [flow.connect(a).unwrap(), flow.connect("::ffff:192.0.2.1".parse().unwrap()).unwrap()];
    assert!(flow.connect(a).is_none());
    let _b = [flow.connect(b).unwrap(), flow.connect(b).unwrap()];
    drop(held);
    assert!(flow.connect(a).is_some());
    assert_eq!(flow.connections.lock().unwrap().from.len(), 1);
}
