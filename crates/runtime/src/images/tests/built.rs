//! Images as builders really make them: what repeats, what is left out, what is packed in odd ways.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Command;

use super::fixtures::{Archive, Sample, digest, gzip, is_root_or_skip, skip, tar_of};
use super::peer::Peer;
use super::{fs, pull, reader, store};
use crate::engine::{Images, Result};
use crate::images::layer::decompressed;
use crate::images::manifest::{Manifest, Platform, Unfit};
use crate::images::tree::{open_beneath, open_root};
use crate::native::setup::host::overlay;
use crate::state::Image;

/// Path to content; None: a folder.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// Entries of one layer: a name (a whiteout's, or a folder's with its `/`) and what is in it.
type Entries = &'static [(&'static str, &'static str)];

fn packed(entries: Entries) -> Vec<u8> {
    let add = |archive: Archive, (name, content): &(&str, &str)| match name.ends_with('/') {
        true => archive.folder(name, 0o755, 0, 0),
        false => archive.file(name, content.as_bytes(), 0o644, 0, 0),
    };
    entries.iter().fold(Archive::new(), add).bytes()
}

/// One layer over what is there, as the image specification says (layer.md): what it removes goes first.
fn apply(tree: &mut Tree, entries: Entries) {
    for (name, _) in entries {
        let (folder, file) = name.rsplit_once('/').map_or(("", *name), |(folder, file)| (folder, file));
        let at = |file: &str| if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
        if file == ".wh..wh..opq" {
            tree.retain(|path, _| !path.starts_with(&at("")));
        } else if let Some(gone) = file.strip_prefix(".wh.") {
            let gone = at(gone);
            tree.retain(|path, _| *path != gone && !path.starts_with(&format!("{gone}/")));
        }
    }
    for (name, content) in entries.iter().filter(|(name, _)| !name.contains(".wh.")) {
        let path = name.trim_end_matches('/');
        if name.ends_with('/') {
            tree.insert(path.to_owned(), None);
        } else {
            tree.retain(|other, _| !other.starts_with(&format!("{path}/")));
            tree.insert(path.to_owned(), Some(content.as_bytes().to_vec()));
        }
    }
}

/// What the kernel makes of an image's layers.
fn mounted(layers: &[std::path::PathBuf]) -> Tree {
    let root = match layers {
        [only] => open_root(only).unwrap(),
        layers => overlay::mounted(layers, None).unwrap(),
    };
    let mut tree = Tree::new();
    let mut open = vec![String::new()];
    while let Some(folder) = open.pop() {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        let listed = open_beneath(&root, folder.as_ref(), flags).unwrap();
        for entry in rustix::fs::Dir::read_from(&listed).unwrap().map(|e| e.unwrap()) {
            let name = entry.file_name().to_str().unwrap();
            if name == "." || name == ".." {
                continue;
            }
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            if entry.file_type() == rustix::fs::FileType::Directory {
                open.push(path.clone());
                tree.insert(path, None);
            } else if entry.file_type() == rustix::fs::FileType::RegularFile {
                let file = open_beneath(&root, path.as_ref(), rustix::fs::OFlags::RDONLY).unwrap();
                let mut content = Vec::new();
                fs::File::from(file).read_to_end(&mut content).unwrap();
                tree.insert(path, Some(content));
            }
        }
    }
    tree
}

const LAYERS: &[Entries] = &[
    &[("a/", ""), ("a/x", "1"), ("b", "1")],
    &[],
    &[("a/", ""), ("a/.wh.x", ""), (".wh.b", "")],
    &[(".wh.a", "")],
    &[("a/", ""), ("a/.wh..wh..opq", ""), ("a/y", "2")],
    &[("a", "a file where a folder was")],
    &[("a/", ""), ("a/z", "3"), ("b", "4")],
];

