use super::*;

fn pod(name: &str, priority: i64) -> Arc<Pod> {
    Arc::new(Pod { uid: name.into(), name: name.into(), priority, ..Pod::default() })
}

fn pop(queue: &mut Queue, now: Instant) -> String {
    queue.pop(now).map_or(String::new(), |p| p.name.to_string())
}

#[tokio::test(start_paused = true)]
async fn pods_come_by_priority_then_by_arrival() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for (name, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
        queue.put(pod(name, priority));
    }
    assert_eq!([0; 5].map(|_| pop(&mut queue, now)), ["b", "d", "a", "c", ""]);
}

#[tokio::test(start_paused = true)]
async fn refused_pod_sleeps_until_a_change_that_matters() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.put(pod("a", 0));
    pop(&mut queue, now);
    queue.refused("a", BTreeSet::from(["NodeResourcesFit"]), now);
    queue.wake(now, |_| true, |pod, by| *pod.name == *"a" && by.contains("NodeAffinity"));
    assert_eq!(pop(&mut queue, now), "");
    queue.wake(now, |_| true, |pod, by| *pod.name == *"a" && by.contains("NodeResourcesFit"));
    // Nobody else is ready: the back-off is waived.
    assert_eq!(pop(&mut queue, now), "a");
}

#[tokio::test(start_paused = true)]
async fn back_off_lets_others_go_first_and_sleep_ends_after_five_minutes() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.put(pod("a", 9));
    pop(&mut queue, now);
    queue.refused("a", BTreeSet::from(["NodeResourcesFit"]), now);
    queue.wake(now, |_| true, |pod, by| *pod.name == *"a" && by.contains("NodeResourcesFit"));
    queue.put(pod("b", 0));
    assert_eq!(pop(&mut queue, now), "b");
    assert_eq!(queue.next_ring(), Some(now + Backoff::default().min));
    assert_eq!(pop(&mut queue, now), "a");
    queue.refused("a", BTreeSet::from(["NodeAffinity"]), now);
    assert_eq!(queue.next_ring(), Some(now + ASLEEP_MAX));
    assert_eq!(pop(&mut queue, now + ASLEEP_MAX), "a");
}

#[tokio::test(start_paused = true)]
async fn failed_binding_waits_its_back_off_whoever_is_ready() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.put(pod("a", 0));
    pop(&mut queue, now);
    queue.failed("a", now);
    assert_eq!(pop(&mut queue, now), "");
    assert_eq!(pop(&mut queue, now + Backoff::default().min), "a");
    queue.remove("a");
    assert!(queue.is_empty() && queue.next_ring().is_none());
}

#[tokio::test(start_paused = true)]
async fn changed_spec_is_tried_at_once_and_changed_status_is_not() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    queue.put(pod("a", 0));
    pop(&mut queue, now);
    queue.refused("a", BTreeSet::from(["NodeAffinity"]), now);
    queue.put(pod("a", 0));
    assert_eq!(pop(&mut queue, now), "");
    queue.put(Arc::new(Pod { generation: 2, ..(*pod("a", 0)).clone() }));
    assert_eq!(pop(&mut queue, now), "a");
}

#[test]
fn back_off_doubles_to_ten_seconds() {
    assert_eq!([1, 2, 3, 4, 5, 60].map(|n| Backoff::default().after(n).as_secs()), [1, 2, 4, 8, 10, 10]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_about_what_no_sleeper_hears() {
    let (mut queue, now) = (Queue::default(), Instant::now());
    for name in ["a", "b"] {
        queue.put(pod(name, 0));
        pop(&mut queue, now);
    }
    queue.refused("a", BTreeSet::from(["NodeResourcesFit"]), now);
    queue.refused("b", BTreeSet::from(["NodePorts"]), now);
    queue.wake(now, |name| name == "InterPodAffinity", |_, _| panic!("nobody hears this"));
    queue.wake(now, |name| name == "NodePorts", |pod, _| *pod.name == *"b");
    assert_eq!(pop(&mut queue, now), "b");
    queue.remove("b");
    queue.wake(now, |name| name == "NodePorts", |_, _| panic!("it is gone"));
    queue.remove("a");
    assert!(queue.sleepers.values().all(|number| *number == 0));
}
