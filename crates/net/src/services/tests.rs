//! Histories of services against the same made anew, on a kernel that is a map.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::elements::{ALL, Difference, Elements, In, InForce, arranged, read_endpoint};
use super::{At, Change, Frontend, Port, Protocol, Ranges, Way, left};

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }

    fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        of.iter().filter(|_| self.below(3) > 0).cloned().collect()
    }
}

fn ranges() -> Ranges {
    Ranges { cluster: "10.244.0.0/16".parse().unwrap(), node: "10.244.7.0/24".parse().unwrap(), own_ports: vec![6443] }
}

fn at(address: &str, port: u16) -> At {
    At { address: address.parse().unwrap(), protocol: Protocol::Tcp, port }
}

fn port(dice: &mut Dice, own: At, v6: bool) -> Port {
    let address = |n: usize| if v6 { format!("fd00::{n}") } else { format!("10.244.{}.{n}", 7 + n % 2) };
    let endpoints: Vec<SocketAddr> =
        (0..7).map(|n| SocketAddr::new(address(n).parse().unwrap(), 8080 + (n % 2) as u16)).collect();
    let ways = [Way::Cluster, Way::Local, Way::Reject, Way::Drop];
    let nowhere: IpAddr = if v6 { "::" } else { "0.0.0.0" }.parse().unwrap();
    let outer = At { address: nowhere, port: 30000 + own.port, ..own };
    let sources: Vec<ipnet::IpNet> = match v6 {
        true => vec!["2001:db8::/32".parse().unwrap()],
        false => vec!["192.0.2.0/24".parse().unwrap(), "192.0.2.128/25".parse().unwrap()],
    };
    let mut frontend =
        |at, sources| Frontend { at, inside: ways[dice.below(4)], outside: ways[dice.below(4)], sources };
    let frontends = vec![frontend(own, Vec::new()), frontend(outer, sources)];
    let (cluster, local, affinity) = (dice.some(&endpoints), dice.some(&endpoints), dice.below(2) as u32 * 10_800);
    Port { frontends, cluster, local, affinity, serving: Vec::new() }
}

/// As the kernel does it: nothing that is not there is taken, nothing that is there is put.
fn apply(kernel: &mut Elements, difference: &Difference) {
    for (key, data) in &difference.take {
        assert_eq!(kernel.remove(key).as_ref(), Some(data), "{key:?} is not there");
    }
    for (key, data) in &difference.put {
        assert_eq!(kernel.insert(key.clone(), data.clone()), None, "{key:?} is there");
    }
}

/// Without the order of endpoints, and without what stays.
fn unordered(elements: &Elements) -> Vec<(In, Vec<u8>, Vec<u8>)> {
    let mut all: Vec<(In, Vec<u8>, Vec<u8>)> = elements
        .iter()
        .filter(|((store, _), _)| !matches!(store, In::Choices | In::Hairpin))
        .map(|((store, key), data)| match store {
            In::Endpoints | In::LocalEndpoints => (*store, key[..key.len() - 4].to_vec(), data.clone()),
            _ => (*store, key.clone(), data.clone()),
        })
        .collect();
    all.sort();
    all
}

#[test]
fn any_history_ends_as_if_made_anew() {
    for (seed, v6) in (0..60).map(|seed| (seed, seed % 3 == 0)) {
        let mut dice = Dice(seed);
        let mut kernel = Elements::new();
        let mut in_force = InForce::default();
        let mut model: BTreeMap<At, Port> = BTreeMap::new();
        for _ in 0..30 {
            let mut changes = BTreeMap::new();
            for _ in 0..=dice.below(3) {
                let address = ["10.96.0.1", "10.96.0.2"][dice.below(2)];
                let own = at(if v6 { "fd96::1" } else { address }, 80 + dice.below(4) as u16 + address.len() as u16);
                let own = At { address: own.address, ..own };
                // No two have the same port of the nodes.
                let own = At { port: own.port + if address.ends_with('2') { 100 } else { 0 }, ..own };
                let new = (dice.below(4) > 0).then(|| port(&mut dice, own, v6));
                match &new {
                    Some(port) => drop(model.insert(own, port.clone())),
                    None => drop(model.remove(&own)),
                }
                changes.insert(own, new);
            }
            let before = in_force.choices.clone();
            let difference = in_force.change(&ranges(), changes);
            assert!(difference.choices.iter().all(|choice| !before.contains(choice)));
            apply(&mut kernel, &difference);
            assert_eq!(kernel, in_force.elements());
            let mut anew = InForce::default();
            anew.change(&ranges(), model.iter().map(|(at, port)| (*at, Some(port.clone()))).collect());
            assert_eq!(unordered(&kernel), unordered(&anew.elements()));
            assert!(anew.choices.is_subset(&in_force.choices));
            assert!(anew.hairpin.is_subset(&in_force.hairpin));
            dense(&kernel);
            // Whoever comes after reads the same from the kernel, and finds nothing to do.
            let mut after = left(&kernel);
            assert_eq!(after.choices, in_force.choices);
            after.change(&ranges(), model.iter().map(|(at, port)| (*at, Some(port.clone()))).collect());
            assert_eq!(after.elements(), kernel);
        }
    }
}

