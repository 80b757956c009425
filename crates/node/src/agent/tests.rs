use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use runtime::fake::{Fake, FakeConfig};
use serde_json::Value;
use tokio::sync::oneshot;

use super::*;
use crate::network::Imagined;
use crate::tests::small_api::SmallApi;

/// A node on paused time with a fake engine, whose agent can be stopped and started.
struct Node {
    api: SmallApi,
    engine: Arc<dyn Engine>,
    fake: Arc<Fake>,
    network: Arc<dyn Network>,
    config: Config,
    /// Operations of the engine that are to fail, so many times.
    failing: Arc<Mutex<BTreeMap<String, usize>>>,
    stop: Option<oneshot::Sender<()>>,
    agent: Option<tokio::task::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

/// A fake engine that a test keeps a hand on.
fn clock() -> api::Clock {
    let start = tokio::time::Instant::now();
    let first = jiff::Timestamp::from_second(1_700_000_000).unwrap();
    // No two looks at the clock are the same moment, as on a real machine.
    let looks = AtomicU64::new(0);
    Arc::new(move || {
        let nanos = i64::try_from(looks.fetch_add(1, Ordering::Relaxed)).unwrap();
        let elapsed = jiff::SignedDuration::try_from(start.elapsed()).unwrap();
        first + elapsed + jiff::SignedDuration::from_nanos(nanos)
    })
}

impl Node {
    async fn start() -> Node {
        Node::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Node {
        Node::at(SmallApi::default(), change).await
    }

    async fn at(api: SmallApi, change: impl FnOnce(&mut Config)) -> Node {
        Node::over(Imagined::new("10.1.0.0".parse().unwrap()), api, change).await
    }

    async fn over(network: Imagined, api: SmallApi, change: impl FnOnce(&mut Config)) -> Node {
        // In memory already, so that the agent mounts nothing.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let clock = clock();
        api.keep_time(clock.clone());
        let counter = AtomicU64::new(1);
        let entropy: api::Entropy = Arc::new(move |bytes| {
            for chunk in bytes.chunks_mut(8) {
                let n = counter.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).to_le_bytes();
                chunk.copy_from_slice(&n[..chunk.len()]);
            }
        });
        let mut config =
            Config::new("n", folder.path().join("data"), folder.path().join("run"), clock.clone(), entropy);
        config.log_dir = folder.path().join("log");
        config.host_addresses = vec!["192.0.2.1".parse().unwrap()];
        config.machine.cpus = 4;
        config.machine.memory = 8 << 30;
        config.machine.disk = 100 << 30;
        config.machine.boot_id = "boot".into();
        change(&mut config);
        let nanos: runtime::fake::Clock = Arc::new(move || clock().as_nanosecond());
        let failing: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let fails = failing.clone();
        let fault: runtime::fake::FaultHook = Arc::new(move |operation| {
            let mut failing = fails.lock().unwrap();
            let times = failing.get_mut(operation).filter(|times| **times > 0)?;
            *times -= 1;
            Some(runtime::Error::Failed(format!("no {operation} today")))
        });
        let fake = Arc::new(Fake::new(FakeConfig {
            clock: nanos,
            preloaded: vec!["toolbox:1".into(), "toolbox:2".into()],
            pull_time: Duration::from_secs(2),
            start_time: Duration::from_millis(2),
            fault: Some(fault),
        }));
        let mut node = Node {
            api,
            engine: fake.clone(),
            fake,
            network: Arc::new(network),
            config,
            failing,
            stop: None,
            agent: None,
            _folder: folder,
        };
        node.start_agent().await;
        node
    }

    fn fail(&self, operation: &str, times: usize) {
        self.failing.lock().unwrap().insert(operation.into(), times);
    }

    async fn start_agent(&mut self) {
        let agent =
            Agent::start(self.api.client(), self.engine.clone(), self.network.clone(), self.config.clone()).await;
        let agent = agent.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop = Some(stop);
        self.agent = Some(tokio::spawn(agent.run(async {
            let _ = stopped.await;
        })));
    }

    async fn stop_agent(&mut self) {
        drop(self.stop.take());
        self.agent.take().unwrap().await.unwrap();
    }

