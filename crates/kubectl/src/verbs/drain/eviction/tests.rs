//! A server that a test plays: what it refuses, and what makes us ask again. Time stands still.

use std::sync::{Arc, Mutex};

use api::resource::{POD_DISRUPTION_BUDGETS, PODS};
use bytes::Bytes;
use client::transport::Boxed;
use client::{Body, Reply, Transport};
use tokio::sync::mpsc;

use super::*;

type Events = mpsc::UnboundedSender<WatchEvent>;

/// What the server has been asked, and its open watches.
#[derive(Default)]
struct Seen {
    watches: Mutex<Vec<(String, Events)>>,
}

struct Played {
    seen: Arc<Seen>,
    asked: mpsc::UnboundedSender<String>,
    /// Answers an eviction or a deletion.
    answer: Box<dyn Fn(usize) -> Result<(), Status> + Send + Sync>,
    evictions: std::sync::atomic::AtomicUsize,
}

impl Transport for Played {
    fn call(&self, request: http::Request<Bytes>) -> Boxed<'_, Result<Reply, Status>> {
        let path = request.uri().path().to_string();
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let body = match (request.method().as_str(), path.as_str()) {
            ("GET", "/api") => discovery(&[("", "v1", &[&*PODS])]),
            ("GET", "/apis") => discovery(&[("policy", "v1", &[&*POD_DISRUPTION_BUDGETS])]),
            ("GET", path) if is_watch => {
                let (sender, mut receiver) = mpsc::unbounded_channel();
                self.seen.watches.lock().unwrap().push((path.to_string(), sender));
                Body::Events(Box::pin(futures::stream::poll_fn(move |context| receiver.poll_recv(context))))
            }
            ("GET", _) => Body::List { objects: Vec::new(), revision: 5, continue_token: String::new() },
            _ => match (self.answer)(self.evictions.fetch_add(1, std::sync::atomic::Ordering::SeqCst)) {
                Ok(()) => Body::Bytes(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}}).to_string().into()),
                Err(status) => {
                    let _ = self.asked.send(format!("{} {path}: {}", request.method(), status.code));
                    let status = Reply {
                        status: http::StatusCode::from_u16(status.code).unwrap(),
                        headers: http::HeaderMap::new(),
                        body: Body::Bytes(status.to_value().to_string().into()),
                    };
                    return Box::pin(async move { Ok(status) });
                }
            },
        };
        let _ = self.asked.send(format!("{} {path}{}", request.method(), if is_watch { " watched" } else { "" }));
        Box::pin(async move { Ok(Reply { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body }) })
    }
}

fn discovery(groups: &[(&str, &str, &[&Resource])]) -> Body {
    let group = |(group, version, kinds): &(&str, &str, &[&Resource])| {
        let resource = |kind: &&Resource| {
            json!({"resource": kind.plural, "singularResource": kind.singular, "scope": "Namespaced",
                "responseKind": {"kind": kind.kind}, "verbs": kind.verbs})
        };
        let resources: Vec<Value> = kinds.iter().map(resource).collect();
        json!({"metadata": {"name": group}, "versions": [{"version": version, "resources": resources}]})
    };
    let items: Vec<Value> = groups.iter().map(group).collect();
    Body::Bytes(json!({"kind": "APIGroupDiscoveryList", "items": items}).to_string().into())
}

fn pod(name: &str, uid: &str) -> Object {
    let metadata = json!({"name": name, "namespace": "ns", "uid": uid});
    Object::from_value(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})).unwrap()
}

fn budget(allowed: i64, observed: i64) -> Object {
    let status = json!({"disruptionsAllowed": allowed, "observedGeneration": observed});
    let metadata = json!({"name": "b", "namespace": "ns", "generation": 2});
    Object::from_value(
        &json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "status": status}),
    )
    .unwrap()
}

fn violated() -> Status {
    let cause = api::Cause { reason: "DisruptionBudget".into(), ..api::Cause::default() };
    Status { causes: vec![cause], ..Status::new(Reason::TooManyRequests, "Cannot evict pod") }
}

/// What a test does while the pods leave.
struct Stage {
    seen: Arc<Seen>,
    asked: mpsc::UnboundedReceiver<String>,
}

impl Stage {
    /// Until the server was asked this.
    async fn until(&mut self, line: &str) {
        while self.asked.recv().await.unwrap() != line {}
    }

    fn tell(&self, path: &str, event: &WatchEvent) {
        let watches = self.seen.watches.lock().unwrap();
        watches.iter().filter(|(of, _)| of == path).for_each(|(_, watch)| drop(watch.send(event.clone())));
    }
}

const POD_WATCH: &str = "/api/v1/pods";
const BUDGET_WATCH: &str = "/apis/policy/v1/namespaces/ns/poddisruptionbudgets";