#[tokio::test]
async fn an_image_is_its_layers_one_after_another_however_often_one_comes() {
    if !is_root_or_skip("an_image_is_its_layers_one_after_another_however_often_one_comes") {
        return;
    }
    let (_dir, store) = store();
    let mut seed = 9u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % below
    };
    let mut orders: Vec<Vec<usize>> =
        (0..120).map(|_| (0..2 + next(7)).map(|_| next(LAYERS.len())).collect()).collect();
    orders.extend([vec![0, 2, 0], vec![0, 1, 1], vec![6, 3, 6, 3], vec![1, 1]]);
    for order in orders {
        let sample = Sample::new(order.iter().map(|n| packed(LAYERS[*n])).collect());
        let image = store.load(reader(sample.docker_archive("app:1"))).await.unwrap().remove(0);
        let roots = store.rootfs(&image.id).unwrap();
        let mut wanted = Tree::new();
        order.iter().for_each(|n| apply(&mut wanted, LAYERS[*n]));
        if roots.len() > 1 {
            assert_eq!(mounted(&roots), wanted, "layers {order:?}");
        }
    }
}

#[tokio::test]
async fn an_image_may_have_a_hundred_layers_or_only_empty_ones() {
    if !is_root_or_skip("an_image_may_have_a_hundred_layers_or_only_empty_ones") {
        return;
    }
    let (_dir, store) = store();
    let layer = |n: usize| Archive::new().file(&format!("f{n}"), b"x", 0o644, 0, 0).bytes();
    let many = Sample::new((0..127).map(layer).collect());
    let image = store.load(reader(many.docker_archive("many:1"))).await.unwrap().remove(0);
    assert_eq!(mounted(&store.rootfs(&image.id).unwrap()).len(), 127);
    // A layer of no bytes, one of no entries, and none at all.
    for layers in [vec![Vec::new()], vec![Archive::new().bytes(); 3], vec![]] {
        let empty = Sample::new(layers.clone());
        let image = store.load(reader(empty.docker_archive("empty:1"))).await.unwrap().remove(0);
        assert_eq!(store.rootfs(&image.id).unwrap().len(), layers.len().min(1));
    }
}

#[test]
fn every_form_that_compressors_write_is_read() {
    let plain = Archive::new().file("f", &[7; 3000], 0o644, 0, 0).bytes();
    let (first, second) = plain.split_at(1000);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let skipped = |kind: u8| [&[kind, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"toc!"].concat();
    let headed = |build: flate2::GzBuilder| {
        let mut encoder = build.write(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &plain).unwrap();
        encoder.finish().unwrap()
    };
    let streamed = {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 19).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.long_distance_matching(true).unwrap();
        std::io::Write::write_all(&mut encoder, &plain).unwrap();
        encoder.finish().unwrap()
    };
    for (form, bytes) in [
        ("nothing", plain.clone()),
        ("gzip", gzip(&plain)),
        ("gzip in members (pigz, eStargz)", [gzip(first), gzip(second), gzip(b"")].concat()),
        (
            "gzip with all headers",
            headed(flate2::GzBuilder::new().filename("n").comment("c").extra(b"SG\x02\x00ab").mtime(9)),
        ),
        ("zstd", zstd(&plain)),
        ("zstd in frames", [zstd(first), zstd(second)].concat()),
        ("zstd, a table at the end (zstd:chunked)", [zstd(first), skipped(0x50), zstd(second), skipped(0x5f)].concat()),
        ("zstd, a frame to be skipped first (pzstd)", [skipped(0x50), zstd(&plain)].concat()),
        ("zstd as a stream", streamed),
    ] {
        let mut read = Vec::new();
        decompressed(bytes.as_slice()).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == plain, "{form}");
    }
    let refused = |head: &[u8]| decompressed(head).map(|_| ()).unwrap_err().to_string();
    assert_eq!(refused(b"BZh91AY"), "bzip2 is not read; use gzip, zstd or no compression");
    assert!(refused(b"\xfd7zXZ\0").starts_with("xz is not read"));
    assert!(refused(b"\x04\x22\x4d\x18").starts_with("lz4 is not read"));
    assert!(decompressed(&b"BZhang/"[..]).is_ok(), "a name in an archive that is not compressed");
}