    fn pod(&self, name: &str, spec: Value) {
        let mut spec = spec;
        spec["nodeName"] = json!("n");
        self.api.put(
            "pods",
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns", "generation": 1},
                "spec": spec, "status": {"phase": "Pending", "qosClass": "BestEffort"}}),
        );
    }

    async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let changed = self.api.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(pod) = self.api.get("pods", "ns", name).filter(|p| holds(p)) {
                    return pod;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(3600), wait).await {
            Ok(pod) => pod,
            Err(_) => panic!("{name} never is {what}: {:#}", self.api.get("pods", "ns", name).unwrap_or_default()),
        }
    }

    async fn phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, phase, |p| p["status"]["phase"] == phase).await
    }

    async fn gone(&self, name: &str) {
        let wait = async {
            loop {
                let changed = self.api.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.api.get("pods", "ns", name).is_none() {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(3600), wait).await.is_err() {
            panic!("{name} never goes: {:#}", self.api.get("pods", "ns", name).unwrap_or_default());
        }
    }

    async fn nothing_left(&self) {
        assert!(self.engine.list().await.unwrap().is_empty());
        assert!(self.network.list().await.unwrap().is_empty());
    }

    fn now(&self) -> jiff::Timestamp {
        self.config.now()
    }

    /// Reasons of all events about a pod, in order of creation.
    async fn reasons(&self, name: &str) -> Vec<String> {
        self.events(name).await.iter().map(|e| e["reason"].as_str().unwrap().to_owned()).collect()
    }

    async fn events(&self, name: &str) -> Vec<Value> {
        // They are written in the background.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut events: Vec<Value> =
            self.api.all("events").into_iter().filter(|e| e["involvedObject"]["name"] == name).collect();
        events.sort_by_key(|e| e["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap());
        events
    }
}

fn puppet(args: &[&str]) -> Value {
    let mut command = vec!["puppet"];
    command.extend(args);
    json!({"name": "c", "image": "toolbox:1", "command": command})
}

fn one(policy: &str, args: &[&str]) -> Value {
    json!({"restartPolicy": policy, "containers": [puppet(args)]})
}

/// As one that is spoken to over CRI does.
#[tokio::test(start_paused = true)]
async fn addresses_are_the_engines_where_it_makes_the_network() {
    let mut node = Node::start().await;
    node.fake.make_networks(vec!["10.9.0.7".parse().unwrap(), "fd00::7".parse().unwrap()]);
    node.pod("p", one("Always", &[]));
    let pod = node.phase("p", "Running").await;
    assert_eq!(pod["status"]["podIPs"], json!([{"ip": "10.9.0.7"}, {"ip": "fd00::7"}]));
    assert!(node.network.list().await.unwrap().is_empty(), "the node makes none beside it");
    let folder = node.config.data_dir.join("pods").join(pod["metadata"]["uid"].as_str().unwrap());
    let hosts = std::fs::read_to_string(folder.join("etc-hosts")).unwrap();
    assert!(hosts.contains("10.9.0.7\tp") && hosts.contains("fd00::7\tp"), "{hosts}");
    // The next agent sees them in the engine's list.
    node.stop_agent().await;
    node.start_agent().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.api.get("pods", "ns", "p").unwrap()["status"]["podIP"], "10.9.0.7");
    node.api.delete_gracefully("ns", "p", 1, node.now());
    node.gone("p").await;
    node.nothing_left().await;
}

#[tokio::test(start_paused = true)]
async fn pod_runs_within_milliseconds_and_with_one_write() {
    let node = Node::start().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let posted = node.now();
    node.pod("p", one("Always", &[]));
    let pod = node.phase("p", "Running").await;
    assert!(node.now().duration_since(posted) < jiff::SignedDuration::from_millis(10));
    assert_eq!(pod["status"]["podIP"], "10.1.0.2");
    assert_eq!(pod["status"]["containerStatuses"][0]["ready"], true);
    let writes = node.api.writes().into_iter().filter(|w| w == "PATCH pods/p/status").count();
    assert_eq!(writes, 1);
    assert_eq!(node.reasons("p").await, ["Pulled", "Created", "Started"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_takes_one_write_and_so_does_a_back_off() {
    let node = Node::start().await;
    node.pod("p", one("Always", &["--run", "1", "--exit", "3"]));
    let waits =
        |p: &Value| p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == json!("CrashLoopBackOff");
    let pod = node.until("p", "waiting", waits).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 1);
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 3);
    // Running, running again, waiting.
    let writes = node.api.writes().into_iter().filter(|w| w == "PATCH pods/p/status").count();
    assert_eq!(writes, 3);
    // The second time it is told what ended before.
    let again = |p: &Value| {
        let c = &p["status"]["containerStatuses"][0];
        c["restartCount"] == 1 && c["state"]["running"].is_object() && c["lastState"]["terminated"]["exitCode"] == 3
    };
    assert!(node.api.saw("p", again));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_takes_its_time_is_seen_to_begin() {
    let node = Node::start().await;
    let begun = node.now();
    node.pod("p", json!({"containers": [{"name": "c", "image": "other:1", "command": ["puppet"]}]}));
    let creating =
        |p: &Value| p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == json!("ContainerCreating");
    node.until("p", "being created", creating).await;
    assert!(node.now().duration_since(begun) <= jiff::SignedDuration::from_millis(1010));
    node.phase("p", "Running").await;
    let writes = node.api.writes().into_iter().filter(|w| w == "PATCH pods/p/status").count();
    assert_eq!(writes, 2);
}

/// Its pods wait for the range; a node that gets none is not ready, and says why.
#[tokio::test(start_paused = true)]
async fn the_network_opens_with_the_range_that_the_server_gives() {
    let node = Node::over(Imagined::closed(), SmallApi::default(), |_| {}).await;
    let ready = || {
        let object = node.api.get("nodes", "", "n").unwrap();
        let ready = object["status"]["conditions"].as_array().unwrap().last().unwrap().clone();
        ["status", "message"].map(|field| ready[field].as_str().unwrap().to_owned())
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ready()[0], "True");
    assert_eq!(node.api.get("nodes", "", "n").unwrap()["spec"]["podCIDR"], Value::Null);
    node.pod("web", json!({"containers": [{"name": "c", "image": "toolbox:1"}]}));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let why = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
               message:no range is imagined yet";
    assert_eq!(ready(), ["False", why]);
    assert_eq!(node.api.get("pods", "ns", "web").unwrap()["status"]["phase"], "Pending");
    let mut object = node.api.get("nodes", "", "n").unwrap();
    object["spec"]["podCIDRs"] = json!(["10.9.8.0/24"]);
    node.api.put("nodes", object);
    let pod = node.phase("web", "Running").await;
    assert_eq!(pod["status"]["podIP"], "10.9.8.2");
    assert_eq!(ready(), ["True", "kubelet is posting ready status"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_has_its_own_range_where_the_server_gives_none() {
    let own = |config: &mut Config| config.pod_cidr = Some("10.7.7.0/24".parse().unwrap());
    let node = Node::over(Imagined::closed(), SmallApi::default(), own).await;
    node.pod("web", json!({"containers": [{"name": "c", "image": "toolbox:1"}]}));
    let pod = node.phase("web", "Running").await;
    assert_eq!(pod["status"]["podIP"], "10.7.7.2");
    let given = SmallApi::default();
    given.put(
        "nodes",
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "spec": {"podCIDRs": ["10.9.8.0/24"]}}),
    );
    let node = Node::over(Imagined::closed(), given, own).await;
    node.pod("web", json!({"containers": [{"name": "c", "image": "toolbox:1"}]}));
    let pod = node.phase("web", "Running").await;
    assert_eq!(pod["status"]["podIP"], "10.9.8.2");
}

#[tokio::test(start_paused = true)]
async fn node_is_ready_with_its_first_write() {
    let node = Node::start().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let object = node.api.get("nodes", "", "n").unwrap();
    let ready = object["status"]["conditions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&ready["type"], &ready["status"]), (&json!("Ready"), &json!("True")));
    assert_eq!(object["status"]["capacity"]["cpu"], "4");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let lease = node.api.get("leases", "kube-node-lease", "n").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "n");
    // Nothing but the lease is written by an idle node.
    let others: Vec<String> = node.api.writes().into_iter().filter(|w| !w.contains("leases")).collect();
    assert!(others.iter().all(|w| w == "POST nodes" || w.contains("events")), "{others:?}");
}

#[tokio::test(start_paused = true)]
async fn node_whose_runtime_is_down_is_not_ready_until_it_is_back() {
    let node = Node::start().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ready = || {
        let object = node.api.get("nodes", "", "n").unwrap();
        let ready = object["status"]["conditions"].as_array().unwrap().last().unwrap().clone();
        ["type", "status", "reason", "message"].map(|field| ready[field].as_str().unwrap().to_owned())
    };
    let good = ["Ready", "True", "KubeletReady", "kubelet is posting ready status"];
    node.fake.set_up(false);
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(ready(), good);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ready(), ["Ready", "False", "KubeletNotReady", "container runtime is down"]);
    // The taint that follows is the controller's: a node may not even touch it.
    let mut object = node.api.get("nodes", "", "n").unwrap();
    let taints = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
    object["spec"]["taints"] = taints.clone();
    node.api.put("nodes", object);
    node.fake.set_up(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ready(), good);
    assert_eq!(node.api.get("nodes", "", "n").unwrap()["spec"]["taints"], taints);
    let reasons = node.reasons("n").await;
    assert_eq!(reasons[reasons.len() - 2..], ["NodeNotReady", "NodeReady"]);
}

#[tokio::test(start_paused = true)]
async fn deletion_gives_the_grace_and_removes_everything_before_the_object() {
    let node = Node::start().await;
    node.pod("p", one("Always", &["--ignore-term"]));
    node.phase("p", "Running").await;
    let asked = node.now();
    node.api.delete_gracefully("ns", "p", 7, asked);
    node.gone("p").await;
    let took = node.now().duration_since(asked).as_secs_f64();
    assert!((7.0..7.2).contains(&took), "{took}");
    node.nothing_left().await;
    let writes = node.api.writes();
    let last: Vec<&String> = writes.iter().filter(|w| w.contains("pods/p")).collect();
    assert_eq!(last.last().unwrap().as_str(), "DELETE pods/p");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_ended_is_told_and_tried_again() {
    let node = Node::start().await;
    node.pod("p", one("Always", &[]));
    node.pod("q", one("Always", &["--ignore-term"]));
    node.phase("p", "Running").await;
    node.phase("q", "Running").await;
    node.fail("signal", 2);
    node.fail("stop_sandbox", 1);
    let asked = node.now();
    node.api.delete_gracefully("ns", "p", 30, asked);
    node.gone("p").await;
    assert!(node.now().duration_since(asked) < jiff::SignedDuration::from_secs(10));
    let told: Vec<Value> = node.events("p").await.into_iter().filter(|e| e["reason"] == "FailedKillPod").collect();
    let uid = told[0]["involvedObject"]["uid"].as_str().unwrap();
    let texts: Vec<&str> = told.iter().map(|e| e["message"].as_str().unwrap()).collect();
    let of = |what: &str, whose: &str, why: &str| {
        format!("error killing pod: failed to \"{what}\" for \"{whose}\" with {what}Error: \"{why}\"")
    };
    let why = "a sandbox was not stopped: no stop_sandbox today";
    assert_eq!(texts, [of("KillContainer", "c", "no signal today"), of("KillPodSandbox", uid, why)]);
    // So is the kill after the grace.
    let asked = node.now();
    node.api.delete_gracefully("ns", "q", 5, asked);
    tokio::time::sleep(Duration::from_secs(1)).await;
    node.fail("signal", 1);
    node.gone("q").await;
    assert!(node.now().duration_since(asked) < jiff::SignedDuration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn obedient_container_is_gone_at_once() {
    let node = Node::start().await;
    node.pod("p", one("Always", &[]));
    node.phase("p", "Running").await;
    let asked = node.now();
    node.api.delete_gracefully("ns", "p", 30, asked);
    node.gone("p").await;
    assert!(node.now().duration_since(asked) < jiff::SignedDuration::from_millis(20));
    let told = |p: &Value| {
        let end = &p["status"]["containerStatuses"][0]["state"]["terminated"];
        p["status"]["phase"] == "Failed" && end["exitCode"] == 143
    };
    assert!(node.api.saw("p", told));
    node.nothing_left().await;
}

#[tokio::test(start_paused = true)]
async fn crashing_container_backs_off_exactly() {
    let node = Node::start().await;
    node.pod("p", one("Always", &["--run", "1", "--exit", "3"]));
    let begun = node.now();
    let third = |p: &Value| p["status"]["containerStatuses"][0]["restartCount"] == 3;
    node.until("p", "restarted thrice", third).await;
    // Runs of one second each, then 0, 10 and 20 seconds.
    let took = node.now().duration_since(begun).as_secs_f64();
    assert!((33.0..33.2).contains(&took), "{took}");
    let waits = |p: &Value| p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let pod = node.until("p", "backing off", waits).await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert!(node.reasons("p").await.contains(&"BackOff".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn allowance_of_last_words_is_shared_by_the_containers_of_the_spec() {
    let node = Node::start().await;
    let words = "x".repeat(5000);
    let named = |name: &str| {
        let mut c = puppet(&["--run", "1", "--exit", "3", "--message", &words]);
        c["name"] = json!(name);
        c
    };
    let pod = |names: &[&str]| json!({"containers": names.iter().map(|name| named(name)).collect::<Vec<_>>()});
    node.pod("two", pod(&["a", "b"]));
    node.pod("six", pod(&["a", "b", "c", "d", "e", "f"]));
    for (name, length) in [("two", 4096), ("six", 2048)] {
        let third = |p: &Value| {
            let all = p["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
            !all.is_empty() && all.iter().all(|c| c["restartCount"] == 3)
        };
        let pod = node.until(name, "restarted thrice", third).await;
        for c in pod["status"]["containerStatuses"].as_array().unwrap() {
            let message = c["lastState"]["terminated"]["message"].as_str().unwrap();
            assert_eq!(message.len(), length, "whatever else of them is still known");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn finished_pod_keeps_its_status_and_loses_its_sandbox() {
    let node = Node::start().await;
    node.pod("p", one("Never", &["--run", "2", "--message", "bye"]));
    let pod = node.phase("p", "Succeeded").await;
    let end = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&end["reason"], &end["message"]), (&json!("Completed"), &json!("bye")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(node.network.list().await.unwrap().is_empty());
    assert_eq!(node.engine.list().await.unwrap().len(), 1);
    node.api.delete_gracefully("ns", "p", 0, node.now());
    node.gone("p").await;
    node.nothing_left().await;
}

#[tokio::test(start_paused = true)]
async fn init_containers_and_sidecars_come_first() {
    let node = Node::start().await;
    let step = |name: &str, args: &[&str], sidecar: bool| {
        let mut c = puppet(args);
        c["name"] = json!(name);
        if sidecar {
            c["restartPolicy"] = json!("Always");
        }
        c
    };
    node.pod(
        "p",
        json!({"restartPolicy": "Never",
            "initContainers": [step("i", &["--run", "3"], false), step("s", &[], true)],
            "containers": [step("c", &["--run", "5"], false)]}),
    );
    let begun = node.now();
    node.phase("p", "Running").await;
    assert!(node.now().duration_since(begun).as_secs() >= 3);
    node.phase("p", "Succeeded").await;
    let pod = node.until("p", "ended", |p| !p["status"]["initContainerStatuses"][1]["state"]["terminated"].is_null());
    assert_eq!(pod.await["status"]["phase"], "Succeeded");
}

#[tokio::test(start_paused = true)]
async fn sidecar_that_ends_while_its_pod_ends_is_neither_started_again_nor_stopped() {
    let node = Node::start().await;
    let mut sidecar = puppet(&["--run", "6"]);
    sidecar["name"] = json!("s");
    sidecar["restartPolicy"] = json!("Always");
    node.pod("p", json!({"initContainers": [sidecar], "containers": [puppet(&["--ignore-term"])]}));
    node.phase("p", "Running").await;
    let asked = node.now();
    node.api.delete_gracefully("ns", "p", 10, asked);
    let ended = |p: &Value| p["status"]["initContainerStatuses"][0]["state"]["terminated"].is_object();
    node.until("p", "with its sidecar ended", ended).await;
    node.gone("p").await;
    assert!(!node.api.saw("p", |p| p["status"]["initContainerStatuses"][0]["restartCount"] == 1));
}

#[tokio::test(start_paused = true)]
async fn restarted_agent_adopts_what_runs_and_ends_what_nobody_wants() {
    let mut node = Node::start().await;
    node.pod("p", one("Always", &[]));
    node.pod("q", one("Always", &[]));
    let before = node.phase("p", "Running").await;
    node.phase("q", "Running").await;
    node.stop_agent().await;
    node.api.delete("pods", "ns", "q");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(node.engine.list().await.unwrap().len(), 2);
    node.start_agent().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(node.engine.list().await.unwrap().len(), 1);
    let after = node.phase("p", "Running").await;
    assert_eq!(before["status"], after["status"]);
}

#[tokio::test(start_paused = true)]
async fn exit_that_nobody_saw_is_reported_after_a_restart() {
    let mut node = Node::start().await;
    node.pod("p", one("Never", &["--run", "10", "--exit", "4"]));
    node.phase("p", "Running").await;
    node.stop_agent().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    node.start_agent().await;
    let pod = node.phase("p", "Failed").await;
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 4);
}

#[tokio::test(start_paused = true)]
async fn rebooted_machine_runs_the_pod_in_a_new_sandbox() {
    let node = Node::start().await;
    node.pod("p", one("Always", &[]));
    node.phase("p", "Running").await;
    node.fake.reboot();
    let again = |p: &Value| {
        let c = &p["status"]["containerStatuses"][0];
        c["restartCount"] == 1 && c["state"]["running"].is_object()
    };
    let pod = node.until("p", "running again", again).await;
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["reason"], &last["exitCode"]), (&json!("Unknown"), &json!(255)));
    assert!(node.reasons("p").await.contains(&"SandboxChanged".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn container_replaced_by_a_present_image_is_not_seen_to_be_gone() {
    let node = Node::start().await;
    node.pod("p", one("Always", &[]));
    node.phase("p", "Running").await;
    let replaced = async |image: &str, count: i64| {
        let mut pod = node.api.get("pods", "ns", "p").unwrap();
        pod["spec"]["containers"][0]["image"] = json!(image);
        node.api.put("pods", pod);
        let status = |p: &Value| p["status"]["containerStatuses"][0].clone();
        let next = |p: &Value| status(p)["restartCount"] == count && status(p)["ready"] == true;
        node.until("p", "replaced", next).await
    };
    let gone = |p: &Value| p["status"]["phase"] == "Running" && p["status"]["containerStatuses"][0]["ready"] == false;
    let pod = replaced("toolbox:2", 1).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 143, "{pod}");
    assert!(!node.api.saw("p", gone));
    // That a pull lasts is told.
    replaced("example.com/toolbox:3", 2).await;
    assert!(node.api.saw("p", gone));
}

#[tokio::test(start_paused = true)]
async fn image_that_cannot_be_pulled_backs_off() {
    let node = Node::start().await;
    let mut c = puppet(&[]);
    c["image"] = json!("absent.invalid/x:1");
    node.pod("p", json!({"containers": [c]}));
    let reason =
        |r: &'static str| move |p: &Value| p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == r;
    let pod = node.until("p", "backing off", reason("ImagePullBackOff")).await;
    assert!(node.api.saw("p", reason("ErrImagePull")));
    let message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Back-off pulling image \"absent.invalid/x:1\": ErrImagePull: "), "{message}");
    assert_eq!(pod["status"]["phase"], "Pending");
    // A deletion does not wait for any of it.
    let asked = node.now();
    node.api.delete_gracefully("ns", "p", 30, asked);
    node.gone("p").await;
    assert!(node.now().duration_since(asked) < jiff::SignedDuration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn server_that_is_down_stops_no_pod() {
    let node = Node::start().await;
    node.pod("p", one("Always", &["--run", "30", "--exit", "1"]));
    node.phase("p", "Running").await;
    node.api.set_down(true);
    tokio::time::sleep(Duration::from_secs(45)).await;
    let list = node.engine.list().await.unwrap();
    assert_eq!(list[0].containers.len(), 2);
    node.api.set_down(false);
    node.until("p", "restarted", |p| p["status"]["containerStatuses"][0]["restartCount"] == 1).await;
}

#[tokio::test(start_paused = true)]
async fn static_pod_runs_without_the_server_and_has_a_mirror_with_it() {
    let manifests = tempfile::tempdir().unwrap();
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: ns}\nspec: {containers: [{name: c, image: 'toolbox:1', command: [puppet]}]}\n";
    std::fs::write(manifests.path().join("web.yaml"), text).unwrap();
    let folder = manifests.path().to_owned();
    let node = Node::with(move |config| config.manifest_dir = Some(folder)).await;
    let mirror = node.phase("web-n", "Running").await;
    assert_ne!(mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"], Value::Null);
    // Deleting the mirror ends nothing: it comes back.
    node.api.delete("pods", "ns", "web-n");
    let back = node.phase("web-n", "Running").await;
    assert_ne!(back["metadata"]["uid"], mirror["metadata"]["uid"]);
    assert_eq!(node.engine.list().await.unwrap()[0].containers.len(), 1);
}

fn with_cpu(request: &str) -> Value {
    let mut c = puppet(&[]);
    c["resources"] = json!({"requests": {"cpu": request}});
    json!({"restartPolicy": "Always", "containers": [c]})
}

fn resize(node: &Node, name: &str, request: &str) {
    let mut pod = node.api.get("pods", "ns", name).unwrap();
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": request}});
    pod["metadata"]["generation"] = json!(2);
    node.api.put("pods", pod);
}

#[tokio::test(start_paused = true)]
async fn resize_changes_limits_in_place_and_waits_where_the_node_is_full() {
    let node = Node::start().await;
    node.pod("p", with_cpu("1"));
    node.pod("q", with_cpu("2"));
    node.phase("p", "Running").await;
    node.phase("q", "Running").await;
    resize(&node, "p", "1500m");
    let given = |amount: &'static str| {
        move |p: &Value| p["status"]["containerStatuses"][0]["resources"]["requests"]["cpu"] == amount
    };
    let pod = node.until("p", "resized", given("1500m")).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(pod["status"]["containerStatuses"][0]["allocatedResources"]["cpu"], "1500m");
    // Not while the other one holds the rest.
    resize(&node, "p", "3");
    let condition = |p: &Value| {
        let all = p["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|c| c["type"] == "PodResizePending")
    };
    let pod = node.until("p", "deferred", |p| condition(p).is_some()).await;
    assert_eq!(condition(&pod).unwrap()["reason"], "Deferred");
    assert!(given("1500m")(&pod));
    node.api.delete_gracefully("ns", "q", 0, node.now());
    node.until("p", "resized again", given("3")).await;
    resize(&node, "p", "9");
    let infeasible = |p: &Value| condition(p).is_some_and(|c| c["reason"] == "Infeasible");
    node.until("p", "refused", infeasible).await;
}

fn condition<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    pod["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == name)
}

fn with_limits(node: &Node, spec: &Value, generation: i64) {
    let mut pod = node.api.get("pods", "ns", "p").unwrap();
    pod["spec"] = spec.clone();
    pod["spec"]["nodeName"] = json!("n");
    pod["metadata"]["generation"] = json!(generation);
    node.api.put("pods", pod);
}

#[tokio::test(start_paused = true)]
async fn memory_limit_below_what_is_used_is_refused_and_nothing_is_written() {
    let node = Node::start().await;
    let spec = |limit: &str| {
        let mut c = puppet(&["--memory", "200000000"]);
        c["resources"] = json!({"limits": {"memory": limit}, "requests": {"memory": "1M"}});
        json!({"restartPolicy": "Always", "containers": [c]})
    };
    node.pod("p", spec("400M"));
    node.phase("p", "Running").await;
    with_limits(&node, &spec("100M"), 2);
    let failed = |p: &Value| condition(p, "PodResizeInProgress").is_some_and(|c| c["reason"] == "Error");
    let pod = node.until("p", "refused", failed).await;
    let why = "cannot decrease memory limits: [attempting to set pod memory limit (100000000) below current usage \
               (200000000), attempting to set container \"c\" memory limit (100000000) below current usage (200000000)]";
    assert_eq!(condition(&pod, "PodResizeInProgress").unwrap()["message"], why);
    assert_eq!(pod["status"]["containerStatuses"][0]["resources"]["limits"]["memory"], "400M");
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let sandbox = &node.engine.list().await.unwrap()[0];
    assert_eq!(
        (sandbox.spec.resources.memory, sandbox.containers[0].spec.resources.memory),
        (400_000_000, 400_000_000)
    );
    let errors: Vec<Value> = node.events("p").await.into_iter().filter(|e| e["reason"] == "ResizeError").collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0]["message"].as_str().unwrap().starts_with("Pod resize error: {\"containers\":[{\"name\":\"c\""));
    // Less is asked for: it comes at once.
    with_limits(&node, &spec("300M"), 3);
    let over = |p: &Value| condition(p, "PodResizeInProgress").is_none();
    let pod = node.until("p", "resized", over).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["resources"]["limits"]["memory"], "300M");
}

#[tokio::test(start_paused = true)]
async fn resources_of_a_whole_pod_are_resized_like_its_containers() {
    let node = Node::start().await;
    let spec = |cpu: &str| {
        let resources = json!({"requests": {"cpu": cpu, "memory": "1G"}, "limits": {"cpu": "4", "memory": "2G"}});
        json!({"restartPolicy": "Always", "resources": resources, "containers": [puppet(&[])]})
    };
    node.pod("p", spec("1"));
    node.phase("p", "Running").await;
    with_limits(&node, &spec("2"), 2);
    let given = |p: &Value| p["status"]["resources"]["requests"]["cpu"] == "2";
    let pod = node.until("p", "resized", given).await;
    assert_eq!(pod["status"]["allocatedResources"]["cpu"], "2");
    let shares = async || node.engine.list().await.unwrap()[0].spec.resources.cpu_shares;
    assert_eq!(shares().await, 2048);
    // More than the node has: what was admitted stands, after a restart of the agent too.
    with_limits(&node, &spec("9"), 3);
    let pending = |p: &Value| condition(p, "PodResizePending").is_some_and(|c| c["reason"] == "Infeasible");
    let pod = node.until("p", "refused", pending).await;
    assert_eq!((&pod["status"]["allocatedResources"]["cpu"], given(&pod)), (&json!("2"), true));
    let mut node = node;
    node.stop_agent().await;
    node.start_agent().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(pending(&node.api.get("pods", "ns", "p").unwrap()));
    assert_eq!(node.engine.list().await.unwrap()[0].spec.resources.cpu_shares, 2048);
    let reasons = node.reasons("p").await;
    let has = |reason: &str| reasons.iter().any(|r| r == reason);
    assert!(has("ResizeStarted") && has("ResizeCompleted") && has("ResizeInfeasible"), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn an_init_container_is_resized_while_it_runs_and_not_waited_for_afterwards() {
    let node = Node::start().await;
    let spec = |init: &str, main: &str| {
        let mut step = puppet(&["--run", "100"]);
        step["name"] = json!("i");
        step["resources"] = json!({"requests": {"cpu": "1m"}, "limits": {"memory": init}});
        let mut c = puppet(&[]);
        c["resources"] = json!({"requests": {"cpu": "1m"}, "limits": {"memory": main}});
        json!({"restartPolicy": "Always", "initContainers": [step], "containers": [c]})
    };
    node.pod("p", spec("100M", "100M"));
    node.until("p", "in its first step", |p| p["status"]["initContainerStatuses"][0]["state"]["running"].is_object())
        .await;
    with_limits(&node, &spec("200M", "100M"), 2);
    let given = |p: &Value| p["status"]["initContainerStatuses"][0]["resources"]["limits"]["memory"] == "200M";
    let over = |p: &Value| condition(p, "PodResizeInProgress").is_none();
    let pod = node.until("p", "resized", |p| given(p) && over(p)).await;
    assert!(pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object(), "{pod}");
    let memory = async || {
        let sandbox = &node.engine.list().await.unwrap()[0];
        sandbox.containers.last().unwrap().spec.resources.memory
    };
    assert_eq!(memory().await, 200_000_000);
    node.phase("p", "Running").await;
    with_limits(&node, &spec("200M", "300M"), 3);
    let given = |p: &Value| p["status"]["containerStatuses"][0]["resources"]["limits"]["memory"] == "300M";
    node.until("p", "resized once more", |p| given(p) && over(p)).await;
}

fn probed(kind: &str, command: &str) -> Value {
    let mut c = puppet(&[]);
    c[kind] = json!({"exec": {"command": [command]}, "periodSeconds": 2, "failureThreshold": 2, "timeoutSeconds": 1});
    json!({"restartPolicy": "Always", "containers": [c]})
}

#[tokio::test(start_paused = true)]
async fn failing_liveness_restarts_and_failing_readiness_only_unreadies() {
    let node = Node::start().await;
    node.pod("live", probed("livenessProbe", "false"));
    node.pod("ready", probed("readinessProbe", "false"));
    node.pod("started", probed("startupProbe", "true"));
    let c = |p: &Value| p["status"]["containerStatuses"][0].clone();
    node.until("live", "restarted", |p| c(p)["restartCount"] == 2).await;
    // Stopped and started in one step, as upstream.
    assert!(!node.api.saw("live", |p| !c(p)["state"]["terminated"].is_null()));
    let unready = node.phase("ready", "Running").await;
    assert_eq!((&c(&unready)["ready"], &c(&unready)["restartCount"]), (&json!(false), &json!(0)));
    node.until("started", "started", |p| c(p)["started"] == true && c(p)["ready"] == true).await;
    let reasons = node.reasons("live").await;
    assert!(reasons.contains(&"Unhealthy".to_owned()) && reasons.contains(&"Killing".to_owned()), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn probe_that_takes_too_long_is_ended_and_a_hook_is_not() {
    let node = Node::start().await;
    let mut c = puppet(&["--ignore-term"]);
    let slow = json!({"command": ["sleep", "infinity"]});
    c["readinessProbe"] = json!({"exec": slow, "periodSeconds": 60, "timeoutSeconds": 3});
    node.pod("p", json!({"containers": [c]}));
    node.phase("p", "Running").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(node.fake.execs(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(node.fake.execs(), 0);
    let events = node.events("p").await;
    let text = "Readiness probe failed: command timed out: \"sleep infinity\" timed out after 3s";
    assert!(events.iter().any(|e| e["message"] == text), "{events:#?}");
    // An abandoned hook ends with its container only.
    let mut c = puppet(&["--ignore-term"]);
    c["lifecycle"] = json!({"preStop": {"exec": slow}});
    node.pod("q", json!({"containers": [c]}));
    node.phase("q", "Running").await;
    node.api.delete_gracefully("ns", "q", 5, node.now());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(node.fake.execs(), 1);
    node.gone("q").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.fake.execs(), 0);
}

#[tokio::test(start_paused = true)]
async fn probe_whose_runtime_is_away_says_nothing() {
    let node = Node::start().await;
    let mut c = puppet(&[]);
    c["livenessProbe"] = json!({"exec": {"command": ["sleep", "0.5"]}, "periodSeconds": 1, "failureThreshold": 1});
    node.pod("p", json!({"restartPolicy": "Always", "containers": [c]}));
    node.phase("p", "Running").await;
    for _ in 0..5 {
        node.fake.set_up(false);
        tokio::time::sleep(Duration::from_millis(2300)).await;
        node.fake.set_up(true);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let pod = node.api.get("pods", "ns", "p").unwrap();
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    assert!(!node.reasons("p").await.contains(&"Killing".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn hooks_take_their_time_out_of_the_grace() {
    let node = Node::start().await;
    let mut c = puppet(&["--ignore-term"]);
    c["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 4}}, "postStart": {"sleep": {"seconds": 3}}});
    let begun = node.now();
    node.pod("p", json!({"restartPolicy": "Always", "containers": [c]}));
    node.phase("p", "Running").await;
    assert!(node.now().duration_since(begun).as_secs() >= 3);
    let asked = node.now();
    node.api.delete_gracefully("ns", "p", 10, asked);
    node.gone("p").await;
    let took = node.now().duration_since(asked).as_secs_f64();
    assert!((10.0..10.2).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn failed_post_start_hook_kills_the_container() {
    let node = Node::start().await;
    let mut c = puppet(&[]);
    c["lifecycle"] = json!({"postStart": {"exec": {"command": ["false"]}}});
    node.pod("p", json!({"restartPolicy": "Always", "containers": [c]}));
    node.until("p", "restarted", |p| p["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    assert!(node.reasons("p").await.contains(&"FailedPostStartHook".to_owned()));
}

fn hooked(post_start: &[&str], pre_stop: &[&str]) -> Value {
    let hook = |command: &[&str]| json!({"exec": {"command": command}});
    let mut c = puppet(&[]);
    c["lifecycle"] = json!({"postStart": hook(post_start), "preStop": hook(pre_stop)});
    json!({"restartPolicy": "Never", "containers": [c]})
}

#[tokio::test(start_paused = true)]
async fn hooks_whose_end_is_not_known_are_asked_for_again() {
    let node = Node::start().await;
    let begun = node.now();
    node.pod("p", hooked(&["sleep", "3"], &["sleep", "4"]));
    node.pod("failing", hooked(&["puppet", "--run", "3", "--exit", "1"], &["true"]));
    tokio::time::sleep(Duration::from_secs(2)).await;
    node.fake.lose_sessions();
    node.phase("p", "Running").await;
    let took = node.now().duration_since(begun).as_secs_f64();
    assert!((3.0..3.5).contains(&took), "the same run went on: {took}");
    node.phase("failing", "Failed").await;
    let asked = node.now();
    node.api.delete_gracefully("ns", "p", 20, asked);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        node.fake.lose_sessions();
    }
    node.gone("p").await;
    let took = node.now().duration_since(asked).as_secs_f64();
    assert!((4.0..4.5).contains(&took), "the stop signal waits for the hook: {took}");
    assert!(!node.reasons("p").await.iter().any(|reason| reason.starts_with("FailedP")));
    assert!(node.reasons("failing").await.contains(&"FailedPostStartHook".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn restarted_agent_takes_up_the_hooks_that_are_under_way() {
    let mut node = Node::start().await;
    let begun = node.now();
    node.pod("p", hooked(&["sleep", "3"], &["sleep", "4"]));
    node.pod("failing", hooked(&["puppet", "--run", "3", "--exit", "1"], &["true"]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    node.stop_agent().await;
    node.start_agent().await;
    node.phase("p", "Running").await;
    let took = node.now().duration_since(begun).as_secs_f64();
    assert!((3.0..3.5).contains(&took), "not before its hook is done: {took}");
    node.phase("failing", "Failed").await;
    let asked = node.now();
    node.api.delete_gracefully("ns", "p", 20, asked);
    tokio::time::sleep(Duration::from_secs(1)).await;
    node.stop_agent().await;
    node.start_agent().await;
    assert_eq!(node.fake.execs(), 1);
    node.gone("p").await;
    let took = node.now().duration_since(asked).as_secs_f64();
    assert!((4.0..4.5).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn restarted_agent_gives_the_whole_grace_again() {
    let mut node = Node::start().await;
    node.pod("p", one("Always", &["--ignore-term"]));
    node.phase("p", "Running").await;
    node.api.delete_gracefully("ns", "p", 20, node.now());
    tokio::time::sleep(Duration::from_secs(15)).await;
    node.stop_agent().await;
    let again = node.now();
    node.start_agent().await;
    node.gone("p").await;
    let took = node.now().duration_since(again).as_secs_f64();
    assert!((20.0..20.2).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn shorter_grace_shortens_an_end_under_way() {
    let node = Node::start().await;
    node.pod("p", one("Always", &["--ignore-term"]));
    node.phase("p", "Running").await;
    node.api.delete_gracefully("ns", "p", 100, node.now());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let asked = node.now();
    node.api.delete_gracefully("ns", "p", 3, asked);
    node.gone("p").await;
    let took = node.now().duration_since(asked).as_secs_f64();
    assert!((3.0..3.2).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn deadline_fails_the_pod() {
    let node = Node::start().await;
    let mut spec = one("Always", &[]);
    spec["activeDeadlineSeconds"] = json!(30);
    node.pod("p", spec);
    let pod = node.phase("p", "Failed").await;
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
}

#[tokio::test(start_paused = true)]
async fn pod_that_does_not_fit_is_failed_for_good() {
    let node = Node::start().await;
    node.pod("p", with_cpu("8"));
    let pod = node.phase("p", "Failed").await;
    assert_eq!(pod["status"]["reason"], "OutOfcpu");
    assert!(node.engine.list().await.unwrap().is_empty());
    assert_eq!(node.reasons("p").await, ["OutOfcpu"]);
    assert!(pod["status"].get("containerStatuses").is_none(), "{pod:#}");
}

/// The kubelet no longer counts what was taken off the API, whatever still runs of it.
#[tokio::test(start_paused = true)]
async fn a_pod_removed_by_force_does_not_stand_in_its_successors_way() {
    let node = Node::start().await;
    let mut spec = with_cpu("3");
    spec["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 8080}]);
    node.pod("p", spec.clone());
    node.phase("p", "Running").await;
    node.api.delete("pods", "ns", "p");
    node.pod("p", spec);
    let pod = node.phase("p", "Running").await;
    assert!(pod["status"].get("reason").is_none(), "{pod:#}");
}

#[tokio::test(start_paused = true)]
async fn privileged_pod_stays_pending_where_the_node_forbids_it() {
    let node = Node::with(|config| config.allow_privileged = false).await;
    let mut c = puppet(&[]);
    c["securityContext"] = json!({"privileged": true});
    node.pod("p", json!({"containers": [c]}));
    assert_eq!(node.reasons("p").await, ["FailedValidation"]);
    assert_eq!(node.phase("p", "Pending").await["status"]["startTime"], Value::Null);
    node.api.delete_gracefully("ns", "p", 30, node.now());
    node.gone("p").await;
}

#[tokio::test(start_paused = true)]
async fn missing_config_map_holds_the_pod_until_it_is_there() {
    let node = Node::start().await;
    let mut c = puppet(&[]);
    c["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    node.pod("p", json!({"containers": [c], "volumes": [{"name": "v", "configMap": {"name": "m"}}]}));
    assert!(node.reasons("p").await.contains(&"FailedMount".to_owned()));
    let made = node.now();
    node.api.put(
        "configmaps",
        json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "m", "namespace": "ns"}, "data": {"k": "1"}}),
    );
    node.phase("p", "Running").await;
    assert!(node.now().duration_since(made) < jiff::SignedDuration::from_secs(1));
    let file = || {
        let pod = node.api.get("pods", "ns", "p").unwrap();
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let folder = node.config.data_dir.join("pods").join(uid).join("volumes/kubernetes.io~configmap/v/k");
        std::fs::read_to_string(folder).unwrap()
    };
    assert_eq!(file(), "1");
    node.api.put(
        "configmaps",
        json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "m", "namespace": "ns"}, "data": {"k": "2"}}),
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(file(), "2");
}

fn config_map(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "ns"}, "data": {"k": value}})
}

/// A pod with a ConfigMap's key `k` and a token of ten minutes; the folder of their files.
async fn with_token(node: &Node) -> std::path::PathBuf {
    node.api.put("configmaps", config_map("1"));
    let mut c = puppet(&[]);
    c["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    let sources = json!([{"configMap": {"name": "m"}},
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]);
    node.pod("p", json!({"containers": [c], "volumes": [{"name": "v", "projected": {"sources": sources}}]}));
    let pod = node.phase("p", "Running").await;
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    node.config.run_dir.join("volumes").join(uid).join("volumes/kubernetes.io~projected/v")
}

fn tokens_made(node: &Node) -> usize {
    node.api.writes().iter().filter(|w| w.ends_with("/token")).count()
}

#[tokio::test(start_paused = true)]
async fn a_change_that_comes_while_files_are_being_written_is_written_too() {
    let node = Node::start().await;
    let folder = with_token(&node).await;
    node.api.hold_tokens(true);
    tokio::time::sleep(Duration::from_secs(500)).await;
    assert_eq!(tokens_made(&node), 2, "the files wait for their second token");
    node.api.put("configmaps", config_map("2"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    node.api.hold_tokens(false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(std::fs::read_to_string(folder.join("k")).unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_comes_after_its_pods_end_is_not_written() {
    let node = Node::start().await;
    let folder = with_token(&node).await;
    node.api.hold_tokens(true);
    tokio::time::sleep(Duration::from_secs(500)).await;
    assert_eq!(tokens_made(&node), 2, "the files wait for their second token");
    // The end is not told for a while: the pod is still there when the token comes.
    node.api.refuse("PATCH pods/p/status", 3);
    node.api.delete_gracefully("ns", "p", 1, node.now());
    while folder.exists() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    node.api.hold_tokens(false);
    node.gone("p").await;
    assert!(!folder.exists(), "a dead pod's token is on the machine");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_written_does_not_put_off_the_renewal_of_a_token() {
    let node = Node::start().await;
    let folder = with_token(&node).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    node.api.put("configmaps", config_map("2"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(std::fs::read_to_string(folder.join("k")).unwrap(), "2");
    assert_eq!(tokens_made(&node), 1);
    tokio::time::sleep(Duration::from_secs(85)).await;
    assert_eq!(tokens_made(&node), 2, "four fifths of its life are over");
    tokio::time::sleep(Duration::from_secs(480)).await;
    assert_eq!(tokens_made(&node), 3);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_renewed_is_kept_while_it_lives() {
    let node = Node::start().await;
    with_token(&node).await;
    node.api.refuse("POST serviceaccounts/default/token", 3);
    tokio::time::sleep(Duration::from_secs(530)).await;
    assert_eq!(tokens_made(&node), 5, "refused thrice, ten seconds apart");
    assert!(!node.reasons("p").await.contains(&"FailedMount".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn changed_labels_reach_the_files_that_show_them() {
    let node = Node::start().await;
    let mut c = puppet(&[]);
    c["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    let items = json!([{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]);
    node.pod("p", json!({"containers": [c], "volumes": [{"name": "v", "downwardAPI": {"items": items}}]}));
    let mut pod = node.phase("p", "Running").await;
    pod["metadata"]["labels"] = json!({"key": "value"});
    node.api.put("pods", pod.clone());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let volumes = node.config.run_dir.join("volumes").join(pod["metadata"]["uid"].as_str().unwrap());
    let file = volumes.join("volumes/kubernetes.io~downward-api/v/labels");
    assert_eq!(std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())), "key=\"value\"");
}

#[tokio::test(start_paused = true)]
async fn changed_manifest_ends_the_old_pod_before_the_new_one() {
    let manifests = tempfile::tempdir().unwrap();
    let text = |run: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, namespace: ns}}\nspec: {{containers: [{{name: c, image: 'toolbox:1', command: [puppet, --run, '{run}', --term-after, '3']}}]}}\n"
        )
    };
    std::fs::write(manifests.path().join("web.yaml"), text("1000")).unwrap();
    let folder = manifests.path().to_owned();
    let node = Node::with(move |config| config.manifest_dir = Some(folder)).await;
    let before = node.phase("web-n", "Running").await;
    std::fs::write(manifests.path().join("web.yaml"), text("2000")).unwrap();
    let other = |p: &Value| p["metadata"]["uid"] != before["metadata"]["uid"] && p["status"]["phase"] == "Running";
    node.until("web-n", "another", other).await;
    assert_eq!(node.engine.list().await.unwrap().len(), 1);
    std::fs::remove_file(manifests.path().join("web.yaml")).unwrap();
    node.gone("web-n").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    node.nothing_left().await;
}

#[tokio::test(start_paused = true)]
async fn manifest_that_comes_back_while_its_pod_ends_begins_a_new_life() {
    let manifests = tempfile::tempdir().unwrap();
    let (file, aside) = (manifests.path().join("web.yaml"), manifests.path().join(".web.yaml"));
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: ns}\nspec: {containers: [{name: c, image: 'toolbox:1', command: [puppet, --term-after, '20']}]}\n";
    std::fs::write(&file, text).unwrap();
    let folder = manifests.path().to_owned();
    let node = Node::with(move |config| config.manifest_dir = Some(folder)).await;
    let before = node.phase("web-n", "Running").await;
    std::fs::rename(&file, &aside).unwrap();
    while !node.reasons("web-n").await.contains(&"Killing".to_owned()) {}
    std::fs::rename(&aside, &file).unwrap();
    let other = |p: &Value| p["metadata"]["uid"] != before["metadata"]["uid"] && p["status"]["phase"] == "Running";
    let after = node.until("web-n", "another", other).await;
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(node.engine.list().await.unwrap().len(), 1);
    let of_mirror = |write: &String| write == "POST pods" || write == "DELETE pods/web-n";
    assert_eq!(node.api.writes().into_iter().filter(of_mirror).count(), 3, "made, removed, made");
}

#[tokio::test(start_paused = true)]
async fn mirror_that_the_server_refuses_at_first_is_made_with_its_owner() {
    let manifests = tempfile::tempdir().unwrap();
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: ns}\nspec: {containers: [{name: c, image: 'toolbox:1', command: [puppet]}]}\n";
    std::fs::write(manifests.path().join("web.yaml"), text).unwrap();
    let folder = manifests.path().to_owned();
    let api = SmallApi::default();
    api.refuse("POST nodes", 3);
    api.refuse("POST pods", 2);
    let node = Node::at(api, move |config| config.manifest_dir = Some(folder)).await;
    let mirror = node.phase("web-n", "Running").await;
    let owner = &mirror["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], node.api.get("nodes", "", "n").unwrap()["metadata"]["uid"]);
    assert_eq!((&owner["kind"], &owner["name"], &owner["controller"]), (&json!("Node"), &json!("n"), &json!(true)));
    // So is the deletion of one that is nobody's any more.
    node.api.refuse("DELETE pods/web-n", 2);
    std::fs::remove_file(manifests.path().join("web.yaml")).unwrap();
    node.gone("web-n").await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_outgrows_its_volume_is_evicted_and_its_room_is_free_again() {
    let node = Node::with(|config| config.sampling = true).await;
    let mut spec = one("Always", &[]);
    spec["volumes"] = json!([{"name": "cache", "emptyDir": {"sizeLimit": "1Mi"}}]);
    node.pod("small", spec.clone());
    node.pod("large", spec);
    node.phase("small", "Running").await;
    let large = node.phase("large", "Running").await;
    let uid = large["metadata"]["uid"].as_str().unwrap();
    let folder = node.config.data_dir.join("pods").join(uid);
    std::fs::write(folder.join("volumes/kubernetes.io~empty-dir/cache/file"), vec![1; 2 << 20]).unwrap();
    let failed = node.phase("large", "Failed").await;
    assert_eq!(failed["status"]["reason"], "Evicted");
    assert_eq!(failed["status"]["message"], "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\". ");
    let conditions = failed["status"]["conditions"].as_array().unwrap();
    assert!(!conditions.iter().any(|c| c["type"] == "DisruptionTarget"), "its own fault");
    let stopped = |p: &Value| p["status"]["containerStatuses"][0]["state"]["terminated"].is_object();
    node.until("large", "stopped", stopped).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!folder.exists(), "{}", folder.display());
    assert_eq!(node.reasons("large").await.iter().filter(|r| *r == "Evicted").count(), 1);
    node.phase("small", "Running").await;
}

#[tokio::test(start_paused = true)]
async fn an_image_volume_that_cannot_be_pulled_holds_those_who_mount_it_only() {
    let node = Node::start().await;
    let mut spec = one("Always", &[]);
    let mut mounting = spec["containers"][0].clone();
    mounting["name"] = json!("mounting");
    mounting["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    spec["containers"].as_array_mut().unwrap().push(mounting);
    spec["volumes"] =
        json!([{"name": "data", "image": {"reference": "absent.invalid/data:1", "pullPolicy": "Always"}}]);
    node.pod("p", spec);
    let state = |p: &Value, name: &str| {
        let all = p["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|c| c["name"] == name).map(|c| c["state"].clone()).unwrap_or_default()
    };
    let backing = |p: &Value| state(p, "mounting")["waiting"]["reason"] == "ImagePullBackOff";
    let pod = node.until("p", "backing off", backing).await;
    let message = state(&pod, "mounting")["waiting"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Back-off pulling image \"absent.invalid/data:1\": ErrImagePull: "), "{message}");
    let other = pod["spec"]["containers"][0]["name"].as_str().unwrap();
    assert!(state(&pod, other)["running"].is_object(), "{pod:#}");
    let events = node.events("p").await;
    let of = |reason: &str, text: &str| {
        let found = events.iter().find(|e| e["reason"] == reason && e["message"].as_str().unwrap().contains(text));
        found.unwrap_or_else(|| panic!("{reason} {text}: {events:#?}"))["involvedObject"]["fieldPath"].clone()
    };
    assert_eq!(of("Pulling", "data:1"), Value::Null);
    assert_eq!(of("Failed", "Failed to pull image \"absent.invalid/data:1\""), Value::Null);
    assert_eq!(of("BackOff", "Back-off pulling image \"absent.invalid/data:1\""), Value::Null);
    assert_eq!(of("Failed", "Error: ErrImagePull"), "spec.containers{mounting}");
    assert_eq!(of("Failed", "Error: ImagePullBackOff"), "spec.containers{mounting}");
}

/// Folders and cgroups are by UID: two pods of one UID would share them.
#[tokio::test(start_paused = true)]
async fn a_static_pod_with_the_uid_of_another_pod_is_not_run() {
    let manifests = tempfile::tempdir().unwrap();
    let folder = manifests.path().to_path_buf();
    let node = Node::with(move |config| config.manifest_dir = Some(folder)).await;
    node.pod("p", json!({"containers": [puppet(&[])]}));
    let pod = node.phase("p", "Running").await;
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    let manifest = |name: &str, uid: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns", "uid": uid},
            "spec": {"containers": [{"name": "c", "image": "toolbox:1"}]}})
        .to_string()
    };
    std::fs::write(manifests.path().join("thief.yaml"), manifest("thief", &uid)).unwrap();
    std::fs::write(manifests.path().join("good.yaml"), manifest("good", "own")).unwrap();
    node.phase("good-n", "Running").await;
    assert!(node.api.get("pods", "ns", "thief-n").is_none());
    // Its manifest gone, nothing of the other pod is.
    std::fs::remove_file(manifests.path().join("thief.yaml")).unwrap();
    std::fs::remove_file(manifests.path().join("good.yaml")).unwrap();
    node.gone("good-n").await;
    assert_eq!(node.api.get("pods", "ns", "p").unwrap()["status"]["phase"], "Running");
    assert!(node.config.data_dir.join("pods").join(&uid).exists());
}

#[tokio::test(start_paused = true)]
async fn manifest_that_comes_back_while_its_orphan_ends_begins_a_new_life() {
    let manifests = tempfile::tempdir().unwrap();
    let (file, aside) = (manifests.path().join("web.yaml"), manifests.path().join(".web.yaml"));
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: ns}\nspec: {containers: [{name: c, image: 'toolbox:1', command: [puppet, --term-after, '20']}]}\n";
    std::fs::write(&file, text).unwrap();
    let folder = manifests.path().to_owned();
    let mut node = Node::with(move |config| config.manifest_dir = Some(folder)).await;
    let before = node.phase("web-n", "Running").await;
    node.stop_agent().await;
    std::fs::rename(&file, &aside).unwrap();
    node.start_agent().await;
    node.gone("web-n").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.engine.list().await.unwrap().len(), 1, "it takes its time to end");
    std::fs::rename(&aside, &file).unwrap();
    let other = |p: &Value| p["metadata"]["uid"] != before["metadata"]["uid"] && p["status"]["phase"] == "Running";
    let after = node.until("web-n", "another", other).await;
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(node.engine.list().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn manifests_that_swap_their_uids_both_run() {
    let manifests = tempfile::tempdir().unwrap();
    let folder = manifests.path().to_owned();
    let write = |one: &str, other: &str| {
        for (name, uid) in [("one", one), ("other", other)] {
            let manifest = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns", "uid": uid},
                "spec": {"containers": [{"name": "c", "image": "toolbox:1", "command": ["puppet", "--term-after", "3"]}]}});
            let draft = folder.join(format!(".{name}"));
            std::fs::write(&draft, manifest.to_string()).unwrap();
            std::fs::rename(draft, folder.join(format!("{name}.yaml"))).unwrap();
        }
    };
    write("u1", "u2");
    let dir = folder.clone();
    let node = Node::with(move |config| config.manifest_dir = Some(dir)).await;
    let (one, other) = (node.phase("one-n", "Running").await, node.phase("other-n", "Running").await);
    write("u2", "u1");
    for before in [one, other] {
        let swapped =
            |p: &Value| p["metadata"]["uid"] != before["metadata"]["uid"] && p["status"]["phase"] == "Running";
        node.until(before["metadata"]["name"].as_str().unwrap(), "swapped", swapped).await;
    }
    let found = node.engine.list().await.unwrap();
    let mut found: Vec<(&str, &str)> = found
        .iter()
        .map(|s| (s.spec.labels[LABEL_POD_NAME].as_str(), s.spec.labels[pod::LABEL_POD_UID].as_str()))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [("one-n", "u2"), ("other-n", "u1")]);
}

/// An administrator may have moved them to another disk.
#[tokio::test(start_paused = true)]
async fn links_to_logs_are_made_and_removed_where_their_folder_is_a_link() {
    let disk = tempfile::tempdir().unwrap();
    let at = disk.path().to_owned();
    let node = Node::with(move |config| {
        std::fs::create_dir(config.log_dir.parent().unwrap()).ok();
        std::fs::create_dir(&config.log_dir).unwrap();
        std::os::unix::fs::symlink(at, config.log_dir.join("containers")).unwrap();
    })
    .await;
    node.pod("p", one("Always", &[]));
    node.phase("p", "Running").await;
    let links = || std::fs::read_dir(disk.path()).unwrap().count();
    assert_eq!(links(), 1);
    // Whoever puts another link there meanwhile moves nothing.
    let away = tempfile::tempdir().unwrap();
    std::fs::remove_file(node.config.log_dir.join("containers")).unwrap();
    std::os::unix::fs::symlink(away.path(), node.config.log_dir.join("containers")).unwrap();
    node.pod("q", one("Always", &[]));
    node.phase("q", "Running").await;
    assert_eq!((links(), std::fs::read_dir(away.path()).unwrap().count()), (2, 0));
    for name in ["p", "q"] {
        node.api.delete("pods", "ns", name);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    node.nothing_left().await;
    assert_eq!(links(), 0);
}

#[tokio::test(start_paused = true)]
async fn logs_and_links_that_an_agent_left_behind_go_with_the_next_start() {
    let mut node = Node::start().await;
    node.pod("p", one("Always", &[]));
    node.phase("p", "Running").await;
    node.pod("q", one("Always", &[]));
    node.phase("q", "Running").await;
    let log_dir = node.config.log_dir.clone();
    let count = |what: &str| std::fs::read_dir(log_dir.join(what)).unwrap().count();
    assert_eq!((count("pods"), count("containers")), (2, 2));
    node.stop_agent().await;
    // Everything but its logs went.
    let sandboxes = node.engine.list().await.unwrap();
    let of =
        |name: &str| sandboxes.iter().find(|s| s.spec.labels["io.kubernetes.pod.name"] == name).unwrap().id.clone();
    node.engine.remove_sandbox(&of("p")).await.unwrap();
    node.api.delete("pods", "ns", "p");
    node.start_agent().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((count("pods"), count("containers")), (1, 1), "those of p go, those of q stay");
    // A restarted agent ends a pod whose sandbox is gone already.
    node.stop_agent().await;
    node.engine.remove_sandbox(&of("q")).await.unwrap();
    node.api.delete_gracefully("ns", "q", 5, node.now());
    node.start_agent().await;
    node.gone("q").await;
    assert_eq!((count("pods"), count("containers")), (0, 0));
}
