//! Pods of every shape, and how each must end up when nobody deletes it.

use serde_json::{Value, json};

/// A pod's shape.
pub struct Program {
    pub name: &'static str,
    /// `restartPolicy`
    pub restart: &'static str,
    /// The phase that it reaches and keeps.
    pub end: &'static str,
    init: fn() -> Vec<Value>,
    containers: fn() -> Vec<Value>,
}

pub static PROGRAMS: &[Program] = &[
    Program {
        name: "fine",
        restart: "Never",
        end: "Succeeded",
        init: none,
        containers: || vec![run("c", "--run 3 --exit 0")],
    },
    Program {
        name: "bad",
        restart: "Never",
        end: "Failed",
        init: none,
        containers: || vec![run("c", "--run 4 --exit 3")],
    },
    Program {
        name: "slow",
        restart: "OnFailure",
        end: "Succeeded",
        init: none,
        containers: || vec![run("c", "--run 40 --exit 0")],
    },
    Program {
        name: "again",
        restart: "Always",
        end: "Running",
        init: none,
        containers: || vec![run("c", "--run 2 --exit 1")],
    },
    Program {
        name: "daemon",
        restart: "Always",
        end: "Running",
        init: none,
        containers: || vec![run("c", "--term-after 2")],
    },
    Program {
        name: "deaf",
        restart: "Always",
        end: "Running",
        init: none,
        containers: || vec![run("c", "--ignore-term")],
    },
    Program {
        name: "two",
        restart: "Never",
        end: "Failed",
        init: none,
        containers: || vec![run("a", "--run 2 --exit 0"), run("b", "--run 6 --exit 1")],
    },
    Program {
        name: "init",
        restart: "Always",
        end: "Running",
        init: || vec![run("first", "--run 1 --exit 0"), run("second", "--run 2 --exit 0")],
        containers: || vec![run("c", "")],
    },
    Program {
        name: "stuck",
        restart: "Never",
        end: "Failed",
        init: || vec![run("first", "--run 1 --exit 9")],
        containers: || vec![run("c", "")],
    },
    Program {
        name: "sidecar",
        restart: "Never",
        end: "Succeeded",
        init: || vec![with(run("side", "--term-after 1"), json!({"restartPolicy": "Always"}))],
        containers: || vec![run("c", "--run 5 --exit 0")],
    },
    Program {
        name: "probed",
        restart: "Always",
        end: "Running",
        init: none,
        containers: || {
            let probe = json!({"exec": {"command": ["/bin/true"]}, "periodSeconds": 5});
            vec![with(run("c", ""), json!({"readinessProbe": probe, "livenessProbe": probe, "startupProbe": probe}))]
        },
    },
    Program {
        name: "hooked",
        restart: "Always",
        end: "Running",
        init: none,
        containers: || {
            let hook = |words: &[&str]| json!({"exec": {"command": words}});
            let hooks = json!({"postStart": hook(&["/bin/true"]), "preStop": hook(&["/bin/sleep", "3"])});
            vec![with(run("c", "--term-after 1"), json!({"lifecycle": hooks}))]
        },
    },
    Program {
        name: "greeter",
        restart: "Never",
        end: "Succeeded",
        init: none,
        containers: || {
            let hook = |words: &[&str]| json!({"exec": {"command": words}});
            let hooks = json!({"postStart": hook(&["/bin/sleep", "6"]), "preStop": hook(&["/bin/sleep", "4"])});
            vec![with(run("c", "--run 30 --exit 0"), json!({"lifecycle": hooks}))]
        },
    },
    Program {
        name: "absent",
        restart: "Always",
        end: "Pending",
        init: none,
        containers: || vec![with(run("c", ""), json!({"image": "absent.invalid/x:1"}))],
    },
];

impl Program {
    pub fn pod(&self, name: &str, grace: u64) -> Value {
        let mut spec = json!({"restartPolicy": self.restart, "terminationGracePeriodSeconds": grace,
            "containers": (self.containers)()});
        let init = (self.init)();
        if !init.is_empty() {
            spec["initContainers"] = json!(init);
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    }

    /// Whether a reboot in the midst of it ends it as Failed.
    pub fn is_fragile(&self) -> bool {
        self.restart == "Never"
    }
}

fn none() -> Vec<Value> {
    Vec::new()
}

fn run(name: &str, words: &str) -> Value {
    let argv: Vec<&str> = ["/bin/puppet"].into_iter().chain(words.split_whitespace()).collect();
    json!({"name": name, "image": "toolbox:latest", "imagePullPolicy": "IfNotPresent", "command": argv})
}

fn with(mut container: Value, more: Value) -> Value {
    for (field, value) in more.as_object().into_iter().flatten() {
        container[field] = value.clone();
    }
    container
}
