//! Our verbs before a server whose kinds they were not compiled with.
//!
//! The server is a few lines over plain HTTP: it tells one kind of its own, Widget, in its discovery,
//! and keeps what it is given.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

const COLLECTION: &str = "/apis/example.com/v2/namespaces/default/widgets";

#[derive(Default)]
struct Widgets {
    kept: BTreeMap<String, Value>,
    revision: u64,
}

#[test]
fn verbs_work_with_kinds_that_only_the_server_knows() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let widgets = Arc::new(Mutex::new(Widgets::default()));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let widgets = widgets.clone();
            std::thread::spawn(move || serve(stream.unwrap(), &widgets));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"current-context": "c", "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}]});
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let manifest = folder.path().join("widget.yaml");
    let text = "apiVersion: example.com/v2\nkind: Widget\nmetadata: {name: w, labels: {a: b}}\nspec: {wheelCount: 3}\n";
    std::fs::write(&manifest, text).unwrap();
    let gousse = |words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gousse"));
        let done = command.args(words.split(' ')).env("KUBECONFIG", &kubeconfig).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.success(), text(done.stdout), text(done.stderr))
    };
    let must = |words: &str| match gousse(words) {
        (true, out, _) => out,
        failed => panic!("{words}: {failed:?}"),
    };
    let apply = format!("apply -f {}", manifest.display());
    assert_eq!(must(&apply), "widget.example.com/w created\n");
    assert_eq!(must(&apply), "widget.example.com/w unchanged\n");
    assert_eq!(must("get wg"), "NAME   WHEELS\nw      3\n");
    assert_eq!(must("get widgets.example.com w -o name"), "widget.example.com/w\n");
    assert_eq!(must("get widget/w -o jsonpath={.spec.wheelCount}"), "3");
    assert!(must("describe Widget w").contains("Wheel Count:  3"));
    assert_eq!(must("wait --for=jsonpath={.spec.wheelCount}=3 widget/w"), "widget.example.com/w condition met\n");
    let resources = must("api-resources --api-group example.com");
    assert!(resources.contains("widgets   wg           example.com/v2   true         Widget"), "{resources}");
    let deleted = "widget.example.com \"w\" deleted from default namespace\n";
    assert_eq!(must(&format!("delete -f {}", manifest.display())), deleted);
    assert_eq!(gousse("get gadgets").2, "error: the server doesn't have a resource type \"gadgets\"\n");
    let done = gousse("get widget w");
    assert_eq!(done.2, "Error from server (NotFound): widgets.example.com \"w\" not found\n");
}

fn serve(mut stream: TcpStream, widgets: &Mutex<Widgets>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 0 {
        let (mut length, mut is_table, mut header) = (0, false, String::new());
        while reader.read_line(&mut header).unwrap() > 2 {
            let (name, value) = header.trim().split_once(": ").unwrap();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "accept" => is_table = value.contains("as=Table"),
                _ => {}
            }
            header.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let (path, query) = words[1].split_once('?').unwrap_or((words[1], ""));
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (code, answer) = answer(words[0], path, query, is_table, body, &mut widgets.lock().unwrap());
        let text = answer.to_string();
        let head =
            format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", text.len());
        stream.write_all([head, text].concat().as_bytes()).unwrap();
        line.clear();
    }
}

fn answer(method: &str, path: &str, query: &str, is_table: bool, body: Value, widgets: &mut Widgets) -> (u16, Value) {
    let not_found = || {
        let name = path.rsplit('/').next().unwrap();
        let message = format!("widgets.example.com \"{name}\" not found");
        (404, json!({"kind": "Status", "reason": "NotFound", "message": message, "code": 404}))
    };
    match (method, path, path.strip_prefix(COLLECTION)) {
        (_, "/api", _) => (
            200,
            groups(json!([{"metadata": {}, "versions": [{"version": "v1", "resources": [
            {"resource": "events", "responseKind": {"kind": "Event"}, "scope": "Namespaced",
             "singularResource": "event", "verbs": ["list"]}]}]}])),
        ),
        (_, "/apis", _) => (
            200,
            groups(json!([{"metadata": {"name": "example.com"}, "versions": [{"version": "v2",
            "resources": [{"resource": "widgets", "responseKind": {"kind": "Widget"}, "scope": "Namespaced",
             "singularResource": "widget", "shortNames": ["wg"], "verbs": ["get", "list", "patch"]}]}]}])),
        ),
        ("GET", _, Some("")) => {
            let name = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector=metadata.name%3D"));
            let found: Vec<&Value> =
                widgets.kept.values().filter(|w| name.is_none_or(|n| w["metadata"]["name"] == n)).collect();
            let meta = json!({"resourceVersion": widgets.revision.to_string()});
            (
                200,
                match is_table {
                    true => json!({"kind": "Table", "metadata": meta,
                    "columnDefinitions": [{"name": "Name"}, {"name": "Wheels"}],
                    "rows": found.iter().map(|w| json!({"cells": [w["metadata"]["name"], w["spec"]["wheelCount"]],
                        "object": {"metadata": w["metadata"]}})).collect::<Vec<_>>()}),
                    false => json!({"kind": "WidgetList", "metadata": meta, "items": found}),
                },
            )
        }
        ("GET", _, Some(name)) => match widgets.kept.get(&name[1..]) {
            Some(widget) => (200, widget.clone()),
            None => not_found(),
        },
        ("PATCH", _, Some(name)) => {
            let mut new = body;
            let known = widgets.kept.get(&name[1..]);
            let is_same = known.is_some_and(|known| known["spec"] == new["spec"]);
            if !is_same {
                widgets.revision += 1;
            }
            new["metadata"]["namespace"] = json!("default");
            new["metadata"]["uid"] = json!("u");
            new["metadata"]["resourceVersion"] = json!(widgets.revision.to_string());
            widgets.kept.insert(name[1..].into(), new.clone());
            (200, new)
        }
        ("DELETE", _, Some(name)) => match widgets.kept.remove(&name[1..]) {
            Some(widget) => (200, widget),
            None => not_found(),
        },
        ("GET", "/api/v1/namespaces/default/events", _) => {
            (200, json!({"kind": "EventList", "metadata": {}, "items": []}))
        }
        _ => (404, json!({"kind": "Status", "reason": "NotFound", "message": format!("{method} {path}"), "code": 404})),
    }
}

fn groups(items: Value) -> Value {
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items})
}