#[test]
fn layers_are_told_by_their_media_types() {
    let looked_at = |config: &str, layer: &str| {
        let described = |kind: &str| serde_json::json!({"mediaType": kind, "digest": digest(b""), "size": 1});
        let manifest =
            serde_json::json!({"schemaVersion": 2, "config": described(config), "layers": [described(layer)]});
        let manifest = Manifest::parse(&serde_json::to_vec(&manifest).unwrap()).unwrap();
        manifest.image_config().map(|_| ()).map_err(|unfit| match unfit {
            Unfit::Foreign(why) => why,
            Unfit::Failed(error) => error.to_string(),
        })
    };
    const OCI: &str = "application/vnd.oci.image.config.v1+json";
    for layer in [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "",
    ] {
        assert_eq!(looked_at(OCI, layer), Ok(()), "{layer}");
        assert_eq!(looked_at("application/vnd.docker.container.image.v1+json", layer), Ok(()), "{layer}");
    }
    let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    assert!(looked_at(OCI, encrypted).unwrap_err().contains(encrypted));
    assert!(looked_at(OCI, "application/vnd.in-toto+json").unwrap_err().contains("not read here"));
    let chart =
        looked_at("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip");
    assert!(chart.unwrap_err().contains("which is no image"));
}

fn index(manifests: &[serde_json::Value]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({"schemaVersion": 2, "manifests": manifests})).unwrap()
}

fn row(manifest: &[u8], platform: serde_json::Value) -> serde_json::Value {
    let mut row = serde_json::json!({"digest": digest(manifest), "size": manifest.len()});
    if !platform.is_null() {
        row["platform"] = platform;
    }
    row
}

/// What stands beside images in an index: a signature, say.
fn artifact() -> Vec<u8> {
    let empty =
        serde_json::json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2});
    let artifact =
        serde_json::json!({"schemaVersion": 2, "artifactType": "application/sig", "config": empty, "layers": [empty]});
    serde_json::to_vec(&artifact).unwrap()
}

#[tokio::test]
async fn an_index_that_says_little_still_gives_this_machines_image() {
    if !is_root_or_skip("an_index_that_says_little_still_gives_this_machines_image") {
        return;
    }
    let ours = Sample::usual();
    let other = Sample::of("s390x", ours.layers.clone());
    let artifact = artifact();
    let none = serde_json::Value::Null;
    let unknown = serde_json::json!({"os": "unknown", "architecture": "unknown"});
    let empty = serde_json::json!({"os": "", "architecture": ""});
    let this = serde_json::json!({"os": "linux", "architecture": Platform::ours().architecture});
    let inner = index(&[row(&other.manifest, none.clone()), row(&ours.manifest, none.clone())]);
    let indexes = [
        index(&[row(&other.manifest, none.clone()), row(&ours.manifest, none.clone())]),
        index(&[row(&other.manifest, empty.clone()), row(&ours.manifest, empty)]),
        index(&[row(&artifact, none.clone()), row(&other.manifest, none.clone()), row(&ours.manifest, none.clone())]),
        index(&[row(&artifact, unknown), row(&other.manifest, none.clone()), row(&ours.manifest, this)]),
        index(&[row(&inner, none.clone())]),
    ];
    let peer = Peer::start().await;
    peer.publish("app", "x", &ours);
    peer.publish("app", "y", &other);
    for blob in [&artifact, &inner] {
        peer.put(&format!("/v2/app/manifests/{}", digest(blob)), blob.clone());
    }
    for (number, index) in indexes.iter().enumerate() {
        let (_dir, pulling) = store();
        peer.put(&format!("/v2/app/manifests/{number}"), index.clone());
        assert_eq!(pull(&pulling, &peer.name(&format!("app:{number}"))).await.unwrap().id, ours.id(), "{number}");
        assert_eq!(loaded(&[&ours, &other], &[&artifact, &inner], index).await.unwrap()[0].id, ours.id(), "{number}");
    }
    let foreign = index(&[row(&artifact, none.clone()), row(&other.manifest, none)]);
    peer.put("/v2/app/manifests/foreign", foreign.clone());
    let (_dir, pulling) = store();
    let ends = [
        pull(&pulling, &peer.name("app:foreign")).await.unwrap_err().to_string(),
        loaded(&[&other], &[&artifact], &foreign).await.unwrap_err().to_string(),
    ];
    for end in ends {
        assert!(
            end.contains("no image for linux/") && end.contains("application/sig") && end.contains("s390x"),
            "{end}"
        );
    }
}

