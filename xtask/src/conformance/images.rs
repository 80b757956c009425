//! The suite's images: one row each, packed into one archive.
//!
//! They stand there under the names that `e2e.test --list-images` prints.
//! The archive is an OCI layout and a docker archive at once (as `docker save` writes it): `index.json` names the images
//! for one kind of reader, `manifest.json` for the other, both over the same blobs. Layers are shared and not compressed.
//! Law: versions come from the suite, never from here; an image that the suite renames follows by itself.

use super::cache::{Cache, Product, hex, remove, run};
use super::programs::Programs;
use super::roots::{self, Layers, layer, put};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the containers of an image start, unless the pod says otherwise.
#[derive(Clone, Copy, Debug, Default)]
struct Start {
    entrypoint: &'static [&'static str],
    cmd: &'static [&'static str],
    user: &'static str,
    stop_signal: &'static str,
}

/// Images by the last part of their name, the layers that each is made of, and how it starts.
const IMAGES: &[(&str, &[&str], Start)] = &[
    ("agnhost", &["debian", "coredns", "agnhost"], Start { entrypoint: &["/agnhost"], cmd: &["pause"], ..PLAIN }),
    ("busybox", &["busybox"], Start { cmd: &["sh"], ..PLAIN }),
    ("etcd", &["debian", "etcd"], Start { cmd: &["/usr/local/bin/etcd"], ..PLAIN }),
    ("glibc-dns-testing", &["debian", "coredns"], Start { cmd: &["bash"], ..PLAIN }),
    ("ipc-utils", &["debian"], Start { cmd: &["sh"], ..PLAIN }),
    (
        "kitten",
        &["debian", "agnhost", "kitten"],
        Start { entrypoint: &["/agnhost"], cmd: &["test-webserver"], ..PLAIN },
    ),
    (
        "nautilus",
        &["debian", "agnhost", "nautilus"],
        Start { entrypoint: &["/agnhost"], cmd: &["test-webserver"], ..PLAIN },
    ),
    ("nginx", &["debian", "nginx"], Start { cmd: &["nginx", "-g", "daemon off;"], stop_signal: "SIGQUIT", ..PLAIN }),
    ("nonewprivs", &["debian", "nonewprivs"], Start { cmd: &["/nnp"], user: "1000", ..PLAIN }),
    ("nonroot", &["debian"], Start { cmd: &["bash"], user: "1234", ..PLAIN }),
    ("pause", &["pause"], Start { entrypoint: &["/pause"], user: "65535:65535", ..PLAIN }),
    (
        "regression-issue-74839",
        &["debian", "regression-issue-74839"],
        Start { entrypoint: &["/regression-issue-74839"], ..PLAIN },
    ),
    ("sample-apiserver", &["debian", "sample-apiserver"], Start { entrypoint: &["/sample-apiserver"], ..PLAIN }),
];

const PLAIN: Start = Start { entrypoint: &[], cmd: &[], user: "", stop_signal: "" };

/// The registries whose images the suite runs; those of others are there to be refused, or need a cloud's credentials.
const REGISTRIES: &[&str] = &["registry.k8s.io/e2e-test-images/", "registry.k8s.io/"];

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The packed images: the layout as a folder (which the harness's registry serves from), and the same as one file.
pub struct Images {
    pub layout: PathBuf,
    pub archive: PathBuf,
}

/// Packs what is missing.
pub fn pack(cache: &Cache, programs: &Programs) -> Result<Images> {
    let trees = roots::build(cache)?;
    let layers = layers(cache, programs, &trees)?;
    let listed = run(Command::new(programs.path("e2e.test")).arg("--list-images"))?;
    let wanted = wanted(&String::from_utf8(listed)?)?;
    let mut recipe = vec!["1".to_owned(), format!("{IMAGES:?}"), format!("{wanted:?}")];
    recipe.extend(layers.iter().map(|(_, layer)| layer.key.clone()));
    let recipe: Vec<&str> = recipe.iter().map(String::as_str).collect();
    let layout = cache.product("images", &recipe, |out| write_layout(out, &wanted, &layers))?;
    let archive = cache.product("images.tar", &[&layout.key], |out| {
        run(Command::new("tar").arg("-cf").arg(out).arg("-C").arg(&layout.path).arg(".")).map(drop)
    })?;
    Ok(Images { layout: layout.path, archive: archive.path })
}

/// Of the names that the suite printed, those that a row makes, with the row's number.
fn wanted(listed: &str) -> Result<Vec<(String, usize)>> {
    let mut wanted = Vec::new();
    for name in listed.lines().map(str::trim) {
        let Some(rest) = REGISTRIES.iter().find_map(|registry| name.strip_prefix(registry)) else { continue };
        let Some((repository, _tag)) = rest.rsplit_once(':') else { continue };
        if let Some(row) = IMAGES.iter().position(|(image, ..)| *image == repository) {
            wanted.push((name.to_owned(), row));
        }
    }
    wanted.sort();
    wanted.dedup();
    for (row, (image, ..)) in IMAGES.iter().enumerate() {
        if !wanted.iter().any(|(_, of)| *of == row) {
            bail!("`e2e.test --list-images` names no {image}: its row in IMAGES is out of date");
        }
    }
    Ok(wanted)
}

fn layers(cache: &Cache, programs: &Programs, trees: &Layers) -> Result<Vec<(&'static str, Product)>> {
    let pictures = |name: &'static str| {
        let html = programs.release.join("test/images").join(name).join("html");
        layer(cache, name, &["1", &html.to_string_lossy()], &|tree| {
            for file in fs::read_dir(&html)? {
                let file = file?;
                put(tree, &file.file_name().to_string_lossy(), &fs::read(file.path())?, 0o644)?;
            }
            if name == "kitten" {
                put(tree, "etc/os-release", KITTEN_RELEASE.as_bytes(), 0o644)?;
            }
            Ok(())
        })
    };
    let program = |name, place, mode| roots::program(cache, programs, name, place, mode);
    Ok(vec![
        ("debian", trees.debian.clone()),
        ("nginx", trees.nginx.clone()),
        ("busybox", trees.busybox.clone()),
        ("etcd", trees.etcd.clone()),
        ("pause", trees.pause.clone()),
        ("agnhost", agnhost(cache, programs)?),
        ("kitten", pictures("kitten")?),
        ("nautilus", pictures("nautilus")?),
        ("coredns", program("coredns", "/coredns", 0o755)?),
        // Setuid root: the test looks whether that is honoured.
        ("nonewprivs", program("nonewprivs", "/nnp", 0o6755)?),
        ("regression-issue-74839", program("regression-issue-74839", "/regression-issue-74839", 0o755)?),
        ("sample-apiserver", program("sample-apiserver", "/sample-apiserver", 0o755)?),
    ])
}

