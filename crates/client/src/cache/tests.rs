//! A cache over a scripted server: lists, watches, their ends, and what subscribers see.

use std::sync::Mutex as StdMutex;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::*;
use crate::Reply;
use crate::script::{Asked, Script, pod, pods, refused, silent, watch};

fn kind() -> &'static api::Resource {
    &api::resource::PODS
}

type Watches = Arc<StdMutex<Vec<UnboundedSender<Value>>>>;
type Step = Box<dyn FnMut(&Watches) -> Result<Reply, Status> + Send>;

/// Answers request after request by its step; the last one is repeated by silence.
fn scripted(steps: Vec<Step>) -> (Client, Arc<StdMutex<Vec<Asked>>>, Watches) {
    let watches = Watches::default();
    let steps = StdMutex::new(VecDeque::from(steps));
    let given = watches.clone();
    let (client, asked) = Script::client(move |_| match steps.lock().unwrap().pop_front() {
        Some(mut step) => step(&given),
        None => silent(),
    });
    (client, asked, watches)
}

fn listed(items: Vec<Value>, revision: u64) -> Step {
    Box::new(move |_| pods(&items, revision))
}

fn watched() -> Step {
    Box::new(|watches| {
        let (lines, reply) = watch();
        watches.lock().unwrap().push(lines);
        reply
    })
}

fn send(watches: &Watches, class: &str, object: Value) {
    watches.lock().unwrap().last().unwrap().send(json!({"type": class, "object": object})).unwrap();
}

fn close(watches: &Watches) {
    watches.lock().unwrap().pop();
}

fn told(change: Change) -> String {
    let revision = |object: Option<Object>| object.map_or(0, |object| object.revision());
    format!("{} {}→{}", change.key, revision(change.old), revision(change.new))
}

async fn watches_are(watches: &Watches, count: usize) {
    while watches.lock().unwrap().len() != count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_holds_what_was_listed_and_then_changed() {
    let (client, asked, watches) = scripted(vec![listed(vec![pod("a", 3), pod("b", 4)], 5), watched()]);
    let scope = Scope { namespace: "default".into(), field_selector: "spec.nodeName=n1".into(), ..Scope::default() };
    let cache = Cache::start(client, kind(), scope);
    cache.synced().await;
    let mut changes = cache.subscribe();
    assert_eq!(told(changes.next().await.unwrap()), "default/a 0→3");
    assert_eq!(told(changes.next().await.unwrap()), "default/b 0→4");
    watches_are(&watches, 1).await;
    send(&watches, "MODIFIED", pod("a", 6));
    send(&watches, "ADDED", pod("c", 7));
    send(&watches, "DELETED", pod("b", 8));
    assert_eq!(told(changes.next().await.unwrap()), "default/a 3→6");
    assert_eq!(told(changes.next().await.unwrap()), "default/c 0→7");
    assert_eq!(told(changes.next().await.unwrap()), "default/b 4→0");
    assert_eq!((cache.len(), cache.revision()), (2, 8));
    assert_eq!(cache.get("default", "a").unwrap().revision(), 6);
    let lines: Vec<String> = asked.lock().unwrap().iter().map(|a| a.line.clone()).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/namespaces/default/pods?fieldSelector=spec.nodeName%3Dn1&limit=5000",
            "GET /api/v1/namespaces/default/pods?watch=true&fieldSelector=spec.nodeName%3Dn1&resourceVersion=5&allowWatchBookmarks=true",
        ]
    );
    drop(cache);
    assert!(changes.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_sees_fewer_steps_but_every_key() {
    let (client, _, watches) = scripted(vec![listed(vec![pod("a", 3)], 5), watched()]);
    let cache = Cache::start(client, kind(), Scope::default());
    cache.synced().await;
    let mut slow = cache.subscribe();
    let mut quick = cache.subscribe();
    watches_are(&watches, 1).await;
    for revision in 6..9 {
        send(&watches, "MODIFIED", pod("a", revision));
    }
    send(&watches, "ADDED", pod("b", 9));
    send(&watches, "DELETED", pod("b", 10));
    while cache.revision() < 10 {
        quick.next().await.unwrap();
    }
    assert_eq!(told(slow.next().await.unwrap()), "default/a 0→8");
    assert_eq!(told(slow.next().await.unwrap()), "default/b 0→0");
    assert!(slow.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_begins_again_where_it_was() {
    let steps = vec![listed(vec![pod("a", 3)], 5), watched(), Box::new(|_: &Watches| silent()) as Step, watched()];
    let (client, asked, watches) = scripted(steps);
    let cache = Cache::start(client, kind(), Scope::default());
    let mut changes = cache.subscribe();
    changes.next().await.unwrap();
    watches_are(&watches, 1).await;
    send(&watches, "BOOKMARK", json!({"metadata": {"resourceVersion": "40"}}));
    close(&watches);
    watches_are(&watches, 1).await;
    send(&watches, "MODIFIED", pod("a", 41));
    assert_eq!(told(changes.next().await.unwrap()), "default/a 3→41");
    assert!(asked.lock().unwrap()[3].line.contains("resourceVersion=40"));
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_is_gone_is_a_new_list_told_as_changes() {
    let expired = || Status::new(Reason::Expired, "too old");
    let second = || vec![pod("a", 3), pod("b", 9), pod("d", 10)];
    let steps = vec![
        listed(vec![pod("a", 3), pod("b", 4), pod("c", 5)], 5),
        watched(),
        listed(second(), 12),
        Box::new(move |_: &Watches| refused(expired())) as Step,
        listed(second(), 14),
        watched(),
    ];
    let (client, _, watches) = scripted(steps);
    let cache = Cache::start(client, kind(), Scope::default());
    cache.synced().await;
    let mut changes = cache.subscribe();
    for _ in 0..3 {
        changes.next().await.unwrap();
    }
    watches_are(&watches, 1).await;
    send(&watches, "ERROR", expired().to_value());
    watches_are(&watches, 2).await;
    let mut seen: Vec<String> = std::iter::from_fn(|| changes.try_next()).map(told).collect();
    seen.sort();
    assert_eq!(seen, ["default/b 4→9", "default/c 5→0", "default/d 0→10"]);
    assert_eq!(cache.revision(), 14);
    close(&watches);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(cache.len(), 3, "kept while the server is away");
}

#[tokio::test(start_paused = true)]
async fn a_long_list_comes_in_pages_of_one_snapshot() {
    let page = |items: Vec<Value>, token: &'static str| {
        Box::new(move |_: &Watches| {
            crate::script::ok(json!({"metadata": {"resourceVersion": "9", "continue": token}, "items": items}))
        }) as Step
    };
    let steps = vec![page(vec![pod("a", 3)], "next"), page(vec![pod("b", 4)], ""), watched()];
    let (client, asked, _) = scripted(steps);
    let cache = Cache::start(client, kind(), Scope::default());
    cache.synced().await;
    assert_eq!((cache.len(), cache.revision()), (2, 9));
    assert!(asked.lock().unwrap()[1].line.ends_with("&continue=next"));
}

fn owned(name: &str, revision: u64, owner: &str, node: &str) -> Value {
    let mut pod = pod(name, revision);
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner}]);
    pod["metadata"]["labels"] = json!({"app": "web", "kubernetes.io/service-name": "s"});
    pod["spec"] = json!({"nodeName": node});
    pod
}

