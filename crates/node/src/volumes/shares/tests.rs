//! A volume type that shares, and a node's pods that come and go.

use crate::view::Pod;
use serde_json::json;

use super::*;
use crate::downward::Facts;
use crate::sources::Fixed;
use crate::volumes::Volumes;

/// The example of docs/adding-a-volume.md.
mod nfs;

/// It tells how its volumes are taken down: by what is in their folder.
const LEAVING: Plugin = Plugin {
    name: "example.com~leaving",
    is: |volume| volume.others.contains_key("csi"),
    set_up: |ask| {
        let made = make(ask.folder).map(|()| runtime::MountSource::Host(ask.folder.to_owned()));
        Box::pin(std::future::ready(made.map_err(|e| e.to_string())))
    },
    tear_down: Some(|folder| {
        let diary = folder.ancestors().nth(5).unwrap().join("left");
        let told = fs::write(diary, folder.file_name().unwrap().as_encoded_bytes());
        Box::pin(std::future::ready(told.map_err(|e| e.to_string())))
    }),
    ..Plugin::NEW
};

static ROWS: &[Plugin] = &[nfs::PLUGIN, LEAVING];

/// A node, and a server that some of its pods' volumes are on.
struct Node {
    root: tempfile::TempDir,
    volumes: Volumes,
}

impl Node {
    fn new() -> Node {
        let root = tempfile::tempdir().unwrap();
        for server in ["a", "b"] {
            make(&root.path().join(server)).unwrap();
            fs::write(root.path().join(server).join("log"), "").unwrap();
        }
        Node { volumes: open(root.path()), root }
    }

    /// Another agent on the same disk.
    fn begin_again(&mut self) {
        self.volumes = open(self.root.path());
    }

    async fn prepare(&self, uid: &str, server: &str) -> Result<(), String> {
        let path = self.root.path().join(server);
        let pod = pod(uid, json!({"nfs": {"server": "s", "path": path}}));
        self.volumes.prepare(&pod, &Facts::default()).await.map(|_| ()).map_err(|why| why.message)
    }

    async fn tear_down(&self, uid: &str) -> Result<(), String> {
        self.volumes.tear_down(uid).await
    }

    fn log(&self, server: &str) -> String {
        fs::read_to_string(self.root.path().join(server).join("log")).unwrap().replace('\n', " ").trim().to_owned()
    }

    /// Its log cannot be written.
    fn is_away(&self, is_away: bool) {
        let (here, away) = (self.root.path().join("a"), self.root.path().join("away"));
        if is_away { fs::rename(here, away) } else { fs::rename(away, here) }.unwrap();
    }
}

fn open(root: &Path) -> Volumes {
    let [disk, memory] = ["pods", "memory"].map(|name| root.join(name));
    make(&disk).and(make(&memory)).unwrap();
    let clock: api::Clock = Arc::new(|| jiff::Timestamp::UNIX_EPOCH);
    let shares = Shares::new(root.join("shares"));
    Volumes { disk, memory, projected: 0, sources: Arc::new(Fixed::default()), clock, plugins: ROWS, shares }
}

fn pod(uid: &str, mut volume: serde_json::Value) -> Pod {
    volume["name"] = json!("v");
    let pod = json!({"metadata": {"name": "p", "namespace": "shop", "uid": uid},
        "spec": {"containers": [{"name": "c"}], "volumes": [volume]}});
    serde_json::from_value(pod).unwrap()
}

#[test]
fn volume_type_is_one_file_and_one_line() {
    let (document, file) = (include_str!("../../../../../docs/adding-a-volume.md"), include_str!("tests/nfs.rs"));
    let example = document.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(example, file, "the document shows what is compiled here");
    assert!(file.lines().filter(|line| !line.is_empty()).count() <= 60);
    // Beside its line in the table nothing names a row but the declaration of its file.
    let table = include_str!("../../volumes.rs");
    let lines = || table.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    for module in ["downward_api", "host_path", "image"] {
        let named: Vec<&str> = lines().filter(|line| line.contains(module)).collect();
        assert_eq!(named, [format!("mod {module};"), format!("{module}::PLUGIN,")]);
    }
}

