//! Whole requests to a server in memory, and what only objects of some kinds hold.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::managed::Set;
use api::proto::gnostic;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kinds::Context;
use serde_json::{Value, json};
use server::{Backend, Component, Identity, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{OBJECTS, samples};
use crate::Target;

pub const REQUEST: Target = Target { name: "request", samples: requests, words: REQUEST_WORDS, run: request };
pub const CERTIFICATES: Target =
    Target { name: "certificates", samples: certificates, words: PEM_WORDS, run: certificate };
pub const SCHEDULE: Target = Target { name: "schedule", samples: schedules, words: SCHEDULE_WORDS, run: schedule };
pub const FIELDS: Target = Target { name: "fields", samples: sets, words: FIELDS_WORDS, run: fields };
pub const OPENAPI: Target = Target { name: "openapi", samples: documents, words: &[], run: openapi };
pub const WEBSOCKET: Target = Target { name: "websocket", samples: frames, words: &[], run: websocket };

const REQUEST_WORDS: &[&str] = &[
    "GET ",
    "POST ",
    "PUT ",
    "PATCH ",
    "DELETE ",
    "accept: ",
    "content-type: ",
    "application/vnd.kubernetes.protobuf",
    "application/yaml",
    ";as=Table;v=v1;g=meta.k8s.io",
    ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    ";q=0.5",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
    "labelSelector=",
    "fieldSelector=",
    "continue=",
    "limit=1",
    "resourceVersion=",
    "resourceVersionMatch=",
    "dryRun=All",
    "fieldManager=f",
    "fieldValidation=Strict",
    "impersonate-user: ",
    "/namespaces/default",
    "/status",
    "/scale",
    "/api/v1",
    "/apis/apps/v1",
    "/openapi/v3",
];
const PEM_WORDS: &[&str] =
    &["-----BEGIN CERTIFICATE REQUEST-----\n", "-----END CERTIFICATE REQUEST-----\n", "-----BEGIN CERTIFICATE-----\n"];
const SCHEDULE_WORDS: &[&str] =
    &["@every ", "@daily", "*/", "1-5", "MON", "JAN", "CRON_TZ=", "TZ=", "UTC", "?", ",", "L"];
const FIELDS_WORDS: &[&str] = &["\"f:", "\"k:{", "\"v:", "\"i:0\"", "\".\":{}", ":{}", "\\\""];

/// A server that lives through some requests.
struct Place {
    _folder: tempfile::TempDir,
    server: Server,
    who: Identity,
    tokio: tokio::runtime::Runtime,
    asked: u32,
}

thread_local!(static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) });
/// Then a new one: its store has grown.
const REQUESTS: u32 = 3_000;

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        let drawn = AtomicU64::new(1);
        let config = server::Config {
            data_dir: folder.path().into(),
            backend: Some(Backend::Memory),
            advertise: "127.0.0.1:6443".parse().expect("an address"),
            names: Vec::new(),
            service_cidr: "10.96.0.0/16".into(),
            node_ports: server::PortRange::default(),
            allow_privileged: true,
            limits: server::Limits::default(),
            admission: server::Admission::default(),
            clock: Arc::new(|| jiff::Timestamp::from_second(1_800_000_000).expect("a moment")),
            entropy: Arc::new(move |bytes| {
                for part in bytes.chunks_mut(8) {
                    let next = drawn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    part.copy_from_slice(&next.to_le_bytes()[..part.len()]);
                }
            }),
        };
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let server = tokio.block_on(Server::open(config)).expect("the server opens");
        let who = server.internal(Component::Admin);
        Place { _folder: folder, server, who, tokio, asked: 0 }
    }
}

