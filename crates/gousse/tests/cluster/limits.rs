//! Pods are held to what they may use: local storage, bandwidth; and the node keeps room for itself.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::stage::{Lines, Output, Stage, play};

#[test]
fn pods_that_break_a_limit_of_storage_are_evicted_and_the_others_stay() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let mut up = own.up(&[stage.file("pods.yaml", STORERS).to_str().unwrap()]);
        up.line("Ctrl-C deletes");
        // Usage is looked at every ten seconds.
        for (pod, message) in [
            ("volume", "Usage of EmptyDir volume \"cache\" exceeds the limit \"2Mi\". "),
            ("layer", "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "),
            ("logs", "Container talker exceeded its local ephemeral storage limit \"2Mi\". "),
        ] {
            own.must(&format!("wait --for=jsonpath={{.status.phase}}=Failed pod/{pod} --timeout=60s"));
            let status = &own.json(&format!("get pod {pod}"))["status"];
            assert_eq!((status["reason"].as_str(), status["message"].as_str()), (Some("Evicted"), Some(message)));
            let events = own.must(&format!("events --for pod/{pod}"));
            assert!(events.lines().any(|l| l.contains("Warning") && l.contains("Evicted")), "{events}");
            assert!(!status["conditions"].to_string().contains("DisruptionTarget"), "{status}");
        }
        let kept = own.json("get pod kept");
        assert_eq!(kept["status"]["phase"], "Running");
        assert_eq!(kept["status"]["containerStatuses"][0]["restartCount"], 0);
        own.down(true);
        assert!(up.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

/// Large objects written again and again, and watches that nobody reads: what is kept of them is bounded
/// by bytes, and what was needed for a moment is given back.
#[test]
fn the_memory_of_large_writes_comes_back() {
    const SIZE: usize = 900_000;
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.start("server", &["--listen", "127.0.0.1:0"], &[], "gousse server is ready");
        let resident = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", up.pid())).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
            line.trim_end_matches(" kB").parse::<usize>().unwrap() >> 10
        };
        let client = own.client();
        let kind = &*api::resource::CONFIG_MAPS;
        let map = |n: usize| {
            let name = format!("c-{}", n % 10);
            let data = serde_json::json!({"k": "x".repeat(SIZE), "n": n.to_string()});
            (name.clone(), serde_json::json!({"metadata": {"name": name}, "data": data}))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for n in 0..10 {
                client.create(kind, "default", &map(n).1).await.unwrap();
            }
            let before = resident();
            let mut unread = Vec::new();
            for _ in 0..20 {
                // Each has a connection of its own.
                let options = client::WatchOptions::default();
                unread.push(own.client().watch(kind, "default", &options).await.unwrap());
            }
            for n in 10..400 {
                let (name, object) = map(n);
                client.update(kind, "default", &name, &object).await.unwrap();
            }
            let unread_too = resident();
            drop(unread);
            for n in 400..410 {
                let (name, object) = map(n);
                client.update(kind, "default", &name, &object).await.unwrap();
            }
            let after = resident();
            let grown = (after.saturating_sub(before), unread_too.saturating_sub(before));
            assert!(grown.0 <= 80 && grown.1 <= 140, "{before} MiB grew to {unread_too}, then to {after}");
        });
        up.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(up.end().ok);
    });
}

