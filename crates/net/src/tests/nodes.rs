//! Machines as network namespaces: bridges between them, a router between bridges, and a network on each.

use std::path::PathBuf;

use super::*;
use crate::namespaces::Namespaces;
use crate::peers::kernel;
use crate::route::Route;
use crate::{Peer, Peers, Refusal, Running, Vxlan, Way};

const VXLAN: Vxlan = Vxlan { id: 0x67_0102, port: 4789 };

/// The test's own namespace is the router between the networks, and has a port on each.
struct Bed {
    folder: tempfile::TempDir,
    namespaces: Namespaces,
    machines: Vec<Machine>,
}

struct Machine {
    name: String,
    pin: PathBuf,
    net: Net,
    running: Running,
    address: Ipv4Addr,
    config: Config,
}

/// `ip WORDS` where the thread is.
fn ip(words: &str) -> String {
    let done = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

impl Machine {
    fn ip(&self, words: &str) -> String {
        let words = words.to_string();
        within(&self.pin, move || ip(&words)).join().unwrap()
    }

    fn as_peer(&self) -> Peer {
        Peer { name: self.name.clone(), address: self.address.into(), ranges: vec![self.config.pod_cidr.into()] }
    }

    /// An agent of this machine ends; what it made stays.
    fn ends(self) -> (String, PathBuf, Ipv4Addr, Config) {
        drop(self.net);
        self.running.join();
        (self.name, self.pin, self.address, self.config)
    }

    fn begins((name, pin, address, config): (String, PathBuf, Ipv4Addr, Config)) -> Machine {
        let opening = config.clone();
        let (net, running) = within(&pin, move || Net::open(opening).unwrap()).join().unwrap();
        Machine { name, pin, net, running, address, config }
    }

    /// What the kernel has is what was planned.
    fn is_as_planned(&self, peers: &Peers) -> Vec<Refusal> {
        let (config, peers) = (self.config.clone(), peers.clone());
        let looked = within(&self.pin, move || {
            let route = Route::open().unwrap();
            let seen = route.underlay().unwrap();
            let observed = kernel::observe(&route, &config, &seen).unwrap();
            let (prefix, tunnel) = (config.link_prefix(), config.tunnel());
            let links: Vec<_> = seen.into_iter().map(|seen| seen.link).collect();
            let links: Vec<_> =
                links.into_iter().filter(|link| !link.name.starts_with(&prefix) && link.name != tunnel).collect();
            let plan = crate::peers::plan(&config, &peers, &links);
            assert_eq!(kernel::difference(&config, &plan, &observed), []);
            assert_eq!(observed.device.map(|(_, device)| device), plan.device);
            plan.refused
        });
        looked.join().unwrap()
    }
}

impl Bed {
    fn new() -> Bed {
        loopback_up();
        let folder = tempfile::tempdir().unwrap();
        let namespaces = Namespaces::open(folder.path()).unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        for network in 0..2 {
            ip(&format!("link add net{network} type bridge"));
            ip(&format!("addr add 192.0.{network}.254/24 dev net{network}"));
            ip(&format!("link set net{network} up"));
        }
        Bed { folder, namespaces, machines: Vec::new() }
    }

    /// A machine in a network: 192.0.NETWORK.NUMBER+1, pods 10.244.NUMBER.0/24.
    fn add(&mut self, network: usize) {
        let number = self.machines.len();
        let name = format!("m{number}");
        drop(self.namespaces.make(&name).unwrap());
        let pin = self.namespaces.path(&name);
        ip(&format!("link add port{number} type veth peer name eth0 netns {}", pin.display()));
        ip(&format!("link set port{number} master net{network} up"));
        let address = Ipv4Addr::new(192, 0, network as u8, number as u8 + 1);
        let words = [
            "link set lo up".to_string(),
            format!("addr add {address}/24 dev eth0"),
            "link set eth0 up".into(),
            format!("route add default via 192.0.{network}.254"),
        ];
        within(&pin, move || words.iter().for_each(|words| drop(ip(words)))).join().unwrap();
        let run_dir = self.folder.path().join(format!("run{number}"));
        std::fs::create_dir(&run_dir).unwrap();
        let config = Config {
            instance: format!("test{number}"),
            pod_cidr: format!("10.244.{number}.0/24").parse().unwrap(),
            cluster_cidr: "10.244.0.0/16".parse().unwrap(),
            run_dir,
            own_ports: Vec::new(),
        };
        self.machines.push(Machine::begins((name, pin, address, config)));
    }

    /// What a machine is told of the others.
    fn peers_of(&self, number: usize, way: Way) -> Peers {
        let others = self.machines.iter().enumerate().filter(|(other, _)| *other != number);
        let others = others.map(|(_, machine)| machine.as_peer()).collect();
        Peers { own: Some(self.machines[number].address.into()), others, way, vxlan: VXLAN }
    }

    async fn tell_all(&self, way: Way) {
        for (number, machine) in self.machines.iter().enumerate() {
            let peers = self.peers_of(number, way);
            assert_eq!(machine.net.peers(peers.clone()).await.unwrap(), []);
            assert_eq!(machine.is_as_planned(&peers), []);
        }
    }

    /// One pod on each machine; every pair of pods, and every machine with every pod, sees true sources.
    async fn all_reach_all(&self) {
        let mut pods = Vec::new();
        for machine in &self.machines {
            pods.push(machine.net.attach(spec("p")).await.unwrap());
        }
        for (to, target) in pods.iter().enumerate() {
            let address = target.addresses[0];
            let listener = listen(&target.namespace, (address, 80).into());
            let calls = pods.len() * 2 - 1;
            let server = std::thread::spawn(move || {
                let calls = listener.incoming().take(calls);
                calls.map(|stream| greeted(stream.unwrap())).collect::<Vec<_>>()
            });
            let mut wanted = Vec::new();
            for (from, pod) in pods.iter().enumerate() {
                if from != to {
                    within(&pod.namespace, move || fetch((address, 80).into())).join().unwrap();
                    wanted.push(pod.addresses[0]);
                }
                within(&self.machines[from].pin, move || fetch((address, 80).into())).join().unwrap();
                wanted.push(self.machines[from].config.gateway().into());
            }
            assert_eq!(server.join().unwrap(), wanted, "calls to the pod of m{to}");
        }
        for machine in &self.machines {
            machine.net.detach("p").await.unwrap();
        }
    }

    async fn end(self) {
        for machine in self.machines {
            machine.net.close().await.unwrap();
            let left = machine.ip("-4 route show table all proto 103");
            assert_eq!(left, "", "routes of {}", machine.name);
            let links = machine.ip("-o link show");
            assert!(!links.contains(&machine.config.link_prefix()), "{links}");
            machine.ends();
        }
    }
}

/// More than one packet of the largest kind: a way with a smaller MTU than said would swallow it.
fn greeted(mut stream: TcpStream) -> IpAddr {
    stream.write_all(&[b'x'; 100_000]).unwrap();
    stream.peer_addr().unwrap().ip()
}

fn mtu(namespace: &Path) -> String {
    let shown = within(namespace, || ip("-o link show dev eth0")).join().unwrap();
    let mut words = shown.split(' ').skip_while(|word| *word != "mtu");
    words.nth(1).unwrap().to_string()
}

/// Waits until the kernel tells of a route to that range, on a socket that was opened before.
fn told_of(notices: &netlink_sys::Socket, range: &str) {
    let [a, b, c, d] = range.parse::<ipnet::Ipv4Net>().unwrap().network().octets();
    loop {
        let (datagram, _) = notices.recv_from_full().unwrap();
        // RTM_NEWROUTE
        if datagram.get(4..6) == Some(&24u16.to_ne_bytes()) && datagram.windows(4).any(|word| word == [a, b, c, d]) {
            return;
        }
    }
}

fn notices(namespace: &Path) -> netlink_sys::Socket {
    let opened = within(namespace, || {
        let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE).unwrap();
        socket.bind(&netlink_sys::SocketAddr::new(0, 0)).unwrap();
        socket.add_membership(7).unwrap();
        let patience = nix::sys::time::TimeVal::new(5, 0);
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &patience).unwrap();
        socket
    });
    opened.join().unwrap()
}

