//! Static pods: manifests of a folder, followed by inotify; `mirror` shows them at the server.
//!
//! One bad file does not stop the others. A pod's UID is a hash of node, file and content, so that a
//! changed file is another pod. Upstream: kubelet/config/{file,common}.go.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use api::Object;
use api::decode::{FieldValidation, decode};
use rustix::fs::inotify;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::unix::AsyncFd;

use crate::pod::{self, CONFIG_HASH, CONFIG_SOURCE};

/// The object at the server that shows a static pod.
pub mod mirror;

/// As kubelet/config/file.go (maxConfigLength).
const SIZE_MAX: u64 = 10 << 20;
const SCHEMA: &str = "io.k8s.api.core.v1.Pod";

/// One pod of a manifest.
#[derive(Clone, Debug)]
pub struct StaticPod {
    pub uid: String,
    pub object: Object,
}

impl StaticPod {
    /// Namespace and name.
    pub fn key(&self) -> (String, String) {
        (self.object.meta().namespace.clone(), self.object.meta().name.clone())
    }
}

/// A folder of manifests and its changes.
pub struct Manifests {
    folder: PathBuf,
    node: String,
    allow_privileged: bool,
    notices: Option<AsyncFd<OwnedFd>>,
    /// The first answer is what is there.
    first: bool,
}

impl Manifests {
    /// Begins to follow a folder; one that does not exist is made.
    pub fn watch(folder: &Path, node: &str, allow_privileged: bool) -> Manifests {
        let notices = follow(folder);
        if let Err(why) = &notices {
            tracing::error!("{} is read once and not followed: {why}", folder.display());
        }
        let (folder, node) = (folder.to_owned(), node.to_owned());
        Manifests { folder, node, allow_privileged, notices: notices.ok(), first: true }
    }

    /// All static pods, after each change; the first time at once.
    pub async fn next(&mut self) -> Option<Vec<StaticPod>> {
        if !std::mem::take(&mut self.first) {
            match &self.notices {
                Some(notices) => {
                    let mut ready = notices.readable().await.ok()?;
                    // What exactly changed does not matter: the folder is read anew.
                    let mut events = [0u8; 4096];
                    while rustix::io::read(notices.get_ref(), &mut events).is_ok_and(|n| n > 0) {}
                    ready.clear_ready();
                }
                None => std::future::pending().await,
            }
        }
        Some(read_all(&self.folder, &self.node, self.allow_privileged))
    }
}

fn follow(folder: &Path) -> std::io::Result<AsyncFd<OwnedFd>> {
    fs::create_dir_all(folder)?;
    let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    let flags = inotify::WatchFlags::CLOSE_WRITE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::MOVED_FROM
        | inotify::WatchFlags::DELETE;
    inotify::add_watch(&fd, folder, flags)?;
    // The successor is unsafe for types that may lie about their descriptor; an OwnedFd does not.
    #[allow(deprecated)]
    AsyncFd::new(fd)
}

/// Every readable manifest of a folder; the others are logged. Names beginning with a dot are not read.
pub fn read_all(folder: &Path, node: &str, allow_privileged: bool) -> Vec<StaticPod> {
    let mut found: BTreeMap<(String, String), StaticPod> = BTreeMap::new();
    let mut files: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    for path in files {
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if hidden || !path.is_file() {
            continue;
        }
        match read(&path).and_then(|text| parse(&text, &path, node, allow_privileged)) {
            Ok(pod) if found.contains_key(&pod.key()) => {
                tracing::error!("{}: another manifest has a pod of this name", path.display());
            }
            // They would share their folders and their cgroup.
            Ok(pod) if found.values().any(|other| other.uid == pod.uid) => {
                tracing::error!("{}: metadata.uid: another manifest has a pod of uid {}", path.display(), pod.uid);
            }
            Ok(pod) => {
                found.insert(pod.key(), pod);
            }
            Err(why) => tracing::error!("{} is not a pod's manifest: {why}", path.display()),
        }
    }
    found.into_values().collect()
}

