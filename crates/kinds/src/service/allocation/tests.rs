use std::collections::BTreeSet;

use serde_json::json;

use super::*;

/// What is given of these ranges where the held are taken; random numbers are all as large as they can be, or 0.
struct Table {
    ranges: Vec<Range>,
    taken: BTreeSet<Holding>,
    highest: bool,
    dry_run: bool,
}

fn table(ranges: &[&str]) -> Table {
    let ranges = ranges.iter().map(|range| Range::sloppy(range).unwrap()).collect();
    Table { ranges, taken: BTreeSet::new(), highest: false, dry_run: false }
}

fn address(text: &str) -> Holding {
    Holding::Address(text.parse().unwrap())
}

impl Table {
    fn with(mut self, taken: impl IntoIterator<Item = Holding>) -> Table {
        self.taken.extend(taken);
        self
    }

    /// The service's spec, in short, or why not.
    fn made(&self, spec: Value, old: Option<Value>) -> String {
        let mut service = json!({"metadata": {"name": "web"}, "spec": spec});
        let old = old.map(|spec| json!({"metadata": {"name": "web"}, "spec": spec}));
        let mut reserved = BTreeSet::new();
        let mut supply = Supply {
            ranges: &self.ranges,
            ports: PortRange::default(),
            is_taken: &|holding| self.taken.contains(&holding),
            reserve: &mut |holding| !self.taken.contains(&holding) && reserved.insert(holding),
            random: &mut |below| if self.highest { below - 1 } else { 0 },
            dry_run: self.dry_run,
        };
        match assign(&mut service, old.as_ref(), &mut supply) {
            Err(Refusal::Invalid(error)) => error.to_string(),
            Err(Refusal::Internal(why)) => format!("internal: {why}"),
            Err(Refusal::Unknown(why)) => format!("unknown: {why}"),
            Ok(()) => {
                let spec = &service["spec"];
                let ports = tree::list(spec, "ports").iter().map(|port| numbers(port).1);
                let mut all: Vec<String> = tree::list(spec, "clusterIPs").iter().map(Value::to_string).collect();
                all.extend(ports.filter(|port| *port != 0).map(|port| port.to_string()));
                all.extend(tree::int(spec, "healthCheckNodePort").map(|port| format!("health {port}")));
                all.join(" ")
            }
        }
    }
}

fn plain() -> Value {
    json!({"type": "ClusterIP", "ipFamilies": ["IPv4"]})
}

fn asking(ip: &str) -> Value {
    json!({"type": "ClusterIP", "ipFamilies": ["IPv4"], "clusterIP": ip, "clusterIPs": [ip]})
}

#[test]
fn addresses_come_of_the_upper_part_first() {
    let mut all = table(&["10.96.0.0/24"]);
    assert_eq!(all.made(plain(), None), "\"10.96.0.17\"", "16 are kept");
    all.highest = true;
    assert_eq!(all.made(plain(), None), "\"10.96.0.254\"", "the last is everybody's");
    let upper = (17..=254).map(|n| address(&format!("10.96.0.{n}")));
    let lower_only = table(&["10.96.0.0/24"]).with(upper.clone());
    assert_eq!(lower_only.made(plain(), None), "\"10.96.0.1\"");
    let full = table(&["10.96.0.0/24"]).with(upper).with((1..=16).map(|n| address(&format!("10.96.0.{n}"))));
    assert_eq!(full.made(plain(), None), "internal: failed to allocate a serviceIP for Service \"web\": range is full");
    assert_eq!(table(&["10.96.0.0/12"]).made(plain(), None), "\"10.96.1.1\"", "256 at most");
    assert_eq!(table(&["10.0.0.0/30"]).made(plain(), None), "\"10.0.0.1\"");
    for none in ["10.0.0.0/31", "10.0.0.1/32", "fd00::/63"] {
        assert!(table(&[none]).made(plain(), None).ends_with("range is full"), "{none}");
    }
    assert_eq!(table(&["fd00::/64"]).made(plain(), None), "\"fd00::101\"");
    assert_eq!(table(&["fd00::/127"]).made(plain(), None), "\"fd00::1\"");
}