#[test]
fn pods_of_all_machines_reach_each_other_as_themselves() {
    if !inside_own_namespaces("nodes::pods_of_all_machines_reach_each_other_as_themselves") {
        return;
    }
    block_on(async {
        let mut bed = Bed::new();
        bed.add(0);
        bed.add(0);
        bed.tell_all(Way::Auto).await;
        bed.all_reach_all().await;
        // One behind a router.
        bed.add(1);
        let early = bed.machines[0].net.attach(spec("early")).await.unwrap();
        assert_eq!(mtu(&early.namespace), "1500");
        for way in [Way::Auto, Way::Vxlan, Way::Auto] {
            bed.tell_all(way).await;
            bed.all_reach_all().await;
            assert_eq!(mtu(&early.namespace), "1450");
        }
        bed.end().await;
    });
}

#[test]
fn ten_machines_are_one_network() {
    if !inside_own_namespaces("nodes::ten_machines_are_one_network") {
        return;
    }
    block_on(async {
        let mut bed = Bed::new();
        (0..10).for_each(|number| bed.add(number % 2));
        bed.tell_all(Way::Auto).await;
        bed.all_reach_all().await;
        bed.end().await;
    });
}

#[test]
fn a_machine_that_moves_leaves_or_comes_back_is_followed() {
    if !inside_own_namespaces("nodes::a_machine_that_moves_leaves_or_comes_back_is_followed") {
        return;
    }
    block_on(async {
        let mut bed = Bed::new();
        (0..3).for_each(|number| bed.add(number / 2));
        bed.tell_all(Way::Auto).await;

        // It moves into the other network: what was direct is a tunnel, and the other way round.
        ip("link set port1 master net1");
        let moved = Ipv4Addr::new(192, 0, 1, 99);
        for words in
            ["addr flush dev eth0 scope global", "addr add 192.0.1.99/24 dev eth0", "route add default via 192.0.1.254"]
        {
            bed.machines[1].ip(words);
        }
        bed.machines[1].address = moved;
        bed.tell_all(Way::Auto).await;
        bed.all_reach_all().await;

        // An agent that was killed finds what it made, and what became wrong meanwhile is mended.
        let last = bed.machines.pop().unwrap().ends();
        let metric = last.3.metric();
        let stale = format!("route add 10.244.77.0/24 via 192.0.1.254 proto 103 metric {metric}");
        within(&last.1, move || ip(&stale)).join().unwrap();
        within(&last.1, || ip("route del 10.244.0.0/24 proto 103")).join().unwrap();
        bed.machines.push(Machine::begins(last));
        bed.tell_all(Way::Auto).await;
        bed.all_reach_all().await;

        // One that is gone is nobody's way any more.
        let gone = bed.machines.pop().unwrap();
        bed.tell_all(Way::Auto).await;
        let routes = bed.machines[0].ip("-4 route show proto 103");
        assert!(!routes.contains("10.244.2.0/24"), "{routes}");
        gone.net.close().await.unwrap();
        gone.ends();
        bed.end().await;
    });
}