/// A test mounts this image as a volume and looks there for the base that the official one has.
/// (test/e2e/common/node/image_volume.go)
const KITTEN_RELEASE: &str = "NAME=\"Debian, where the official image has Alpine Linux\"\nID=debian\n";

/// The binary, what it serves and writes, and the accounts that the official image adds to its base.
fn agnhost(cache: &Cache, programs: &Programs) -> Result<Product> {
    let built = programs.get("agnhost");
    layer(cache, "agnhost", &["1", &built.key], &|tree| {
        put(tree, "agnhost", &fs::read(&built.path)?, 0o755)?;
        symlink("agnhost", tree.join("agnhost-2"))?;
        fs::create_dir_all(tree.join("uploads"))?;
        let porter = programs.release.join("test/images/agnhost/porter");
        put(tree, "localhost.crt", &fs::read(porter.join("localhost.crt"))?, 0o644)?;
        put(tree, "localhost.key", &fs::read(porter.join("localhost.key"))?, 0o644)?;
        put(
            tree,
            "etc/passwd",
            format!("{ACCOUNTS}user-defined-in-image:x:1000:1000::/home:/bin/sh\n").as_bytes(),
            0o644,
        )?;
        let groups =
            format!("{GROUPS}user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n");
        put(tree, "etc/group", groups.as_bytes(), 0o644)
    })
}

const ACCOUNTS: &str = "root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";

const GROUPS: &str = "root:x:0:
daemon:x:1:
tty:x:5:
www-data:x:33:
users:x:100:
nogroup:x:65534:
";

fn write_layout(out: &Path, wanted: &[(String, usize)], layers: &[(&str, Product)]) -> Result<()> {
    let blobs = out.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let mut digests = Vec::new();
    for (name, layer) in layers {
        let digest = digest_of(&layer.path)?;
        let blob = blobs.join(&digest);
        remove(&blob)?;
        // The cache keeps the layer as well: one file, two names.
        fs::hard_link(&layer.path, &blob)?;
        digests.push((*name, digest, fs::metadata(&blob)?.len()));
    }
    let mut index = Vec::new();
    let mut docker = Vec::new();
    for (name, row) in wanted {
        let (_, parts, start) = &IMAGES[*row];
        let stack: Vec<_> = parts
            .iter()
            .map(|part| digests.iter().find(|(layer, ..)| layer == part).with_context(|| format!("no layer {part}")))
            .collect::<Result<_>>()?;
        let config = write_blob(&blobs, &config(name, start, &stack))?;
        let manifest = write_blob(&blobs, &manifest(&config, &stack))?;
        index.push(json!({
            "mediaType": MANIFEST, "digest": format!("sha256:{}", manifest.0), "size": manifest.1,
            "platform": { "architecture": "amd64", "os": "linux" },
            "annotations": { "org.opencontainers.image.ref.name": name, "io.containerd.image.name": name },
        }));
        let files: Vec<_> = stack.iter().map(|(_, digest, _)| format!("blobs/sha256/{digest}")).collect();
        docker.push(json!({ "Config": format!("blobs/sha256/{}", config.0), "RepoTags": [name], "Layers": files }));
    }
    let index =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": index });
    fs::write(out.join("index.json"), index.to_string())?;
    fs::write(out.join("manifest.json"), Value::from(docker).to_string())?;
    fs::write(out.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
    Ok(())
}

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The label makes two versions of one image differ, as their official ones do.
fn config(name: &str, start: &Start, stack: &[&(&str, String, u64)]) -> Value {
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
    let layers: Vec<_> = stack.iter().map(|(_, digest, _)| format!("sha256:{digest}")).collect();
    let history: Vec<_> = stack.iter().map(|(layer, ..)| json!({ "created_by": format!("layer {layer}") })).collect();
    json!({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z", "config": process,
        "rootfs": { "type": "layers", "diff_ids": layers }, "history": history,
    })
}

fn manifest(config: &(String, u64), stack: &[&(&str, String, u64)]) -> Value {
    let layers: Vec<_> = stack
        .iter()
        .map(|(_, digest, size)| {
            json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{digest}"), "size": size })
        })
        .collect();
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": format!("sha256:{}", config.0), "size": config.1,
        },
    })
}

fn write_blob(blobs: &Path, content: &Value) -> Result<(String, u64)> {
    let bytes = content.to_string().into_bytes();
    let digest = hex(&Sha256::digest(&bytes));
    fs::write(blobs.join(&digest), &bytes)?;
    Ok((digest, bytes.len() as u64))
}

fn digest_of(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    std::io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hex(&hash.finalize()))
}
