//! Attempts against small servers on loopback.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use crate::view::IntOrString;
use crate::view::{Container, HTTPGetAction};
use runtime::ContainerId;
use runtime::fake::{Fake, FakeConfig};
use serde_json::json;

use super::exec::static_argv;
use super::{probe as probe_of, *};

/// Serves these answers, a connection each; returns the port and what was asked.
fn server(answers: Vec<String>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            asked.push(String::from_utf8_lossy(&request[..length]).into_owned());
            stream.write_all(answer.replace("PORT", &port.to_string()).as_bytes()).unwrap();
        }
        asked
    });
    (port, thread)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn get(port: u16, action: HTTPGetAction) -> Answer {
    block_on(http::judge(&action, "127.0.0.1", port, Duration::from_secs(5)))
}

fn answer(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 2\r\n\r\nok")
}

#[test]
fn way_to_probe_is_one_file_and_one_line() {
    let table: Vec<&str> = include_str!("../probe.rs").lines().collect();
    for (module, of) in [("grpc", "PROBES"), ("tcp", "PROBES"), ("sleep", "HOOKS")] {
        let named: Vec<&&str> = table.iter().filter(|line| line.contains(&format!("{module}::"))).collect();
        assert!(named.len() == 1 && named[0].starts_with(&format!("static {of}")), "{named:?}");
        assert!(table.contains(&format!("mod {module};").as_str()));
    }
}

/// Each by itself, so that one table row decides.
#[test]
fn probe_is_asked_in_the_way_that_it_names() {
    let fake = Fake::new(FakeConfig {
        clock: std::sync::Arc::new(|| 0),
        preloaded: vec![],
        pull_time: Duration::ZERO,
        start_time: Duration::ZERO,
        fault: None,
    });
    let (container, id) = (Container { name: "c".into(), ..Container::default() }, ContainerId("c".into()));
    let target = Target { engine: &fake, container: &container, id: &id, pod_ip: "", run: "" };
    let ask = |probe: serde_json::Value| block_on(probe_of(&serde_json::from_value(probe).unwrap(), &target));
    let nowhere = Answer::Error("the pod has no address yet".into());
    assert_eq!(ask(json!({"tcpSocket": {"port": 1}})), nowhere);
    assert_eq!(ask(json!({"grpc": {"port": 1}})), nowhere);
    let Answer::Failure(text) = ask(json!({"httpGet": {"port": 1}})) else { panic!("nobody is there") };
    assert!(text.starts_with("Get "), "{text}");
    let Answer::Error(text) = ask(json!({"exec": {"command": ["true"]}})) else { panic!("there is no container") };
    assert!(text.contains('c'), "{text}");
    assert_eq!(ask(json!({})), Answer::Error("missing probe handler for c".into()));
}

#[test]
fn http_is_judged_by_its_status() {
    for (status, wanted) in [
        ("200 OK", Answer::Success),
        ("399 Odd", Answer::Success),
        ("400 Bad", Answer::Failure("HTTP probe failed with statuscode: 400".into())),
        ("500 Sad", Answer::Failure("HTTP probe failed with statuscode: 500".into())),
    ] {
        let (port, thread) = server(vec![answer(status, "")]);
        let headers = json!([{"name": "X-A", "value": "b"}, {"name": "User-Agent", "value": "me"}]);
        let action =
            serde_json::from_value(json!({"path": "/healthz?x=1", "port": 1, "httpHeaders": headers})).unwrap();
        assert_eq!(get(port, action), wanted);
        let asked = thread.join().unwrap().remove(0);
        assert!(asked.contains("\r\nX-A: b\r\n") && asked.contains("\r\nUser-Agent: me\r\n"), "{asked}");
        let asked = asked.to_lowercase();
        assert!(asked.starts_with("get /healthz?x=1 http/1.1"), "{asked}");
        assert!(
            asked.contains("x-a: b") && asked.contains("user-agent: me") && !asked.contains("kube-probe"),
            "{asked}"
        );
    }
}

/// Two answers: the first to what was meant as TLS.
#[test]
fn an_https_hook_falls_back_to_http_and_says_so() {
    let hook = |answers: Vec<String>, fake: &Fake| {
        let (port, thread) = server(answers);
        let headers = json!([{"name": "Authorization", "value": "secret"}, {"name": "X-A", "value": "b"}]);
        let action = json!({"port": port, "scheme": "HTTPS", "host": "127.0.0.1", "httpHeaders": headers});
        let action = json!({"httpGet": action});
        let (handler, container, id) =
            (serde_json::from_value(action).unwrap(), Container::default(), ContainerId("c".into()));
        let target = Target { engine: fake, container: &container, id: &id, pod_ip: "", run: "" };
        (block_on(super::hook(&handler, &target, Duration::from_secs(5))), port, thread)
    };
    let fake = Fake::new(FakeConfig {
        clock: std::sync::Arc::new(|| 0),
        preloaded: vec![],
        pull_time: Duration::ZERO,
        start_time: Duration::ZERO,
        fault: None,
    });
    let (outcome, port, thread) = hook(vec![answer("400 Bad Request", ""), answer("500 Sad", "")], &fake);
    let said = format!("request to HTTPS lifecycle hook 127.0.0.1:{port} got HTTP response, retry with HTTP succeeded");
    assert_eq!(outcome, Answer::Warning(said));
    let asked = thread.join().unwrap().remove(1).to_lowercase();
    assert!(asked.starts_with("get / http/1.1") && asked.contains("x-a: b"), "{asked}");
    assert!(!asked.contains("authorization"), "{asked}");
    // Who speaks neither is told as the first attempt was.
    let (outcome, port, _) = hook(vec!["nothing\r\n".into(), "nothing\r\n".into()], &fake);
    let said = format!("Get \"https://127.0.0.1:{port}/\": http: server gave HTTP response to HTTPS client");
    assert_eq!(outcome, Answer::Failure(said));
}