/// Lets one pod leave while the story runs; what went wrong.
async fn play(
    answer: impl Fn(usize) -> Result<(), Status> + Send + Sync + 'static,
    change: impl FnOnce(&mut Leaving<'_>),
    story: impl AsyncFnOnce(&mut Stage),
) -> Vec<String> {
    let (seen, (asked, heard)) = (Arc::new(Seen::default()), mpsc::unbounded_channel());
    let played = Played { seen: seen.clone(), asked, answer: Box::new(answer), evictions: Default::default() };
    let session = Session::played(played);
    let mut leaving = Leaving {
        session: &session,
        pods: PODS.clone(),
        node: "n",
        evicts: true,
        grace: -1,
        timeout: Duration::ZERO,
        skip_after: 0,
        dry_run: DryRun::None,
    };
    change(&mut leaving);
    let mut stage = Stage { seen, asked: heard };
    let (failed, ()) = tokio::join!(leaving.all(vec![pod("a", "1")], 4), story(&mut stage));
    failed.err().unwrap_or_default().into_iter().map(|failure| failure.message).collect()
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_a_budget_holds_back_goes_when_the_budget_allows_it_and_not_by_the_clock() {
    let began = Instant::now();
    let answer = |attempt| if attempt < 2 { Err(violated()) } else { Ok(()) };
    let failed = play(
        answer,
        |_| {},
        async |stage| {
            let refused = "POST /api/v1/namespaces/ns/pods/a/eviction: 429";
            stage.until(refused).await;
            stage.until(refused).await;
            // Neither what allows nothing nor what speaks of an older spec is a reason to ask again.
            stage.tell(BUDGET_WATCH, &WatchEvent::Modified(budget(0, 2)));
            stage.tell(BUDGET_WATCH, &WatchEvent::Modified(budget(1, 1)));
            tokio::task::yield_now().await;
            let asked = std::iter::from_fn(|| stage.asked.try_recv().ok());
            assert_eq!(asked.filter(|line| line.starts_with("POST")).collect::<Vec<_>>(), Vec::<String>::new());
            stage.tell(BUDGET_WATCH, &WatchEvent::Modified(budget(1, 2)));
            stage.until("POST /api/v1/namespaces/ns/pods/a/eviction").await;
            stage.tell(POD_WATCH, &WatchEvent::Deleted(pod("a", "1")));
        },
    )
    .await;
    assert_eq!((failed, began.elapsed()), (Vec::new(), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn another_pod_of_the_name_is_not_waited_for() {
    let failed = play(
        |_| Ok(()),
        |_| {},
        async |stage| {
            stage.until("POST /api/v1/namespaces/ns/pods/a/eviction").await;
            stage.tell(POD_WATCH, &WatchEvent::Added(pod("a", "2")));
        },
    )
    .await;
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_altogether_are_asked_again_when_the_server_says() {
    let began = Instant::now();
    let busy = || Status { retry_after_seconds: Some(2), ..Status::new(Reason::TooManyRequests, "busy") };
    let answer = move |attempt| if attempt < 1 { Err(busy()) } else { Ok(()) };
    let failed = play(
        answer,
        |_| {},
        async |stage| {
            stage.until("POST /api/v1/namespaces/ns/pods/a/eviction").await;
            stage.tell(POD_WATCH, &WatchEvent::Deleted(pod("a", "1")));
        },
    )
    .await;
    assert_eq!((failed, began.elapsed()), (Vec::new(), Duration::from_secs(2)));
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_a_namespace_that_ends_is_waited_for_once_it_is_deleted() {
    let answer = |_| {
        let cause = api::Cause { reason: "NamespaceTerminating".into(), ..api::Cause::default() };
        Err(Status { causes: vec![cause], ..Status::new(Reason::Forbidden, "namespace is terminating") })
    };
    let refused = "POST /api/v1/namespaces/ns/pods/a/eviction: 403";
    let failed = play(
        answer,
        |_| {},
        async |stage| {
            stage.until(refused).await;
            let mut going = pod("a", "1").value();
            going["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:30Z");
            stage.tell(POD_WATCH, &WatchEvent::Modified(Object::from_value(&going).unwrap()));
            stage.until(refused).await;
            stage.tell(POD_WATCH, &WatchEvent::Deleted(pod("a", "1")));
        },
    )
    .await;
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn the_time_for_a_node_ends_whatever_is_waited_for() {
    let limit = |leaving: &mut Leaving<'_>| leaving.timeout = Duration::from_secs(90);
    let failed = play(|_| Err(violated()), limit, async |_| {}).await;
    assert_eq!(failed, ["error when evicting pods/\"a\" -n \"ns\": global timeout reached: 1m30s"]);
    let failed = play(|_| Ok(()), limit, async |_| {}).await;
    let why = "context deadline exceeded";
    assert_eq!(failed, [format!("error when waiting for pod \"a\" in namespace \"ns\" to terminate: {why}")]);
    let deletes = |leaving: &mut Leaving<'_>| {
        limit(leaving);
        leaving.evicts = false;
    };
    assert_eq!(play(|_| Ok(()), deletes, async |_| {}).await, [why]);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_told_and_a_pod_that_is_gone_is_no_failure() {
    let failed = play(|_| Err(Status::new(Reason::InternalError, "broken")), |_| {}, async |_| {}).await;
    assert_eq!(failed, ["error when evicting pods/\"a\" -n \"ns\": broken"]);
    let gone = |_| Err(Status::not_found("", "pods", "a"));
    assert!(play(gone, |_| {}, async |_| {}).await.is_empty());
    assert!(
        play(
            gone,
            |leaving| leaving.evicts = false,
            async |stage| {
                stage.until("GET /api/v1/pods watched").await;
                stage.tell(POD_WATCH, &WatchEvent::Deleted(pod("a", "1")));
            }
        )
        .await
        .is_empty()
    );
}

#[test]
fn durations_are_gos() {
    let told = [5, 60, 90, 3600, 3723].map(|seconds| go_duration(Duration::from_secs(seconds)));
    assert_eq!(told, ["5s", "1m0s", "1m30s", "1h0m0s", "1h2m3s"]);
    assert_eq!(go_duration(Duration::from_millis(500)), "500ms");
    assert_eq!(go_duration(Duration::from_millis(1500)), "1.5s");
}
