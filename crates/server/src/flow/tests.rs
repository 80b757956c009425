use super::*;
use crate::identity::NODES;

fn user(name: &str) -> Identity {
    Identity::authenticated(name, "", vec![])
}

fn limits() -> Limits {
    Limits { reads: 4, writes: 2, body_bytes: 100, answer_bytes: 100, share: 50, connections: 4 }
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
    // What is reserved for each is there all the same.
    let c = take("c").unwrap();
    assert!(take("c").err().unwrap().message.contains("all users together have 4 reading"));
    drop(c);
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
    let _reserved = flow.admit(&user("system:node:n"), Cost::Read).unwrap();
    assert!(flow.admit(&user("system:node:n"), Cost::Read).is_err());
}

#[test]
fn administrators_bodies_have_eight_times_the_room_while_they_come() {
    let flow = Flow::new(Limits { body_bytes: 100, ..limits() });
    let (mut one, mut other) = (Arriving::new(&flow), Arriving::new(&flow));
    one.take(400).unwrap();
    one.take(300).unwrap();
    other.take(100).unwrap();
    let refused = other.take(1).unwrap_err();
    assert!(refused.code == 429 && refused.message.contains("8 times --max-body-bytes-inflight"), "{refused:?}");
    drop(other);
    one.take(100).unwrap();
    drop(one);
    assert_eq!(flow.arriving.load(Ordering::Relaxed), 0);
    Arriving::new(&Flow::new(Limits { body_bytes: 0, ..limits() })).take(usize::MAX).unwrap();
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
    is_empty(&flow);
}

fn is_empty(flow: &Flow) {
    assert!(flow.pools.iter().all(|pool| pool.lock().unwrap().users.is_empty()));
    assert!(flow.pools.iter().all(|pool| pool.lock().unwrap().all == Taken::default()));
}

/// Two nodes with half of a pool each had left nothing of it to the others.
#[test]
fn a_node_is_not_refused_because_others_fill_the_pool() {
    let node = |n: usize| Identity::authenticated(format!("system:node:{n}"), "", vec![NODES.into()]);
    for cost in [Cost::Read, Cost::Write] {
        let flow = Flow::new(Limits::default());
        let mut bad = Vec::new();
        for n in 0..20 {
            let mut permits: Vec<_> = std::iter::from_fn(|| flow.admit(&node(n), cost).ok()).flatten().collect();
            while permits[0].take(1 << 10).is_ok() {}
            bad.push(permits);
        }
        assert!(bad[0].len() <= 40, "{}", bad[0].len());
        let mut good: Vec<_> = (0..10).map(|_| flow.admit(&node(20), cost).unwrap().unwrap()).collect();
        good.iter_mut().for_each(|permit| permit.take(100 << 10).unwrap());
    }
}

/// An exec or a proxied request may last for hours.
#[test]
fn the_body_of_what_lasts_has_its_room_until_it_is_handed_on() {
    let flow = Flow::new(limits());
    let mut lasting = flow.admit(&user("a"), Cost::Lasting).unwrap().unwrap();
    lasting.take(50).unwrap();
    let body = lasting.hold(Bytes::from(vec![7; 50]));
    let handed_on = body.clone();
    drop(body);
    assert!(lasting.take(1).is_err());
    assert_eq!(handed_on, [7; 50][..]);
    drop(handed_on);
    lasting.take(50).unwrap();
    let mut write = flow.admit(&user("b"), Cost::Write).unwrap().unwrap();
    write.take(50).unwrap();
    drop(write.hold(Bytes::from(vec![0; 50])));
    assert!(write.take(1).is_err(), "what was made of it is there still");
    drop((lasting, write));
    is_empty(&flow);
}

/// YAML is many times as slow as JSON: who sends much of it has little of it under way.
#[test]
fn what_is_slow_to_read_weighs_more_and_one_alone_may_weigh_anything() {
    let flow = Flow::new(Limits { writes: 0, ..limits() });
    let write = |name: &str| flow.admit(&user(name), Cost::Write).unwrap().unwrap();
    let mut only = write("a");
    only.take(10).unwrap();
    only.weigh(1000).unwrap();
    let mut second = write("a");
    assert_eq!(second.take(1).unwrap_err().code, 429);
    drop(only);
    second.take(10).unwrap();
    let mut third = write("a");
    third.take(10).unwrap();
    assert_eq!(third.weigh(1000).unwrap_err().code, 429, "there is another one");
    let mut lasting = flow.admit(&user("a"), Cost::Lasting).unwrap().unwrap();
    lasting.weigh(1000).unwrap();
    drop((second, third, lasting));
    is_empty(&flow);
}

#[test]
fn zero_is_no_bound() {
    let flow = Flow::new(Limits { reads: 0, writes: 0, body_bytes: 0, answer_bytes: 0, share: 1, connections: 0 });
    let mut many: Vec<_> = (0..2000).map(|_| flow.admit(&user("a"), Cost::Read).unwrap().unwrap()).collect();
    many[0].take(1 << 40).unwrap();
}

#[test]
fn no_setting_is_too_large() {
    let most = Limits { reads: usize::MAX, writes: 1, body_bytes: usize::MAX, share: 100, ..Limits::default() };
    let flow = Flow::new(most);
    let mut permit = flow.admit(&user("a"), Cost::Read).unwrap().unwrap();
    permit.take(usize::MAX).unwrap();
}

#[test]
fn answers_have_their_room_until_they_are_taken_and_one_alone_any() {
    let flow = Flow::new(limits());
    let permit = |name: &str| flow.admit(&user(name), Cost::Read).unwrap().unwrap();
    let (mut large, mut other) = (permit("a"), permit("a"));
    large.answer(1000).unwrap();
    let refused = other.answer(1).unwrap_err();
    assert_eq!(refused.code, 429);
    assert!(refused.message.contains("--max-answer-bytes-inflight"), "{}", refused.message);
    // The room is full: others have what is reserved for each, and one of any size.
    let (mut b, mut second) = (permit("b"), permit("b"));
    b.answer(3).unwrap();
    second.answer(2).unwrap();
    assert!(second.answer(1).is_err());
    drop(large);
    other.answer(50).unwrap();
    drop((other, b, second));
    is_empty(&flow);
}