/// `GET /path`, headers, an empty line, a body.
fn requests() -> Vec<Vec<u8>> {
    let pod = OBJECTS[0];
    let of = |line: &str, headers: &str, body: &str| format!("{line}\n{headers}\n\n{body}");
    let json = "content-type: application/json";
    samples(&[
        &of("GET /apis", "accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", ""),
        &of("GET /api/v1", "accept: application/vnd.kubernetes.protobuf", ""),
        &of("GET /openapi/v3/apis/coordination.k8s.io/v1?hash=x", "if-none-match: \"x\"", ""),
        &of(
            "GET /api/v1/pods?limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJ4In0",
            "accept: */*",
            "",
        ),
        &of(
            "GET /api/v1/namespaces/default/pods?labelSelector=a+in+(b)&fieldSelector=spec.nodeName%3Dx",
            "accept: application/yaml",
            "",
        ),
        &of(
            "GET /api/v1/namespaces?resourceVersion=0&resourceVersionMatch=NotOlderThan",
            "accept: application/json;as=Table;v=v1;g=meta.k8s.io",
            "",
        ),
        &of("POST /api/v1/namespaces/default/pods?dryRun=All&fieldValidation=Strict", json, pod),
        &of(
            "POST /api/v1/namespaces/default/configmaps",
            json,
            r#"{"metadata":{"generateName":"m-","labels":{"a":"b"}},"data":{"k":"v"}}"#,
        ),
        &of(
            "PUT /api/v1/namespaces/default?fieldManager=f",
            json,
            r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default","labels":{"a":"b"}}}"#,
        ),
        &of(
            "PATCH /api/v1/namespaces/default",
            "content-type: application/strategic-merge-patch+json",
            r#"{"metadata":{"labels":{"x":"y"},"$deleteFromPrimitiveList/finalizers":["f"]}}"#,
        ),
        &of(
            "PATCH /api/v1/namespaces/default",
            "content-type: application/json-patch+json",
            r#"[{"op":"add","path":"/metadata/labels/z","value":"1"}]"#,
        ),
        &of(
            "PATCH /api/v1/namespaces/default/configmaps/applied?fieldManager=f&force=true",
            "content-type: application/apply-patch+yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: b}\n",
        ),
        &of(
            "DELETE /api/v1/namespaces/default/configmaps?labelSelector=a%3Db",
            json,
            r#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Orphan","preconditions":{"uid":"x"}}"#,
        ),
        &of(
            "POST /apis/authorization.k8s.io/v1/subjectaccessreviews",
            json,
            r#"{"spec":{"user":"u","resourceAttributes":{"verb":"get","resource":"pods"}}}"#,
        ),
        &of(
            "POST /apis/apps/v1/namespaces/default/deployments",
            "content-type: application/yaml",
            "metadata: {name: d}\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec: {containers: [{name: c, image: i}]}\n",
        ),
        &of("GET /api/v1/secrets", "impersonate-user: x\nimpersonate-group: y\nimpersonate-extra-a%2Fb: c", ""),
    ])
}

/// Whatever is asked, the server does not fail, and answers.
fn request(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let Some((method, path)) = lines.next().and_then(|line| line.split_once(' ')) else { return false };
    // Those go on until somebody ends them, or lead to a node.
    if ["watch", "proxy", "exec", "attach", "portforward", "/log"].iter().any(|word| path.contains(word)) {
        return false;
    }
    let mut asked = http::Request::builder().method(method).uri(path);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        asked = asked.header(name.trim(), value.trim());
    }
    let Ok(asked) = asked.body(body.as_bytes().to_vec().into()) else { return false };
    PLACE.with(|place| {
        let mut place = place.borrow_mut();
        if place.as_ref().is_some_and(|place| place.asked >= REQUESTS) {
            *place = None;
        }
        let Place { server, who, tokio, asked: count, .. } = place.get_or_insert_with(Place::new);
        *count += 1;
        let answer = async { tokio::time::timeout(Duration::from_secs(20), server.handle(who, asked)).await };
        let response = tokio.block_on(answer).expect("an answer comes");
        // Upstream's own 500s (of applies) have no reason.
        if response.status == http::StatusCode::INTERNAL_SERVER_ERROR
            && let server::Body::Bytes(body) = &response.body
        {
            let told = String::from_utf8_lossy(body);
            assert!(!told.contains("InternalError"), "{told}: {text}");
        }
        response.status.is_success()
    })
}

fn certificates() -> Vec<Vec<u8>> {
    samples(&[
        "-----BEGIN CERTIFICATE REQUEST-----\nMIHKMHICAQAwEDEOMAwGA1UEAwwFYWxpY2UwWTATBgcqhkjOPQIBBggqhkjOPQMB\nBwNCAASOd9Jjeg/yjOCFEEB41CbSz0gB9sRsGG43+aJcIzZwoR+N+MxskTq1pX33\n7tRQsOQPH0IGhAvgmKhj+vfNLcuUoAAwCgYIKoZIzj0EAwIDSAAwRQIgHrwD0NfM\ngI5esGNBSlCjkAEiufOVtvW+TICJPFj4Bh8CIQCg33u8YJ57pvrRyALMkl2K8M9r\not+Y8WTT4yCA/fctlg==\n-----END CERTIFICATE REQUEST-----\n",
        "-----BEGIN CERTIFICATE-----\nMIIBfzCCASWgAwIBAgIUKC3vcky07zhfpIMqQMKlikZgNhgwCgYIKoZIzj0EAwIw\nFDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyOTE1NTAzMloYDzIxMjYxMTA1\nMTU1MDMyWjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjO\nPQMBBwNCAASOd9Jjeg/yjOCFEEB41CbSz0gB9sRsGG43+aJcIzZwoR+N+MxskTq1\npX337tRQsOQPH0IGhAvgmKhj+vfNLcuUo1MwUTAdBgNVHQ4EFgQUSTZQMOuvWH5p\nR6K8HMjRWa+FvtEwHwYDVR0jBBgwFoAUSTZQMOuvWH5pR6K8HMjRWa+FvtEwDwYD\nVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEAyoBob/ZLdvUb5r2l0DBP\nuVcEo2fXFrH31+ipg87bQqICIHVAPwYomFzXs9NzThbmDC/dEc/aruA0ToFDSkpC\nFUKz\n-----END CERTIFICATE-----\n",
    ])
}