/// A file's text, if it is a plain file of sensible size.
fn read(path: &Path) -> Result<String, String> {
    let text = |e: std::io::Error| e.to_string();
    let file =
        File::options().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path).map_err(text)?;
    if !file.metadata().map_err(text)?.is_file() {
        return Err("it is no file".into());
    }
    let mut read = Vec::new();
    file.take(SIZE_MAX + 1).read_to_end(&mut read).map_err(text)?;
    if read.len() as u64 > SIZE_MAX {
        return Err(format!("it is larger than {SIZE_MAX} bytes"));
    }
    String::from_utf8(read).map_err(|e| e.to_string())
}

/// A manifest as a pod of this node, in YAML or JSON.
fn parse(text: &str, path: &Path, node: &str, allow_privileged: bool) -> Result<StaticPod, String> {
    let decoded = decode(text.as_bytes(), "application/yaml", SCHEMA, FieldValidation::Strict);
    let mut tree = decoded.map_err(|status| status.message)?.value;
    if tree["kind"] != "Pod" || tree["apiVersion"] != "v1" {
        return Err("only v1 Pods can be static".into());
    }
    let name = tree["metadata"]["name"].as_str().filter(|n| !n.is_empty()).ok_or("metadata.name: Required value")?;
    let name = format!("{name}-{}", node.to_lowercase());
    refuse_references(&tree["spec"])?;
    let uid = match tree["metadata"]["uid"].as_str() {
        Some(uid) if pod::is_plain_uid(uid) => uid.to_owned(),
        Some(uid) if !uid.is_empty() => {
            return Err(format!("metadata.uid: Invalid value: {uid:?}: {}", pod::PLAIN_UID));
        }
        _ => hash(&[node, &path.to_string_lossy(), text]),
    };
    let content = hash(&[text]);
    let meta = &mut tree["metadata"];
    meta["name"] = json!(name);
    meta["uid"] = json!(uid);
    if meta["namespace"].as_str().is_none_or(str::is_empty) {
        meta["namespace"] = json!("default");
    }
    meta["annotations"][CONFIG_SOURCE] = json!("file");
    meta["annotations"][CONFIG_HASH] = json!(if uid.len() == 32 { uid.clone() } else { content });
    let spec = &mut tree["spec"];
    spec["nodeName"] = json!(node);
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    tolerations.push(json!({"operator": "Exists", "effect": "NoExecute"}));
    spec["tolerations"] = Value::Array(tolerations);
    // Nobody else does: it never goes through the API (kubelet/config/common.go tryDecodeSinglePod).
    let row = kinds::built_in().by_kind("v1", "Pod").expect("pods are a built-in kind");
    row.default(&mut tree);
    let context = kinds::Context { allow_privileged, ..kinds::Context::default() };
    let wrong = row.validate(&tree, None, &context);
    if !wrong.is_empty() {
        let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        return Err(format!("invalid pod: {}", wrong.join("; ")));
    }
    tree["status"] = json!({"phase": "Pending"});
    let object = Object::from_value(&tree).map_err(|e| e.to_string())?;
    object.view::<crate::view::Pod>().map_err(|e| e.to_string())?;
    Ok(StaticPod { uid, object })
}

/// Static pods may not need the API: no accounts, Secrets, ConfigMaps or drivers.
fn refuse_references(spec: &Value) -> Result<(), String> {
    if spec["serviceAccountName"].as_str().is_some_and(|a| !a.is_empty()) {
        return Err("can not use spec.serviceAccountName".into());
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        for kind in ["configMap", "secret", "projected", "persistentVolumeClaim", "csi"] {
            if !volume[kind].is_null() {
                return Err(format!("a static pod may not have volumes of {kind}"));
            }
        }
    }
    let containers =
        ["containers", "initContainers"].into_iter().flat_map(|l| spec[l].as_array().into_iter().flatten());
    for c in containers {
        let from = c["envFrom"].as_array().is_some_and(|f| !f.is_empty());
        let key = |e: &Value| !e["valueFrom"]["configMapKeyRef"].is_null() || !e["valueFrom"]["secretKeyRef"].is_null();
        if from || c["env"].as_array().into_iter().flatten().any(key) {
            return Err("a static pod may not refer to ConfigMaps or Secrets".into());
        }
    }
    Ok(())
}

/// 32 hexadecimal digits.
fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests;
