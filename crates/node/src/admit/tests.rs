use serde_json::{Value, json};

use super::*;

fn offer() -> Offer {
    Offer {
        node_name: "n".into(),
        labels: [("disk".to_owned(), "ssd".to_owned())].into(),
        taints: Vec::new(),
        allocatable: [("cpu".to_owned(), 1000), ("memory".to_owned(), 1 << 40)].into(),
        max_pods: 2,
        own_ports: vec!["0.0.0.0:6443".parse().unwrap(), "127.0.0.1:10248".parse().unwrap()],
    }
}

fn settings() -> Settings {
    Settings {
        node_name: "n".into(),
        cgroup_root: String::new(),
        cluster_domain: String::new(),
        host_resolv: String::new(),
        host_hosts: String::new(),
        memory_capacity: 0,
        log_root: "/".into(),
        log_size_max: 0,
        log_files_max: 0,
        pids_max: 0,
        sysctls_allowed: Vec::new(),
        apparmor: false,
    }
}

fn pod(uid: &str, spec: Value) -> core::Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": uid}, "spec": spec})).unwrap()
}

fn verdict(ledger: &mut Ledger, uid: &str, spec: Value) -> String {
    match ledger.admit(&pod(uid, spec), &offer(), &settings()) {
        Ok(()) => "taken".into(),
        Err(v) => format!("{}: {}", v.cause.reason(), v.told()),
    }
}

fn cpu(amount: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]})
}

#[test]
fn node_promises_only_what_it_has() {
    let mut ledger = Ledger::default();
    assert_eq!(verdict(&mut ledger, "a", cpu("500m")), "taken");
    assert_eq!(
        verdict(&mut ledger, "b", cpu("1")),
        "OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu, requested: 1000, used: 500, capacity: 1000"
    );
    assert_eq!(verdict(&mut ledger, "c", cpu("500m")), "taken");
    assert!(verdict(&mut ledger, "d", cpu("0")).starts_with("OutOfpods: "));
    ledger.release("a");
    assert_eq!(verdict(&mut ledger, "d", cpu("500m")), "taken");
}

/// By priority, then quality of service, then who asked first, whoever looks first.
#[test]
fn deferred_resizes_have_their_turns() {
    let mut ledger = Ledger::default();
    let offer = Offer { max_pods: 9, ..offer() };
    let of = |uid: &str, cpu: &str| {
        let (priority, memory) = (if uid == "urgent" { 7 } else { 0 }, json!({"cpu": cpu, "memory": "1"}));
        let resources = match uid {
            "guaranteed" => json!({"requests": memory, "limits": memory}),
            _ => json!({"requests": {"cpu": cpu}}),
        };
        pod(uid, json!({"priority": priority, "containers": [{"name": "c", "resources": resources}]}))
    };
    for uid in ["first", "second", "guaranteed", "urgent"] {
        ledger.enter(&of(uid, "100m"), &offer);
    }
    ledger.enter(&of("large", "600m"), &offer);
    for uid in ["first", "guaranteed", "second", "urgent"] {
        assert_eq!(ledger.resize(&of(uid, "600m"), &offer).unwrap_err().reason(), "Deferred", "{uid}");
    }
    ledger.release("large");
    for (turn, before) in ["urgent", "guaranteed", "first", "second"].iter().zip([
        None,
        Some("urgent"),
        Some("guaranteed"),
        Some("first"),
    ]) {
        before.into_iter().for_each(|uid| ledger.release(uid));
        for uid in ["second", "first", "guaranteed", "urgent"] {
            let is_here = ledger.held.contains_key(uid);
            let taken = is_here && ledger.resize(&of(uid, "600m"), &offer).is_ok();
            assert_eq!(taken, uid == *turn, "{uid} in the turn of {turn}");
        }
    }
}

#[test]
fn resize_that_is_taken_back_keeps_nothing() {
    let (mut ledger, offer) = (Ledger::default(), Offer { max_pods: 9, ..offer() });
    let of = |uid: &str, amount: &str| pod(uid, cpu(amount));
    for (uid, amount) in [("a", "100m"), ("b", "100m"), ("large", "700m")] {
        ledger.enter(&of(uid, amount), &offer);
    }
    for uid in ["a", "b"] {
        assert!(ledger.resize(&of(uid, "800m"), &offer).is_err());
    }
    ledger.release("large");
    assert!(ledger.resize(&of("b", "800m"), &offer).is_err(), "it is a's by now");
    ledger.enter(&of("a", "100m"), &offer);
    assert!(ledger.resize(&of("b", "800m"), &offer).is_ok());
}

