//! Services by real packets: pods, this host and somebody outside, each in a namespace of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{GATEWAY, arrived, block_on, config, datagram, inside_own_namespaces, loopback_up, send_raw, spec, within};
use crate::services::{At, Change, Frontend, Port, Protocol, Way};
use crate::{Attachment, Config, Net};

const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);
/// The host, as others reach it.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const NODE_PORT: u16 = 30080;

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}

/// A machine on a link of the host, which sends everything through it.
fn outside() -> PathBuf {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        tell.send(nix::unistd::gettid()).unwrap();
        // Its namespace lives as long as the test.
        loop {
            std::thread::park();
        }
    });
    let thread = told.recv().unwrap();
    ip(&format!("link add out type veth peer name eth0 netns {thread}"));
    ip(&format!("addr add {HOST}/24 dev out"));
    ip("link set out up");
    // The rest of the world is elsewhere: who sent something back the way it came would be told so by ICMP first.
    ip("link add far type veth peer name world");
    ip("link set far up");
    ip("link set world up");
    ip("route add default dev far");
    let path = PathBuf::from(format!("/proc/{}/task/{thread}/ns/net", std::process::id()));
    let there = within(&path, || {
        ip(&format!("addr add {OUTSIDE}/24 dev eth0"));
        ip("link set eth0 up");
        ip(&format!("route add default via {HOST}"));
    });
    there.join().unwrap();
    path
}

/// Tells everybody who comes its name and who they are, by TCP and by UDP.
fn serve(pod: &Attachment, port: u16) {
    let name = pod.spec.id.clone();
    let ready = within(&pod.namespace, move || {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        let datagrams = name.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok((_, peer)) = socket.recv_from(&mut bytes) {
                socket.send_to(format!("{datagrams} {}", peer.ip()).as_bytes(), peer).unwrap();
            }
        });
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, name) = (stream.unwrap(), name.clone());
                std::thread::spawn(move || {
                    let peer = stream.peer_addr().unwrap().ip();
                    // What somebody says is said back; silence ends it.
                    let mut bytes = [0; 1024];
                    let _ = stream.write_all(format!("{name} {peer}").as_bytes());
                    while let Ok(length @ 1..) = stream.read(&mut bytes) {
                        let _ = stream.write_all(&bytes[..length]);
                    }
                });
            }
        });
    });
    ready.join().unwrap();
}

/// What is said first, and then nothing more is asked; or why not.
fn ask(to: SocketAddr) -> Result<String, ErrorKind> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2)).map_err(|error| error.kind())?;
    let mut bytes = [0; 64];
    let length = stream.read(&mut bytes).map_err(|error| error.kind())?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn ask_from(namespace: &Path, to: SocketAddr) -> Result<String, ErrorKind> {
    within(namespace, move || ask(to)).join().unwrap()
}

