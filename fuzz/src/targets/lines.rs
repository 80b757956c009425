//! What comes in lines and frames: paths, SPDY, configuration files, names of images, JSONPath.

use std::path::Path;

use api::jsonpath;
use node::spec::names::Resolv;
use runtime::images::credentials;
use runtime::images::reference::Reference;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{OBJECTS, samples};
use crate::Target;

pub const ROUTE: Target = Target { name: "route", samples: routes, words: ROUTE_WORDS, run: route };
pub const SPDY: Target = Target { name: "spdy", samples: sessions, words: &[], run: spdy };
pub const KUBECONFIG: Target = Target { name: "kubeconfig", samples: kubeconfigs, words: &[], run: kubeconfig };
pub const RESOLV_CONF: Target = Target { name: "resolv.conf", samples: resolvers, words: RESOLV_WORDS, run: resolv };
pub const REFERENCE: Target = Target { name: "reference", samples: references, words: REFERENCE_WORDS, run: reference };
pub const CREDENTIALS: Target = Target { name: "credentials", samples: secrets, words: &[], run: credential };
pub const JSONPATH: Target = Target { name: "jsonpath", samples: templates, words: JSONPATH_WORDS, run: template };

const ROUTE_WORDS: &[&str] =
    &["/namespaces/", "/api/v1", "/apis/", "/watch/", "/status", "/proxy/", "%2F", "%", "?", "&"];
const RESOLV_WORDS: &[&str] = &["nameserver ", "search ", "options ", "ndots:", "::1", "\n", "#", ";"];
const REFERENCE_WORDS: &[&str] = &["@sha256:", ":", "/", "docker.io/", "localhost:5000/", "latest", ".."];
const JSONPATH_WORDS: &[&str] =
    &["{range ", "{end}", "[*]", "[?(@.", "..", "==", "[-1:]", "[::2]", "}", "{", "\\.", "\"", "'"];

fn routes() -> Vec<Vec<u8>> {
    samples(&[
        "/api/v1/namespaces/default/pods/web/log?follow=true&container=c",
        "/apis/events.k8s.io/v1/watch/namespaces/a/events/e",
        "/api/v1/nodes/n/proxy/a/b?x=%20y",
        "/api/v1/namespaces/default/status",
    ])
}

fn route(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    let parsed = wire::query::Query::parse(query);
    let _ = (parsed.get("follow"), parsed.flag("follow"), parsed.all("container").count());
    server::route::parse(path).is_some()
}

/// What a client sends that opens two streams, writes and ends one.
fn sessions() -> Vec<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let recorded = runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let session = wire::spdy::Session::client(near);
        let opener = session.opener();
        for kind in ["error", "data"] {
            let headers = vec![("streamtype".to_owned(), kind.to_owned()), ("port".to_owned(), "80".to_owned())];
            let opener = opener.clone();
            tokio::spawn(async move { opener.open(headers).await.map(drop) });
        }
        let mut bytes = vec![0; 1 << 16];
        let mut length = 0;
        while length < 80 {
            length += far.read(&mut bytes[length..]).await.expect("a pipe");
        }
        bytes.truncate(length);
        bytes
    });
    // Data on stream 1, its end, a ping, a reset, settings, the end.
    let data = [&recorded[..], b"\0\0\0\x01\0\0\0\x05hello", b"\0\0\0\x01\x01\0\0\0"].concat();
    let control =
        [&recorded[..], b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x01", b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x01\0\0\0\x05"];
    let rest = b"\x80\x03\0\x04\0\0\0\x0c\0\0\0\x01\0\0\0\x04\0\0\0\x64\x80\x03\0\x07\0\0\0\x08\0\0\0\0\0\0\0\0";
    vec![data, [&control.concat()[..], rest].concat(), recorded]
}

