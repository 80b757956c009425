//! Real namespaces and real packets, all inside a network namespace that each test makes itself.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::{AttachSpec, Config, HostPort, Net};

/// Several machines.
mod nodes;
/// Who may talk with whom.
mod policy;

const INSIDE: &str = "GOUSSE_TEST_INSIDE";
/// The host's own address in the range of `config`.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 7, 1);

/// Runs the named test again in fresh network and mount namespaces, before any thread of it starts.
/// Returns true inside. Without root it says so on the raw stderr, and fails under CI.
fn inside_own_namespaces(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !nix::unistd::geteuid().is_root() {
        let _ = writeln!(File::options().write(true).open("/dev/stderr").unwrap(), "SKIPPED {test}: needs root");
        assert!(std::env::var_os("CI").is_none(), "{test} needs root under CI");
        return false;
    }
    let done = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("tests::{test}"), "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(done.success(), "{test} failed inside its namespaces");
    false
}

fn config(run_dir: &Path) -> Config {
    let range = "10.244.7.0/29".parse().unwrap();
    Config {
        instance: "test".into(),
        pod_cidr: range,
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        run_dir: run_dir.into(),
        own_ports: Vec::new(),
    }
}

fn spec(id: &str) -> AttachSpec {
    AttachSpec { id: id.into(), ..AttachSpec::default() }
}

/// Runs `work` on a thread inside a pinned namespace.
fn within<T: Send + 'static>(
    namespace: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let file = File::open(namespace).unwrap();
    std::thread::spawn(move || {
        setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    })
}

/// Listens inside the namespace and answers one connection with the peer's address.
fn answer_once(namespace: &Path, port: u16) -> std::thread::JoinHandle<IpAddr> {
    let (ready, started) = std::sync::mpsc::channel();
    let thread = within(namespace, move || {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        ready.send(()).unwrap();
        let (mut stream, peer) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
        peer.ip()
    });
    started.recv().unwrap();
    thread
}

/// A listener inside the namespace, ready when this returns.
fn listen(namespace: &Path, at: SocketAddr) -> TcpListener {
    within(namespace, move || TcpListener::bind(at).unwrap()).join().unwrap()
}

/// A datagram socket that waits for what comes, and not for ever.
fn socket(at: impl Into<IpAddr>) -> UdpSocket {
    let socket = UdpSocket::bind((at.into(), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// To the pod's port 80, from wherever it is asked.
fn host_port(protocol: &str, host_port: u16) -> HostPort {
    HostPort { protocol: protocol.into(), host_ip: None, host_port, container_port: 80 }
}

fn loopback_up() {
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
}

fn fetch(to: SocketAddr) -> String {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

#[test]
fn pods_and_the_host_reach_each_other() {
    if !inside_own_namespaces("pods_and_the_host_reach_each_other") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        let a = net.attach(spec("a")).await.unwrap();
        let b = net.attach(spec("b")).await.unwrap();
        assert_ne!(a.addresses, b.addresses);
        assert_eq!(net.attach(spec("a")).await.unwrap(), a);
        let (address_a, address_b) = (a.addresses[0], b.addresses[0]);

        let server = answer_once(&b.namespace, 80);
        assert_eq!(within(&a.namespace, move || fetch((address_b, 80).into())).join().unwrap(), "hello");
        assert_eq!(server.join().unwrap(), address_a, "pods see each other's own addresses");

        let server = answer_once(&a.namespace, 80);
        assert_eq!(fetch((address_a, 80).into()), "hello");
        assert_eq!(server.join().unwrap(), GATEWAY, "the host has its own address there");
        net.close().await.unwrap();
    });
}

/// Nothing resends a datagram: a link that only seems to be up loses it.
#[test]
fn the_first_packets_of_a_pod_arrive_both_ways() {
    if !inside_own_namespaces("the_first_packets_of_a_pod_arrive_both_ways") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        let outside = socket(GATEWAY);
        let to = outside.local_addr().unwrap();
        for (egress, ingress) in [None, Some(4_000_000)].iter().flat_map(|e| [None, Some(4_000_000)].map(|i| (*e, i))) {
            for round in 0..25 {
                let limits = format!("round {round}, egress {egress:?}, ingress {ingress:?}");
                let pod = net.attach(AttachSpec { egress, ingress, ..spec("p") }).await.unwrap();
                let address = pod.addresses[0];
                let from_pod = within(&pod.namespace, move || {
                    let inside = socket(address);
                    inside.send_to(b"out", to).unwrap();
                    inside
                });
                let inside = from_pod.join().unwrap();
                outside.send_to(b"in", inside.local_addr().unwrap()).unwrap();
                let mut bytes = [0; 8];
                let (n, from) = outside.recv_from(&mut bytes).unwrap_or_else(|e| panic!("from the pod, {limits}: {e}"));
                assert_eq!((&bytes[..n], from), (&b"out"[..], inside.local_addr().unwrap()), "{limits}");
                let n = inside.recv(&mut bytes).unwrap_or_else(|e| panic!("to the pod, {limits}: {e}"));
                assert_eq!(&bytes[..n], b"in", "{limits}");
                net.detach("p").await.unwrap();
            }
        }
        net.close().await.unwrap();
    });
}