/// What is signed, and what is trusted.
fn certificate(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let encoded = STANDARD.encode(input);
    let chain =
        json!({"request": encoded, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]});
    let bundle = json!({"signerName": "", "trustBundle": text});
    let asked = judged(
        "CertificateSigningRequest",
        "certificates.k8s.io/v1",
        &json!({"metadata": {"name": "x"}, "spec": chain}),
    );
    let trusted =
        judged("ClusterTrustBundle", "certificates.k8s.io/v1", &json!({"metadata": {"name": "x"}, "spec": bundle}));
    asked || trusted
}

fn schedules() -> Vec<Vec<u8>> {
    samples(&["*/5 1-3 1,15 * MON-FRI", "@every 1h30m", "@daily", "CRON_TZ=Europe/Paris 0 0 29 FEB ?", "0 0 31 2 *"])
}

/// A time zone stands in the second line.
fn schedule(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let (schedule, zone) = text.split_once('\n').unwrap_or((&text, ""));
    let mut job = json!({"metadata": {"name": "x", "namespace": "default"}, "spec": {"schedule": schedule,
        "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}});
    if !zone.is_empty() {
        job["spec"]["timeZone"] = zone.into();
    }
    judged("CronJob", "batch/v1", &job)
}

/// Whether a new object has nothing wrong.
fn judged(kind: &str, api_version: &str, object: &Value) -> bool {
    let row = kinds::built_in().by_kind(api_version, kind).expect("the table has it");
    let mut object = object.clone();
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    let context = Context { now: "2026-01-01T00:00:00Z".into(), ..Context::default() };
    row.default(&mut object);
    row.prepare(&mut object, None, &context);
    let _ = row.warnings(&object, None);
    row.validate(&object, None, &context).is_empty()
}

fn sets() -> Vec<Vec<u8>> {
    samples(&[
        r#"{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{}}},"f:x":{"v:\"a\"":{},"i:0":{}}}}"#,
        r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}},"f:finalizers":{"v:\"x/y\"":{}}}}"#,
    ])
}

/// A set is what its own text says, with itself and without.
fn fields(input: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return false };
    let set = Set::from_fields(&value);
    let written = set.to_fields();
    let again = Set::from_fields(&written);
    assert_eq!(again.to_fields(), written, "a set is read as another one");
    assert_eq!(set.intersection(&again).to_fields(), written, "a set and itself");
    assert!(set.clone().difference(&again).is_empty(), "a set without itself");
    assert_eq!(again.union(set).to_fields(), written, "a set with itself");
    let _ = Set::from_fields(&value).paths();
    !written.as_object().is_none_or(serde_json::Map::is_empty)
}

fn documents() -> Vec<Vec<u8>> {
    let subjects = kinds::openapi::Subjects { kinds: kinds::built_in(), reviews: &[] };
    let leases = subjects.v3("apis/coordination.k8s.io/v1");
    vec![gnostic::encode(&gnostic::V3, &leases), gnostic::encode(&gnostic::V2, &json!({"swagger": "2.0"}))]
}

/// What is read is written as what reads the same.
fn openapi(input: &[u8]) -> bool {
    let mut read = false;
    for of in [&gnostic::V2, &gnostic::V3] {
        let Some(document) = gnostic::decode(of, input) else { continue };
        let again = gnostic::decode(of, &gnostic::encode(of, &document)).expect("a document that we wrote");
        assert_eq!(gnostic::encode(of, &again), gnostic::encode(of, &document), "{document}");
        read = true;
    }
    read
}

/// What a client sends after the handshake: binary messages, a ping, an end; masked, as clients do.
fn frames() -> Vec<Vec<u8>> {
    let masked = |opcode: u8, data: &[u8]| {
        let mut frame = vec![0x80 | opcode, 0x80 | u8::try_from(data.len()).expect("short"), 1, 2, 3, 4];
        frame.extend(data.iter().enumerate().map(|(at, byte)| byte ^ [1, 2, 3, 4][at % 4]));
        frame
    };
    let long = [&[0x82, 0xfe, 1, 0, 0, 0, 0, 0][..], &[7; 256]].concat();
    vec![
        [masked(2, b"\0hello"), masked(9, b"p"), masked(2, b"\x04{}"), masked(8, &[3, 232])].concat(),
        long,
        [&[0x02, 0x81, 0, 0, 0, 0, 1][..], &[0x80, 0x81, 0, 0, 0, 0, 2]].concat(),
        masked(1, b"text"),
    ]
}

/// The tunnel ends by itself when the input does, whatever it was.
fn websocket(input: &[u8]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (mut answers, mut sender) = tokio::io::split(far);
        // What is answered to pings is taken, so that nobody waits for room.
        tokio::spawn(async move {
            let mut sink = Vec::new();
            answers.read_to_end(&mut sink).await
        });
        let mut tunnel = wire::websocket::Tunnel::server(near).await;
        let input = input.to_vec();
        let sending = async move {
            // A tunnel that has ended does not read on.
            let _ = sender.write_all(&input).await;
            let _ = sender.shutdown().await;
        };
        let mut received = Vec::new();
        let both = async { tokio::join!(sending, tunnel.read_to_end(&mut received)).1 };
        let read = tokio::time::timeout(Duration::from_secs(3), both).await;
        read.expect("a tunnel ends when its connection does").is_ok()
    })
}
