//! Writes an OCI layout that is a docker archive too, from layers that are plain tars.
//!
//! `index.json` names the images for one kind of reader, `manifest.json` for the other (as `docker save`
//! writes it), both over the same blobs. The suite's images and those of the tests in crates/gousse
//! are written by it, so it knows no cache and no other file of this program.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::Path;

/// How the containers of an image start, unless the pod says otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    pub entrypoint: &'static [&'static str],
    pub cmd: &'static [&'static str],
    pub user: &'static str,
    pub stop_signal: &'static str,
}

pub const PLAIN: Start = Start { entrypoint: &[], cmd: &[], user: "", stop_signal: "" };

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A layer among the blobs of a layout.
pub struct Layer {
    pub name: String,
    /// SHA-256 in lower-case hexadecimal.
    digest: String,
    size: u64,
}

impl Layer {
    /// Puts a tar among the blobs of `layout`; the two stay one file with two names.
    pub fn pack(name: &str, tar: &Path, layout: &Path) -> Result<Layer> {
        let blobs = layout.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        let mut hash = Sha256::new();
        std::io::copy(&mut File::open(tar).with_context(|| format!("opening {}", tar.display()))?, &mut hash)?;
        let digest = format!("{:x}", hash.finalize());
        let blob = blobs.join(&digest);
        if blob.exists() {
            fs::remove_file(&blob)?;
        }
        fs::hard_link(tar, &blob)?;
        Ok(Layer { name: name.to_owned(), digest, size: fs::metadata(&blob)?.len() })
    }
}

/// Names the images: each with how it starts and its layers, the lowest first.
pub fn write(layout: &Path, images: &[(&str, Start, Vec<&Layer>)]) -> Result<()> {
    let blobs = layout.join("blobs/sha256");
    let mut index = Vec::new();
    let mut docker = Vec::new();
    for (name, start, stack) in images {
        let config = write_blob(&blobs, &config(name, start, stack))?;
        let manifest = write_blob(&blobs, &manifest(&config, stack))?;
        index.push(json!({
            "mediaType": MANIFEST, "digest": format!("sha256:{}", manifest.0), "size": manifest.1,
            "platform": { "architecture": "amd64", "os": "linux" },
            "annotations": { "org.opencontainers.image.ref.name": name, "io.containerd.image.name": name },
        }));
        let files: Vec<_> = stack.iter().map(|layer| format!("blobs/sha256/{}", layer.digest)).collect();
        docker.push(json!({ "Config": format!("blobs/sha256/{}", config.0), "RepoTags": [name], "Layers": files }));
    }
    let index =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": index });
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("manifest.json"), Value::from(docker).to_string())?;
    fs::write(layout.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
    Ok(())
}

/// The label makes two versions of one image differ, as their official ones do.
fn config(name: &str, start: &Start, stack: &[&Layer]) -> Value {
    let mut process = json!({ "Env": [PATH], "WorkingDir": "/", "Labels": { "gousse.conformance.image": name } });
    for (field, words) in [("Entrypoint", start.entrypoint), ("Cmd", start.cmd)] {
        if !words.is_empty() {
            process[field] = json!(words);
        }
    }
    for (field, word) in [("User", start.user), ("StopSignal", start.stop_signal)] {
        if !word.is_empty() {
            process[field] = json!(word);
        }
    }
    let layers: Vec<_> = stack.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
    let history: Vec<_> = stack.iter().map(|layer| json!({ "created_by": format!("layer {}", layer.name) })).collect();
    json!({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z", "config": process,
        "rootfs": { "type": "layers", "diff_ids": layers }, "history": history,
    })
}

fn manifest(config: &(String, u64), stack: &[&Layer]) -> Value {
    let layer = |layer: &&Layer| {
        let digest = format!("sha256:{}", layer.digest);
        json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": layer.size })
    };
    let layers: Vec<_> = stack.iter().map(layer).collect();
    let digest = format!("sha256:{}", config.0);
    let config = json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.1 });
    json!({ "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers, "config": config })
}

fn write_blob(blobs: &Path, content: &Value) -> Result<(String, u64)> {
    let bytes = content.to_string().into_bytes();
    let digest = format!("{:x}", Sha256::digest(&bytes));
    fs::write(blobs.join(&digest), &bytes)?;
    Ok((digest, bytes.len() as u64))
}
