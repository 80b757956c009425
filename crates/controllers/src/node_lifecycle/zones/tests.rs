use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{NodeMonitor, Shift, Sight, State, Turn, Zones, rate_of, state_of, zone_of};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn sight(zone: &str, is_ready: bool) -> Option<Sight> {
    Some(Sight { zone: zone.into(), is_ready, counts: true })
}

/// Zones of so many ready nodes and so many that are not, named `a0`, `a1` …, the ready ones first; judged.
fn zones(of: &[(&str, usize, usize)], now: Instant) -> Zones {
    let mut zones = Zones::new(NodeMonitor::default());
    for (zone, ready, unready) in of {
        for n in 0..ready + unready {
            zones.count(&format!("{zone}{n}"), sight(zone, n < *ready), now);
        }
    }
    zones.judge(now);
    zones
}

#[test]
fn a_zones_state_follows_how_many_of_it_fail() {
    let monitor = NodeMonitor::default();
    for (ready, unready, want) in [
        (0, 0, State::Normal),
        (1, 0, State::Normal),
        (0, 1, State::FullDisruption),
        (0, 9, State::FullDisruption),
        // Two are never a part of a zone.
        (1, 2, State::Normal),
        (1, 3, State::PartialDisruption),
        (9, 11, State::PartialDisruption),
        (10, 10, State::Normal),
    ] {
        assert_eq!(state_of(ready, unready, &monitor), want, "{ready} and {unready}");
    }
}

#[test]
fn the_rate_follows_state_and_size() {
    let monitor = NodeMonitor::default();
    for (state, size, want) in [
        (State::Normal, 3, 0.1),
        (State::FullDisruption, 3, 0.1),
        (State::PartialDisruption, 50, 0.0),
        (State::PartialDisruption, 51, 0.01),
    ] {
        assert_eq!(rate_of(state, size, &monitor), want, "{state:?} of {size}");
    }
}

#[test]
fn a_zone_is_named_by_both_labels_the_older_ones_first() {
    let (old, new) = ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
    for (labels, want) in [
        (json!(null), ""),
        (json!({"x": "y"}), ""),
        (json!({new: "z"}), ":\0:z"),
        (json!({new: "z", "topology.kubernetes.io/region": "r"}), "r:\0:z"),
        (json!({old: "o", new: "z"}), ":\0:o"),
    ] {
        assert_eq!(zone_of(&labels), want, "{labels}");
    }
}

#[test]
fn nodes_take_their_turns_ten_seconds_apart() {
    let start = Instant::now();
    let mut zones = zones(&[("a", 7, 3)], start);
    assert_eq!(zones.ask("a7", start), Turn::Now);
    assert_eq!(zones.ask("a8", start), Turn::After(seconds(10)));
    assert_eq!(zones.ask("a9", start), Turn::After(seconds(20)));
    assert_eq!(zones.ask("a9", start + seconds(10)), Turn::After(seconds(10)), "the first goes first");
    assert_eq!(zones.ask("a8", start + seconds(10)), Turn::Now);
    assert_eq!(zones.ask("a9", start + seconds(15)), Turn::After(seconds(5)));
    assert_eq!(zones.ask("a9", start + seconds(500)), Turn::Now);
    // No more than one token is kept, however long nobody came.
    assert_eq!(zones.ask("a7", start + seconds(500)), Turn::After(seconds(10)));
}

#[test]
fn whoever_waited_behind_one_that_leaves_comes_earlier() {
    let start = Instant::now();
    let mut zones = zones(&[("a", 7, 3)], start);
    assert_eq!(zones.ask("a7", start), Turn::Now);
    zones.ask("a8", start);
    zones.ask("a9", start);
    assert_eq!(zones.leave("a8"), ["a9"]);
    assert_eq!(zones.ask("a9", start), Turn::After(seconds(10)));
    zones.count("a9", None, start);
    assert!(zones.waiting().is_empty());
    assert_eq!(zones.ask("a9", start), Turn::Held, "nobody knows it");
}