#[test]
fn a_host_port_leads_to_its_pod_from_everywhere_until_it_is_detached() {
    if !inside_own_namespaces("a_host_port_leads_to_its_pod_from_everywhere_until_it_is_detached") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        loopback_up();
        let web = net.attach(AttachSpec { host_ports: vec![host_port("TCP", 8080)], ..spec("web") }).await.unwrap();
        let other = net.attach(spec("other")).await.unwrap();

        let server = answer_once(&web.namespace, 80);
        assert_eq!(fetch((Ipv4Addr::LOCALHOST, 8080).into()), "hello");
        server.join().unwrap();
        for client in [&other, &web] {
            let server = answer_once(&web.namespace, 80);
            let text = within(&client.namespace, move || fetch((GATEWAY, 8080).into())).join().unwrap();
            assert_eq!(text, "hello");
            server.join().unwrap();
        }
        net.detach("web").await.unwrap();
        net.detach("web").await.unwrap();
        assert!(TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, 8080).into(), Duration::from_secs(2)).is_err());
        net.close().await.unwrap();
        assert_eq!(net.list().await.unwrap(), []);
        let links = crate::route::Route::open().unwrap().links().unwrap();
        let ours = config(folder.path()).link_prefix();
        assert!(links.iter().all(|(name, _)| !name.starts_with(&ours) || name == "lo"), "left: {links:?}");
    });
}

/// A pod from before: its `hostPort: 6443` would get the credentials of who calls the API server.
#[test]
fn a_host_port_takes_nothing_from_what_the_host_itself_serves() {
    if !inside_own_namespaces("a_host_port_takes_nothing_from_what_the_host_itself_serves") {
        return;
    }
    loopback_up();
    let folder = tempfile::tempdir().unwrap();
    let served = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let taken = served.local_addr().unwrap();
    let everywhere = host_port("TCP", taken.port());
    let at_one = HostPort { host_ip: Some([127, 0, 0, 2].into()), ..everywhere.clone() };
    let ports = vec![everywhere, at_one, host_port("TCP", 8080)];
    block_on(async {
        // Somebody's, until the host says that it is its own.
        let (net, running) = Net::open(config(folder.path())).unwrap();
        let web = net.attach(AttachSpec { host_ports: ports, ..spec("web") }).await.unwrap();
        let other = net.attach(spec("other")).await.unwrap();
        let to_the_host = [Ipv4Addr::LOCALHOST, [127, 0, 0, 2].into(), GATEWAY];
        for address in to_the_host {
            let server = answer_once(&web.namespace, 80);
            assert_eq!(fetch((address, taken.port()).into()), "hello");
            server.join().unwrap();
        }
        drop(net);
        running.join();
        let (net, _running) = Net::open(Config { own_ports: vec![taken], ..config(folder.path()) }).unwrap();
        let host = std::thread::spawn(move || {
            let asked = served.incoming().take(4);
            asked.for_each(|stream| stream.unwrap().write_all(b"the host").unwrap());
        });
        for address in to_the_host {
            assert_eq!(fetch((address, taken.port()).into()), "the host", "{address}");
        }
        let from_pod = within(&other.namespace, move || fetch((GATEWAY, taken.port()).into()));
        assert_eq!(from_pod.join().unwrap(), "the host");
        host.join().unwrap();
        let server = answer_once(&web.namespace, 80);
        assert_eq!(fetch((Ipv4Addr::LOCALHOST, 8080).into()), "hello", "what is nobody's stays the pod's");
        server.join().unwrap();
        net.close().await.unwrap();
    });
}

