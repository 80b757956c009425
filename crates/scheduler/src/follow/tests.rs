use std::sync::Mutex;

use bytes::Bytes;
use client::transport::Boxed;
use client::{Body, Reply, Transport};
use futures::stream;
use http::Request;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use super::*;
use api::{Object, WatchEvent};

/// A server that knows nodes and pods, sends what the test says on the pods' watch, and remembers
/// every write.
struct Server {
    nodes: Vec<Value>,
    pods: Mutex<Option<mpsc::UnboundedReceiver<WatchEvent>>>,
    writes: mpsc::UnboundedSender<(String, Value)>,
    refuse_bindings: Mutex<usize>,
    /// The end of the pod `slow` is not answered before this.
    slow: Arc<Notify>,
}

impl Transport for Server {
    fn call(&self, request: Request<Bytes>) -> Boxed<'_, Result<Reply, Status>> {
        let line = format!("{} {}", request.method(), request.uri().path());
        let watches = request.uri().query().is_some_and(|q| q.contains("watch=true"));
        let body = match (request.method().as_str(), watches) {
            ("GET", false) => {
                let nodes = self.nodes.iter().filter(|_| line.ends_with("/nodes"));
                let objects = nodes.map(|n| Object::from_value(n).unwrap()).collect();
                Body::List { objects, revision: 1, continue_token: String::new() }
            }
            ("GET", true) => {
                let events = if line.ends_with("/pods") { self.pods.lock().unwrap().take() } else { None };
                match events {
                    Some(mut queue) => Body::Events(Box::pin(stream::poll_fn(move |cx| queue.poll_recv(cx)))),
                    None => Body::Events(Box::pin(stream::pending())),
                }
            }
            _ => {
                let value: Value = serde_json::from_slice(request.body()).unwrap();
                self.writes.send((line.clone(), value.clone())).unwrap();
                let mut left = self.refuse_bindings.lock().unwrap();
                if line.ends_with("/binding") && *left > 0 {
                    *left -= 1;
                    return Box::pin(async { Err(Status::internal("no")) });
                }
                if line.starts_with("DELETE") && line.ends_with("/slow") {
                    let (slow, body) = (self.slow.clone(), Body::Bytes(value.to_string().into()));
                    return Box::pin(async move {
                        slow.notified().await;
                        Ok(Reply { status: http::StatusCode::OK, headers: Default::default(), body })
                    });
                }
                Body::Bytes(value.to_string().into())
            }
        };
        Box::pin(async { Ok(Reply { status: http::StatusCode::OK, headers: Default::default(), body }) })
    }
}

struct Cluster {
    /// Writes that were waited for, and those before them.
    seen: Vec<(String, Value)>,
    events: mpsc::UnboundedSender<WatchEvent>,
    writes: mpsc::UnboundedReceiver<(String, Value)>,
    slow: Arc<Notify>,
}

impl Cluster {
    fn start(nodes: Vec<Value>, refuse_bindings: usize) -> Cluster {
        let (events, pods) = mpsc::unbounded_channel();
        let (sink, writes) = mpsc::unbounded_channel();
        let slow = Arc::new(Notify::new());
        let (pods, refuse_bindings) = (Mutex::new(Some(pods)), Mutex::new(refuse_bindings));
        let server = Server { nodes, pods, writes: sink, refuse_bindings, slow: slow.clone() };
        let config = Config {
            clock: Arc::new(|| jiff::Timestamp::UNIX_EPOCH),
            entropy: Arc::new(|bytes| bytes.fill(7)),
            configuration: Configuration::default(),
        };
        tokio::spawn(run(Client::new(Arc::new(server)), config));
        Cluster { seen: Vec::new(), events, writes, slow }
    }

    fn add(&self, pod: &Value) {
        self.events.send(WatchEvent::Added(Object::from_value(pod).unwrap())).unwrap();
    }