#[test]
fn an_address_that_is_asked_for_is_one_of_a_range_and_free() {
    let all = table(&["10.96.0.0/24", "10.7.0.0/30"]).with([address("10.96.0.9")]);
    assert_eq!(all.made(asking("10.7.0.2"), None), "\"10.7.0.2\"");
    assert_eq!(all.made(asking("None"), None), "\"None\"");
    let refused = |ip: &str, why: &str| {
        let text = format!("spec.clusterIPs: Invalid value: [{ip:?}]: failed to allocate IP {ip}: {why}");
        assert_eq!(all.made(asking(ip), None), text);
    };
    refused("10.96.0.9", "provided IP is already allocated");
    for outside in ["10.96.0.0", "10.96.0.255", "10.7.0.3", "192.0.2.1", "fd00::1"] {
        refused(outside, "the provided network does not match the current range");
    }
}

#[test]
fn a_dry_run_takes_nothing() {
    let dry = Table { dry_run: true, ..table(&["10.96.0.0/24"]).with([address("10.96.0.9"), Holding::Port(30001)]) };
    assert_eq!(dry.made(plain(), None), "\"10.96.0.0\"");
    assert_eq!(dry.made(asking("10.96.0.9"), None), "\"10.96.0.9\"");
    assert_eq!(
        dry.made(asking("10.0.0.1"), None),
        "spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: failed to allocate IP 10.0.0.1: the provided IP (10.0.0.1) is \
         not in the valid range. The range of valid IPs is 10.96.0.0/24"
    );
    let ports = json!([{"port": 1}, {"port": 2}]);
    assert_eq!(dry.made(json!({"type": "NodePort", "ports": ports}), None), "32769 32770");
    assert!(dry.made(json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30001}]}), None).contains("already"));
    let none = Table { dry_run: true, ..table(&[]) };
    assert_eq!(
        none.made(plain(), None),
        "spec.clusterIPs: Invalid value: [\"\"]: failed to allocate IP: allocator not ready"
    );
}

fn node_ports(ports: Value) -> Value {
    json!({"type": "NodePort", "ports": ports})
}

#[test]
fn ports_of_nodes_come_of_the_upper_part_and_one_number_shares_one() {
    let all = table(&[]).with([Holding::Port(30001)]);
    let made = |ports: Value| all.made(node_ports(ports), None);
    assert_eq!(made(json!([{"port": 80}, {"port": 81}])), "30086 30087", "86 are kept");
    assert_eq!(made(json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}])), "30086 30086");
    assert_eq!(made(json!([{"port": 53}, {"port": 53, "nodePort": 30005}])), "30005 30005");
    assert_eq!(made(json!([{"port": 53, "nodePort": 30005}, {"port": 53, "nodePort": 30006}])), "30005 30006");
    assert_eq!(
        made(json!([{"port": 1}, {"port": 2, "nodePort": 30001}])),
        "spec.ports[1].nodePort: Invalid value: 30001: provided port is already allocated"
    );
    assert_eq!(
        made(json!([{"port": 1, "nodePort": 30005}, {"port": 2, "nodePort": 30005}])),
        "spec.ports[1].nodePort: Invalid value: 30005: provided port is already allocated"
    );
    assert_eq!(
        made(json!([{"port": 1, "nodePort": 80}])),
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is \
         30000-32767"
    );
    let full = table(&[]).with((30000..=32767).map(Holding::Port));
    assert_eq!(
        full.made(node_ports(json!([{"port": 1}])), None),
        "internal: failed to allocate a nodePort: range is full"
    );
    let lower = table(&[]).with((30086..=32767).map(Holding::Port));
    assert_eq!(lower.made(node_ports(json!([{"port": 1}])), None), "30000");
}

