//! The suite's images: one row each, packed into one archive.
//!
//! They stand there under the names that `e2e.test --list-images` prints.
//! Layers are shared and not compressed.
//! Law: versions come from the suite, never from here; an image that the suite renames follows by itself.

use super::cache::{Cache, Product, run};
use super::layout::{self, PLAIN, Start};
use super::programs::Programs;
use super::roots::{self, Layers, layer, put};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// The registries whose images the suite runs; those of others are there to be refused, or need a cloud's credentials.
const REGISTRIES: &[&str] = &["registry.k8s.io/e2e-test-images/", "registry.k8s.io/"];

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
    let mut packed = Vec::new();
    for (name, layer) in layers {
        packed.push(layout::Layer::pack(name, &layer.path, out)?);
    }
    let mut images = Vec::new();
    for (name, row) in wanted {
        let (_, parts, start) = &IMAGES[*row];
        let find = |part: &&str| packed.iter().find(|layer| layer.name == *part);
        let stack = parts.iter().map(|part| find(part).with_context(|| format!("no layer {part}")));
        images.push((name.as_str(), *start, stack.collect::<Result<Vec<_>>>()?));
    }
    layout::write(out, &images)
}
