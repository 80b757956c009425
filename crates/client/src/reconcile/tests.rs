//! The loop's laws, on paused time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};

use super::*;

fn stream(mut queue: mpsc::UnboundedReceiver<&'static str>) -> impl Stream<Item = &'static str> {
    futures::stream::poll_fn(move |cx| queue.poll_recv(cx))
}

type Log = Arc<Mutex<Vec<String>>>;

fn say(log: &Log, what: String) {
    log.lock().unwrap().push(what);
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_never_runs_twice_at_once_and_runs_again_when_it_came_meanwhile() {
    let (keys, queue) = mpsc::unbounded_channel();
    let (log, gate) = (Log::default(), Arc::new(Notify::new()));
    let work = {
        let (log, gate) = (log.clone(), gate.clone());
        move |key: &'static str| {
            let (log, gate) = (log.clone(), gate.clone());
            async move {
                say(&log, format!("+{key}"));
                gate.notified().await;
                say(&log, format!("-{key}"));
                Ok::<_, String>(Requeue::Done)
            }
        }
    };
    let task = tokio::spawn(run(stream(queue), 2, work));
    for key in ["a", "a", "b", "a", "c"] {
        keys.send(key).unwrap();
    }
    settle().await;
    assert_eq!(*log.lock().unwrap(), ["+a", "+b"], "two at once, none twice");
    gate.notify_one();
    settle().await;
    assert_eq!(*log.lock().unwrap(), ["+a", "+b", "-a", "+c"], "the others come first");
    for _ in 0..3 {
        gate.notify_one();
        settle().await;
    }
    assert_eq!(*log.lock().unwrap(), ["+a", "+b", "-a", "+c", "-b", "+a", "-c", "-a"]);
    drop(keys);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn errors_and_panics_back_off_up_to_a_cap_and_a_success_resets() {
    let (keys, queue) = mpsc::unbounded_channel();
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = times.clone();
    let task = tokio::spawn(run(stream(queue), 1, move |_| {
        let times = seen.clone();
        async move {
            let count = {
                let mut times = times.lock().unwrap();
                times.push(Instant::now());
                times.len()
            };
            assert!(count != 2, "a panic counts as an error");
            if count < 20 { Err("no") } else { Ok(Requeue::Done) }
        }
    }));
    keys.send("a").unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let times = times.lock().unwrap().clone();
    assert_eq!(times.len(), 20, "a success ends it");
    let pauses: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] <= PAUSE_MIN + Duration::from_millis(1));
    assert!(pauses[8] > pauses[4] && pauses[4] > pauses[0]);
    assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX + Duration::from_millis(1)));
    assert!(pauses[18] >= PAUSE_MAX / 2);
    drop(keys);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_comes_back_by_itself_or_earlier_with_the_key() {
    let (keys, queue) = mpsc::unbounded_channel();
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let _task = tokio::spawn(run(stream(queue), 1, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, String>(Requeue::After(Duration::from_secs(10))) }
    }));
    keys.send("a").unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    keys.send("a").unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(runs.load(Ordering::SeqCst), 2, "the first timer is gone with the run that the key brought");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(runs.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_feed_holds_a_waiting_key_once() {
    let (feed, mut keys) = feed();
    for key in ["a", "b", "a"] {
        feed.add(key);
    }
    assert_eq!(keys.next().await, Some("a"));
    feed.add("a");
    assert_eq!(keys.next().await, Some("b"));
    assert_eq!(keys.next().await, Some("a"));
}
