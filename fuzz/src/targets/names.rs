//! What comes to the DNS server: questions of anybody, answers of resolvers.

use std::sync::LazyLock;

use net::dns::{Difference, Name, Names, Records, Target};

use crate::Target as Fed;

pub const QUESTION: Fed = Fed { name: "dns-question", samples: questions, words: WORDS, run: question };
pub const ANSWER: Fed = Fed { name: "dns-answer", samples: answers, words: WORDS, run: answer };

const WORDS: &[&str] =
    &["\x03svc", "\x07cluster\x05local\0", "\x07default", "\0\x01\0\x01", "\0\0\x29", "\x03web", "\x03pod"];

/// `web.default.svc.cluster.local` and a few more, of every kind.
static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let name = |text: &str| Name::parse(text).expect("it is a name");
    let below = |labels: &str| name(&format!("{labels}.cluster.local"));
    let many: Box<[_]> = (0..=255).map(|last| [10, 244, 0, last].into()).collect();
    let target = Target { port: 80, weight: 1, name: below("web.default.svc"), addresses: many.clone() };
    let put = vec![
        (name("cluster.local"), Records::Apex),
        (below("svc"), Records::Nothing),
        (below("web.default.svc"), Records::Addresses(many)),
        (below("_http._tcp.web.default.svc"), Records::Targets(vec![target; 40].into())),
        (below("out.default.svc"), Records::Alias(below("in.default.svc"))),
        (below("in.default.svc"), Records::Alias(below("out.default.svc"))),
        (below("dns-version"), Records::Text("1.1.0".into())),
        (below("default.pod"), Records::Pods),
        (name("1.0.244.10.in-addr.arpa"), Records::Pointers(vec![below("web.default.svc"); 90].into())),
    ];
    let names = Names::new(name("cluster.local"));
    names.change(Difference { put, gone: Vec::new() });
    names.are_whole();
    names
});

fn asked(labels: &[&str], kind: u8, extended: bool) -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(extended)];
    for label in labels {
        packet.push(label.len() as u8);
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, kind, 0, 1]);
    if extended {
        packet.extend([0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0]);
    }
    packet
}

fn questions() -> Vec<Vec<u8>> {
    let own = |labels: &[&str], kind, extended| asked(&[labels, &["cluster", "local"]].concat(), kind, extended);
    vec![
        own(&["web", "default", "svc"], 1, true),
        own(&["_http", "_tcp", "web", "default", "svc"], 33, false),
        own(&["out", "default", "svc"], 255, true),
        own(&["10-244-0-9", "default", "pod"], 1, false),
        own(&["dns-version"], 16, true),
        own(&[], 6, true),
        asked(&["1", "0", "244", "10", "in-addr", "arpa"], 12, false),
    ]
}

fn answers() -> Vec<Vec<u8>> {
    let mut packet = asked(&["example", "com"], 1, false);
    packet[2..4].copy_from_slice(&[0x81, 0x80]);
    packet[7] = 2;
    packet[11] = 1;
    packet.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 6, 3, b'w', b'w', b'w', 0xc0, 12]);
    packet.extend([0xc0, 41, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    let mut denial = asked(&["example", "com"], 1, false);
    denial[2..4].copy_from_slice(&[0x81, 0x83]);
    denial[9] = 1;
    denial.extend([0xc0, 20, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0]);
    denial.extend([0; 20]);
    vec![packet, denial]
}

fn question(input: &[u8]) -> bool {
    net::dns::reads(input, &NAMES)
}

fn answer(input: &[u8]) -> bool {
    net::dns::believes(input)
}