fn datagram_to(client: &UdpSocket, to: SocketAddr) -> Result<String, ErrorKind> {
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    client.connect(to).unwrap();
    client.send(b"?").map_err(|error| error.kind())?;
    let mut bytes = [0; 64];
    let length = client.recv(&mut bytes).map_err(|error| error.kind())?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn cluster(protocol: Protocol) -> At {
    At { address: CLUSTER_IP.into(), protocol, port: 80 }
}

fn node_port() -> At {
    At { address: Ipv4Addr::UNSPECIFIED.into(), protocol: Protocol::Tcp, port: NODE_PORT }
}

fn way(at: At, inside: Way, outside: Way) -> Frontend {
    Frontend { at, inside, outside, sources: Vec::new() }
}

/// To the port 8080 of these pods.
fn port(frontends: Vec<Frontend>, pods: &[&Attachment]) -> Port {
    let endpoints: Vec<SocketAddr> = pods.iter().map(|pod| (pod.addresses[0], 8080).into()).collect();
    Port { frontends, cluster: endpoints.clone(), local: endpoints.clone(), affinity: 0, serving: endpoints }
}

fn simple(at: At, pods: &[&Attachment]) -> (At, Port) {
    (at, port(vec![way(at, Way::Cluster, Way::Cluster)], pods))
}

async fn put(net: &Net, one: (At, Port)) {
    net.services(Change::Some(BTreeMap::from([(one.0, Some(one.1))]))).await.unwrap();
}

async fn all<const N: usize>(net: &Net, ports: [(At, Port); N]) {
    net.services(Change::All(BTreeMap::from(ports))).await.unwrap();
}

struct Site {
    net: Net,
    folder: tempfile::TempDir,
    pods: [Attachment; 3],
    outside: PathBuf,
}

async fn site(own_ports: Vec<SocketAddr>) -> Site {
    loopback_up();
    let folder = tempfile::tempdir().unwrap();
    let (net, _running) = Net::open(Config { own_ports, ..config(folder.path()) }).unwrap();
    let mut pods = Vec::new();
    for id in ["a", "b", "c"] {
        let pod = net.attach(spec(id)).await.unwrap();
        serve(&pod, 8080);
        pods.push(pod);
    }
    let outside = outside();
    Site { net, folder, pods: pods.try_into().unwrap(), outside }
}

fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

#[test]
fn a_cluster_address_leads_to_its_endpoints_from_everywhere() {
    if !inside_own_namespaces("services::a_cluster_address_leads_to_its_endpoints_from_everywhere") {
        return;
    }
    block_on(async {
        let Site { net, pods: [a, b, c], outside, folder: _folder, .. } = site(Vec::new()).await;
        let to = at(CLUSTER_IP, 80);
        all(&net, [simple(cluster(Protocol::Tcp), &[&a, &b]), simple(cluster(Protocol::Udp), &[&b])]).await;
        let names: BTreeSet<String> = (0..40).map(|_| ask_from(&c.namespace, to).unwrap()).collect();
        let client = c.addresses[0];
        assert_eq!(names, BTreeSet::from([format!("a {client}"), format!("b {client}")]), "pods are not masked");
        let from_host = ask(to).unwrap();
        assert!(from_host.ends_with(&format!(" {GATEWAY}")), "{from_host}");
        let from_outside = ask_from(&outside, to).unwrap();
        assert!(from_outside.ends_with(&format!(" {GATEWAY}")), "{from_outside}: answers come back through here");
        let socket = within(&c.namespace, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()).join().unwrap();
        assert_eq!(datagram_to(&socket, to), Ok(format!("b {client}")));
        // To itself.
        all(&net, [simple(cluster(Protocol::Tcp), &[&a])]).await;
        assert_eq!(ask_from(&a.namespace, to), Ok(format!("a {GATEWAY}")));
        all(&net, []).await;
        assert!(ask_from(&c.namespace, to).is_err());
        net.close().await.unwrap();
    });
}

#[test]
fn where_nobody_is_it_is_said_at_once() {
    if !inside_own_namespaces("services::where_nobody_is_it_is_said_at_once") {
        return;
    }
    block_on(async {
        let Site { net, pods: [a, b, _], outside, folder: _folder, .. } = site(Vec::new()).await;
        let tcp = cluster(Protocol::Tcp);
        let ways = || vec![way(tcp, Way::Cluster, Way::Cluster), way(node_port(), Way::Cluster, Way::Cluster)];
        let udp = simple(cluster(Protocol::Udp), &[]);
        all(&net, [(tcp, port(ways(), &[])), udp.clone()]).await;
        let refused = Err(ErrorKind::ConnectionRefused);
        let open = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        for port in [80, 81] {
            let to = at(CLUSTER_IP, port);
            assert_eq!(
                [ask(to), ask_from(&b.namespace, to), ask_from(&outside, to)],
                [(); 3].map(|()| refused.clone())
            );
            for namespace in [&b.namespace, &outside] {
                let socket = within(namespace, open).join().unwrap();
                assert_eq!(datagram_to(&socket, to), refused, "{port}/UDP from {}", namespace.display());
            }
            // What the host's own rules refuse is an error of sending itself.
            assert_eq!(datagram_to(&open(), to), Err(ErrorKind::PermissionDenied), "{port}/UDP");
        }
        assert_eq!(ask_from(&outside, at(HOST, NODE_PORT)), refused);
        // The same client as before, on the same port, is served when there is somebody.
        let socket = within(&b.namespace, open).join().unwrap();
        let _ = datagram_to(&socket, at(CLUSTER_IP, 80));
        put(&net, (tcp, port(ways(), &[&a]))).await;
        put(&net, simple(cluster(Protocol::Udp), &[&a])).await;
        let client = b.addresses[0];
        assert_eq!(datagram_to(&socket, at(CLUSTER_IP, 80)), Ok(format!("a {client}")));
        assert_eq!(ask_from(&b.namespace, at(CLUSTER_IP, 80)), Ok(format!("a {client}")));
        assert_eq!(ask_from(&b.namespace, at(CLUSTER_IP, 81)), refused, "no other port");
        net.services(Change::Some(BTreeMap::from([(tcp, None), (udp.0, None)]))).await.unwrap();
        net.close().await.unwrap();
    });
}

#[test]
fn a_node_port_serves_by_its_policy() {
    if !inside_own_namespaces("services::a_node_port_serves_by_its_policy") {
        return;
    }
    block_on(async {
        let Site { net, pods: [a, b, c], outside, folder: _folder, .. } = site(Vec::new()).await;
        let tcp = cluster(Protocol::Tcp);
        let ways = |outside| vec![way(tcp, Way::Cluster, Way::Cluster), way(node_port(), Way::Cluster, outside)];
        all(&net, [(tcp, port(ways(Way::Cluster), &[&a]))]).await;
        assert_eq!(ask_from(&outside, at(HOST, NODE_PORT)), Ok(format!("a {GATEWAY}")));
        assert_eq!(ask_from(&c.namespace, at(HOST, NODE_PORT)), Ok(format!("a {}", c.addresses[0])));
        assert_eq!(ask(at(HOST, NODE_PORT)), Ok(format!("a {GATEWAY}")));
        assert!(ask(at(Ipv4Addr::LOCALHOST, NODE_PORT)).is_err(), "not on loopback");
        // Endpoints of this node see who it is.
        put(&net, (tcp, Port { cluster: vec![at(b.addresses[0], 8080)], ..port(ways(Way::Local), &[&a]) })).await;
        assert_eq!(ask_from(&outside, at(HOST, NODE_PORT)), Ok(format!("a {OUTSIDE}")));
        assert_eq!(ask_from(&c.namespace, at(HOST, NODE_PORT)), Ok(format!("b {}", c.addresses[0])));
        assert_eq!(ask(at(HOST, NODE_PORT)), Ok(format!("b {GATEWAY}")));
        // And where there are none, others are not told.
        put(&net, (tcp, port(ways(Way::Drop), &[&a]))).await;
        assert_eq!(ask_from(&outside, at(HOST, NODE_PORT)), Err(ErrorKind::TimedOut));
        assert_eq!(ask(at(HOST, NODE_PORT)), Ok(format!("a {GATEWAY}")));
        net.close().await.unwrap();
    });
}

#[test]
fn a_client_stays_with_its_endpoint_while_there_is_one() {
    if !inside_own_namespaces("services::a_client_stays_with_its_endpoint_while_there_is_one") {
        return;
    }
    block_on(async {
        let Site { net, pods: [a, b, c], outside, folder } = site(Vec::new()).await;
        let tcp = cluster(Protocol::Tcp);
        let ways = || vec![way(tcp, Way::Cluster, Way::Cluster), way(node_port(), Way::Cluster, Way::Cluster)];
        let held = |pods: &[&Attachment]| (tcp, Port { affinity: 10_800, ..port(ways(), pods) });
        all(&net, [held(&[&a, &b, &c])]).await;
        let client = c.namespace.clone();
        let names = |through: SocketAddr| -> BTreeSet<String> {
            (0..30).map(|_| ask_from(&client, through).unwrap()[..1].to_string()).collect()
        };
        let first = names(at(CLUSTER_IP, 80));
        assert_eq!(first.len(), 1, "{first:?}");
        assert_eq!(names(at(HOST, NODE_PORT)), first, "by whatever address of the service");
        let pods = [&a, &b, &c];
        let rest: Vec<&Attachment> = pods.into_iter().filter(|pod| !first.contains(&pod.spec.id)).collect();
        put(&net, held(&rest)).await;
        let second = names(at(CLUSTER_IP, 80));
        assert!(second.len() == 1 && second != first, "{second:?} after {first:?}");
        put(&net, held(&pods)).await;
        assert_eq!(names(at(CLUSTER_IP, 80)), second, "who comes later takes nobody away");
        // Nor does another run of ours, which finds all as it is.
        drop(net);
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        assert_eq!(names(at(CLUSTER_IP, 80)), second);
        all(&net, [held(&pods)]).await;
        assert_eq!(names(at(CLUSTER_IP, 80)), second);
        // Each client has its own.
        let ours: BTreeSet<String> = (0..30).map(|_| ask_from(&outside, at(HOST, NODE_PORT)).unwrap()).collect();
        assert_eq!(ours.len(), 1);
        net.close().await.unwrap();
    });
}

#[test]
fn only_those_come_in_whom_the_service_names() {
    if !inside_own_namespaces("services::only_those_come_in_whom_the_service_names") {
        return;
    }
    block_on(async {
        let Site { net, pods: [a, ..], outside, folder: _folder, .. } = site(Vec::new()).await;
        let tcp = cluster(Protocol::Tcp);
        let balanced = At { address: [203, 0, 113, 7].into(), ..tcp };
        let named = |ranges: &[&str]| {
            let sources = ranges.iter().map(|range| range.parse().unwrap()).collect();
            let balanced = Frontend { sources, ..way(balanced, Way::Cluster, Way::Cluster) };
            (tcp, port(vec![way(tcp, Way::Cluster, Way::Cluster), balanced], &[&a]))
        };
        let to = at([203, 0, 113, 7], 80);
        for (ranges, comes) in [
            (&["192.0.2.0/24"][..], false),
            // One in another, and two that touch.
            (&["198.51.0.0/16", "198.51.100.0/24", "198.50.0.0/16"], true),
            (&["198.51.100.2/32", "192.0.2.0/24"], true),
            (&["198.51.100.3/32"], false),
            (&[], true),
        ] {
            all(&net, [named(ranges)]).await;
            let answer = ask_from(&outside, to);
            let wanted = if comes { Ok(format!("a {GATEWAY}")) } else { Err(ErrorKind::TimedOut) };
            assert_eq!(answer, wanted, "{ranges:?}");
        }
        net.close().await.unwrap();
    });
}

#[test]
fn connections_go_on_while_services_change() {
    if !inside_own_namespaces("services::connections_go_on_while_services_change") {
        return;
    }
    block_on(async {
        let Site { net, pods: [a, b, c], folder, .. } = site(Vec::new()).await;
        let tcp = cluster(Protocol::Tcp);
        let to = at(CLUSTER_IP, 80);
        all(&net, [simple(tcp, &[&a])]).await;
        let mut stream = within(&c.namespace, move || TcpStream::connect(to).unwrap()).join().unwrap();
        let mut says = move |text: &str| {
            stream.write_all(text.as_bytes()).unwrap();
            let mut bytes = vec![0; text.len()];
            stream.read_exact(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(says(&" ".repeat(2)).len(), 2);
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let calling = within(&b.namespace, move || {
            let mut calls = 0;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                ask(to).unwrap_or_else(|error| panic!("call {calls}: {error:?}"));
                calls += 1;
            }
            calls
        });
        // From one to three and back, so that the last one is always another.
        let rounds: [&[&Attachment]; 6] = [&[&a, &b], &[&b], &[&b, &c], &[&a, &b, &c], &[&c, &b], &[&c]];
        for (round, pods) in rounds.iter().cycle().take(300).enumerate() {
            put(&net, simple(tcp, pods)).await;
            assert_eq!(says(&format!("{round:5}")).len(), 5);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(calling.join().unwrap() > 10);
        // The connection began with an endpoint that is none any more; a run after ours leaves it alone, too.
        drop(net);
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        all(&net, [simple(tcp, &[&b])]).await;
        assert_eq!(says("still").len(), 5);
        net.close().await.unwrap();
    });
}

#[test]
fn datagrams_go_where_the_service_leads_now() {
    if !inside_own_namespaces("services::datagrams_go_where_the_service_leads_now") {
        return;
    }
    block_on(async {
        let Site { net, pods: [a, b, c], folder: _folder, .. } = site(Vec::new()).await;
        let udp = cluster(Protocol::Udp);
        let to = at(CLUSTER_IP, 80);
        all(&net, [simple(udp, &[&a])]).await;
        let socket = within(&c.namespace, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()).join().unwrap();
        let client = c.addresses[0];
        let from = |name: &str| Ok(format!("{name} {client}"));
        assert_eq!(datagram_to(&socket, to), from("a"));
        // Who serves on without being chosen keeps those that it has.
        let ending = Port { serving: vec![at(a.addresses[0], 8080), at(b.addresses[0], 8080)], ..simple(udp, &[&b]).1 };
        put(&net, (udp, ending)).await;
        assert_eq!(datagram_to(&socket, to), from("a"));
        put(&net, simple(udp, &[&b])).await;
        assert_eq!(datagram_to(&socket, to), from("b"));
        put(&net, simple(udp, &[])).await;
        assert_eq!(datagram_to(&socket, to), Err(ErrorKind::ConnectionRefused));
        put(&net, simple(udp, &[&a])).await;
        assert_eq!(datagram_to(&socket, to), from("a"));
        net.close().await.unwrap();
    });
}

/// nft 1.0 aborts on keys that it cannot name, whatever it is asked for; so does whoever builds on it.
#[test]
fn nft_lists_everything_while_services_are_served() {
    if !inside_own_namespaces("services::nft_lists_everything_while_services_are_served") {
        return;
    }
    block_on(async {
        let Site { net, pods: [a, b, c], .. } = site(Vec::new()).await;
        let ways =
            || vec![way(cluster(Protocol::Tcp), Way::Cluster, Way::Local), way(node_port(), Way::Cluster, Way::Local)];
        let held = Port { affinity: 10_800, ..port(ways(), &[&a, &b]) };
        all(&net, [(cluster(Protocol::Tcp), held), simple(cluster(Protocol::Udp), &[&a, &b, &c])]).await;
        assert!(ask_from(&c.namespace, at(CLUSTER_IP, 80)).is_ok());
        let Ok(listed) = Command::new("nft").args(["list", "ruleset"]).output() else { return };
        assert!(listed.status.code().is_some(), "{}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(listed.contains("map endpoints {") && listed.contains("-services {"), "{listed}");
        net.close().await.unwrap();
    });
}

/// `nft flush ruleset`, and `nft flush table` of ours alone.
#[test]
fn what_somebody_takes_off_the_services_comes_back() {
    if !inside_own_namespaces("services::what_somebody_takes_off_the_services_comes_back") {
        return;
    }
    block_on(async {
        let Site { net, pods: [a, b, _], folder, .. } = site(Vec::new()).await;
        let to = at(CLUSTER_IP, 80);
        let table = config(folder.path()).table();
        let ours = format!("{table}-services");
        all(&net, [simple(cluster(Protocol::Tcp), &[&a])]).await;
        let (watch, _watching) = crate::watch::Watch::of_tables().unwrap();
        crate::nft::Netfilter::open().unwrap().remove(crate::rules::Family::V4, &ours).unwrap();
        // The removal itself, then the one with which the worker begins what it makes anew.
        for _ in 0..2 {
            assert!(watch.lost(&ours));
        }
        assert_eq!(net.list().await.unwrap().len(), 3);
        assert_eq!(ask_from(&b.namespace, to), Ok(format!("a {}", b.addresses[0])));
        // One that nobody notices is, with the next change.
        let Ok(flushed) = Command::new("nft").args(["flush", "map", "ip", &ours, "endpoints"]).status() else { return };
        assert!(flushed.success());
        put(&net, simple(cluster(Protocol::Tcp), &[&b])).await;
        assert_eq!(ask_from(&a.namespace, to), Ok(format!("b {}", a.addresses[0])));
        net.close().await.unwrap();
    });
}

/// A port of the nodes, or an external address that is the host's own: who calls the host would get a pod.
#[test]
fn no_service_takes_from_the_host_what_it_serves() {
    if !inside_own_namespaces("services::no_service_takes_from_the_host_what_it_serves") {
        return;
    }
    let served = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let own = served.local_addr().unwrap();
    std::thread::spawn(move || served.incoming().for_each(|stream| stream.unwrap().write_all(b"the host").unwrap()));
    block_on(async {
        let Site { net, pods: [a, b, _], outside, folder: _folder, .. } = site(vec![own]).await;
        let tcp = cluster(Protocol::Tcp);
        let claims = [Ipv4Addr::UNSPECIFIED, HOST, GATEWAY, Ipv4Addr::LOCALHOST];
        let claims = claims.map(|address| At { address: address.into(), port: own.port(), ..tcp });
        let ways = || [tcp].into_iter().chain(claims).map(|at| way(at, Way::Cluster, Way::Cluster)).collect();
        for pods in [&[&a][..], &[]] {
            all(&net, [(tcp, port(ways(), pods))]).await;
            for address in [HOST, GATEWAY, Ipv4Addr::LOCALHOST] {
                assert_eq!(ask(at(address, own.port())), Ok("the host".into()), "{address}");
            }
            assert_eq!(ask_from(&b.namespace, at(GATEWAY, own.port())), Ok("the host".into()));
            assert_eq!(ask_from(&outside, at(HOST, own.port())), Ok("the host".into()));
        }
        net.close().await.unwrap();
    });
}

#[test]
fn a_service_hides_no_forged_source() {
    if !inside_own_namespaces("services::a_service_hides_no_forged_source") {
        return;
    }
    block_on(async {
        let Site { net, pods: [a, b, _], folder: _folder, .. } = site(Vec::new()).await;
        let IpAddr::V4(others) = b.addresses[0] else { panic!() };
        let IpAddr::V4(own) = a.addresses[0] else { panic!() };
        let inbox = within(&b.namespace, move || UdpSocket::bind((others, 9000)).unwrap()).join().unwrap();
        inbox.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let udp = cluster(Protocol::Udp);
        let (_, simple) = simple(udp, &[]);
        all(&net, [(udp, Port { cluster: vec![at(others, 9000)], ..simple })]).await;
        for from in [others, GATEWAY, HOST, OUTSIDE, Ipv4Addr::LOCALHOST, CLUSTER_IP] {
            send_raw(&a.namespace, datagram(from, (CLUSTER_IP, 80), &format!("forged {from}")));
        }
        send_raw(&a.namespace, datagram(own, (CLUSTER_IP, 80), "last"));
        assert_eq!(arrived(&inbox), ["last"]);
        net.close().await.unwrap();
    });
}

#[test]
fn services_stand_beside_the_rules_of_others() {
    if !inside_own_namespaces("services::services_stand_beside_the_rules_of_others") {
        return;
    }
    use crate::rules::{Base, Chain, Family, Hook, RuleSet, Step};
    let chain = |name: &'static str, kind, hook, priority, rules| Chain {
        name: name.into(),
        base: Some(Base { kind, hook, priority }),
        rules,
    };
    // As Docker has it by iptables-nft, for what matters: forwarding is refused but for its own.
    let elsewhere: ipnet::Ipv4Net = "172.17.0.0/16".parse().unwrap();
    let forward = vec![vec![Step::Destination(elsewhere), Step::Accept], vec![Step::Drop]];
    let masked = vec![vec![Step::Source(elsewhere), Step::Masquerade]];
    let netfilter = crate::nft::Netfilter::open().unwrap();
    for (table, chain) in [
        ("filter", chain("FORWARD", "filter", Hook::Forward, 0, forward)),
        ("nat", chain("POSTROUTING", "nat", Hook::Postrouting, 100, masked)),
    ] {
        let rules = RuleSet { family: Family::V4, table: table.into(), sets: Vec::new(), chains: vec![chain] };
        netfilter.apply(&rules).unwrap();
    }
    block_on(async {
        let Site { net, pods: [a, b, _], outside, folder: _folder, .. } = site(Vec::new()).await;
        let tcp = cluster(Protocol::Tcp);
        let ways = vec![way(tcp, Way::Cluster, Way::Cluster), way(node_port(), Way::Cluster, Way::Cluster)];
        all(&net, [(tcp, port(ways, &[&a]))]).await;
        assert_eq!(ask_from(&b.namespace, at(CLUSTER_IP, 80)), Ok(format!("a {}", b.addresses[0])));
        assert_eq!(ask_from(&outside, at(HOST, NODE_PORT)), Ok(format!("a {GATEWAY}")));
        assert_eq!(ask_from(&b.namespace, at(CLUSTER_IP, 81)), Err(ErrorKind::ConnectionRefused));
        net.close().await.unwrap();
    });
}

/// A machine without a network, or the last one of a network that has no other.
#[test]
fn the_host_reaches_services_without_a_default_route() {
    if !inside_own_namespaces("services::the_host_reaches_services_without_a_default_route") {
        return;
    }
    block_on(async {
        let Site { net, pods: [a, b, _], folder: _folder, .. } = site(Vec::new()).await;
        let tcp = cluster(Protocol::Tcp);
        let to = at(CLUSTER_IP, 80);
        let routes = || {
            let mut found = 0;
            let ours = netlink_packet_route::route::RouteAttribute::Priority(0x476f_7573);
            let route = crate::route::Route::open().unwrap();
            route.each_route(|route| found += usize::from(route.attributes.contains(&ours))).unwrap();
            found
        };
        all(&net, [simple(tcp, &[&a])]).await;
        assert_eq!(routes(), 0, "a default route is enough");
        ip("route del default");
        assert!(ask(to).is_err());
        all(&net, [simple(tcp, &[&a])]).await;
        assert_eq!(ask(to), Ok(format!("a {GATEWAY}")));
        assert_eq!(ask_from(&b.namespace, to), Ok(format!("a {}", b.addresses[0])));
        put(&net, simple(cluster(Protocol::Udp), &[&a])).await;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        assert_eq!(datagram_to(&socket, to), Ok(format!("a {GATEWAY}")));
        assert_eq!(routes(), 1);
        net.services(Change::Some(BTreeMap::from([(tcp, None), (cluster(Protocol::Udp), None)]))).await.unwrap();
        assert_eq!(routes(), 0);
        all(&net, [simple(tcp, &[&a])]).await;
        net.close().await.unwrap();
        assert_eq!(routes(), 0);
    });
}

/// Megabytes in one datagram, and as many back when a later run asks for them.
#[test]
fn ten_thousand_services_are_one_transaction() {
    if !inside_own_namespaces("services::ten_thousand_services_are_one_transaction") {
        return;
    }
    block_on(async {
        let Site { net, pods: [a, b, _], folder, .. } = site(Vec::new()).await;
        let served = |last: &Attachment| {
            let service = |number: u32| {
                let of = |base: u32| IpAddr::V4(Ipv4Addr::from(base + number));
                let own = At { address: of(0x0a60_4000), ..cluster(Protocol::Tcp) };
                let mut port = port(vec![way(own, Way::Cluster, Way::Cluster)], &[last]);
                if number < 9_999 {
                    port.cluster = (0..5).map(|n| at(of(0x0a80_0000 + n * 0x1_0000), 8080)).collect();
                }
                (own, port)
            };
            (0..10_000).map(service).collect::<BTreeMap<_, _>>()
        };
        let to = at(Ipv4Addr::from(0x0a60_4000 + 9_999), 80);
        let timed = async |net: &Net, what: &str, change: Change| {
            let begun = std::time::Instant::now();
            net.services(change).await.unwrap();
            println!("{what}: {:?}", begun.elapsed());
        };
        timed(&net, "loaded", Change::All(served(&a))).await;
        assert_eq!(ask_from(&b.namespace, to), Ok(format!("a {}", b.addresses[0])));
        drop(net);
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        timed(&net, "compared", Change::All(served(&a))).await;
        assert_eq!(ask_from(&b.namespace, to), Ok(format!("a {}", b.addresses[0])));
        let last = served(&b).pop_last().map(|(at, port)| (at, Some(port)));
        timed(&net, "changed", Change::Some(last.into_iter().collect())).await;
        assert_eq!(ask_from(&a.namespace, to), Ok(format!("b {}", a.addresses[0])));
        net.close().await.unwrap();
    });
}

/// Pods have no such addresses yet: the rules are the kernel's to judge.
#[test]
fn services_of_the_other_family_are_taken_as_well() {
    if !inside_own_namespaces("services::services_of_the_other_family_are_taken_as_well") {
        return;
    }
    loopback_up();
    let folder = tempfile::tempdir().unwrap();
    let v6: std::net::Ipv6Addr = "fd96::20".parse().unwrap();
    ip("-6 route add fd96::/112 dev lo");
    let served = TcpListener::bind((std::net::Ipv6Addr::LOCALHOST, 0)).unwrap();
    let port = served.local_addr().unwrap().port();
    std::thread::spawn(move || served.incoming().for_each(|stream| stream.unwrap().write_all(b"six").unwrap()));
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        for affinity in [0, 10_800] {
            let at = At { address: v6.into(), protocol: Protocol::Tcp, port: 80 };
            let guarded = At { port: 81, ..at };
            let frontends = vec![
                way(at, Way::Cluster, Way::Cluster),
                Frontend { sources: vec!["2001:db8::/32".parse().unwrap()], ..way(guarded, Way::Cluster, Way::Local) },
            ];
            let cluster = vec![SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), port)];
            let served = Port { frontends, cluster, affinity, ..Port::default() };
            all(&net, [(at, served)]).await;
            for _ in 0..2 {
                assert_eq!(ask(SocketAddr::new(v6.into(), 80)), Ok("six".into()));
            }
            assert_eq!(ask(SocketAddr::new(v6.into(), 81)), Err(ErrorKind::TimedOut));
            assert_eq!(ask(SocketAddr::new(v6.into(), 82)), Err(ErrorKind::ConnectionRefused));
        }
        net.close().await.unwrap();
    });
}