/// The kernel drops routes with their link, and says nothing of it.
#[test]
fn ways_come_back_with_their_link_and_follow_its_mtu() {
    if !inside_own_namespaces("nodes::ways_come_back_with_their_link_and_follow_its_mtu") {
        return;
    }
    block_on(async {
        let mut bed = Bed::new();
        bed.add(0);
        bed.add(0);
        bed.add(1);
        bed.tell_all(Way::Auto).await;
        let machine = &bed.machines[0];
        let pod = machine.net.attach(spec("q")).await.unwrap();
        let heard = notices(&machine.pin);
        machine.ip("link set eth0 down");
        machine.ip("link set eth0 up");
        told_of(&heard, "10.244.1.0/24");
        machine.ip("route add default via 192.0.0.254");
        bed.all_reach_all().await;

        let heard = notices(&machine.pin);
        machine.ip("route del 10.244.1.0/24 proto 103");
        told_of(&heard, "10.244.1.0/24");

        machine.ip("link set eth0 mtu 1400");
        machine.ip("route del 10.244.2.0/24 proto 103");
        told_of(&heard, "10.244.2.0/24");
        // Asked after the notices: the thread does one after the other.
        machine.net.list().await.unwrap();
        assert_eq!(mtu(&pod.namespace), "1350");
        bed.all_reach_all().await;
        bed.end().await;
    });
}