/// Of a layout whose index is this one, or leads to it.
async fn loaded(samples: &[&Sample], blobs: &[&Vec<u8>], index: &[u8]) -> Result<Vec<Image>> {
    let folder = tempfile::tempdir().unwrap();
    for sample in samples {
        sample.write_layout(folder.path(), "docker.io/library/app:1");
    }
    for blob in blobs {
        fs::write(folder.path().join("blobs/sha256").join(digest(blob).trim_start_matches("sha256:")), blob).unwrap();
    }
    fs::write(folder.path().join("index.json"), index).unwrap();
    let (_dir, store) = store();
    store.load_folder(folder.path()).await
}

#[tokio::test]
async fn a_search_through_indexes_ends() {
    let mut inner = artifact();
    let mut all = vec![inner.clone()];
    for _ in 0..4 {
        inner = index(&vec![row(&inner, serde_json::Value::Null); 60]);
        all.push(inner.clone());
    }
    let refused = loaded(&[&Sample::usual()], &all.iter().collect::<Vec<_>>(), &inner).await.unwrap_err().to_string();
    assert!(refused.contains("none of the first 64 manifests"), "{refused}");
}

#[tokio::test]
async fn archives_of_every_builder_load() {
    if !is_root_or_skip("archives_of_every_builder_load") {
        return;
    }
    let sample = Sample::usual();
    let hex = |bytes: &[u8]| digest(bytes).trim_start_matches("sha256:").to_owned();
    let entries = |config: &str, layers: &[String]| {
        let entries = serde_json::json!([{"Config": config, "RepoTags": ["app:1"], "Layers": layers}]);
        serde_json::to_vec(&entries).unwrap()
    };
    // podman save: layers by their digests, and links to them where docker has them.
    let mut podman = Archive::new();
    let names: Vec<String> = sample.layers.iter().map(|layer| format!("{}.tar", hex(layer))).collect();
    for (layer, name) in sample.layers.iter().zip(&names) {
        podman = podman.file(name, layer, 0o644, 0, 0);
        podman = podman.symlink(&format!("id{}/layer.tar", &name[..9]), &format!("../{name}"));
    }
    let config = format!("{}.json", hex(&sample.config));
    let podman = podman.file(&config, &sample.config, 0o644, 0, 0);
    let podman = podman.file("manifest.json", &entries(&config, &names), 0o644, 0, 0).bytes();
    // go-containerregistry (kaniko, ko, bazel): a digest as the configuration's name, compressed layers.
    let mut crane = Archive::new().file(&sample.id(), &sample.config, 0o644, 0, 0);
    let names: Vec<String> = sample.packed.iter().map(|layer| format!("{}.tar.gz", hex(layer))).collect();
    for (layer, name) in sample.packed.iter().zip(&names) {
        crane = crane.file(name, layer, 0o644, 0, 0);
    }
    let crane = crane.file("manifest.json", &entries(&sample.id(), &names), 0o644, 0, 0).bytes();
    // nix: names with ./, the whole compressed, layers as links that come before what they lead to.
    let mut nix = Archive::new().file(
        "./manifest.json",
        &entries(&config, &["l0/layer.tar".into(), "l1/layer.tar".into()]),
        0o644,
        0,
        0,
    );
    for (number, layer) in sample.layers.iter().enumerate() {
        nix = nix.hard_link(&format!("./l{number}/layer.tar"), &format!("./s{number}")).file(
            &format!("./s{number}"),
            layer,
            0o444,
            0,
            0,
        );
    }
    let nix = gzip(&nix.file(&format!("./{config}"), &sample.config, 0o444, 0, 0).bytes());
    for (builder, archive) in [("podman", podman), ("crane", crane), ("nix", nix)] {
        let (_dir, store) = store();
        let images = store.load(reader(archive)).await.unwrap();
        assert_eq!(
            (images[0].id.as_str(), &*images[0].tags[0]),
            (&*sample.id(), "docker.io/library/app:1"),
            "{builder}"
        );
    }
}