    /// The next write whose path ends so.
    async fn write(&mut self, path: &str) -> Value {
        loop {
            let (line, body) = self.writes.recv().await.unwrap();
            self.seen.push((line.clone(), body.clone()));
            if line.ends_with(path) {
                return body;
            }
        }
    }
}

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name, "resourceVersion": "1"},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}}})
}

fn pod(name: &str, cpu: &str, revision: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "uid": name,
        "resourceVersion": revision.to_string(), "generation": 1}, "spec": {"schedulerName": "default-scheduler",
        "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

#[tokio::test(start_paused = true)]
async fn pending_pod_is_bound_and_the_event_says_so() {
    let mut c = Cluster::start(vec![node("n1")], 0);
    c.add(&pod("p", "1", 2));
    let binding = c.write("/api/v1/namespaces/default/pods/p/binding").await;
    assert_eq!((&binding["target"]["name"], &binding["metadata"]["uid"]), (&json!("n1"), &json!("p")));
    let event = c.write("/events").await;
    assert_eq!(event["message"], "Successfully assigned default/p to n1");
    assert_eq!((&event["reason"], &event["action"]), (&json!("Scheduled"), &json!("Binding")));
}

#[tokio::test(start_paused = true)]
async fn pod_without_room_gets_its_reasons_and_its_turn_when_room_is_made() {
    let mut c = Cluster::start(vec![node("n1")], 0);
    c.add(&pod("first", "1", 2));
    c.write("/first/binding").await;
    c.add(&pod("second", "500m", 3));
    let condition = c.write("/second/status").await;
    let message = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption \
                   victims found for incoming pod.";
    assert_eq!(condition["status"]["conditions"][0]["message"], message);
    assert_eq!(condition["status"]["conditions"][0]["reason"], "Unschedulable");
    let gone = Object::from_value(&pod("first", "1", 4)).unwrap();
    c.events.send(WatchEvent::Deleted(gone)).unwrap();
    c.write("/second/binding").await;
}

#[tokio::test(start_paused = true)]
async fn refused_binding_frees_the_place_and_is_tried_again() {
    let mut c = Cluster::start(vec![node("n1")], 1);
    c.add(&pod("p", "1", 2));
    c.write("/p/binding").await;
    let condition = c.write("/p/status").await;
    assert_eq!(condition["status"]["conditions"][0]["reason"], "SchedulerError");
    c.write("/p/binding").await;
}

#[tokio::test(start_paused = true)]
async fn gated_foreign_and_deleted_pods_are_left_alone() {
    let mut c = Cluster::start(vec![node("n1")], 0);
    let mut gated = pod("gated", "1", 2);
    gated["spec"]["schedulingGates"] = json!([{"name": "wait"}]);
    let mut foreign = pod("foreign", "1", 3);
    foreign["spec"]["schedulerName"] = json!("other");
    let mut deleted = pod("deleted", "1", 4);
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for pod in [&gated, &foreign, &deleted, &pod("mine", "1", 5)] {
        c.add(pod);
    }
    let (line, _) = c.writes.recv().await.unwrap();
    assert!(line.ends_with("/mine/binding"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn pod_that_wants_to_be_near_another_runs_once_that_one_was_placed() {
    let mut node = node("n1");
    node["metadata"]["labels"] = json!({"kubernetes.io/hostname": "n1"});
    let mut c = Cluster::start(vec![node], 0);
    let mut near = pod("near", "1m", 2);
    near["spec"]["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}]}});
    c.add(&near);
    c.write("/near/status").await;
    let mut db = pod("db", "1m", 3);
    db["metadata"]["labels"] = json!({"app": "db"});
    c.add(&db);
    let started = Instant::now();
    c.write("/near/binding").await;
    assert!(started.elapsed() < std::time::Duration::from_secs(30), "it waited for the end of its sleep");
}

#[tokio::test(start_paused = true)]
async fn refused_pod_is_tried_again_only_for_what_could_let_it_in() {
    let mut tainted = node("n2");
    tainted["spec"] = json!({"taints": [{"key": "k", "effect": "NoSchedule"}]});
    let mut c = Cluster::start(vec![node("n1"), tainted], 0);
    let mut guest = pod("guest", "1", 2);
    guest["spec"]["tolerations"] = json!([{"key": "k", "operator": "Exists"}]);
    guest["spec"]["nodeSelector"] = json!({});
    c.add(&pod("big", "1", 2));
    c.write("/big/binding").await;
    c.add(&guest);
    c.write("/guest/binding").await;
    c.add(&pod("waits", "1", 3));
    c.write("/waits/status").await;
    // Labels that nobody asks for, and a pod that is another's: no try, so no event.
    guest["spec"]["nodeName"] = json!("n2");
    guest["metadata"]["labels"] = json!({"app": "guest"});
    c.add(&guest);
    let mut other = pod("other", "1m", 4);
    other["spec"]["schedulerName"] = json!("another");
    c.add(&other);
    c.events.send(WatchEvent::Deleted(Object::from_value(&pod("big", "1", 5)).unwrap())).unwrap();
    c.write("/waits/binding").await;
    let failures =
        c.seen.iter().filter(|(line, body)| line.ends_with("/events") && body["reason"] == "FailedScheduling");
    assert_eq!(failures.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn promise_that_is_cleared_or_moves_elsewhere_wakes_who_waits_for_the_room() {
    for then in [Value::Null, json!("n2")] {
        let mut c = Cluster::start(vec![node("n1")], 0);
        let mut promised = pod("promised", "1", 2);
        promised["spec"]["priority"] = json!(10);
        promised["spec"]["preemptionPolicy"] = json!("Never");
        promised["spec"]["nodeSelector"] = json!({"disk": "ssd"});
        promised["status"] = json!({"nominatedNodeName": "n1"});
        c.add(&promised);
        c.write("/promised/status").await;
        c.add(&pod("waits", "1", 3));
        c.write("/waits/status").await;
        promised["status"]["nominatedNodeName"] = then;
        promised["metadata"]["resourceVersion"] = json!("4");
        c.events.send(WatchEvent::Modified(Object::from_value(&promised).unwrap())).unwrap();
        let bound = tokio::time::timeout(std::time::Duration::from_secs(30), c.write("/waits/binding")).await;
        assert!(bound.is_ok(), "it waited for the end of its sleep");
    }
}

#[tokio::test(start_paused = true)]
async fn preemptor_is_not_tried_again_while_its_victims_are_asked_to_go() {
    let mut c = Cluster::start(vec![node("n1"), node("n2")], 0);
    let placed = |name: &str, node: &str, priority: i64| {
        let mut pod = pod(name, "500m", 2);
        (pod["spec"]["nodeName"], pod["spec"]["priority"]) = (json!(node), json!(priority));
        pod
    };
    let quick = placed("quick", "n1", 0);
    let slow = placed("slow", "n1", 0);
    for pod in [&quick, &slow, &placed("third", "n2", 5), &placed("fourth", "n2", 5)] {
        c.add(pod);
    }
    let mut urgent = pod("urgent", "1", 6);
    urgent["spec"]["priority"] = json!(10);
    c.add(&urgent);
    c.write("/pods/slow").await;
    // The first one is gone before the second was told, and nothing of it all was heard on the watch.
    c.events.send(WatchEvent::Deleted(Object::from_value(&quick).unwrap())).unwrap();
    let early = tokio::time::timeout(std::time::Duration::from_secs(60), c.write("/urgent/binding")).await;
    assert!(early.is_err());
    c.slow.notify_one();
    c.events.send(WatchEvent::Deleted(Object::from_value(&slow).unwrap())).unwrap();
    let binding = c.write("/urgent/binding").await;
    assert_eq!(binding["target"]["name"], "n1");
    let ends: Vec<&str> = c.seen.iter().filter_map(|(line, _)| line.strip_prefix("DELETE ")).collect();
    assert_eq!(ends.len(), 2, "{ends:?}");
    let failures = c.seen.iter().filter(|(_, body)| body["reason"] == "FailedScheduling").count();
    assert_eq!(failures, 1);
}
