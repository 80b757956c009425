use super::*;

fn is_closed(place: &Place) -> bool {
    use futures::FutureExt;
    place.closed().now_or_never().is_some()
}

fn places(most: usize) -> Arc<Places> {
    Places::new(most, 50)
}

/// Two pods that opened connections and asked for /version had shut the API for everybody.
#[test]
fn who_is_not_known_only_closes_their_own() {
    let places = places(40);
    let (pod, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let good = places.enter(other);
    let mapped = places.enter("::ffff:192.0.2.1".parse().unwrap());
    let mut held: Vec<_> = (0..8).map(|_| places.enter(pod)).collect();
    assert!(!is_closed(&mapped));
    held.extend((0..30).map(|_| places.enter(pod)));
    assert!(is_closed(&mapped) && !is_closed(&good));
    assert_eq!(held.iter().filter(|one| !is_closed(one)).count(), 9, "the newest, so that each gets its turn");
    assert!(!is_closed(held.last().unwrap()));
    // Whoever comes from elsewhere is let in at the expense of the pod.
    let more: Vec<_> = (0..4).map(|_| places.enter(other)).collect();
    assert!(!is_closed(&good) && more.iter().all(|one| !is_closed(one)));
    drop((good, mapped, held, more));
    assert!(places.taken.lock().unwrap().is_empty());
}

#[test]
fn all_of_an_ipv6_subnet_is_one_address() {
    let places = places(40);
    let good = places.enter("2001:db8:0:2::1".parse().unwrap());
    let _also = places.enter("2001:db8:0:2::2".parse().unwrap());
    let held: Vec<_> = (0..30u16).map(|n| places.enter(format!("2001:db8:0:1:{n:x}::1").parse().unwrap())).collect();
    assert!(!is_closed(&good) && is_closed(&held[0]));
}

#[test]
fn who_is_known_has_a_place_that_nobody_takes() {
    let places = places(40);
    let known = |name: &str, proof: Proof, trusted: bool| {
        let place = places.enter([192, 0, 2, 1].into());
        place.known(name, proof, trusted);
        place
    };
    let tokens: Vec<_> = (0..30).map(|n| known(&format!("account-{}", n % 3), Proof::Token, false)).collect();
    let nodes: Vec<_> = (0..12).map(|n| known(&format!("node-{n}"), Proof::Certificate, false)).collect();
    let admins: Vec<_> = (0..8).map(|_| known("admin", Proof::Certificate, true)).collect();
    let unknown: Vec<_> = (0..50).map(|_| places.enter([192, 0, 2, 9].into())).collect();
    assert_eq!(tokens.iter().filter(|one| one.known.get().is_some()).count(), 10, "a quarter for tokens");
    assert!(nodes.iter().chain(&admins).chain(&tokens[..10]).all(|one| !is_closed(one)));
    // Beyond its share one is served, but may be closed.
    let one: Vec<_> = (0..8).map(|_| known("node-0", Proof::Certificate, false)).collect();
    assert!(one.iter().all(|one| one.known.get().is_none()));
    drop((tokens, nodes, admins, unknown, one));
    assert!(places.taken.lock().unwrap().is_empty());
}

#[test]
fn what_was_closed_is_known_no_more() {
    let places = places(4);
    let (old, new) = (places.enter([192, 0, 2, 1].into()), places.enter([192, 0, 2, 1].into()));
    old.known("a", Proof::Certificate, false);
    new.known("a", Proof::Certificate, false);
    assert!(is_closed(&old) && old.known.get().is_none() && new.known.get().is_some());
}

#[test]
fn zero_connections_are_no_bound() {
    let places = places(0);
    let all: Vec<_> = (0..3000).map(|_| places.enter([192, 0, 2, 1].into())).collect();
    assert!(all.iter().all(|one| !is_closed(one)));
}

/// They asked on many streams and took none of the answers.
#[test]
fn who_takes_no_answers_loses_that_connection_and_nobody_else_theirs() {
    let places = places(40);
    let (pod, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let (good, bad, also) = (places.enter(other), places.enter(pod), places.enter(pod));
    let one = good.answered();
    let mut left: Vec<_> = (0..8).map(|_| bad.answered()).collect();
    left.push(also.answered());
    assert!(![&good, &bad, &also].iter().any(|place| is_closed(place)), "a quarter of 40 are there");
    let another = good.answered();
    assert!(is_closed(&bad) && !is_closed(&good) && !is_closed(&also));
    drop((one, another, left));
    assert_eq!(places.taken().all, Held { connections: 2, answers: 0 });
    // What is taken in time is never too much.
    (0..100).for_each(|_| drop(good.answered()));
    // A connection that becomes known leaves nothing behind among the unknown.
    let before = good.answered();
    good.known("a", Proof::Token, false);
    assert_eq!(places.taken().all, Held { connections: 1, answers: 0 });
    let many: Vec<_> = (0..20).map(|_| good.answered()).collect();
    assert!(!is_closed(&good));
    let too_many = good.answered();
    assert!(is_closed(&good), "half of 40 is one user's");
    drop((before, many, too_many, good, bad, also));
    assert!(places.taken().is_empty());
}

#[test]
fn no_setting_is_too_large() {
    assert_eq!((part(usize::MAX, 100), part(usize::MAX - 1, 200)), (usize::MAX, usize::MAX - 1));
    assert_eq!(part(usize::MAX, 50), usize::MAX / 2);
    assert_eq!([0, 1, 5, 199].map(|all| part(all, 10)), [0, 1, 1, 19]);
}
