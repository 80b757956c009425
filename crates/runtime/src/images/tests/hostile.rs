//! Hostile images: archives, manifests and configurations that were made to do harm.
//!
//! What is said of each: refused by name, or unpacked to something harmless; and in either case nothing
//! outside of its own folder is touched, and no more of the machine is used than the bounds allow.

use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::PathBuf;

use super::fixtures::{Archive, gzip, is_root_or_skip};
use super::*;
use crate::images::bounds::{Bounds, Left};
use crate::images::layer::{Unpacked, unpack};

const SMALL: Bounds = Bounds { size: 1 << 20, files: 100 };

fn left() -> Left {
    Left::of(SMALL)
}

fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Unpacked) {
    let into = tempfile::tempdir().unwrap();
    let unpacked = unpack(bytes, into.path(), &[], &left()).unwrap();
    (into, unpacked)
}

fn refusal(bytes: &[u8]) -> String {
    let into = tempfile::tempdir().unwrap();
    unpack(bytes, into.path(), &[], &left()).map(|_| panic!("it was taken")).unwrap_err().to_string()
}

/// One header with the bytes of its fields as an attacker likes them.
fn header(kind: u8, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path("f").unwrap();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    change(header.as_mut_bytes());
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn bombs_are_refused_by_the_bound_and_the_setting() {
    let says = |why: String, setting: &str| assert!(why.contains(setting) && why.contains("more than"), "{why}");
    // Much of nothing in little, as content, after the end of the archive, and in zstd.
    let zeros = vec![0u8; 4 << 20];
    says(refusal(&gzip(&Archive::new().raw_file(b"f", &zeros).bytes())), "--image-size-max");
    let mut after = Archive::new().raw_file(b"f", b"x").bytes();
    after.extend_from_slice(&zeros);
    says(refusal(&gzip(&after)), "--image-size-max");
    says(refusal(&zstd::encode_all(after.as_slice(), 1).unwrap()), "--image-size-max");
    // Many members of gzip are one archive, and have one bound.
    let whole = Archive::new().raw_file(b"f", &zeros[..3 << 20]).bytes();
    let members: Vec<u8> = whole.chunks(64 << 10).flat_map(gzip).collect();
    says(refusal(&members), "--image-size-max");
    let small = Archive::new().raw_file(b"f", b"whole").bytes();
    let members: Vec<u8> = small.chunks(100).flat_map(gzip).collect();
    let (root, _) = unpacked(&members);
    assert_eq!(std::fs::read(root.path().join("f")).unwrap(), b"whole");
    // Files without end; folders that nobody named.
    let mut archive = Archive::new();
    for n in 0..101 {
        archive = archive.raw_file(format!("f{n}").as_bytes(), b"");
    }
    says(refusal(&archive.bytes()), "--image-files-max");
    says(
        refusal(&Archive::new().raw_file(&b"d/".repeat(49), b"").long_name(&b"e/".repeat(80)).bytes()),
        "--image-files-max",
    );
    // The same name again and again.
    let mut archive = Archive::new();
    for _ in 0..101 {
        archive = archive.raw_file(b"f", b"");
    }
    says(refusal(&archive.bytes()), "--image-files-max");
}

#[test]
fn a_hole_of_an_exabyte_is_no_file() {
    let sparse = |real: u64, offset: u64| {
        header(b'S', |bytes| {
            let big = |at: &mut [u8], value: u64| {
                at[0] = 0x80;
                at[1..4].fill(0);
                at[4..12].copy_from_slice(&value.to_be_bytes());
            };
            // GNU's map of what is there: nothing, at the very end (offset, numbytes), then the real size.
            big(&mut bytes[386..398], offset);
            big(&mut bytes[398..410], 0);
            big(&mut bytes[483..495], real);
        })
    };
    let mut archive = sparse(1 << 60, 1 << 60);
    archive.extend([0; 1024]);
    assert!(refusal(&archive).contains("--image-size-max"), "{}", refusal(&archive));
    let mut archive = sparse(u64::MAX, u64::MAX - 1);
    archive.extend([0; 1024]);
    refusal(&archive);
}

#[test]
fn sizes_that_lie_are_refused() {
    for size in [
        [0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        // Minus one.
        [0xff; 12],
        *b"77777777777\0",
    ] {
        let mut archive = header(b'0', |bytes| bytes[124..136].copy_from_slice(&size));
        archive.extend(b"short");
        refusal(&archive);
        for kind in [b'L', b'K', b'x', b'g'] {
            let mut archive = header(kind, |bytes| bytes[124..136].copy_from_slice(&size));
            archive.extend([b'x'; 4096]);
            refusal(&archive);
        }
    }
    for lie in ["18446744073709551615", "9223372036854775807", "-1", "99999999999999999999999"] {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("size", lie.as_bytes())]).unwrap();
        let mut archive = builder.into_inner().unwrap();
        archive.truncate(archive.len() - 1024);
        archive.extend(header(b'0', |_| {}));
        archive.extend([0; 512]);
        let into = tempfile::tempdir().unwrap();
        if let Ok(unpacked) = unpack(archive.as_slice(), into.path(), &[], &left()) {
            assert_eq!(unpacked.size, 0, "{lie}");
        }
    }
}