#[test]
fn a_limit_of_bandwidth_holds_and_one_that_is_none_is_refused_by_name() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        let applied = own.apply(BANDWIDTH);
        assert!(applied.ok, "{applied:?}");
        own.must("wait --for=condition=Ready pod/slow --timeout=60s");
        let address = own.must("get pod slow -o jsonpath={.status.podIP}");
        let begun = std::time::Instant::now();
        let mut stream = std::net::TcpStream::connect((address.as_str(), 80)).unwrap();
        stream.write_all(b"GET /numbers HTTP/1.0\r\n\r\n").unwrap();
        let received = std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        let bits = received as f64 * 8.0 / begun.elapsed().as_secs_f64();
        assert!(received > 1_000_000 && (1e5..12e6).contains(&bits), "{received} bytes, {bits} bit/s");
        let complaint = "annotation kubernetes.io/egress-bandwidth: \"10\": resource is unreasonably small (< 1kbit)";
        let mut watch = Lines::of(own.program(env!("CARGO_BIN_EXE_gousse"), "events --for pod/wrong --watch"));
        watch.until(|line| line.contains("FailedCreatePodSandBox") && line.contains(complaint));
        drop(watch);
        own.down(true);
        assert!(up.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

/// A fork bomb takes its pod's processes, and not the machine's last one.
#[test]
fn a_pod_has_as_many_processes_as_it_may_and_all_pods_leave_the_machine_some() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&["--pod-max-pids", "20"]);
        let applied = own.apply(BOMB);
        assert!(applied.ok, "{applied:?}");
        own.must("wait --for=jsonpath={.status.phase}=Running pod/bomb --timeout=60s");
        let mut log = Lines::of(own.program(env!("CARGO_BIN_EXE_gousse"), "logs --follow bomb"));
        log.until(|line| line.contains("temporarily unavailable"));
        drop(log);
        let group = if Path::new("/sys/fs/cgroup/pids").exists() { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
        let read = |file: &str| fs::read_to_string(file).unwrap().trim().parse::<u64>().unwrap();
        let pods = format!("{group}/kubepods-{}", own.name);
        let most = read("/proc/sys/kernel/pid_max").min(read("/proc/sys/kernel/threads-max"));
        assert_eq!(read(&format!("{pods}/pids.max")), most / 10 * 9);
        assert!(read(&format!("{pods}/pids.current")) <= 20);
        let uid = own.json("get pod bomb")["metadata"]["uid"].as_str().unwrap().to_owned();
        let found = Command::new("find").args([&pods, "-name", &format!("*{uid}*")]).output_now().out;
        assert_eq!(read(&format!("{}/pids.max", found.lines().next().unwrap())), 20, "{found}");
        own.down(true);
        assert!(up.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

/// `hostPort: 6443`, as a pod that wants the tokens of who calls the API server.
#[test]
fn a_pod_does_not_get_the_ports_of_the_node_itself() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let mut up = own.up(&["--node-name", "n"]);
        let server: u16 = up.seen.trim().rsplit(':').next().unwrap().parse().unwrap();
        let node = own.json("get node n")["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap();
        for (name, port) in [("server", u64::from(server)), ("node", node), ("health", 10248)] {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [
                {"name": "c", "image": "toolbox", "command": ["web", "-p", "80", "/"],
                    "ports": [{"containerPort": 80, "hostPort": port}]}]}});
            assert!(own.apply(&pod.to_string()).ok);
            own.must(&format!("wait --for=jsonpath={{.status.phase}}=Failed pod/{name} --timeout=60s"));
            let status = &own.json(&format!("get pod {name}"))["status"];
            assert_eq!(status["reason"], "NodePorts", "{status}");
            assert!(status["message"].as_str().unwrap().ends_with(&format!("serves TCP port {port}")), "{status}");
        }
        own.must("get namespace default");
        own.down(true);
        up.seen.clear();
        assert!(up.end().ok);
    });
}

const BOMB: &str = "
apiVersion: v1
kind: Pod
metadata: {name: bomb}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: toolbox
    command: [sh, -c, 'i=0; while [ $i -lt 200 ]; do sleep inf & i=$((i+1)); done; wait']
";