#[test]
fn a_host_port_clashes_with_listeners_of_its_address_only() {
    let takes = |protocol: &str, host_ip: Option<&str>, listener: &str| {
        let host_ip = host_ip.map(|ip| ip.parse().unwrap());
        HostPort { protocol: protocol.into(), host_ip, host_port: 6443, container_port: 80 }
            .takes(listener.parse().unwrap())
    };
    for (protocol, host_ip, listener, wanted) in [
        ("TCP", None, "0.0.0.0:6443", true),
        ("TCP", None, "127.0.0.1:6443", true),
        ("TCP", Some("0.0.0.0"), "192.0.2.1:6443", true),
        ("TCP", Some("192.0.2.1"), "0.0.0.0:6443", true),
        ("TCP", Some("127.0.0.2"), "[::]:6443", true),
        ("TCP", Some("192.0.2.1"), "[::ffff:192.0.2.1]:6443", true),
        ("TCP", Some("192.0.2.1"), "127.0.0.1:6443", false),
        ("TCP", None, "0.0.0.0:6444", false),
        ("UDP", None, "0.0.0.0:6443", false),
    ] {
        assert_eq!(takes(protocol, host_ip, listener), wanted, "{protocol} {host_ip:?} {listener}");
    }
}

/// A client that keeps its port, as resolvers and syslog daemons do.
#[test]
fn datagrams_reach_whatever_pod_has_the_host_port_now() {
    if !inside_own_namespaces("datagrams_reach_whatever_pod_has_the_host_port_now") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, running) = Net::open(config(folder.path())).unwrap();
        loopback_up();
        let port =
            |protocol: &str| HostPort { protocol: protocol.into(), host_ip: None, host_port: 5353, container_port: 53 };
        let mapped = |id: &str| AttachSpec { host_ports: vec![port("UDP"), port("TCP")], ..spec(id) };
        let to = |address: [u8; 4]| {
            let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            client.connect((Ipv4Addr::from(address), 5353)).unwrap();
            client
        };
        let clients = [to([127, 0, 0, 1]), to([10, 244, 7, 1])];
        // Before there is a pod, nobody is there: the kernel remembers that.
        let nobody = |client: &UdpSocket| {
            let _ = client.send(b"?");
            assert!(client.recv(&mut [0; 9]).is_err());
        };
        clients.iter().for_each(nobody);
        for name in ["one", "two"] {
            let pod = net.attach(mapped(name)).await.unwrap();
            let server =
                within(&pod.namespace, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap()).join().unwrap();
            server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            for client in &clients {
                // Twice, there and back: such a connection is remembered for minutes.
                for _ in 0..2 {
                    client.send(b"?").unwrap_or_else(|error| panic!("{name}: {error}"));
                    let (_, from) = server.recv_from(&mut [0; 9]).unwrap_or_else(|error| panic!("{name}: {error}"));
                    server.send_to(name.as_bytes(), from).unwrap();
                    let mut answer = [0; 9];
                    let length = client.recv(&mut answer).unwrap_or_else(|error| panic!("{name}: {error}"));
                    assert_eq!(&answer[..length], name.as_bytes());
                }
            }
            // Another pod gets the port when this one has let go of it, and not before.
            let taken = net.attach(mapped("three")).await.unwrap_err().to_string();
            assert!(taken.contains("host port 5353/UDP still belongs to another pod"), "{taken}");
            let elsewhere = HostPort { host_ip: Some([10, 244, 7, 1].into()), ..port("UDP") };
            net.attach(AttachSpec { host_ports: vec![elsewhere], ..spec("beside") }).await.unwrap();
            net.detach("beside").await.unwrap();
            net.detach(name).await.unwrap();
        }
        net.close().await.unwrap();
        drop(net);
        running.join();
    });
}