#[test]
fn owners_at_the_limits_are_kept_and_minus_one_is_refused() {
    if !is_root_or_skip("owners_at_the_limits_are_kept_and_minus_one_is_refused") {
        return;
    }
    let id = |value: u64| {
        let mut builder = tar::Builder::new(Vec::new());
        let text = value.to_string();
        builder.append_pax_extensions([("uid", text.as_bytes())]).unwrap();
        let mut archive = builder.into_inner().unwrap();
        archive.truncate(archive.len() - 1024);
        archive.extend(header(b'0', |bytes| bytes[100..108].copy_from_slice(b"0004755\0")));
        archive.extend([0; 1024]);
        archive
    };
    let (root, _) = unpacked(&id(4_294_967_294));
    assert_eq!(std::fs::metadata(root.path().join("f")).unwrap().uid(), 4_294_967_294);
    // To chown it says "unchanged": a set-user-id program of root's would come out.
    for uid in [4_294_967_295, 4_294_967_296, u64::MAX] {
        assert!(refusal(&id(uid)).contains("no user or group number"), "{uid}: {}", refusal(&id(uid)));
    }
}

#[test]
fn times_beyond_all_measure_do_no_harm() {
    for time in ["-9223372036854775808.5", "9223372036854775807.999999999", "1e999", "", "-", "-0.000000001"] {
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("mtime", time.as_bytes())]).unwrap();
        let mut archive = builder.into_inner().unwrap();
        archive.truncate(archive.len() - 1024);
        archive.extend(header(b'0', |_| {}));
        archive.extend([0; 1024]);
        let into = tempfile::tempdir().unwrap();
        let _ = unpack(archive.as_slice(), into.path(), &[], &left());
    }
}

