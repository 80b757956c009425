//! Answers from memory as another reader of DNS sees them, whole servers on loopback, forwarding, bounds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use expect_test::{Expect, expect};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Asked};
use hickory_proto::rr::{Name as Labels, RData, Record, RecordType};

use super::answer::{Outcome, Scratch, answer};
use super::query::{PACKET_MAX, Query, Unasked};
use super::*;

/// Sockets, and resolvers of the tests' own.
mod served;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn addresses(all: &[&str]) -> Records {
    Records::Addresses(all.iter().map(|address| address.parse().unwrap()).collect())
}

/// A small cluster.
fn names() -> Names {
    let zone = name("cluster.local");
    let below = |labels: &str| name(&format!("{labels}.cluster.local"));
    let target = |port, host: &str, address: &str| Target {
        port,
        weight: 50,
        name: below(host),
        addresses: [address.parse().unwrap()].into(),
    };
    let many: Vec<String> = (0..100).map(|last| format!("10.244.1.{last}")).collect();
    let put = vec![
        (zone.clone(), Records::Apex),
        (below("dns-version"), Records::Text("1.1.0".into())),
        (below("svc"), Records::Nothing),
        (below("default.svc"), Records::Nothing),
        (below("default.pod"), Records::Pods),
        (below("web.default.svc"), addresses(&["10.96.0.7", "fd00::7"])),
        (below("_tcp.web.default.svc"), Records::Nothing),
        (below("_http._tcp.web.default.svc"), Records::Targets([target(80, "web.default.svc", "10.96.0.7")].into())),
        (
            below("_sql._tcp.db.default.svc"),
            Records::Targets(
                [target(5432, "db-0.db.default.svc", "10.244.0.2"), target(5432, "db-1.db.default.svc", "10.244.0.3")]
                    .into(),
            ),
        ),
        (
            below("db.default.svc"),
            Records::Host {
                addresses: ["10.244.0.2".parse().unwrap()].into(),
                below: ["10.244.0.2", "fd00::2"].map(|address| address.parse().unwrap()).into(),
            },
        ),
        (below("many.default.svc"), addresses(&many.iter().map(String::as_str).collect::<Vec<_>>())),
        (below("out.default.svc"), Records::Alias(name("www.example.com"))),
        (below("in.default.svc"), Records::Alias(below("web.default.svc"))),
        (below("lost.default.svc"), Records::Alias(below("nothing.default.svc"))),
        (below("round.default.svc"), Records::Alias(below("round.default.svc"))),
        (name("7.0.96.10.in-addr.arpa"), Records::Pointers([below("web.default.svc")].into())),
    ];
    let names = Names::new(zone);
    names.change(Difference { put, gone: Vec::new() });
    names.are_whole();
    names
}

fn asked(text: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Asked::query(Labels::from_ascii(text).unwrap(), kind));
    message
}

/// One line a record.
fn shown(message: &Message) -> String {
    let meta = &message.metadata;
    let mut lines = vec![format!("{:?}", meta.response_code)];
    let flags = [(meta.authoritative, "aa"), (meta.truncation, "tc"), (meta.recursion_available, "ra")];
    lines[0].extend(flags.iter().filter(|(set, _)| *set).map(|(_, name)| format!(" {name}")));
    let sections = [("", &message.answers), ("authority ", &message.authorities), ("beside ", &message.additionals)];
    for (section, records) in sections {
        lines.extend(
            records.iter().map(|record| {
                format!("{section}{} {} {} {}", record.name, record.ttl, record.record_type(), record.data)
            }),
        );
    }
    lines.join("\n")
}

fn answered(names: &Names, packet: &[u8], limit: usize) -> (Outcome, Vec<u8>) {
    let query = Query::parse(packet).unwrap();
    let mut out = Vec::new();
    let outcome = answer(&names.table(), &query, limit, &mut Scratch::new(7), &mut out);
    (outcome, out)
}