/// `nft flush ruleset`, by whom it may be: no pod could be attached any more, and those that were stayed mute.
#[test]
fn what_somebody_takes_off_the_rules_comes_back() {
    if !inside_own_namespaces("what_somebody_takes_off_the_rules_comes_back") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        loopback_up();
        let web = net.attach(AttachSpec { host_ports: vec![host_port("TCP", 8080)], ..spec("web") }).await.unwrap();
        let old = net.attach(spec("old")).await.unwrap();
        let table = config(folder.path()).table();
        let flush = || crate::nft::Netfilter::open().unwrap().remove(crate::rules::Family::V4, &table).unwrap();
        let speaks = |pod: &crate::Attachment| {
            let server = answer_once(&pod.namespace, 80);
            assert_eq!(fetch((pod.addresses[0], 80).into()), "hello");
            server.join().unwrap();
        };
        // Nobody asks for anything, and they come back.
        let (watch, _watching) = crate::watch::Watch::of_tables().unwrap();
        let there = || crate::nft::Netfilter::open().unwrap().has(crate::rules::Family::V4, &table).unwrap();
        flush();
        // The removal itself, then the one with which the worker begins what it makes anew.
        for _ in 0..2 {
            assert!(watch.lost(&table));
        }
        assert!(there());
        assert_eq!(net.list().await.unwrap().len(), 2);
        speaks(&old);
        let server = answer_once(&web.namespace, 80);
        assert_eq!(fetch((Ipv4Addr::LOCALHOST, 8080).into()), "hello");
        server.join().unwrap();
        // A new pod, one that is there, and one whose link is made anew: each brings all of it back.
        for case in ["new", "old", "broken"] {
            flush();
            if case == "broken" {
                let link = crate::links::name(&config(folder.path()).link_prefix(), "old");
                assert!(Command::new("ip").args(["link", "delete", &link]).status().unwrap().success());
            }
            let pod = net.attach(spec(if case == "new" { "new" } else { "old" })).await.unwrap();
            for pod in [&pod, &web] {
                speaks(pod);
            }
            let server = answer_once(&web.namespace, 80);
            assert_eq!(fetch((Ipv4Addr::LOCALHOST, 8080).into()), "hello", "{case}");
            server.join().unwrap();
        }
        speaks(&old);
        net.close().await.unwrap();
        net.list().await.unwrap();
        assert!(!there());
    });
}

#[test]
fn a_limit_of_bandwidth_holds_in_its_own_direction() {
    if !inside_own_namespaces("a_limit_of_bandwidth_holds_in_its_own_direction") {
        return;
    }
    // A second's worth at four megabits, a tenth of which passes at once.
    const BYTES: usize = 500_000;
    let seconds = |to: SocketAddr, namespace: &Path| {
        let server = within(namespace, {
            let listener = listen(namespace, to);
            move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut received = vec![0; BYTES];
                stream.read_exact(&mut received).unwrap();
                let received = std::time::Instant::now();
                stream.write_all(&vec![1; BYTES]).unwrap();
                received
            }
        });
        let mut stream = TcpStream::connect(to).unwrap();
        let begun = std::time::Instant::now();
        stream.write_all(&vec![1; BYTES]).unwrap();
        stream.read_exact(&mut vec![0; BYTES]).unwrap();
        let received = server.join().unwrap();
        (received.duration_since(begun).as_secs_f64(), received.elapsed().as_secs_f64())
    };
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        let limit = Some(4_000_000);
        let (receiver, sender) =
            (AttachSpec { ingress: limit, ..spec("r") }, AttachSpec { egress: limit, ..spec("s") });
        for (attach, is_slow) in [(spec("free"), [false, false]), (receiver, [true, false]), (sender, [false, true])] {
            let pod = net.attach(attach).await.unwrap();
            let (to_pod, from_pod) = seconds((pod.addresses[0], 80).into(), &pod.namespace);
            // Only the slow ones have a bound that no busy machine can break.
            for (took, slow) in [(to_pod, is_slow[0]), (from_pod, is_slow[1])] {
                assert!(!slow || took > 0.8, "{}: {to_pod} s to the pod, {from_pod} s from it", pod.spec.id);
            }
            if is_slow[0] != is_slow[1] {
                let (slow, free) = if is_slow[0] { (to_pod, from_pod) } else { (from_pod, to_pod) };
                assert!(free < slow, "{}: {to_pod} s to the pod, {from_pod} s from it", pod.spec.id);
            }
        }
        net.close().await.unwrap();
    });
}

#[test]
fn no_address_is_given_twice_and_claims_survive_a_restart() {
    if !inside_own_namespaces("no_address_is_given_twice_and_claims_survive_a_restart") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for id in ["a", "b", "c", "d", "e"] {
            assert!(seen.insert(net.attach(spec(id)).await.unwrap().addresses));
        }
        let full = net.attach(spec("f")).await.unwrap_err().to_string();
        assert_eq!(full, "no free address in 10.244.7.0/29: every address of the node's range belongs to a pod");
        drop(net);

        std::fs::write(folder.path().join("attachments/.torn"), "{\"spec\"").unwrap();
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        assert_eq!(net.list().await.unwrap().len(), 5);
        let freed = net.attach(spec("c")).await.unwrap().addresses;
        net.detach("c").await.unwrap();
        assert_eq!(net.attach(spec("f")).await.unwrap().addresses, freed);
        net.close().await.unwrap();
    });
}

