use expect_test::{Expect, expect};
use http::Request;

use super::*;

/// `GET /path HTTP/1.1` and a field a line.
fn parsed(text: &str) -> Parts {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let words: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let version = match words[2] {
        "HTTP/1.0" => Version::HTTP_10,
        "HTTP/2.0" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let mut request = Request::builder().method(words[0]).uri(words[1]).version(version);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    request.body(()).unwrap().into_parts().0
}

fn judged(text: &str) -> String {
    match judge(&parsed(text)) {
        Ok(asked) if asked == (Asked { host: String::new(), authority: String::new() }) => "nobody".into(),
        Ok(asked) => format!("{} {}", asked.host, asked.authority),
        Err((status, why)) => format!("{} {why}", status.as_u16()),
    }
}

fn check(heads: &[&str], expected: Expect) {
    expected.assert_eq(&heads.iter().map(|head| format!("{}\n", judged(head))).collect::<String>());
}

#[test]
fn everybody_reads_the_same_host() {
    check(
        &[
            "GET / HTTP/1.1\nhost: Example.COM",
            "GET / HTTP/1.1\nhost: example.com.:8080",
            "GET / HTTP/1.1\nhost: [::1]:80",
            "GET / HTTP/1.1\nhost: [::1]x",
            "GET / HTTP/1.1\nhost: [zz]",
            "GET / HTTP/1.1\nhost: 192.0.2.1",
            "GET / HTTP/1.1\nhost: a\nhost: a",
            "GET / HTTP/1.1\nhost: a b",
            "GET / HTTP/1.1\nhost: a/b",
            "GET / HTTP/1.1\nhost: user@a",
            "GET / HTTP/1.1\nhost: a:99999",
            "GET / HTTP/1.1\nhost: a:+1",
            "GET / HTTP/1.1\nhost: a:b:c",
            "GET / HTTP/1.1",
            "GET / HTTP/1.0",
            "GET http://a/x HTTP/1.1\nhost: b",
            "GET http://a/x HTTP/1.1\nhost: A",
            "GET https://a/x HTTP/2.0",
            "GET https://a/x HTTP/2.0\nhost: b",
            "GET http://user@a/x HTTP/1.1",
            "CONNECT a:443 HTTP/1.1\nhost: a:443",
            "TRACE / HTTP/1.1\nhost: a",
            "OPTIONS * HTTP/1.1\nhost: a",
        ],
        expect![[r#"
            example.com Example.COM
            example.com example.com.:8080
            [::1] [::1]:80
            400 Host is not a name
            400 Host is not a name
            192.0.2.1 192.0.2.1
            400 more than one Host
            400 Host is not a name
            400 Host is not a name
            400 Host is not a name
            400 Host is not a name
            400 Host is not a name
            400 Host is not a name
            400 no Host
            nobody
            400 Host is not that of the request's target
            a a
            a a
            400 Host is not that of the request's target
            400 Host is not a name
            405 this method is not forwarded
            405 this method is not forwarded
            a a
        "#]],
    );
}

#[test]
fn a_path_means_the_same_to_the_endpoint() {
    let climbing = [
        "/api/../admin",
        "/api/%2e%2E/admin",
        "/..",
        "/./a",
        "/a/..;x=1/b",
        "/a/..%2fadmin",
        "/a%5c..%5cb",
        "/..%3b/x",
    ];
    for path in climbing {
        assert_eq!(judged(&format!("GET {path} HTTP/1.1\nhost: a")), "400 the path has segments . or ..", "{path}");
    }
    for path in ["/a/...", "/.well-known/x", "/a..b", "/a/b.", "/%2eabc", "/a?x=/../", "/100%25"] {
        assert_eq!(judged(&format!("GET {path} HTTP/1.1\nhost: a")), "a a", "{path}");
    }
}

#[test]
fn a_request_that_goes_round_ends() {
    let times =
        |count: usize| judged(&format!("GET / HTTP/1.1\nhost: a{}", "\nvia: 1.1 x, 1.1 gousse-ingress".repeat(count)));
    assert_eq!(times(3), "a a");
    assert_eq!(times(4), "508 the request comes back again and again");
}

/// The fields that the endpoint gets.
fn forwarded(text: &str, trusted: bool, multiplexed: bool) -> String {
    let mut head = parsed(text);
    let asked = judge(&head).unwrap();
    let hop = Hop { peer: "192.0.2.9".parse().unwrap(), tls: true, port: 443, trusted };
    let protocol = upgrade(&head.headers);
    forward(&mut head.headers, &asked, hop, protocol, multiplexed);
    let mut lines: Vec<String> =
        head.headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
    lines.sort();
    lines.concat()
}

#[test]
fn what_a_client_says_of_its_way_is_not_believed() {
    let lies = "GET / HTTP/1.1
        host: a:443
        x-forwarded-for: 10.0.0.1
        x-forwarded-proto: http
        x_forwarded_host: evil
        x-forwarded-prefix: /x
        x-original-url: /admin
        x-real-ip: 127.0.0.1
        x_real_ip: 127.0.0.1
        forwarded: for=10.0.0.1
        x-other: kept";
    expect![[r#"
        forwarded: for=192.0.2.9;host="a:443";proto=https
        host: a:443
        via: 1.1 gousse-ingress
        x-forwarded-for: 192.0.2.9
        x-forwarded-host: a:443
        x-forwarded-port: 443
        x-forwarded-proto: https
        x-other: kept
        x-real-ip: 192.0.2.9
    "#]]
    .assert_eq(&forwarded(lies, false, false));
    expect![[r#"
        forwarded: for=10.0.0.1, for=192.0.2.9;host="a";proto=https
        host: a
        via: 1.1 gousse-ingress
        x-forwarded-for: 10.0.0.1, 192.0.2.9
        x-forwarded-host: a
        x-forwarded-port: 443
        x-forwarded-proto: http
        x-real-ip: 192.0.2.9
    "#]]
    .assert_eq(&forwarded(
        "GET / HTTP/1.1\nhost: a\nx-forwarded-for: 10.0.0.1\nx-forwarded-proto: http\nforwarded: for=10.0.0.1",
        true,
        false,
    ));
}

/// Also where the client asks to have them taken out.
#[test]
fn what_is_of_one_connection_stays_on_it() {
    let head = "GET / HTTP/1.1
        host: a
        connection: keep-alive, X-Own, x-forwarded-for, host, content-length
        keep-alive: timeout=5
        x-own: 1
        te: trailers, deflate
        proxy-authorization: Basic eA==
        upgrade: h2c
        expect: 100-continue
        content-length: 3
        cookie: a=1
        cookie: b=2";
    expect![[r#"
        content-length: 3
        cookie: a=1; b=2
        forwarded: for=192.0.2.9;host="a";proto=https
        host: a
        via: 1.1 gousse-ingress
        x-forwarded-for: 192.0.2.9
        x-forwarded-host: a
        x-forwarded-port: 443
        x-forwarded-proto: https
        x-real-ip: 192.0.2.9
    "#]]
    .assert_eq(&forwarded(head, false, false));
    let multiplexed = forwarded("POST / HTTP/2.0\nhost: a\nte: trailers", false, true);
    assert!(multiplexed.contains("te: trailers\n") && !multiplexed.contains("\nhost: "), "{multiplexed}");
}

/// HTTP/2 over what began as HTTP/1.1 would carry requests that nobody looks at.
#[test]
fn only_what_is_no_http_is_changed_to() {
    let asks = |protocol: &str| {
        let head = format!("GET / HTTP/1.1\nhost: a\nconnection: upgrade\nupgrade: {protocol}");
        upgrade(&parsed(&head).headers).is_some()
    };
    assert_eq!(["websocket", "WebSocket", "SPDY/3.1"].map(asks), [true; 3]);
    assert_eq!(["h2c", "H2C", "HTTP/2.0", "TLS/1.0", "websocket, h2c", "h2c, websocket"].map(asks), [false; 6]);
    let both = "GET / HTTP/1.1\nhost: a\nconnection: upgrade\nupgrade: websocket\nupgrade: h2c";
    assert_eq!(upgrade(&parsed(both).headers), None);
    let kept = forwarded("GET / HTTP/1.1\nhost: a\nconnection: upgrade\nupgrade: websocket", false, false);
    assert!(kept.contains("connection: upgrade\n") && kept.contains("upgrade: websocket\n"), "{kept}");
}

#[test]
fn answers_keep_only_what_is_the_clients() {
    let answered = |switches: bool| {
        let mut headers = parsed(
            "GET / HTTP/1.1
            connection: close, x-hop
            x-hop: 1
            keep-alive: timeout=5
            upgrade: websocket
            transfer-encoding: chunked
            server: x",
        )
        .headers;
        answer(&mut headers, switches);
        let mut names: Vec<String> = headers.keys().map(|name| name.to_string()).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!([answered(false), answered(true)], ["server", "connection server upgrade"]);
}
