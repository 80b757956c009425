//! What pods do: a table, one row for each kind of pod.

use std::path::Path;

use serde_json::{Value, json};

use super::chance::Chance;
use super::history::{Container, Pod, Restart, Role};

pub struct Behaviour {
    pub name: &'static str,
    /// How many of a round's first pods.
    pub share: usize,
    restart: Restart,
    grace: u64,
    build: fn(&mut Plan, &mut Chance),
}

/// Chances of a container's own life: milliseconds.
pub const BEHAVIOURS: &[Behaviour] = &[
    Behaviour { name: "runner", share: 6, restart: Restart::Always, grace: 30, build: runner },
    Behaviour { name: "probed", share: 3, restart: Restart::Always, grace: 30, build: probed },
    Behaviour { name: "crasher", share: 6, restart: Restart::Always, grace: 30, build: crasher },
    Behaviour { name: "retrier", share: 3, restart: Restart::OnFailure, grace: 30, build: retrier },
    Behaviour { name: "once", share: 4, restart: Restart::Never, grace: 30, build: once },
    Behaviour { name: "stubborn", share: 3, restart: Restart::Never, grace: 4, build: stubborn },
    Behaviour { name: "hooked", share: 3, restart: Restart::Always, grace: 12, build: hooked },
    Behaviour { name: "hooked-once", share: 2, restart: Restart::Never, grace: 12, build: hooked },
    Behaviour { name: "hooked-http", share: 2, restart: Restart::Always, grace: 12, build: hooked_by_http },
    Behaviour { name: "helped", share: 3, restart: Restart::Always, grace: 30, build: helped },
];

pub fn named(name: &str) -> &'static Behaviour {
    BEHAVIOURS.iter().find(|behaviour| behaviour.name == name).expect("a row of the table")
}

/// A pod's containers while they are put together.
struct Plan {
    image: String,
    init: Vec<Value>,
    mains: Vec<Value>,
    known: Vec<Container>,
}

impl Plan {
    /// A puppet and what is known of it; its spec, to be added to.
    fn puppet(&mut self, name: &str, role: Role, words: &[String]) -> (&mut Value, &mut Container) {
        let diary = format!("/diary/$(POD_UID).{name}");
        let mut command = vec!["/bin/puppet".to_owned(), "--diary".to_owned(), diary];
        command.extend_from_slice(words);
        let has = |flag: &str| words.iter().any(|word| word == flag);
        let known =
            Container { role, ends: has("--lasts"), ignores_term: has("--ignore-term"), ..Container::named(name) };
        let mut spec = json!({"name": name, "image": self.image, "imagePullPolicy": "IfNotPresent", "command": command,
            "env": [{"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}],
            "volumeMounts": [{"name": "diary", "mountPath": "/diary"}]});
        if role == Role::Sidecar {
            spec["restartPolicy"] = "Always".into();
        }
        self.known.push(known);
        let list = if role == Role::Main { &mut self.mains } else { &mut self.init };
        list.push(spec);
        (list.last_mut().expect("just put there"), self.known.last_mut().expect("just put there"))
    }
}

/// The manifest, and what is known of the pod before it is there.
pub fn pod(
    name: &str,
    behaviour: &'static Behaviour,
    image: &str,
    diaries: &Path,
    chance: &mut Chance,
) -> (Value, Pod) {
    let mut plan = Plan { image: image.to_owned(), init: Vec::new(), mains: Vec::new(), known: Vec::new() };
    (behaviour.build)(&mut plan, chance);
    let manifest = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"behaviour": behaviour.name}},
        "spec": {"restartPolicy": format!("{:?}", behaviour.restart), "terminationGracePeriodSeconds": behaviour.grace,
            "initContainers": plan.init, "containers": plan.mains,
            "volumes": [{"name": "diary", "hostPath": {"path": diaries}}]}});
    let pod = Pod {
        name: name.to_owned(),
        behaviour: behaviour.name,
        restart: behaviour.restart,
        grace: behaviour.grace,
        containers: plan.known,
        deletion: None,
        gone: None,
        seen: Vec::new(),
        rest: None,
    };
    (manifest, pod)
}

