//! Heads of requests that strangers send through the ingress.

use std::sync::Arc;

use http::{Request, Version, header};
use ingress::heads::{self, Hop};
use ingress::table::{Backend, Host, Path, Route, Table};

use super::samples;
use crate::Target;

pub const INGRESS: Target = Target { name: "ingress", samples: requests, words: WORDS, run };

const WORDS: &[&str] = &[
    "host: ",
    "connection: ",
    "upgrade: websocket\n",
    "x-forwarded-for: ",
    "forwarded: ",
    "via: ",
    "te: trailers\n",
    "cookie: ",
    "/../",
    "%2e",
    "%2f",
    ";",
    "*.",
    "[::1]",
    ":80",
    "a.example",
];

fn requests() -> Vec<Vec<u8>> {
    samples(&[
        "GET /x/y?z HTTP/1.1\nhost: a.example:80\nx-forwarded-for: 1.2.3.4\nconnection: upgrade, x\nupgrade: websocket\n",
        "POST https://b.example/x/%2e%2e/y HTTP/2\ncookie: a\ncookie: b\nte: trailers\nvia: 1.1 gousse-ingress\n",
        "GET / HTTP/1.0\nforwarded: for=1\nx_real_ip: 1\n",
    ])
}

fn table() -> Table {
    let backend = Arc::new(Backend::default());
    let route = |host: &str, path| Route { host: Host::of(host), path, to: backend.clone() };
    Table::of(
        [
            route("a.example", Path::Prefix("/x/y".into())),
            route("*.example", Path::Exact("/x".into())),
            route("", Path::Prefix("/".into())),
            route("b.example", Path::Rest),
        ],
        [],
    )
}

/// Whether it is forwarded.
fn run(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let version = match words.next() {
        Some("HTTP/1.0") => Version::HTTP_10,
        Some("HTTP/2") => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let mut request = Request::builder().method(method).uri(target).version(version);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    let Ok((mut head, ())) = request.body(()).map(Request::into_parts) else { return false };
    let Ok(asked) = heads::judge(&head) else { return false };
    assert_eq!(asked.host, heads::plain(&asked.host), "a host is compared as it is");
    let path = head.uri.path();
    assert!(!path.split('/').any(|element| element == ".."), "{path}");
    let found = table().find(&asked.host, path).is_some();
    let hop = Hop { peer: [192, 0, 2, 1].into(), tls: false, port: 80, trusted: false };
    let protocol = heads::upgrade(&head.headers);
    let upgrades = protocol.is_some();
    heads::forward(&mut head.headers, &asked, hop, protocol, false);
    assert_eq!(head.headers["x-forwarded-for"], "192.0.2.1");
    assert_eq!(head.headers.get_all(header::HOST).iter().count(), 1);
    assert_eq!(head.headers.contains_key(header::UPGRADE), upgrades);
    assert!(!head.headers.contains_key(header::TRANSFER_ENCODING));
    heads::answer(&mut head.headers, false);
    found
}