#[tokio::test]
async fn two_pods_share_what_is_staged_once_and_unstaged_after_the_last() {
    let node = Node::new();
    node.prepare("one", "a").await.unwrap();
    node.prepare("two", "a").await.unwrap();
    node.prepare("two", "a").await.unwrap();
    assert_eq!(node.log("a"), "mounted", "for both");
    node.tear_down("one").await.unwrap();
    node.tear_down("one").await.unwrap();
    assert_eq!(node.log("a"), "mounted", "another pod uses it");
    node.tear_down("two").await.unwrap();
    assert_eq!(node.log("a"), "mounted unmounted");
    assert_eq!(below(&node.root.path().join("shares/example.com~nfs")).unwrap(), Vec::<PathBuf>::new());
    node.prepare("three", "a").await.unwrap();
    assert_eq!(node.log("a"), "mounted unmounted mounted");
}

#[tokio::test]
async fn volumes_of_other_names_share_nothing() {
    let node = Node::new();
    node.prepare("one", "a").await.unwrap();
    node.prepare("two", "b").await.unwrap();
    node.tear_down("one").await.unwrap();
    assert_eq!((node.log("a").as_str(), node.log("b").as_str()), ("mounted unmounted", "mounted"));
}

#[tokio::test]
async fn pods_that_come_and_go_together_are_served_in_turn() {
    let node = Node::new();
    let (one, two) = tokio::join!(node.prepare("one", "a"), node.prepare("two", "a"));
    one.and(two).unwrap();
    assert_eq!(node.log("a"), "mounted");
    let (one, two, three) = tokio::join!(node.tear_down("one"), node.tear_down("two"), node.prepare("three", "a"));
    one.and(two).and(three).unwrap();
    assert_eq!(node.volumes.left().unwrap(), ["three"]);
    let log = node.log("a");
    assert!(["mounted", "mounted unmounted mounted"].contains(&log.as_str()), "{log}");
}

#[tokio::test]
async fn an_agent_that_begins_again_knows_who_shares() {
    let mut node = Node::new();
    node.prepare("one", "a").await.unwrap();
    node.prepare("two", "a").await.unwrap();
    node.begin_again();
    assert_eq!(node.volumes.left().unwrap(), ["one", "two"]);
    node.tear_down("one").await.unwrap();
    assert_eq!(node.log("a"), "mounted");
    // What a reboot took away is staged again; and a pod is known by what it shares alone.
    node.prepare("two", "a").await.unwrap();
    assert_eq!(node.log("a"), "mounted mounted");
    node.tear_down("two").await.unwrap();
    assert_eq!((node.log("a").as_str(), node.volumes.left().unwrap()), ("mounted mounted unmounted", vec![]));
}

#[tokio::test]
async fn what_cannot_be_staged_or_unstaged_is_tried_again() {
    let node = Node::new();
    node.is_away(true);
    assert!(node.prepare("one", "a").await.unwrap_err().contains("No such file"));
    node.is_away(false);
    node.prepare("one", "a").await.unwrap();
    node.is_away(true);
    assert!(node.tear_down("one").await.unwrap_err().contains("No such file"));
    assert_eq!(node.volumes.left().unwrap(), ["one"], "nobody forgets it");
    node.is_away(false);
    node.tear_down("one").await.unwrap();
    assert_eq!((node.log("a").as_str(), node.volumes.left().unwrap()), ("mounted unmounted", vec![]));
}

#[tokio::test]
async fn volume_is_taken_down_by_its_row_before_its_folder_goes() {
    let node = Node::new();
    node.volumes.prepare(&pod("one", json!({"csi": {"driver": "d"}})), &Facts::default()).await.unwrap();
    node.tear_down("one").await.unwrap();
    assert_eq!(fs::read_to_string(node.root.path().join("left")).unwrap(), "v");
    assert!(!node.root.path().join("pods/one").exists());
}