/// A split of the network, healed without anybody's doing.
#[test]
fn a_split_heals() {
    if !inside_own_namespaces("nodes::a_split_heals") {
        return;
    }
    block_on(async {
        let mut bed = Bed::new();
        bed.add(0);
        bed.add(0);
        bed.add(1);
        bed.tell_all(Way::Auto).await;
        ip("link set port1 down");
        let pod = bed.machines[1].net.attach(spec("far")).await.unwrap();
        let address = pod.addresses[0];
        let listener = listen(&pod.namespace, (address, 80).into());
        let near = bed.machines[0].net.attach(spec("near")).await.unwrap();
        let call = move || TcpStream::connect_timeout(&(address, 80).into(), Duration::from_millis(300)).is_ok();
        assert!(!within(&near.namespace, call).join().unwrap());
        ip("link set port1 up");
        bed.all_reach_all().await;
        drop(listener);
        bed.end().await;
    });
}

/// The identifier of the tunnel is no secret: who wraps a packet must be a peer, and a pod's address comes only over
/// the way that leads back to it.
#[test]
fn strangers_speak_for_no_pod() {
    if !inside_own_namespaces("nodes::strangers_speak_for_no_pod") {
        return;
    }
    block_on(async {
        let mut bed = Bed::new();
        (0..4).for_each(|_| bed.add(0));
        // The last one is a stranger, who knows all that a peer knows.
        let stranger = bed.peers_of(3, Way::Vxlan);
        bed.machines[3].net.peers(stranger).await.unwrap();
        for number in 0..3 {
            let mut peers = bed.peers_of(number, Way::Vxlan);
            peers.others.pop();
            assert_eq!(bed.machines[number].net.peers(peers).await.unwrap(), []);
        }
        let pod = bed.machines[0].net.attach(spec("p")).await.unwrap();
        let IpAddr::V4(address) = pod.addresses[0] else { panic!() };
        let inbox = within(&pod.namespace, move || socket(address)).join().unwrap();
        let to = (address, inbox.local_addr().unwrap().port());
        let forged = Ipv4Addr::new(10, 244, 1, 2);
        // Wrapped by a stranger; by nobody; and at last by a peer.
        send_raw(&bed.machines[3].pin, datagram(forged, to, "wrapped"));
        bed.machines[3].ip("route replace 10.244.0.0/24 via 192.0.0.1 metric 1");
        send_raw(&bed.machines[3].pin, datagram(forged, to, "plain"));
        let peer = bed.machines[1].net.attach(spec("q")).await.unwrap();
        let IpAddr::V4(known) = peer.addresses[0] else { panic!() };
        send_raw(&peer.namespace, datagram(known, to, "last"));
        assert_eq!(arrived(&inbox), ["last"]);
        bed.machines[3].ip("route del 10.244.0.0/24 metric 1");
        bed.end().await;
    });
}