#[test]
fn a_small_zone_that_fails_in_part_is_held_and_a_large_one_slow() {
    let start = Instant::now();
    let mut zones = zones(&[("a", 3, 7), ("b", 20, 40), ("c", 9, 0)], start);
    assert_eq!(zones.ask("a9", start), Turn::Held);
    // Its bucket was full when its rate fell.
    assert_eq!(zones.ask("b30", start), Turn::Now);
    assert_eq!(zones.ask("b31", start), Turn::After(seconds(100)));
    zones.count("c0", sight("c", false), start);
    assert_eq!(zones.judge(start), Shift::None);
    assert_eq!(zones.ask("c0", start), Turn::Now, "each zone has its own");
}

#[test]
fn a_zone_that_is_down_as_a_whole_is_emptied_while_others_are_not() {
    let start = Instant::now();
    let mut zones = zones(&[("a", 0, 3), ("b", 3, 0)], start);
    assert!(!zones.are_all_down());
    assert_eq!(zones.ask("a0", start), Turn::Now);
    assert_eq!(zones.ask("a1", start), Turn::After(seconds(10)));
}

#[test]
fn where_all_zones_are_down_nobody_is_driven_away_until_one_is_up_again() {
    let start = Instant::now();
    let mut zones = zones(&[("a", 1, 1), ("b", 0, 1)], start);
    assert_eq!(zones.ask("a1", start), Turn::Now);
    zones.count("a0", sight("a", false), start);
    assert_eq!(zones.judge(start), Shift::AllDown);
    assert!(zones.are_all_down());
    assert_eq!(zones.judge(start), Shift::None);
    assert_eq!(zones.ask("a0", start), Turn::Held);
    assert_eq!(zones.ask("b0", start), Turn::Held);
    let later = start + seconds(100);
    zones.count("b0", sight("b", true), later);
    assert_eq!(zones.judge(later), Shift::UpAgain);
    // The buckets begin empty after a time without any (SwapLimiter).
    assert_eq!(zones.ask("a0", later), Turn::After(seconds(10)));
    assert_eq!(zones.ask("a0", later + seconds(10)), Turn::Now);
}

#[test]
fn a_node_that_is_left_out_says_nothing_about_its_zone() {
    let start = Instant::now();
    let mut zones = Zones::new(NodeMonitor::default());
    assert!(!zones.are_all_down());
    let left_out = json!({"metadata": {"labels": {"node.kubernetes.io/exclude-disruption": ""}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    zones.count("out", Some(Sight::of(&left_out)), start);
    assert_eq!(zones.judge(start), Shift::None);
    zones.count("in", sight("", false), start);
    assert_eq!(zones.judge(start), Shift::AllDown);
    zones.count("in", None, start);
    zones.judge(start);
    assert!(!zones.are_all_down(), "no node that counts is no node that is down");
}

#[test]
fn a_zone_that_gets_worse_lets_those_who_wait_ask_again() {
    let start = Instant::now();
    let mut zones = zones(&[("a", 5, 3)], start);
    assert_eq!((zones.ask("a5", start), zones.ask("a6", start)), (Turn::Now, Turn::After(seconds(10))));
    zones.count("a4", sight("a", false), start);
    zones.count("a3", sight("a", false), start);
    assert_eq!(zones.judge(start), Shift::Some);
    assert_eq!(zones.waiting(), ["a6"]);
    assert_eq!(zones.ask("a6", start + seconds(10)), Turn::Held);
}

/// In a zone, over any history, no two turns are nearer than its rate allows.
#[test]
fn turns_keep_their_distance_whatever_comes_and_goes() {
    for seed in 0..50_u64 {
        let mut number = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |limit: u64| {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            number % limit
        };
        let (start, mut last) = (Instant::now(), None::<Instant>);
        let mut zones = zones(&[("a", 40, 20)], start);
        let mut now = start;
        for _ in 0..400 {
            now += Duration::from_millis(below(3000));
            let name = format!("a{}", below(60));
            match below(4) {
                0 => zones.count(&name, sight("a", below(2) == 0), now),
                1 => drop(zones.leave(&name)),
                _ => {
                    let turn = zones.ask(&name, now);
                    if turn == Turn::Now {
                        let apart = last.is_none_or(|last| now - last >= seconds(10));
                        assert!(apart, "seed {seed}: {:?} after the one before", last.map(|last| now - last));
                        last = Some(now);
                    }
                }
            }
            let shift = zones.judge(now);
            assert!(!matches!(shift, Shift::AllDown | Shift::UpAgain), "seed {seed}");
        }
    }
}