#[test]
fn an_id_that_is_no_file_name_is_refused() {
    if !inside_own_namespaces("an_id_that_is_no_file_name_is_refused") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        let error = net.attach(spec("../x")).await.unwrap_err().to_string();
        assert_eq!(error, "attachment id \"../x\" cannot name a file");
        net.close().await.unwrap();
    });
}

#[test]
fn instances_leave_each_others_forwarding_alone() {
    if !inside_own_namespaces("instances_leave_each_others_forwarding_alone") {
        return;
    }
    use crate::rules::{Base, Chain, Family, Hook, RuleSet};
    // As Docker has it, for the names that matter.
    let base = Base { kind: "filter", hook: Hook::Output, priority: 0 };
    let chain = Chain { name: "FORWARD".into(), base: Some(base), rules: Vec::new() };
    crate::nft::Netfilter::open()
        .unwrap()
        .apply(&RuleSet { family: Family::V4, table: "filter".into(), sets: Vec::new(), chains: vec![chain] })
        .unwrap();
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let configs = [("one", "10.244.7.0/29"), ("two", "10.245.7.0/29")];
    let [one, two] = std::array::from_fn(|at| {
        let (instance, range) = configs[at];
        Config { instance: instance.into(), pod_cidr: range.parse().unwrap(), ..config(folders[at].path()) }
    });
    let rules = |config: &Config| crate::nft::marked("filter", "FORWARD", &config.table()).unwrap().len();
    block_on(async {
        let (first, _running) = Net::open(one.clone()).unwrap();
        let (second, _running) = Net::open(two.clone()).unwrap();
        assert_eq!([&one, &two].map(rules), [2, 2]);
        second.close().await.unwrap();
        assert_eq!([&one, &two].map(rules), [2, 0]);
        first.close().await.unwrap();
        assert_eq!([&one, &two].map(rules), [0, 0]);
    });
}

/// Sends one packet, header and all, from the namespace.
fn send_raw(namespace: &Path, packet: Vec<u8>) {
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, socket,
    };
    let sent = within(namespace, move || {
        let raw = |family| socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).unwrap();
        if packet[0] >> 4 == 4 {
            let to: [u8; 4] = packet[16..20].try_into().unwrap();
            let to = SockaddrIn::new(to[0], to[1], to[2], to[3], 0);
            let socket = raw(AddressFamily::Inet);
            return sendto(std::os::fd::AsRawFd::as_raw_fd(&socket), &packet, &to, MsgFlags::empty());
        }
        let to = std::net::Ipv6Addr::from(<[u8; 16]>::try_from(&packet[24..40]).unwrap());
        let link = nix::net::if_::if_nametoindex("eth0").unwrap();
        let to = SockaddrIn6::from(std::net::SocketAddrV6::new(to, 0, 0, link));
        sendto(std::os::fd::AsRawFd::as_raw_fd(&raw(AddressFamily::Inet6)), &packet, &to, MsgFlags::empty())
    });
    sent.join().unwrap().unwrap();
}

