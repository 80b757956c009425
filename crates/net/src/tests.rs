//! Real namespaces and real packets, all inside a network namespace that each test makes itself.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::{AttachSpec, Config, HostPort, Net};

const INSIDE: &str = "GOUSSE_TEST_INSIDE";

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
        assert_eq!(server.join().unwrap(), IpAddr::from([10, 244, 7, 1]), "the host has its own address there");
        net.close().await.unwrap();
    });
}

/// Nothing resends a datagram: a link that only seems to be up loses it.
#[test]
fn the_first_packets_of_a_pod_arrive_both_ways() {
    if !inside_own_namespaces("the_first_packets_of_a_pod_arrive_both_ways") {
        return;
    }
    const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 7, 1));
    let socket = |at: IpAddr| {
        let socket = UdpSocket::bind((at, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    };
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
        // Loopback must be up for 127.0.0.1.
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        let port = HostPort { protocol: "TCP".into(), host_ip: None, host_port: 8080, container_port: 80 };
        let web = net.attach(AttachSpec { host_ports: vec![port], ..spec("web") }).await.unwrap();
        let other = net.attach(spec("other")).await.unwrap();
        let gateway = IpAddr::from([10, 244, 7, 1]);

        let server = answer_once(&web.namespace, 80);
        assert_eq!(fetch((Ipv4Addr::LOCALHOST, 8080).into()), "hello");
        server.join().unwrap();
        for client in [&other, &web] {
            let server = answer_once(&web.namespace, 80);
            let text = within(&client.namespace, move || fetch((gateway, 8080).into())).join().unwrap();
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
    use crate::rules::{Chain, Hook, RuleSet};
    // As Docker has it, for the names that matter.
    let chain = Chain { name: "FORWARD", kind: "filter", hook: Hook::Output, priority: 0, rules: Vec::new() };
    crate::nft::apply(&RuleSet { table: "filter".into(), sets: Vec::new(), chains: vec![chain] }).unwrap();
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
