//! kill -9 of any part, while twenty pods start, run and terminate.
//!
//! Puppets write a line for their start and for every signal into a folder of the host. What must hold
//! in the end: nobody started twice, nobody is missing, every exit code and every line of a log is
//! there, no address is used twice, and deletions had their full grace.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stage::{Instance, Process, Stage, Up, gone, play, processes};

#[test]
fn killing_up_loses_nothing() {
    play(|stage: &Stage| {
        story(stage, Parts::together(stage), |parts, meanwhile| {
            parts.kill_server();
            meanwhile();
            parts.start_server();
        });
    });
}

#[test]
fn killing_the_supervisor_loses_nothing() {
    play(|stage: &Stage| {
        story(stage, Parts::together(stage), |_, meanwhile| {
            kill_supervisor();
            meanwhile();
        });
    });
}

#[test]
fn killing_up_and_the_supervisor_at_once_loses_nothing() {
    play(|stage: &Stage| {
        story(stage, Parts::together(stage), |parts, meanwhile| {
            parts.server.as_ref().unwrap().signal(Signal::SIGKILL);
            kill_supervisor();
            parts.kill_server();
            meanwhile();
            parts.start_server();
        });
    });
}

#[test]
fn killing_the_agent_alone_loses_nothing() {
    play(|stage: &Stage| {
        story(stage, Parts::apart(stage), |parts, meanwhile| {
            parts.kill_agent();
            meanwhile();
            parts.start_agent();
        });
    });
}

#[test]
fn killing_the_server_alone_loses_nothing() {
    play(|stage: &Stage| {
        story(stage, Parts::apart(stage), |parts, meanwhile| {
            parts.kill_server();
            meanwhile();
            parts.start_server();
        });
    });
}

#[test]
fn killing_server_agent_and_supervisor_at_once_loses_nothing() {
    play(|stage: &Stage| {
        story(stage, Parts::apart(stage), |parts, meanwhile| {
            parts.server.as_ref().unwrap().signal(Signal::SIGKILL);
            parts.agent.as_ref().unwrap().signal(Signal::SIGKILL);
            kill_supervisor();
            parts.kill_server();
            parts.kill_agent();
            meanwhile();
            parts.start_server();
            parts.start_agent();
        });
    });
}

#[test]
fn every_acknowledged_write_outlives_a_kill_under_load() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        let clients: Vec<client::Client> = (0..8).map(|_| own.client()).collect();
        let written: BTreeSet<String> = runtime().block_on(async {
            let (acknowledged, mut acknowledgements) = tokio::sync::mpsc::unbounded_channel();
            for (writer, client) in clients.into_iter().enumerate() {
                let acknowledged = acknowledged.clone();
                tokio::spawn(async move {
                    for number in 0.. {
                        let name = format!("w-{writer}-{number}");
                        let body =
                            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
                        let path = "/api/v1/namespaces/default/configmaps";
                        let body = Some(("application/json", &body));
                        if client.call(http::Method::POST, path, &[], body).await.is_err() {
                            break;
                        }
                        let _ = acknowledged.send(name);
                    }
                });
            }
            drop(acknowledged);
            let mut all = BTreeSet::new();
            while let Some(name) = acknowledgements.recv().await {
                all.insert(name);
                if all.len() == 400 {
                    up.signal(Signal::SIGKILL);
                }
            }
            all
        });
        up.end();
        assert!(written.len() >= 400, "{}", written.len());
        let up = own.up(&[]);
        let there = own.must("get configmaps -o name");
        let there: BTreeSet<&str> = there.lines().filter_map(|line| line.strip_prefix("configmap/")).collect();
        let lost: Vec<&String> = written.iter().filter(|name| !there.contains(name.as_str())).collect();
        assert!(lost.is_empty(), "acknowledged and gone: {lost:?}");
        own.down(true);
        assert!(up.end().ok);
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A cluster in one process (`up`) or in two (`server`, `agent`).
struct Parts {
    own: Rc<Instance>,
    server: Option<Up>,
    /// None in one process.
    node: Option<Instance>,
    agent: Option<Up>,
    /// How often the process with the agent in it was started.
    agents: u32,
    join: Vec<String>,
}

impl Parts {
    fn together(stage: &Stage) -> Parts {
        let own = Rc::new(stage.instance("own"));
        let mut parts = Parts { own, server: None, node: None, agent: None, agents: 0, join: Vec::new() };
        parts.start_server();
        parts
    }