/// The session ends by itself when the input does, whatever it was.
fn spdy(input: &[u8]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (near, far) = tokio::io::duplex(1 << 20);
        let mut session = wire::spdy::Session::server(near);
        let (mut answers, mut sender) = tokio::io::split(far);
        let input = input.to_vec();
        let sending = async move {
            // A session that has ended does not read on.
            let _ = sender.write_all(&input).await;
            let _ = sender.shutdown().await;
        };
        let reading = async move {
            let mut sink = Vec::new();
            let _ = answers.read_to_end(&mut sink).await;
        };
        let accepting = async move {
            let mut accepted = 0;
            while let Some(mut stream) = session.accept().await {
                accepted += 1;
                let _ = stream.header("streamtype");
                tokio::spawn(async move {
                    let mut sink = Vec::new();
                    stream.read_to_end(&mut sink).await
                });
            }
            accepted
        };
        tokio::spawn(reading);
        let both = async { tokio::join!(sending, accepting).1 };
        let accepted = tokio::time::timeout(std::time::Duration::from_secs(3), both).await;
        accepted.expect("a session ends when its connection does") > 0
    })
}

fn kubeconfigs() -> Vec<Vec<u8>> {
    samples(&[
        "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters:\n- name: c\n  cluster: {server: 'https://127.0.0.1:6443', insecure-skip-tls-verify: true}\nusers:\n- name: u\n  user: {token: t}\ncontexts:\n- name: a\n  context: {cluster: c, user: u, namespace: n}\n",
        "{\"current-context\":\"a\",\"clusters\":[{\"name\":\"c\",\"cluster\":{\"server\":\"http://x\",\"certificate-authority-data\":\"LS0tLS1CRUdJTg==\"}}],\"users\":[{\"name\":\"u\",\"user\":{\"client-certificate-data\":\"AA==\",\"client-key-data\":\"AA==\"}}],\"contexts\":[{\"name\":\"a\",\"context\":{\"cluster\":\"c\",\"user\":\"u\"}}]}",
    ])
}

fn kubeconfig(input: &[u8]) -> bool {
    client::kubeconfig::parse(&String::from_utf8_lossy(input), Path::new("/nowhere"), None).is_ok()
}

fn resolvers() -> Vec<Vec<u8>> {
    samples(&["nameserver 10.0.0.1\nnameserver ::1 # x\nsearch a.b. c\noptions ndots:5 timeout:1\n", "; nothing\n"])
}

/// What is written reads as the same.
fn resolv(input: &[u8]) -> bool {
    let parsed = Resolv::parse(&String::from_utf8_lossy(input));
    let text = parsed.text();
    assert_eq!(Resolv::parse(&text).text(), text);
    true
}

fn references() -> Vec<Vec<u8>> {
    let digest = "a".repeat(64);
    let pinned = format!("localhost:5000/a/b:1@sha256:{digest}");
    samples(&["nginx", "registry.k8s.io/pause:3.10", "docker.io/library/app", &pinned, "toolbox"])
}

/// What is printed names the same image.
fn reference(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let Ok(parsed) = Reference::parse(&text) else { return false };
    let printed = parsed.to_string();
    let again = Reference::parse(&printed).unwrap_or_else(|why| panic!("{text:?} prints as {printed:?}: {why}"));
    assert_eq!(again.to_string(), printed, "{text:?}");
    true
}

fn secrets() -> Vec<Vec<u8>> {
    samples(&[
        r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"reg.example:5000/team":{"username":"u","password":"p"},"*.x":{"identitytoken":"t"}},"credsStore":"x","credHelpers":{"a":"b"}}"#,
    ])
}

fn credential(input: &[u8]) -> bool {
    let reference = Reference::parse("reg.example:5000/team/app:1").expect("a name");
    credentials::from_docker_config(input, &reference).is_ok()
}

fn templates() -> Vec<Vec<u8>> {
    samples(&[
        "{range .spec.containers[*]}{.name}{\"\\n\"}{end}",
        "{.status.conditions[?(@.type==\"Ready\")].status}",
        "{..name}",
        "{.metadata.annotations.a\\/b}",
        "{.spec.containers[0:1].ports[-1]['name','port']}",
    ])
}

fn template(input: &[u8]) -> bool {
    let Ok(parsed) = jsonpath::Template::parse(&String::from_utf8_lossy(input)) else { return false };
    let pod: Value = serde_json::from_str(OBJECTS[0]).expect("samples are JSON");
    parsed.render(&pod).is_ok()
}