/// The numbers of each service's endpoints are those below their count.
fn dense(elements: &Elements) {
    let mut numbers: BTreeMap<(In, At), Vec<usize>> = BTreeMap::new();
    for ((store, key), data) in elements {
        if matches!(store, In::Endpoints | In::LocalEndpoints) {
            let (at, number, _) = read_endpoint(key, data).unwrap();
            numbers.entry((*store, at)).or_default().push(number);
        }
    }
    for ((_, at), mut numbers) in numbers {
        numbers.sort_unstable();
        assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "{at:?}");
    }
}

#[test]
fn one_endpoint_that_goes_is_a_handful_of_elements() {
    let endpoints: Vec<SocketAddr> =
        (0..1000u32).map(|n| SocketAddr::new((0x0af4_0000 + n).to_be_bytes().into(), 80)).collect();
    let own = at("10.96.0.1", 80);
    let frontend = Frontend { at: own, inside: Way::Cluster, outside: Way::Cluster, sources: Vec::new() };
    let with = |cluster: Vec<SocketAddr>| {
        BTreeMap::from([(own, Some(Port { frontends: vec![frontend.clone()], cluster, ..Port::default() }))])
    };
    let mut in_force = InForce::default();
    in_force.change(&ranges(), with(endpoints.clone()));
    let mut fewer = endpoints.clone();
    fewer.remove(300);
    let difference = in_force.change(&ranges(), with(fewer));
    // The service's count, the place that it had, and the last one that moved there.
    assert_eq!((difference.take.len(), difference.put.len()), (3, 3));
    assert_eq!(in_force.change(&ranges(), with(endpoints)).put.len(), 2);
}

#[test]
fn endpoints_keep_their_places() {
    let arranged = |before: &[u16], wanted: &[u16]| -> Vec<u16> {
        let of = |ports: &[u16]| ports.iter().map(|port| SocketAddr::from(([10, 0, 0, 1], *port))).collect::<Vec<_>>();
        arranged(&of(before), &of(wanted)).iter().map(SocketAddr::port).collect()
    };
    assert_eq!(arranged(&[], &[3, 1, 2]), [1, 2, 3]);
    assert_eq!(arranged(&[3, 1, 2], &[1, 2, 3]), [3, 1, 2]);
    assert_eq!(arranged(&[1, 2, 3, 4], &[1, 3, 4]), [1, 4, 3]);
    assert_eq!(arranged(&[1, 2, 3, 4], &[4]), [4]);
    assert_eq!(arranged(&[1, 2, 3], &[7, 8, 3, 9]), [7, 8, 3, 9]);
    assert_eq!(arranged(&[1, 2, 3], &[]), [0; 0]);
}

#[test]
fn every_map_has_a_name_and_is_made() {
    let made: Vec<String> =
        super::rules::sets(crate::rules::Family::V4).iter().map(|set| set.name.to_string()).collect();
    assert!(ALL.iter().all(|store| made.contains(&store.name().to_string())));
    let change = Change::Some(BTreeMap::new());
    assert!(matches!(change, Change::Some(none) if none.is_empty()));
}

#[test]
fn flows_are_cut_where_they_led_and_nowhere_else() {
    let dns = At { protocol: Protocol::Udp, ..at("10.96.0.10", 53) };
    let node = At { address: IpAddr::from([0, 0, 0, 0]), port: 30053, ..dns };
    let with = |serving: &[&str], frontends: &[At]| Port {
        frontends: frontends
            .iter()
            .map(|at| Frontend { at: *at, inside: Way::Cluster, outside: Way::Cluster, sources: Vec::new() })
            .collect(),
        serving: serving.iter().map(|one| one.parse().unwrap()).collect(),
        ..Port::default()
    };
    let turned = |old: Option<&Port>, new: Option<&Port>| {
        super::flows::turns([(&dns, old, new)].into_iter()).into_keys().collect::<Vec<_>>()
    };
    let (none, one) = (with(&[], &[node, dns]), with(&["10.244.7.2:53"], &[node, dns]));
    let other = with(&["10.244.7.3:53"], &[node, dns]);
    let both = with(&["10.244.7.2:53", "10.244.7.3:53"], &[node, dns]);
    assert_eq!(turned(None, Some(&none)), []);
    assert_eq!(turned(None, Some(&one)), [node, dns]);
    assert_eq!(turned(Some(&none), Some(&one)), [node, dns]);
    assert_eq!(turned(Some(&one), Some(&other)), [node, dns]);
    assert_eq!(turned(Some(&both), Some(&other)), [node, dns]);
    assert_eq!(turned(Some(&one), Some(&both)), []);
    assert_eq!(turned(Some(&one), None), [node, dns]);
    assert_eq!(turned(Some(&both), Some(&with(&["10.244.7.2:53", "10.244.7.3:53"], &[dns]))), [node]);
    let tcp = at("10.96.0.10", 53);
    assert!(super::flows::turns([(&tcp, Some(&one), None)].into_iter()).is_empty());
}