#[test]
fn reasons_that_lie_in_the_pod_are_named() {
    let reason = |spec: Value| verdict(&mut Ledger::default(), "a", spec).split(':').next().unwrap().to_owned();
    let with = |key: &str, value: Value| {
        let mut spec = json!({"containers": []});
        spec[key] = value;
        spec
    };
    assert_eq!(reason(with("nodeSelector", json!({"disk": "ssd"}))), "taken");
    assert_eq!(reason(with("nodeSelector", json!({"disk": "hdd"}))), "NodeAffinity");
    assert_eq!(reason(with("os", json!({"name": "windows"}))), "PodOSNotSupported");
    assert_eq!(reason(with("nodeName", json!("other"))), "NodeName");
    let sysctl = json!({"sysctls": [{"name": "kernel.sem", "value": "1"}]});
    assert_eq!(reason(with("securityContext", sysctl)), "SysctlForbidden");
}

#[test]
fn every_apparmor_profile_but_unconfined_is_refused() {
    let verdict = |type_: &str, enabled: bool| {
        let context = json!({"appArmorProfile": {"type": type_}});
        let own = pod("a", json!({"containers": [{"name": "c", "securityContext": context}]}));
        let podwide = pod("a", json!({"securityContext": context, "containers": []}));
        let settings = Settings { apparmor: enabled, ..settings() };
        let of = |pod: &core::Pod| {
            Ledger::default().admit(pod, &offer(), &settings).err().map(|v| (v.cause.reason().to_owned(), v.told()))
        };
        assert_eq!(of(&own), of(&podwide));
        of(&own)
    };
    let refused =
        |why: &str| Some(("AppArmor".to_owned(), format!("Pod was rejected: Cannot enforce AppArmor: {why}")));
    for type_ in ["RuntimeDefault", "Localhost"] {
        assert_eq!(verdict(type_, false), refused("AppArmor is not enabled on the host"));
        assert_eq!(verdict(type_, true), refused("this node loads no profiles"));
    }
    assert_eq!(verdict("Unconfined", false), None);
    let mut noted = pod("a", json!({"containers": []}));
    let note = |value: &str| Some([("container.apparmor.security.beta.kubernetes.io/c".into(), value.into())].into());
    noted.metadata.annotations = note("runtime/default");
    assert!(Ledger::default().admit(&noted, &offer(), &settings()).is_err());
    noted.metadata.annotations = note("unconfined");
    assert!(Ledger::default().admit(&noted, &offer(), &settings()).is_ok());
}

#[test]
fn host_ports_are_given_once() {
    let spec = |ip: &str| json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80, "hostIP": ip}]}]});
    let mut ledger = Ledger::default();
    assert_eq!(verdict(&mut ledger, "a", spec("127.0.0.1")), "taken");
    assert_eq!(verdict(&mut ledger, "b", spec("127.0.0.2")), "taken");
    ledger.release("b");
    assert!(verdict(&mut ledger, "c", spec("")).starts_with("NodePorts: "));
}

#[test]
fn host_ports_take_nothing_from_the_node_itself() {
    let spec = |port: u16, protocol: &str, ip: &str, host: bool| {
        json!({"hostNetwork": host, "containers": [{"name": "c",
            "ports": [{"containerPort": port, "hostPort": port, "protocol": protocol, "hostIP": ip}]}]})
    };
    let of =
        |port, protocol: &str, ip: &str, host| verdict(&mut Ledger::default(), "a", spec(port, protocol, ip, host));
    let refused = "NodePorts: Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the \
                   requested pod ports: the node itself serves TCP port";
    for ip in ["", "0.0.0.0", "127.0.0.1", "127.0.0.2", "192.0.2.1"] {
        assert_eq!(of(6443, "TCP", ip, false), format!("{refused} 6443"), "{ip}");
    }
    assert_eq!(of(10248, "TCP", "", false), format!("{refused} 10248"));
    // It cannot have the port where another listens, and is told so by the kernel.
    assert_eq!(of(6443, "TCP", "", true), "taken");
    for (port, protocol, ip) in [(6443, "UDP", ""), (10248, "TCP", "192.0.2.1"), (22, "TCP", "")] {
        assert_eq!(of(port, protocol, ip, false), "taken", "{port} {protocol} {ip}");
    }
    // What runs already is not judged again.
    let (mut ledger, running) = (Ledger::default(), pod("a", spec(6443, "TCP", "", false)));
    ledger.enter(&running, &offer());
    assert!(ledger.admit(&running, &offer(), &settings()).is_ok());
}

#[test]
fn privileged_pod_is_invalid_where_the_node_forbids_it() {
    let spec = json!({"containers": [{"name": "c", "securityContext": {"privileged": true}}]});
    assert_eq!(
        invalid(&pod("a", spec.clone()), false).unwrap(),
        "Error validating pod \"p\".\"ns\" from api, ignoring: spec.containers[0].securityContext.privileged: Forbidden: disallowed by cluster policy"
    );
    assert_eq!(invalid(&pod("a", spec), true), None);
}