/// As umoci packs layers: no padding after the last file, no end mark. One that breaks off earlier is none.
#[tokio::test]
async fn a_layer_may_end_with_its_last_file() {
    if !is_root_or_skip("a_layer_may_end_with_its_last_file") {
        return;
    }
    let whole = Archive::new().file("f", b"content", 0o644, 0, 0).bytes();
    for (length, fits) in [(512 + 7, true), (512 + 6, false), (511, false)] {
        let sample = Sample::new(vec![whole[..length].to_vec()]);
        let (_dir, store) = store();
        let loaded = store.load(reader(sample.docker_archive("app:1"))).await;
        assert_eq!(loaded.is_ok(), fits, "{length}: {:?}", loaded.err());
    }
}

#[tokio::test]
async fn a_sparse_archive_is_refused_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("manifest.json")).unwrap();
    file.set_len(1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"[]", 1 << 19).unwrap();
    for format in ["gnu", "pax"] {
        let mut tar = Command::new("tar");
        tar.arg("--sparse").arg(format!("--format={format}")).arg("-C").arg(folder.path()).args([
            "-cf",
            "-",
            "manifest.json",
        ]);
        let Ok(archive) = tar.output() else { return skip("a_sparse_archive_is_refused_and_says_so", "needs tar") };
        let (_dir, store) = store();
        let refused = store.load(reader(archive.stdout)).await.unwrap_err().to_string();
        assert!(refused.contains("stored as a sparse file"), "{format}: {refused}");
    }
}

/// Debian's skopeo and umoci write what people have: everything they make of a layout loads.
#[tokio::test]
async fn what_skopeo_and_umoci_write_loads() {
    const NAME: &str = "what_skopeo_and_umoci_write_loads";
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !is_root_or_skip(NAME) {
        return;
    }
    if !there("skopeo") || !there("umoci") {
        return skip(NAME, "needs skopeo and umoci");
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let run = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).output().unwrap();
        assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let sample = Sample::usual();
    sample.write_layout(&folder.path().join("layout"), "app:1");
    // It wants the name under its own key.
    let index = fs::read_to_string(at("layout/index.json")).unwrap();
    let index = index.replace("io.containerd.image.name", "org.opencontainers.image.ref.name").replace("app:1", "one");
    fs::write(at("layout/index.json"), index).unwrap();
    let from = format!("oci:{}:one", at("layout"));
    let to = [
        ("docker-archive", format!("docker-archive:{}:app:1", at("d.tar")), at("d.tar"), vec![]),
        ("oci-archive", format!("oci-archive:{}:app:1", at("o.tar")), at("o.tar"), vec![]),
        (
            "zstd",
            format!("oci-archive:{}:app:1", at("z.tar")),
            at("z.tar"),
            vec!["--dest-compress-format", "zstd", "--dest-compress"],
        ),
        ("v2s2", format!("oci-archive:{}:app:1", at("u.tar")), at("u.tar"), vec!["--dest-decompress"]),
    ];
    for (form, to, file, more) in to {
        run("skopeo", &[&["--insecure-policy", "copy", "-q"], more.as_slice(), &[&from, &to]].concat());
        let (_dir, store) = store();
        let images = store.load(reader(fs::read(file).unwrap())).await.unwrap();
        assert_eq!((images[0].id.as_str(), &*images[0].tags[0]), (&*sample.id(), "docker.io/library/app:1"), "{form}");
    }
    // umoci begins without any layer, and adds some that remove and replace.
    let image = format!("{}:new", at("umoci"));
    run("umoci", &["init", "--layout", &at("umoci")]);
    run("umoci", &["new", "--image", &image]);
    fs::create_dir_all(at("tree/d")).unwrap();
    fs::write(at("tree/d/f"), "f").unwrap();
    run("umoci", &["insert", "--image", &image, &at("tree"), "/t"]);
    run("umoci", &["insert", "--image", &image, "--whiteout", "/t/d/f"]);
    run("umoci", &["insert", "--image", &image, "--opaque", &at("tree"), "/t"]);
    let (_dir, store) = store();
    let images = store.load(reader(tar_of(at("umoci").as_ref()))).await.unwrap();
    let tree = mounted(&store.rootfs(&images[0].id).unwrap());
    assert_eq!(tree.get("t/d/f"), Some(&Some(b"f".to_vec())), "{tree:?}");
}