fn checksum(words: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = words.chunks(2).map(word).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// A datagram with any source.
fn datagram(from: Ipv4Addr, to: (Ipv4Addr, u16), text: &str) -> Vec<u8> {
    let length = 28 + text.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.0.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(9u16.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    // No checksum of its own.
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(text.as_bytes());
    packet
}

/// A router that is one for half an hour, and the prefix that it hands out.
fn router_advertisement() -> Vec<u8> {
    let (from, to): (std::net::Ipv6Addr, std::net::Ipv6Addr) =
        ("fe80::bad".parse().unwrap(), "ff02::1".parse().unwrap());
    let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    // Prefix information: on the link, for autonomous addresses, for an hour.
    message.extend([3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0]);
    message.extend("2001:db8::".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let pseudo = [&from.octets()[..], &to.octets(), &[0, 0, 0, message.len() as u8, 0, 0, 0, 58], &message].concat();
    let sum = checksum(&pseudo);
    message[2..4].copy_from_slice(&sum);
    [&[0x60, 0, 0, 0, 0, message.len() as u8, 58, 255], &from.octets()[..], &to.octets(), &message].concat()
}

/// What has come when a last datagram did.
fn arrived(inbox: &UdpSocket) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.last().is_none_or(|last| last != "last") {
        let mut bytes = [0; 64];
        let (length, _) = inbox.recv_from(&mut bytes).unwrap();
        texts.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    texts
}

/// One packet made a pod the host's router: NET_RAW is all that it takes, and every container has it.
#[test]
fn a_pod_is_not_the_hosts_router() {
    if !inside_own_namespaces("a_pod_is_not_the_hosts_router") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        let inbox = socket(GATEWAY);
        let port = inbox.local_addr().unwrap().port();
        for host_ports in [vec![], vec![host_port("TCP", 8080)]] {
            let pod = net.attach(AttachSpec { host_ports, ..spec("p") }).await.unwrap();
            let IpAddr::V4(address) = pod.addresses[0] else { panic!() };
            // Asking for a link waits until the kernel has noticed that it is up (rtnl_getlink).
            let own = config(folder.path()).link_prefix();
            let link = crate::links::name(&own, "p");
            let shown = Command::new("ip").args(["-o", "link", "show", "dev", &link]).output().unwrap().stdout;
            let shown = String::from_utf8_lossy(&shown).into_owned();
            // No waiting for the pod's own address to be found free.
            let words = ["-6", "addr", "add", "fe80::bad/64", "dev", "eth0", "nodad"];
            let added = within(&pod.namespace, move || Command::new("ip").args(words).status().unwrap());
            assert!(added.join().unwrap().success());
            send_raw(&pod.namespace, router_advertisement());
            // What is sent later arrives later.
            send_raw(&pod.namespace, datagram(address, (GATEWAY, port), "last"));
            assert_eq!(arrived(&inbox), ["last"]);
            let proc = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
            let (addresses, routes) = (proc("if_inet6"), proc("ipv6_route"));
            assert!(!addresses.contains(&own), "the host has an address towards its pod:\n{addresses}");
            assert!(!addresses.contains("20010db8"), "{addresses}");
            assert!(!routes.lines().any(|route| route.contains(&own)), "the host routes over its pod:\n{routes}");
            assert!(shown.contains("NOARP"), "{shown}");
            net.detach("p").await.unwrap();
        }
        net.close().await.unwrap();
    });
}

#[test]
fn a_pod_speaks_with_its_own_address_only() {
    if !inside_own_namespaces("a_pod_speaks_with_its_own_address_only") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        loopback_up();
        let inbox = socket(GATEWAY);
        let port = inbox.local_addr().unwrap().port();
        let other = net.attach(spec("other")).await.unwrap();
        let IpAddr::V4(others) = other.addresses[0] else { panic!() };
        let (asked, limit) = (vec![host_port("UDP", 8080)], Some(4_000_000));
        for (host_ports, egress) in [(vec![], None), (asked.clone(), None), (asked, limit)] {
            let pod = net.attach(AttachSpec { host_ports, egress, ingress: egress, ..spec("p") }).await.unwrap();
            let IpAddr::V4(address) = pod.addresses[0] else { panic!() };
            let inside = within(&other.namespace, move || socket(others)).join().unwrap();
            let inside_port = inside.local_addr().unwrap().port();
            let forged = ["127.0.0.2", "127.0.0.1", "10.244.7.1", "192.0.2.1", "10.244.7.6"];
            for from in forged.iter().map(|from| from.parse().unwrap()).chain([others]) {
                for to in [(GATEWAY, port), (others, inside_port), (Ipv4Addr::LOCALHOST, port)] {
                    send_raw(&pod.namespace, datagram(from, to, &format!("forged {from}")));
                }
            }
            for to in [(GATEWAY, port), (others, inside_port)] {
                send_raw(&pod.namespace, datagram(address, to, "last"));
            }
            assert_eq!(arrived(&inbox), ["last"]);
            assert_eq!(arrived(&inside), ["last"]);
            net.detach("p").await.unwrap();
        }
        // Links that are taken over are held to their addresses, too.
        drop(net);
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        send_raw(&other.namespace, datagram([192, 0, 2, 1].into(), (GATEWAY, port), "forged"));
        send_raw(&other.namespace, datagram(others, (GATEWAY, port), "last"));
        assert_eq!(arrived(&inbox), ["last"]);
        net.close().await.unwrap();
    });
}

/// Services by real packets.
mod services;