#[test]
fn redirects_are_followed_on_the_same_host_only() {
    let (port, _) = server(vec![answer("302 Found", "Location: /there\r\n"), answer("200 OK", "")]);
    assert_eq!(get(port, HTTPGetAction::default()), Answer::Success);
    let (port, _) = server(vec![answer("302 Found", "Location: http://127.0.0.2:PORT/\r\n")]);
    let Answer::Warning(text) = get(port, HTTPGetAction::default()) else { panic!("no warning") };
    assert!(text.starts_with("Probe terminated redirects"), "{text}");
}

#[test]
fn a_closed_port_is_a_failure_that_names_it() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(block_on(tcp::connect("127.0.0.1", port, Duration::from_secs(5))), Answer::Failure(refused.clone()));
    let wanted = format!("Get \"http://127.0.0.1:{port}/\": {refused}");
    assert_eq!(get(port, HTTPGetAction::default()), Answer::Failure(wanted));
    let unknown = block_on(tcp::connect("", 80, Duration::from_secs(5)));
    assert_eq!(unknown, Answer::Error("the pod has no address yet".into()));
}

#[test]
fn hosts_may_have_names() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tcp = |host: &str| block_on(tcp::connect(host, port, Duration::from_millis(500)));
    // Resolvers know all of `localhost` without asking anybody (RFC 6761).
    assert_eq!(tcp("probe.localhost"), Answer::Success);
    let Answer::Failure(text) = tcp("nowhere.invalid") else { panic!("a name that nobody knows is a failure") };
    assert!(text.starts_with("dial tcp"), "{text}");
    let (port, thread) = server(vec![answer("200 OK", "")]);
    let (action, limit) = (HTTPGetAction::default(), Duration::from_secs(5));
    let get = http::judge(&action, "probe.localhost", port, limit);
    assert_eq!(block_on(get), Answer::Success);
    let asked = thread.join().unwrap().remove(0).to_lowercase();
    assert!(asked.contains(&format!("host: probe.localhost:{port}")), "{asked}");
}

#[test]
fn a_probes_command_knows_the_variables_that_the_spec_gives_values() {
    let env = json!([{"name": "A", "value": "old"}, {"name": "A", "value": "new"},
        {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    let container: Container = serde_json::from_value(json!({"name": "c", "env": env})).unwrap();
    let action = serde_json::from_value(json!({"command": ["sh", "$(A)-$(F)-$(NONE)-$$(A)"]})).unwrap();
    assert_eq!(static_argv(&action, &container), ["sh", "new--$(NONE)-$(A)"]);
}

#[test]
fn ports_have_names_or_numbers() {
    let container: Container =
        serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]})).unwrap();
    let number = |port: IntOrString| number_of(&port, &container);
    assert_eq!(number(IntOrString::String("web".into())), Ok(8080));
    assert_eq!(number(IntOrString::String("81".into())), Ok(81));
    assert_eq!(number(IntOrString::Int(82)), Ok(82));
    assert_eq!(number(IntOrString::String("no".into())), Err("strconv.Atoi: parsing \"no\": invalid syntax".into()));
    assert_eq!(number(IntOrString::Int(70000)), Err("invalid port number: 70000".into()));
}

/// As grpc.WithBlock waits for a server: neither nobody nor another protocol is an answer.
#[tokio::test(start_paused = true)]
async fn grpc_waits_for_a_server_until_its_time_is_over() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let why = "context deadline exceeded";
    let failed = format!("timeout: failed to connect service \"127.0.0.1:{nobody}\" within 1s: {why}");
    let outcome = grpc::check("127.0.0.1", nobody, "", Duration::from_secs(1)).await;
    assert_eq!(outcome, Answer::Failure(failed));
    let (port, thread) = server(vec![answer("200 OK", "")]);
    let failed = format!("timeout: failed to connect service \"127.0.0.1:{port}\" within 2s: {why}");
    let outcome = grpc::check("127.0.0.1", port, "", Duration::from_secs(2)).await;
    assert_eq!(outcome, Answer::Failure(failed));
    thread.join().unwrap();
}
