//! Names and addresses of hollow nodes, and what is refused before anything is asked.

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn parsed(words: &str) -> Result<cli::Hollow, String> {
    let words = ["gousse", "hollow"].into_iter().chain(words.split_whitespace());
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Hollow(flags)) => Ok(flags),
        Ok(_) => panic!("another verb"),
        Err(why) => Err(why.to_string()),
    }
}

#[test]
fn names_sort_as_they_are_counted() {
    let named = |words: &str| names(&parsed(words).unwrap()).unwrap();
    assert_eq!(named("--nodes 1"), ["hollow-0"]);
    let many = named("--nodes 1001 --name-prefix big.");
    assert_eq!((many[0].as_str(), many[1000].as_str()), ("big.0000", "big.1000"));
    assert!(many.is_sorted());
}

#[test]
fn flags_that_make_no_nodes_are_refused() {
    for words in ["", "--nodes 0", "--nodes 16385", "--nodes many", "--nodes 1 --max-pods 254", "--nodes 1 --cpus 0"] {
        assert!(parsed(words).is_err(), "{words}");
    }
    assert!(parsed("--nodes 1 --memory lots").is_err_and(|why| why.contains("is no amount of bytes")));
    let why = names(&parsed("--nodes 3 --name-prefix Big_").unwrap()).unwrap_err();
    assert!(why.message.starts_with("--name-prefix \"Big_\" begins no node's name: "), "{}", why.message);
}

#[test]
fn no_two_nodes_share_an_address() {
    assert_eq!(place(0), (Ipv4Addr::new(100, 64, 0, 1), "100.64.0.0/24".parse().unwrap()));
    let (own, range) = place(NODES_MAX as u32 - 1);
    assert_eq!((own, range), (Ipv4Addr::new(100, 127, 255, 1), "100.127.255.0/24".parse().unwrap()));
}

#[test]
fn files_go_with_the_process() {
    let below = tempfile::tempdir().unwrap();
    let folder = Folder::make(Some(below.path())).unwrap();
    std::fs::create_dir(folder.0.join("hollow-0")).unwrap();
    drop(folder);
    assert_eq!(std::fs::read_dir(below.path()).unwrap().count(), 0);
    assert!(Folder::make(Some(&below.path().join("absent"))).is_err_and(|why| why.message.contains("--dir")));
}

#[test]
fn a_node_is_ready_once_it_is_and_pods_may_come() {
    let node = |status: &str, taint: &str| {
        let tree = serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
            "spec": {"taints": [{"key": taint, "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": status}]}});
        is_ready(&Object::from_value(&tree).unwrap())
    };
    assert!(node("True", "mine"));
    assert!(!node("False", "mine") && !node("True", NOT_READY));
}

/// A cluster with the nodes `hollow-0` and `hollow-1`; of the lease comes an event when it is watched, or none.
struct Server {
    ready: &'static str,
    is_renewed: bool,
}

impl client::Transport for Server {
    fn call(
        &self,
        request: http::Request<bytes::Bytes>,
    ) -> client::transport::Boxed<'_, Result<client::Reply, api::Status>> {
        let conditions = serde_json::json!([{"type": "Ready", "status": self.ready}]);
        let node = |name: &str| {
            let tree = serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
                "status": {"conditions": conditions}});
            Object::from_value(&tree).unwrap()
        };
        let uri = request.uri().to_string();
        let body = match (uri.contains("/nodes"), uri.contains("watch=true")) {
            (_, true) => {
                let renewed = WatchEvent::Modified(node("hollow-1"));
                let events =
                    futures::stream::iter(self.is_renewed.then_some(renewed)).chain(futures::stream::pending());
                client::Body::Events(Box::pin(events))
            }
            (is_nodes, false) => {
                let objects = if is_nodes { vec![node("hollow-0"), node("hollow-1")] } else { Vec::new() };
                client::Body::List { objects, revision: 7, continue_token: String::new() }
            }
        };
        Box::pin(async { Ok(client::Reply { status: http::StatusCode::OK, headers: Default::default(), body }) })
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_another_process_runs_are_left_to_it() {
    let refused = async |ready, is_renewed, names: &[&str]| {
        let client = Client::new(Arc::new(Server { ready, is_renewed }));
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        refuse_run(&client, &names).await.err().map(|why| why.message)
    };
    let why = refused("True", true, &["hollow-1", "hollow-2"]).await.unwrap();
    assert!(why.starts_with("another process runs the hollow node \"hollow-1\": "), "{why}");
    // Its process ended a moment ago, or long ago; or it is none of ours.
    assert_eq!(refused("True", false, &["hollow-1"]).await, None);
    assert_eq!(refused("Unknown", true, &["hollow-1"]).await, None);
    assert_eq!(refused("True", true, &["other-1"]).await, None);
}