/// `seq 1 200000` prints 1.3 megabytes: a second at ten megabits.
const BANDWIDTH: &str = "
apiVersion: v1
kind: Pod
metadata: {name: slow, annotations: {kubernetes.io/egress-bandwidth: 10M}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: toolbox
    command: [sh, -c, 'mkdir /site; seq 1 200000 > /site/numbers; exec web -p 80 /site']
    readinessProbe: {httpGet: {path: /numbers, port: 80}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: wrong, annotations: {kubernetes.io/egress-bandwidth: '10'}}
spec: {containers: [{name: main, image: toolbox, command: [sleep, '1000']}]}
";

#[test]
fn a_node_short_of_memory_says_so_refuses_the_undemanding_and_evicts_what_it_may() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        // More than any machine has: short from the first look on.
        let up = own.up(&["--eviction-hard", "memory.available<1Pi", "--node-name", "short"]);
        own.must("wait --for=condition=MemoryPressure node/short --timeout=60s");
        let taint = "{.spec.taints[?(@.key==\"node.kubernetes.io/memory-pressure\")].effect}=NoSchedule";
        own.must(&format!("wait '--for=jsonpath={taint}' node/short --timeout=60s"));
        let applied = own.apply(PRESSED);
        assert!(applied.ok, "{applied:?}");
        own.must("wait --for=jsonpath={.status.phase}=Failed pod/refused --timeout=60s");
        let refused = &own.json("get pod refused")["status"];
        assert_eq!(refused["reason"], "Evicted");
        assert_eq!(refused["message"], "Pod was rejected: The node had condition: [MemoryPressure]. ");
        own.must("wait --for=condition=Ready pod/critical pod/tolerant --timeout=60s");
        own.must("wait --for=jsonpath={.status.phase}=Failed pod/tolerant --timeout=60s");
        let evicted = &own.json("get pod tolerant")["status"];
        let message = evicted["message"].as_str().unwrap();
        let begins = "The node was low on resource: memory. Threshold quantity: 1Pi, available: ";
        assert!(evicted["reason"] == "Evicted" && message.starts_with(begins), "{evicted}");
        assert!(message.contains(". Container main was using ") && message.ends_with(" consumption of memory. "));
        let conditions = evicted["conditions"].as_array().unwrap();
        let disrupted = conditions.iter().find(|c| c["type"] == "DisruptionTarget").unwrap();
        assert_eq!(disrupted["reason"], "TerminationByKubelet");
        let events = own.json("get events");
        let events = events["items"].as_array().unwrap();
        let about = |name: &str, reason: &str| {
            events.iter().find(|e| e["involvedObject"]["name"] == name && e["reason"] == reason).unwrap()
        };
        assert_eq!(about("tolerant", "Evicted")["metadata"]["annotations"]["starved_resource"], "memory");
        assert_eq!(about("short", "EvictionThresholdMet")["message"], "Attempting to reclaim memory");
        about("short", "NodeHasInsufficientMemory");
        assert_eq!(own.json("get pod critical")["status"]["phase"], "Running");
        own.down(true);
        assert!(up.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

/// Bound by hand: the scheduler keeps off a tainted node.
const PRESSED: &str = "
apiVersion: v1
kind: Pod
metadata: {name: refused}
spec: {nodeName: short, containers: [{name: main, image: toolbox, command: [sleep, '1000']}]}
---
apiVersion: v1
kind: Pod
metadata: {name: critical}
spec:
  nodeName: short
  priorityClassName: system-node-critical
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: toolbox, command: [sleep, '1000']}]
---
apiVersion: v1
kind: Pod
metadata: {name: tolerant}
spec:
  tolerations: [{key: node.kubernetes.io/memory-pressure, operator: Exists}]
  containers: [{name: main, image: toolbox, command: [sleep, '1000']}]
";

/// `seq 1 1000000` prints almost seven megabytes.
const STORERS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: volume}
spec:
  terminationGracePeriodSeconds: 600
  volumes: [{name: cache, emptyDir: {sizeLimit: 2Mi}}]
  containers:
  - name: main
    image: toolbox
    command: [sh, -c, 'seq 1 1000000 > /cache/numbers; sleep 1000']
    volumeMounts: [{name: cache, mountPath: /cache}]
---
apiVersion: v1
kind: Pod
metadata: {name: layer}
spec:
  containers:
  - name: main
    image: toolbox
    command: [sh, -c, 'seq 1 1000000 > /numbers; sleep 1000']
    resources: {limits: {ephemeral-storage: 2Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: logs}
spec:
  containers:
  - name: talker
    image: toolbox
    command: [sh, -c, 'seq 1 1000000; sleep 1000']
    resources: {limits: {ephemeral-storage: 2Mi}}
  - name: other
    image: toolbox
    command: [sleep, '1000']
    resources: {limits: {ephemeral-storage: 1Gi}}
---
apiVersion: v1
kind: Pod
metadata: {name: kept}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: cache, emptyDir: {sizeLimit: 20Mi}}]
  containers:
  - name: main
    image: toolbox
    command: [sh, -c, 'ln -s / /cache/root; seq 1 1000000 > /cache/numbers; sleep 1000']
    resources: {limits: {ephemeral-storage: 1Gi}}
    volumeMounts: [{name: cache, mountPath: /cache}]
";