    fn apart(stage: &Stage) -> Parts {
        let (own, node) = (Rc::new(stage.instance("own")), Some(stage.instance("node")));
        let mut parts = Parts { own, server: None, node, agent: None, agents: 0, join: Vec::new() };
        parts.start_server();
        parts.start_agent();
        parts
    }

    fn start_server(&mut self) {
        if self.node.is_none() {
            self.agents += 1;
            self.server = Some(self.own.up(&[]));
            return;
        }
        // The same address each time: the agent knows no other.
        let mut server = self.own.start("server", &["--listen", "127.0.0.1:6443"], &[], "gousse server is ready");
        let told = server.line("  nodes join with: gousse agent ");
        self.join = told.split_whitespace().skip_while(|word| *word != "agent").skip(1).map(String::from).collect();
        self.server = Some(server);
    }

    fn start_agent(&mut self) {
        let node = self.node.as_ref().expect("in two processes");
        let arguments: Vec<&str> = self.join.iter().map(String::as_str).chain(["--node-port", "0"]).collect();
        self.agents += 1;
        self.agent = Some(node.start("agent", &arguments, &[], "gousse agent "));
    }

    fn kill_server(&mut self) {
        self.server.take().expect("it runs").kill();
    }

    fn kill_agent(&mut self) {
        self.agent.take().expect("it runs").kill();
    }

    fn down(self) {
        if let (Some(node), Some(agent)) = (&self.node, self.agent) {
            node.down(true);
            assert!(agent.end().ok);
        }
        self.own.down(true);
        assert!(self.server.expect("it runs").end().ok);
    }
}

/// Kills something, calls what has to happen while it is dead, and brings it back.
type Hit = fn(&mut Parts, &dyn Fn());

fn story(stage: &Stage, mut parts: Parts, hit: Hit) {
    let own = parts.own.clone();
    let logs = stage.folder.join("puppets");
    fs::create_dir(&logs).unwrap();
    let pods = pods(&logs);
    let applied = parts.own.apply(&pods.values().cloned().collect::<String>());
    assert!(applied.ok, "{applied:?}");

    // While they start.
    hit(&mut parts, &|| {});
    let all = |kind: &str| {
        let names = pods.keys().filter(|name| name.starts_with(kind)).cloned();
        names.collect::<Vec<_>>().join(" ")
    };
    let phase = |kind: &str, phase: &str| {
        own.must(&format!("wait --for=jsonpath={{.status.phase}}={phase} --timeout=60s pods {}", all(kind)));
    };
    for kind in ["runner", "stubborn", "ender", "again"] {
        phase(kind, "Running");
    }
    // They end by themselves, and may have begun late: a pod has an address once it can start.
    own.must(&format!("wait --for=jsonpath={{.status.podIP}} --timeout=60s pods {}", all("talker")));
    let lines = own.must("get pods -o 'jsonpath={range .items[*]}{.metadata.name} {.status.podIP}\n{end}'");
    let addresses: BTreeSet<&str> = lines.lines().filter_map(|line| line.split_once(' ')).map(|(_, a)| a).collect();
    assert_eq!((addresses.len(), lines.lines().count()), (20, 20), "an address is used twice: {lines}");

    // While they run: some end when nobody looks.
    hit(&mut parts, &|| {
        for process in processes() {
            if ["ender", "again"].iter().any(|kind| process.command.contains(&format!("--log /log/{kind}"))) {
                kill(Pid::from_raw(process.pid), Signal::SIGUSR1).unwrap();
                gone(process.pid);
            }
        }
    });
    phase("ender", "Failed");
    phase("talker", "Failed");
    let again = "wait --for=jsonpath={.status.containerStatuses[0].restartCount}=1 --timeout=60s pods";
    own.must(&format!("{again} {}", all("again")));
    phase("again", "Running");
    let codes = |kind: &str, state: &str| -> Vec<i64> {
        let pods = own.json(&format!("get pods {}", all(kind)));
        let code = |pod: &serde_json::Value| {
            pod["status"]["containerStatuses"][0][state]["terminated"]["exitCode"].as_i64().unwrap_or(-1)
        };
        pods["items"].as_array().unwrap().iter().map(code).collect()
    };
    assert_eq!(codes("ender", "state"), [3, 3, 3, 3]);
    assert_eq!(codes("talker", "state"), [5, 5]);
    assert_eq!(codes("again", "lastState"), [4, 4]);
    for name in pods.keys().filter(|name| name.starts_with("talker")) {
        let wanted: Vec<String> = (1..=200).map(|i| format!("stdout F line {i}")).collect();
        assert_eq!(log_of(&parts.node.as_ref().unwrap_or(&own).data.join("log"), name), wanted, "the log of {name}");
    }

    // While they terminate.
    let asked = Instant::now();
    own.must("delete pods --all --wait=false");
    let dead = Cell::new(asked);
    let before = parts.agents;
    hit(&mut parts, &|| dead.set(Instant::now()));
    own.must(&format!("wait --for=delete --timeout=60s pods {}", all("stubborn")));
    // A new agent gives the whole grace again.
    let since = if parts.agents == before { asked } else { dead.get() };
    assert!(since.elapsed() >= Duration::from_secs(2), "the grace was cut to {:?}", since.elapsed());
    for name in pods.keys() {
        own.must(&format!("delete pod {name} --ignore-not-found"));
    }
    assert_eq!(own.must("get pods -o name"), "");
    for name in pods.keys().filter(|name| !name.starts_with("talker")) {
        let log = fs::read_to_string(logs.join(name)).unwrap();
        let starts = log.lines().filter(|line| line.ends_with(" start")).count();
        let wanted = if name.starts_with("again") { 2 } else { 1 };
        assert_eq!(starts, wanted, "starts of {name}:\n{log}");
        let told = log.lines().any(|line| line.ends_with("TERM"));
        assert_eq!(told, !name.starts_with("ender"), "TERM of {name}:\n{log}");
    }
    parts.down();
    assert_eq!(stage.left(), Vec::<String>::new());
}