#[test]
fn extended_attributes_speak_to_programs_and_not_to_the_host() {
    if !is_root_or_skip("extended_attributes_speak_to_programs_and_not_to_the_host") {
        return;
    }
    // Not on a tmpfs, which has no user attributes before Linux 6.6.
    let into = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let names = [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
        "user.overlay.opaque",
        "trusted.anything",
        "security.selinux",
        "security.ima",
        "security.evm",
        "security.apparmor",
        "trusted.overlay",
    ];
    let mut archive = Archive::new();
    for (n, name) in names.iter().enumerate() {
        archive = archive.xattr_file(&format!("f{n}"), name, b"y");
    }
    archive = archive.xattr_file("cap", "security.capability", &capability).xattr_file("user", "user.note", b"n");
    unpack(archive.bytes().as_slice(), into.path(), &[], &left()).unwrap();
    let value = |file: &str, name: &str| {
        let mut value = [0u8; 64];
        rustix::fs::getxattr(into.path().join(file), name, &mut value[..]).map(|n| value[..n].to_vec()).ok()
    };
    for (n, name) in names.iter().enumerate() {
        // A security module may label what is made.
        let found = value(&format!("f{n}"), name);
        assert!(found != Some(b"y".to_vec()), "{name} came from an image");
    }
    // What programs need: ping, and what their own users may set.
    assert_eq!(value("cap", "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(value("user", "user.note").as_deref(), Some(&b"n"[..]));
}

#[test]
fn names_and_links_reach_nothing_outside() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("kept"), "kept").unwrap();
    let out = outside.path().to_str().unwrap();
    let relative = format!("{}{out}", "../".repeat(20));
    let before = std::fs::metadata(outside.path()).unwrap();
    for (what, archive) in [
        (
            "a folder that becomes a link",
            Archive::new()
                .folder("d/", 0o755, 0, 0)
                .raw_file(b"d/a", b"")
                .symlink("d", out)
                .raw_file(b"d/kept", b"evil"),
        ),
        ("the same, warm", Archive::new().raw_file(b"d/e/a", b"").symlink("d/e", out).raw_file(b"d/e/kept", b"evil")),
        ("a link out, deeper", Archive::new().symlink("l", &relative).raw_file(b"l/kept", b"evil")),
        ("a link to a link", Archive::new().symlink("a", "b").symlink("b", out).raw_file(b"a/kept", b"evil")),
        (
            "a link made by a hard link",
            Archive::new().symlink("a", out).hard_link("b", "a").raw_file(b"b/kept", b"evil"),
        ),
        ("a hard link through a link", Archive::new().symlink("a", out).hard_link("h", "a/kept")),
        ("an opaque mark through a link", Archive::new().symlink("a", out).raw_file(b"a/.wh..wh..opq", b"")),
        ("a whiteout through a link", Archive::new().symlink("a", out).raw_file(b"a/.wh.kept", b"")),
        (
            "a folder over a link",
            Archive::new().symlink("a", out).folder("a/", 0o777, 7, 7).raw_file(b"a/kept", b"evil"),
        ),
        ("proc", Archive::new().symlink("a", "/proc/self/root").raw_file(format!("a{out}/kept").as_bytes(), b"evil")),
        ("a node over a link", Archive::new().symlink("a", &format!("{out}/kept")).fifo("a")),
    ] {
        let into = tempfile::tempdir().unwrap();
        let _ = unpack(archive.bytes().as_slice(), into.path(), &[], &left());
        assert_eq!(std::fs::read_to_string(outside.path().join("kept")).unwrap(), "kept", "{what}");
        let seen = std::fs::metadata(outside.path()).unwrap();
        assert_eq!((seen.mode(), seen.uid()), (before.mode(), before.uid()), "{what}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1, "{what}");
        assert_eq!(std::fs::metadata(outside.path().join("kept")).unwrap().nlink(), 1, "{what}");
    }
    for name in [&b".."[..], b"../x", b"a/../../x", b"/..", b".wh..", b".wh...", b".wh.", b"a/.wh..."] {
        refusal(&Archive::new().raw_file(name, b"").bytes());
    }
    for name in [&b"."[..], b"./", b"/", b"./.", b"a//b", b"/a/./b/"] {
        let into = tempfile::tempdir().unwrap();
        let _ = unpack(Archive::new().raw_file(name, b"").bytes().as_slice(), into.path(), &[], &left());
        assert!(into.path().is_dir());
    }
    // A NUL ends a name in a header; in a pax record or a GNU name it is part of it.
    refusal(&Archive::new().long_name(b"a\0b").raw_file(b"x", b"").bytes());
}

#[test]
fn devices_stay_where_no_user_of_the_host_comes() {
    if !is_root_or_skip("devices_stay_where_no_user_of_the_host_comes") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let _store = ImagesStore::open(folder.path()).unwrap();
    assert_eq!(std::fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700, "set-user-id programs lie below");
    let device = header(b'3', |bytes| {
        bytes[329..337].copy_from_slice(b"0000001\0");
        bytes[337..345].copy_from_slice(b"0000003\0");
    });
    let (root, _) = unpacked(&[device, vec![0; 1024]].concat());
    let made = std::fs::symlink_metadata(root.path().join("f"));
    assert!(made.is_err() || made.unwrap().file_type().is_char_device());
}

#[test]
fn a_failed_layer_however_deep_leaves_a_store_that_opens() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = ImagesStore::open(folder.path()).unwrap();
    let mut archive = Archive::new();
    for depth in (90..=2040).step_by(90) {
        archive = archive.long_name(&[&b"d/".repeat(depth), &b"f"[..]].concat());
    }
    let layer = archive.bytes();
    let wrong = format!("sha256:{}", "0".repeat(64));
    assert!(store.unpack_layer(layer.as_slice(), &wrong, &wrong, &[], &Left::of(Bounds::default())).is_err());
    assert_eq!(std::fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    // As a crash would leave it.
    let left = folder.path().join("tmp/layer-x");
    std::fs::create_dir(&left).unwrap();
    crate::removal::tests::nest(&left, 5_000);
    drop(store);
    ImagesStore::open(folder.path()).unwrap();
}

#[tokio::test]
async fn archives_of_images_lead_nowhere_and_have_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { bounds: SMALL, ..Config::default() };
    let store = ImagesStore::open_with(&folder.path().join("store"), config).unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let load = |archive: Vec<u8>| store.load(reader(archive));
    let refused = |loaded: Result<Vec<Image>>| loaded.map(|_| panic!("it was taken")).unwrap_err().to_string();

    let layer = Archive::new().raw_file(b"f", &vec![7; 600 << 10]).bytes();
    let other = Archive::new().raw_file(b"g", &vec![8; 600 << 10]).bytes();
    let config = |diff_ids: &[String]| {
        serde_json::json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}).to_string()
    };
    let manifest =
        |config: &str, layers: &[&str]| serde_json::json!([{"Config": config, "Layers": layers}]).to_string();
    let digests = [fixtures::digest(&layer), fixtures::digest(&other)];

    // Each of them is small enough; the image is what is bounded.
    let both = Archive::new()
        .raw_file(b"manifest.json", manifest("c.json", &["a.tar", "b.tar"]).as_bytes())
        .raw_file(b"c.json", config(&digests).as_bytes())
        .raw_file(b"a.tar", &layer)
        .raw_file(b"b.tar", &other);
    let why = refused(load(both.bytes()).await);
    assert!(why.contains("--image-size-max") && why.contains("image sha256:"), "{why}");
    // Compressed as a whole, it may not grow beyond the bound either.
    let grown = Archive::new().raw_file(b"x", &vec![0; 4 << 20]).bytes();
    let why = refused(load(gzip(&grown)).await);
    assert!(why.contains("save its images one by one") && why.contains("--image-size-max"), "{why}");

    for name in ["../../secret", secret.to_str().unwrap(), "link", "deep/link", "missing"] {
        let archive = Archive::new()
            .raw_file(b"manifest.json", manifest("c.json", &[name]).as_bytes())
            .raw_file(b"c.json", config(&digests[..1]).as_bytes())
            .symlink("link", secret.to_str().unwrap())
            .symlink("deep/link", "../../../../../secret");
        let why = refused(load(archive.bytes()).await);
        assert!(why.contains("the archive lacks"), "{name}: {why}");
        let archive =
            Archive::new().raw_file(b"manifest.json", manifest(name, &[]).as_bytes()).symlink("link", "/etc/passwd");
        refused(load(archive.bytes()).await);
    }
    // A link to itself; an image of more layers than overlayfs takes; a document too large.
    let looped = Archive::new().symlink("manifest.json", "manifest.json");
    refused(load(looped.bytes()).await);
    let many = vec![digests[0].clone(); 501];
    let names = vec!["a.tar"; 501];
    let archive = Archive::new()
        .raw_file(b"manifest.json", manifest("c.json", &names).as_bytes())
        .raw_file(b"c.json", config(&many).as_bytes())
        .raw_file(b"a.tar", &layer);
    let why = refused(load(archive.bytes()).await);
    assert!(why.contains("501 layers") && why.contains("500"), "{why}");
    let archive = Archive::new().raw_file(b"manifest.json", &vec![b'['; 9 << 20]);
    assert!(refused(load(archive.bytes()).await).contains("larger than"), "of a document");
    let nested = Archive::new().raw_file(b"manifest.json", &vec![b'['; 1 << 20]);
    refused(load(nested.bytes()).await);

    // A folder may have links that lead out of it.
    let layout = folder.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    std::fs::write(folder.path().join("manifest"), manifest("c.json", &["a.tar"])).unwrap();
    symlink(folder.path().join("manifest"), layout.join("manifest.json")).unwrap();
    let why = refused(store.load_folder(&layout).await);
    assert!(why.contains("neither an OCI layout"), "{why}");

    assert_eq!(store.list().await.unwrap().len(), 0);
    let fine = Archive::new()
        .raw_file(b"manifest.json", manifest("c.json", &["a.tar"]).as_bytes())
        .raw_file(b"c.json", config(&digests[..1]).as_bytes())
        .raw_file(b"a.tar", &layer);
    assert_eq!(load(fine.bytes()).await.unwrap().len(), 1);
    let left: Vec<PathBuf> =
        std::fs::read_dir(folder.path().join("store/tmp")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn manifests_with_absurd_numbers_are_refused() {
    let digest = format!("sha256:{}", "0".repeat(64));
    for size in ["-1", "1e30", "18446744073709551616", "\"7\"", "{}"] {
        let text = format!(r#"{{"schemaVersion":2,"layers":[{{"digest":"{digest}","size":{size}}}]}}"#);
        assert!(manifest::Manifest::parse(text.as_bytes()).is_err(), "{size}");
    }
    for digest in
        ["sha256:../../etc/passwd", "sha256:", "../x", "sha512:00", &digest.to_uppercase(), &format!("{digest}0")]
    {
        let text = format!(r#"{{"schemaVersion":2,"layers":[{{"digest":"{digest}","size":1}}]}}"#);
        assert!(manifest::Manifest::parse(text.as_bytes()).is_err(), "{digest}");
        let text = format!(r#"{{"rootfs":{{"diff_ids":["{digest}"]}}}}"#);
        assert!(manifest::ImageConfig::parse(text.as_bytes()).is_err(), "{digest}");
    }
}

#[tokio::test]
async fn a_pull_beyond_the_bounds_is_refused_by_name_and_leaves_nothing() {
    if !is_root_or_skip("a_pull_beyond_the_bounds_is_refused_by_name_and_leaves_nothing") {
        return;
    }
    let peer = Peer::start().await;
    peer.publish("team/app", "1", &Sample::usual());
    let name = peer.name("team/app:1");
    for bounds in [Bounds { size: 10, files: 1000 }, Bounds { size: 1 << 20, files: 1 }] {
        let folder = tempfile::tempdir().unwrap();
        let store = ImagesStore::open_with(folder.path(), Config { bounds, ..Config::default() }).unwrap();
        let why = pull(&store, &name).await.unwrap_err().to_string();
        assert!(why.contains("--image-") && why.contains("team/app"), "{why}");
        let layers = inventory(folder.path());
        assert!(!layers.iter().any(|name| name.starts_with("layers/") || name.starts_with("tmp/")), "{layers:?}");
    }
    assert_eq!(
        peer.requests.lock().unwrap().iter().filter(|r| r.contains("/blobs/")).count(),
        4,
        "the first: no layer"
    );
}