fn check(text: &str, kind: RecordType, expected: Expect) {
    let packet = asked(text, kind).to_vec().unwrap();
    let (outcome, out) = answered(&names(), &packet, 512);
    match outcome {
        Outcome::Done => {
            let message = Message::from_vec(&out).unwrap();
            assert_eq!((message.metadata.id, message.metadata.recursion_desired), (7, true));
            assert_eq!(message.queries, asked(text, kind).queries);
            expected.assert_eq(&shown(&message));
        }
        other => expected.assert_eq(&format!("{other:?}")),
    }
}

#[test]
fn names_have_their_records_and_no_others() {
    check(
        "web.default.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        NoError aa ra
        web.default.svc.cluster.local. 5 A 10.96.0.7"#]],
    );
    check(
        "web.default.svc.cluster.local.",
        RecordType::AAAA,
        expect![[r#"
        NoError aa ra
        web.default.svc.cluster.local. 5 AAAA fd00::7"#]],
    );
    check(
        "web.default.svc.cluster.local.",
        RecordType::MX,
        expect![[r#"
        NoError aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
    check(
        "db.default.svc.cluster.local.",
        RecordType::AAAA,
        expect![[r#"
        NoError aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
    check(
        "_http._tcp.web.default.svc.cluster.local.",
        RecordType::SRV,
        expect![[r#"
        NoError aa ra
        _http._tcp.web.default.svc.cluster.local. 5 SRV 0 50 80 web.default.svc.cluster.local.
        beside web.default.svc.cluster.local. 5 A 10.96.0.7"#]],
    );
    check(
        "_sql._tcp.db.default.svc.cluster.local.",
        RecordType::SRV,
        expect![[r#"
        NoError aa ra
        _sql._tcp.db.default.svc.cluster.local. 5 SRV 0 50 5432 db-0.db.default.svc.cluster.local.
        _sql._tcp.db.default.svc.cluster.local. 5 SRV 0 50 5432 db-1.db.default.svc.cluster.local.
        beside db-0.db.default.svc.cluster.local. 5 A 10.244.0.2
        beside db-1.db.default.svc.cluster.local. 5 A 10.244.0.3"#]],
    );
    check(
        "_tcp.web.default.svc.cluster.local.",
        RecordType::SRV,
        expect![[r#"
        NoError aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
    check(
        "7.0.96.10.in-addr.arpa.",
        RecordType::PTR,
        expect![[r#"
        NoError aa ra
        7.0.96.10.in-addr.arpa. 5 PTR web.default.svc.cluster.local."#]],
    );
    check(
        "dns-version.cluster.local.",
        RecordType::TXT,
        expect![[r#"
        NoError aa ra
        dns-version.cluster.local. 28800 TXT 1.1.0"#]],
    );
    check(
        "cluster.local.",
        RecordType::SOA,
        expect![[r#"
        NoError aa ra
        cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
    check(
        "cluster.local.",
        RecordType::NS,
        expect![[r#"
        NoError aa ra
        cluster.local. 5 NS ns.dns.cluster.local."#]],
    );
}

#[test]
fn what_is_not_there_is_denied_for_a_while() {
    check(
        "none.default.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        NXDomain aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
    check(
        "web.none.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        NXDomain aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
    check(
        "default.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        NoError aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
    check(
        "cluster.local.",
        RecordType::A,
        expect![[r#"
        NoError aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
    check(
        "*.default.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        NXDomain aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
}

#[test]
fn pods_have_names_of_their_addresses() {
    check(
        "10-244-0-9.default.pod.cluster.local.",
        RecordType::A,
        expect![[r#"
        NoError aa ra
        10-244-0-9.default.pod.cluster.local. 5 A 10.244.0.9"#]],
    );
    check(
        "fd00--9.default.pod.cluster.local.",
        RecordType::AAAA,
        expect![[r#"
        NoError aa ra
        fd00--9.default.pod.cluster.local. 5 AAAA fd00::9"#]],
    );
    check(
        "10-244-0-9.default.pod.cluster.local.",
        RecordType::AAAA,
        expect![[r#"
        NoError aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
    check(
        "10-244-0-256.default.pod.cluster.local.",
        RecordType::A,
        expect![[r#"
        NXDomain aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
    check(
        "x.10-244-0-9.default.pod.cluster.local.",
        RecordType::A,
        expect![[r#"
        NXDomain aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
    check(
        "10-244-0-9.none.pod.cluster.local.",
        RecordType::A,
        expect![[r#"
        NXDomain aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
}

#[test]
fn aliases_are_followed() {
    check(
        "in.default.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        NoError aa ra
        in.default.svc.cluster.local. 5 CNAME web.default.svc.cluster.local.
        web.default.svc.cluster.local. 5 A 10.96.0.7"#]],
    );
    check(
        "in.default.svc.cluster.local.",
        RecordType::CNAME,
        expect![[r#"
        NoError aa ra
        in.default.svc.cluster.local. 5 CNAME web.default.svc.cluster.local."#]],
    );
    check(
        "out.default.svc.cluster.local.",
        RecordType::CNAME,
        expect![[r#"
        NoError aa ra
        out.default.svc.cluster.local. 5 CNAME www.example.com."#]],
    );
    check("out.default.svc.cluster.local.", RecordType::A, expect!["Chase(www.example.com.)"]);
    check(
        "lost.default.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        NoError aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
    check(
        "round.default.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        NoError aa ra
        authority cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 2 7200 1800 86400 5"#]],
    );
}

#[test]
fn other_names_are_for_others() {
    check("example.com.", RecordType::A, expect!["Forward"]);
    check("xcluster.local.", RecordType::A, expect!["Forward"]);
    check("7.0.96.10.in-addr.arpa.", RecordType::TXT, expect!["Forward"]);
    check("8.0.96.10.in-addr.arpa.", RecordType::PTR, expect!["Forward"]);
    check(".", RecordType::NS, expect!["Forward"]);
}

#[test]
fn a_name_that_may_yet_come_is_not_denied() {
    let names = Names::new(name("cluster.local"));
    let packet = asked("web.default.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    let code = |names: &Names| Message::from_vec(&answered(names, &packet, 512).1).unwrap().metadata.response_code;
    assert_eq!(code(&names), hickory_proto::op::ResponseCode::ServFail);
    names.are_whole();
    assert_eq!(code(&names), hickory_proto::op::ResponseCode::NXDomain);
}

#[test]
fn what_does_not_fit_is_cut_and_says_so() {
    let mut message = asked("many.default.svc.cluster.local.", RecordType::A);
    let of = |message: &Message, limit: usize| {
        let (_, out) = answered(&names(), &message.to_vec().unwrap(), limit);
        assert!(out.len() <= limit);
        Message::from_vec(&out).unwrap()
    };
    let plain = of(&message, 512);
    assert_eq!((plain.answers.len(), plain.metadata.truncation), (29, true));
    let whole = of(&message, 65_535);
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (100, false));
    message.set_edns(Edns::new());
    let extended = of(&message, PACKET_MAX);
    assert_eq!((extended.answers.len(), extended.metadata.truncation), (73, true));
    assert_eq!(extended.edns.map(|edns| edns.max_payload()), Some(1232));
}

#[test]
fn who_is_first_changes() {
    let packet = asked("many.default.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    let (names, mut scratch, mut out) = (names(), Scratch::new(7), Vec::new());
    let mut first = || {
        let query = Query::parse(&packet).unwrap();
        answer(&names.table(), &query, 65_535, &mut scratch, &mut out);
        let message = Message::from_vec(&out).unwrap();
        let mut all: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
        let first = all[0].clone();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 100, "each once");
        first
    };
    let seen: std::collections::BTreeSet<String> = (0..20).map(|_| first()).collect();
    assert!(seen.len() > 10, "{seen:?}");
}

#[test]
fn letters_do_not_matter_and_come_back_as_they_were() {
    let packet = asked("WeB.Default.SVC.cLuster.Local.", RecordType::A).to_vec().unwrap();
    let (_, out) = answered(&names(), &packet, 512);
    assert_eq!(out[12..packet.len()], packet[12..], "the question is the same, bit by bit");
    assert_eq!(
        Message::from_vec(&out).unwrap().answers[0].data,
        RData::A("10.96.0.7".parse::<Ipv4Addr>().unwrap().into())
    );
}

#[test]
fn what_is_no_question_is_refused_or_not_answered() {
    let good = asked("web.default.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = good.clone();
        change(&mut packet);
        match Query::parse(&packet) {
            Ok(_) => "asked".to_string(),
            Err(Unasked::Nothing) => "nothing".into(),
            Err(Unasked::Code { code, .. }) => format!("code {code}"),
        }
    };
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: &[(&str, Change<'_>)] = &[
        ("asked", &|_| {}),
        ("nothing", &|p| p.truncate(11)),
        ("nothing", &|p| p[2] |= 0x80),
        ("code 4", &|p| p[2] |= 0x28),
        ("code 1", &|p| p[5] = 2),
        ("code 1", &|p| p[5] = 0),
        ("code 1", &|p| p[7] = 1),
        ("code 1", &|p| p.truncate(p.len() - 1)),
        ("code 1", &|p| p[12] = 0xc0),
        ("code 1", &|p| p[12] = 200),
        ("code 1", &|p| p[11] = 1),
        ("code 1", &|p| p[10..12].fill(0xff)),
        ("asked", &|p| {
            p[11] = 1;
            p.extend([0, 0, 41, 0, 0, 0, 0, 0, 0, 0, 0]);
        }),
        ("code 1", &|p| {
            p[11] = 2;
            p.extend([0, 0, 41, 0, 0, 0, 0, 0, 0, 0, 0].repeat(2));
        }),
        ("code 1", &|p| {
            p[11] = 1;
            p.extend([0, 0, 41, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        }),
    ];
    for (number, (expected, change)) in cases.iter().enumerate() {
        assert_eq!(with(change), *expected, "case {number}");
    }
    // 255 bytes of labels are a name, 256 are none.
    let long = |bytes: usize| {
        let mut packet = good[..12].to_vec();
        let mut left = bytes - 1;
        while left > 0 {
            let label = (left - 1).min(63);
            packet.push(label as u8);
            packet.extend(vec![b'a'; label]);
            left -= label + 1;
        }
        packet.extend([0, 0, 1, 0, 1]);
        Query::parse(&packet).is_ok()
    };
    assert!(long(255) && !long(257));
}

#[test]
fn unknown_versions_classes_and_transfers_are_refused() {
    let code = |packet: &[u8]| Message::from_vec(&answered(&names(), packet, 512).1).unwrap().metadata.response_code;
    let mut other = asked("web.default.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    *other.last_mut().unwrap() = 3;
    assert_eq!(code(&other), hickory_proto::op::ResponseCode::Refused);
    let transfer = asked("cluster.local.", RecordType::AXFR).to_vec().unwrap();
    assert_eq!(code(&transfer), hickory_proto::op::ResponseCode::Refused);
    let mut later = asked("web.default.svc.cluster.local.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    later.set_edns(edns);
    assert_eq!(u16::from(code(&later.to_vec().unwrap())), 16);
}

#[test]
fn names_are_read_from_text_and_addresses() {
    assert_eq!(name("Web.Default.").to_string(), "web.default.");
    assert_eq!(Name::parse(".").unwrap().bytes(), [0]);
    assert!(Name::parse("a..b").is_none() && Name::parse(&"a".repeat(64)).is_none());
    assert!(Name::parse(&"a.".repeat(127)).is_some() && Name::parse(&"a.".repeat(128)).is_none());
    assert_eq!(Name::of_address("10.1.2.3".parse().unwrap()).to_string(), "3.2.1.10.in-addr.arpa.");
    let six = Name::of_address("fd00::12".parse().unwrap()).to_string();
    assert!(six.starts_with("2.1.0.0.") && six.ends_with("0.0.d.f.ip6.arpa.") && six.len() == 73, "{six}");
}