/// Name and manifest of each.
fn pods(logs: &Path) -> BTreeMap<String, String> {
    let puppet = |name: &str, reaction: &str| format!("[puppet, --log, /log/{name}, --on, {reaction}]");
    let mut pods = BTreeMap::new();
    let mut add = |kind: &str, count: usize, policy: &str, grace: u32, command: &dyn Fn(&str) -> String| {
        for number in 0..count {
            let name = format!("{kind}-{number}");
            let command = command(&name);
            let logs = logs.display();
            let pod = format!(
                "
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: {policy}
  terminationGracePeriodSeconds: {grace}
  containers:
  - name: main
    image: toolbox
    command: {command}
    volumeMounts: [{{name: log, mountPath: /log}}]
  volumes: [{{name: log, hostPath: {{path: {logs}}}}}]
"
            );
            pods.insert(name, pod);
        }
    };
    add("runner", 8, "Never", 30, &|name| puppet(name, "TERM=7"));
    add("stubborn", 4, "Never", 2, &|name| puppet(name, "TERM=ignore"));
    add("ender", 4, "Never", 30, &|name| puppet(name, "USR1=3"));
    add("again", 2, "Always", 30, &|name| puppet(name, "USR1=4"));
    let talk = "for i in $(seq 1 200); do echo line $i; sleep 0.01; done; exit 5";
    add("talker", 2, "Never", 30, &|_| format!("[sh, -c, {talk:?}]"));
    pods
}

/// What the node wrote down of a pod's container, without the times.
fn log_of(folder: &Path, name: &str) -> Vec<String> {
    let pods = fs::read_dir(folder.join("pods")).or_else(|_| fs::read_dir(folder)).unwrap();
    let own = pods.flatten().find(|e| e.file_name().to_string_lossy().contains(&format!("_{name}_")));
    let text = fs::read_to_string(own.expect("the pod's log folder").path().join("main/0.log")).unwrap();
    text.lines().filter_map(|line| line.split_once(' ')).map(|(_, rest)| rest.to_string()).collect()
}

/// Kills the supervisor itself, not a child that is about to become a container.
fn kill_supervisor() {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let all = processes();
    let is_supervisor = |p: &&Process| {
        p.command.starts_with("gousse supervisor ") && namespace(&p.pid.to_string()) == namespace("self")
    };
    let supervisor = all.iter().find(is_supervisor).unwrap_or_else(|| panic!("no supervisor in {all:?}"));
    kill(Pid::from_raw(supervisor.pid), Signal::SIGKILL).unwrap();
    gone(supervisor.pid);
}