/// Ends when it is told to, after a while and with a code of its own.
fn ends(chance: &mut Chance) -> Vec<String> {
    let (after, code, talk) = (chance.within(50..=600), chance.within(0..=200), chance.within(1..=8));
    words(&format!("--term-after {after}ms --term-exit {code} --talk {talk}"))
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(String::from).collect()
}

fn list(chance: &mut Chance, count: u64, range: std::ops::RangeInclusive<u64>, unit: &str) -> String {
    let all: Vec<String> = (0..count).map(|_| format!("{}{unit}", chance.within(range.clone()))).collect();
    all.join(",")
}

fn runner(plan: &mut Plan, chance: &mut Chance) {
    for number in 0..chance.within(1..=2) {
        plan.puppet(&format!("m{number}"), Role::Main, &ends(chance));
    }
}

fn probed(plan: &mut Plan, chance: &mut Chance) {
    let words = ends(chance);
    let (spec, _) = plan.puppet("m0", Role::Main, &words);
    let kind = chance.pick(&["livenessProbe", "readinessProbe", "startupProbe"]);
    spec[*kind] =
        json!({"exec": {"command": ["/bin/true"]}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 20});
}

fn crasher(plan: &mut Plan, chance: &mut Chance) {
    let lasts = format!("--lasts {} --exit {}", list(chance, 6, 200..=4000, "ms"), list(chance, 6, 1..=255, ""));
    plan.puppet("m0", Role::Main, &words(&lasts));
}

fn retrier(plan: &mut Plan, chance: &mut Chance) {
    let lasts = format!("--lasts {} --exit {},0", list(chance, 3, 200..=3000, "ms"), chance.within(1..=255));
    plan.puppet("m0", Role::Main, &words(&lasts));
}

fn once(plan: &mut Plan, chance: &mut Chance) {
    for number in 0..chance.within(1..=2) {
        let (lasts, code, talk) = (chance.within(100..=9000), chance.within(0..=255), chance.within(1..=30));
        plan.puppet(
            &format!("m{number}"),
            Role::Main,
            &words(&format!("--lasts {lasts}ms --exit {code} --talk {talk}")),
        );
    }
}

fn stubborn(plan: &mut Plan, _: &mut Chance) {
    plan.puppet("m0", Role::Main, &words("--ignore-term"));
}

fn hook(name: &str, takes: u64) -> Value {
    let diary = "/diary/$POD_UID.m0";
    // Hooks know no $(…): the container's own shell puts the UID in.
    let command = format!("/bin/puppet --diary {diary} --hook {name} --after {takes}ms");
    json!({"exec": {"command": ["/bin/sh", "-c", command]}})
}

fn hooked(plan: &mut Plan, chance: &mut Chance) {
    let words = ends(chance);
    let (spec, known) = plan.puppet("m0", Role::Main, &words);
    spec["lifecycle"] = json!({"preStop": hook("pre", chance.within(800..=3000))});
    if chance.happens(60) {
        spec["lifecycle"]["postStart"] = hook("post", chance.within(300..=1500));
    }
    known.pre_stop = true;
}

fn hooked_by_http(plan: &mut Plan, chance: &mut Chance) {
    let mut words = ends(chance);
    words.extend(["--serve".to_owned(), "8080".to_owned()]);
    let (spec, known) = plan.puppet("m0", Role::Main, &words);
    let takes = chance.within(800..=3000);
    spec["lifecycle"] = json!({"preStop": {"httpGet": {"path": format!("/pre/{takes}ms"), "port": 8080}}});
    known.pre_stop = true;
}

fn helped(plan: &mut Plan, chance: &mut Chance) {
    let short = |chance: &mut Chance| words(&format!("--lasts {}ms --exit 0", chance.within(50..=800)));
    plan.puppet("i0", Role::Init, &short(chance));
    plan.puppet("s0", Role::Sidecar, &ends(chance));
    plan.puppet("i1", Role::Init, &short(chance));
    plan.puppet("m0", Role::Main, &ends(chance));
}