#[test]
fn a_balancer_gets_ports_unless_it_wants_none_and_one_for_its_health() {
    let all = table(&[]).with([Holding::Port(30001)]);
    let made = |more: Value| {
        let mut spec = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": true, "ports": [{"port": 80}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all.made(spec, None)
    };
    assert_eq!(made(json!({})), "30086");
    assert_eq!(made(json!({"allocateLoadBalancerNodePorts": false})), "");
    let asked = json!({"allocateLoadBalancerNodePorts": false, "ports": [{"port": 1, "nodePort": 30007}, {"port": 2}]});
    assert_eq!(made(asked), "30007");
    assert_eq!(made(json!({"externalTrafficPolicy": "Local"})), "30086 health 30087");
    assert_eq!(made(json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30009})), "30086 health 30009");
    assert_eq!(
        made(json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30001})),
        "internal: failed to allocate requested HealthCheck NodePort 30001: provided port is already allocated"
    );
}

#[test]
fn a_change_keeps_what_it_had() {
    let had = json!({"type": "NodePort", "clusterIP": "10.96.0.17", "clusterIPs": ["10.96.0.17"], "ipFamilies": ["IPv4"],
        "ports": [{"port": 1, "protocol": "TCP", "nodePort": 30001}]});
    let all = table(&["10.96.0.0/24"]).with([Holding::Port(30001), Holding::Port(30002), address("10.96.0.17")]);
    let made = |ports: Value| {
        let mut spec = had.clone();
        spec["ports"] = ports;
        all.made(spec, Some(had.clone()))
    };
    let port = |number: u16, node_port: u16| json!({"port": number, "protocol": "TCP", "nodePort": node_port});
    assert_eq!(made(json!([port(9, 30001)])), "\"10.96.0.17\" 30001");
    assert_eq!(made(json!([port(1, 30001), port(2, 0)])), "\"10.96.0.17\" 30001 30086");
    assert_eq!(
        made(json!([port(1, 30002)])),
        "spec.ports[0].nodePort: Invalid value: 30002: provided port is already allocated"
    );
    assert_eq!(made(json!([port(1, 30003), port(2, 30003)])), "unknown: duplicate nodePort: {TCP 30003}");
    // Of ExternalName it was no port of nodes: it may be somebody else's.
    let name = json!({"type": "ExternalName", "ports": [port(1, 30002)]});
    let mut spec = had.clone();
    spec["ports"] = json!([port(1, 30002)]);
    spec["clusterIPs"] = json!(["10.96.0.20"]);
    assert!(all.made(spec.clone(), Some(name.clone())).contains("already allocated"));
    spec["ports"] = json!([port(1, 30003)]);
    assert_eq!(all.made(spec, Some(name)), "\"10.96.0.20\" 30003");
    // And one that was stored without an address gets it.
    let bare = json!({"type": "ClusterIP", "ipFamilies": ["IPv4"]});
    assert_eq!(all.made(bare.clone(), Some(bare)), "\"10.96.0.18\"");
}

#[test]
fn what_a_service_holds_depends_on_its_type() {
    let held = |kind: &str| {
        let service = json!({"spec": {"type": kind, "clusterIPs": ["10.0.0.1"], "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30009, "ports": [{"nodePort": 30001}, {"nodePort": 30001}, {"nodePort": 0}]}});
        holdings(&service).len()
    };
    assert_eq!(["ExternalName", "ClusterIP", "NodePort", "LoadBalancer"].map(held), [0, 1, 2, 3]);
    assert!(holdings(&json!({"spec": {"type": "ClusterIP", "clusterIPs": ["None"]}})).is_empty());
}

#[test]
fn a_range_of_ports_is_read_as_upstream_reads_it() {
    for (text, then) in [
        ("30000-32767", Ok((30000, 32767))),
        ("1+9", Ok((1, 10))),
        ("80", Ok((80, 80))),
        ("0-9", Err("port 0 is no port of a node".into())),
        ("9-1", Err("\"9-1\" ends before it begins".into())),
        ("65535+1", Err("\"65535+1\" goes beyond port 65535".into())),
        ("x", Err("\"x\" is no port".to_owned())),
    ] {
        assert_eq!(text.parse::<PortRange>().map(|range| (range.first, range.last)), then, "{text}");
    }
}