#[tokio::test(start_paused = true)]
async fn an_index_follows_every_change_from_its_first_use_on() {
    use index::{LABEL, NODE, OWNER, SERVICE};
    let steps = vec![listed(vec![owned("a", 3, "r1", "n1"), owned("b", 4, "r1", "n2"), pod("c", 5)], 5), watched()];
    let (client, _, watches) = scripted(steps);
    let cache = Cache::start(client, kind(), Scope::default());
    cache.synced().await;
    let by = |index: &Index, value: &str| {
        cache.by(index, value).iter().map(|object| object.meta().name.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((by(&OWNER, "r1"), by(&OWNER, "r2")), ("a b".into(), String::new()));
    assert_eq!((by(&NODE, "n1"), by(&NODE, "")), ("a".into(), String::new()));
    watches_are(&watches, 1).await;
    send(&watches, "MODIFIED", owned("b", 6, "r2", "n1"));
    send(&watches, "DELETED", owned("a", 7, "r1", "n1"));
    send(&watches, "ADDED", owned("d", 8, "r2", "n1"));
    cache.reached(8).await;
    assert_eq!((by(&OWNER, "r1"), by(&OWNER, "r2")), (String::new(), "b d".into()));
    assert_eq!((by(&NODE, "n1"), by(&NODE, "n2")), ("b d".into(), String::new()));
    assert_eq!((by(&LABEL, "default/app=web"), by(&LABEL, "other/app=web")), ("b d".into(), String::new()));
    assert_eq!(by(&SERVICE, "default/s"), "b d");
}

/// What makes as many as are missing, and looks into its cache for how many there are.
#[tokio::test(start_paused = true)]
async fn what_waits_for_its_own_write_makes_nothing_twice() {
    let (client, _, watches) = scripted(vec![listed(vec![], 5), watched()]);
    let cache = Cache::start(client, kind(), Scope::default());
    cache.synced().await;
    watches_are(&watches, 1).await;
    let (feed, keys) = crate::reconcile::feed::<&'static str>();
    let revision = Arc::new(std::sync::atomic::AtomicU64::new(5));
    let made = revision.clone();
    let work = {
        let (cache, watches) = (cache.clone(), watches.clone());
        move |_| {
            let (cache, watches, revision) = (cache.clone(), watches.clone(), revision.clone());
            async move {
                for number in cache.len()..3 {
                    let at = revision.fetch_add(1, Ordering::SeqCst) + 1;
                    // The server has it at once, its event comes a second later.
                    let (watches, pod) = (watches.clone(), pod(&format!("p{number}-{at}"), at));
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        send(&watches, "ADDED", pod);
                    });
                }
                cache.reached(revision.load(Ordering::SeqCst)).await;
                Ok::<_, String>(crate::reconcile::Requeue::Done)
            }
        }
    };
    let task = tokio::spawn(crate::reconcile::run(keys, 1, work));
    for _ in 0..5 {
        feed.add("set");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((made.load(Ordering::SeqCst), cache.len()), (8, 3), "three, however often it was asked");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_cache_starts_when_somebody_needs_it_and_is_shared() {
    let (client, asked, _) = scripted(vec![listed(vec![pod("a", 3)], 5), watched()]);
    let caches = crate::Caches::new(client);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(asked.lock().unwrap().is_empty());
    let (one, two) = (caches.of(kind()), caches.of(kind()));
    one.synced().await;
    assert!(Arc::ptr_eq(&one, &two) && two.len() == 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(asked.lock().unwrap().len(), 2, "one list, one watch");
}
