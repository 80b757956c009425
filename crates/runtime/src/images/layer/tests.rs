use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;
use crate::images::tests::fixtures::{Archive, is_root_or_skip};

fn left() -> Left {
    Left::of(crate::images::bounds::Bounds::default())
}

fn unpacked(archive: Archive, lowers: &[PathBuf]) -> (tempfile::TempDir, Unpacked) {
    let into = tempfile::tempdir().unwrap();
    let unpacked = unpack(archive.bytes().as_slice(), into.path(), lowers, &left()).unwrap();
    (into, unpacked)
}

fn refusal(archive: Archive) -> String {
    let into = tempfile::tempdir().unwrap();
    unpack(archive.bytes().as_slice(), into.path(), &[], &left()).unwrap_err().to_string()
}

#[test]
fn owners_modes_times_and_links_come_out_as_packed() {
    if !is_root_or_skip("owners_modes_times_and_links_come_out_as_packed") {
        return;
    }
    let archive = Archive::new()
        .folder("etc/", 0o750, 7, 8)
        .file("etc/secret", b"s", 0o4711, 1000, 1001)
        .symlink("etc/link", "/outside/../etc/secret")
        .hard_link("etc/again", "etc/secret")
        .fifo("etc/fifo");
    let (root, unpacked) = unpacked(archive, &[]);
    let meta = |name: &str| std::fs::symlink_metadata(root.path().join(name)).unwrap();
    assert_eq!((meta("etc").mode() & 0o7777, meta("etc").uid(), meta("etc").gid()), (0o750, 7, 8));
    let secret = meta("etc/secret");
    assert_eq!((secret.mode() & 0o7777, secret.uid(), secret.gid(), secret.mtime()), (0o4711, 1000, 1001, 1234));
    assert_eq!(meta("etc").mtime(), 1234, "a folder's time is set after its entries");
    assert_eq!(meta("etc/again").ino(), secret.ino());
    assert!(meta("etc/fifo").file_type().is_fifo());
    assert_eq!(std::fs::read_link(root.path().join("etc/link")).unwrap(), Path::new("/outside/../etc/secret"));
    assert_eq!(unpacked.size, 1);
    assert!(!unpacked.depends);
}

#[test]
fn whiteouts_become_overlayfss_own() {
    if !is_root_or_skip("whiteouts_become_overlayfss_own") {
        return;
    }
    let archive = Archive::new()
        .folder("a/", 0o755, 0, 0)
        .file("a/.wh.gone", b"", 0o644, 0, 0)
        .file("b/.wh..wh..opq", b"", 0o644, 0, 0)
        .file("c", b"new", 0o644, 0, 0)
        .file(".wh.c", b"", 0o644, 0, 0)
        .file(".wh.d", b"", 0o644, 0, 0)
        .folder("d/", 0o755, 0, 0);
    let (root, _) = unpacked(archive, &[]);
    let gone = std::fs::symlink_metadata(root.path().join("a/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let opaque = |name: &str| tree::is_opaque(tree::open_root(&root.path().join(name)).unwrap());
    assert!(opaque("b"));
    assert!(opaque("d"), "a folder that replaces a removed one hides it");
    assert!(!opaque("a"));
    assert_eq!(std::fs::read(root.path().join("c")).unwrap(), b"new", "a whiteout speaks of lower layers only");
}

#[test]
fn nothing_leaves_the_root() {
    assert!(refusal(Archive::new().raw_file(b"../evil", b"x")).contains("it leads outside the image's root"));
    assert!(refusal(Archive::new().raw_file(b"a/../../evil", b"x")).contains("it leads outside the image's root"));
    assert!(refusal(Archive::new().raw_file(b".wh...", b"")).contains("removes nothing"));
    assert!(
        refusal(Archive::new().hard_link("h", "../../etc/passwd")).contains("target leads outside the image's root")
    );
    // Absolute names are meant below the root; a link to the host's folder is followed inside.
    let outside = tempfile::tempdir().unwrap();
    let link = outside.path().to_str().unwrap();
    let archive = Archive::new().symlink("out", link).raw_file(b"out/evil", b"x").raw_file(b"/abs", b"y");
    let (root, _) = unpacked(archive, &[]);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "nothing was written through the link");
    assert_eq!(std::fs::read(root.path().join(link.trim_start_matches('/')).join("evil")).unwrap(), b"x");
    assert_eq!(std::fs::read(root.path().join("abs")).unwrap(), b"y");
}

#[test]
fn headers_and_paths_have_bounds() {
    let long = |bytes: usize| refusal(Archive::new().long_name(&vec![b'n'; bytes]));
    assert!(long(5 << 20).contains("the headers of one entry are longer than"), "{}", long(5 << 20));
    assert!(long(4096).contains("File name too long"), "{}", long(4096));
    let deep = refusal(Archive::new().long_name(&b"d/".repeat(50_000)));
    assert!(deep.contains("File name too long") && deep.len() < 500, "{deep}");
    // Links make short names long: each leads a thousand folders further down.
    let mut archive = Archive::new().long_link("a", &b"d/".repeat(1500));
    for _ in 0..2 {
        archive = archive.long_link("a/a", &b"d/".repeat(1500));
    }
    let linked = refusal(archive.raw_file(b"a/a/f", b""));
    assert!(linked.contains("File name too long"), "{linked}");
    // What an entry has no use for does not count for the next one.
    let idle = Archive::new().file("a/.wh.gone", &vec![7; 5 << 20], 0o644, 0, 0).raw_file(b"f", b"x");
    assert_eq!(std::fs::read(unpacked(idle, &[]).0.path().join("f")).unwrap(), b"x");
}

#[test]
fn a_file_over_a_link_replaces_the_link() {
    let target = tempfile::NamedTempFile::new().unwrap();
    let archive = Archive::new()
        .symlink("x", target.path().to_str().unwrap())
        .file("x", b"inside", 0o644, 0, 0)
        .folder("y/", 0o755, 0, 0)
        .file("y/z", b"1", 0o644, 0, 0)
        .file("y", b"2", 0o644, 0, 0);
    let (root, _) = unpacked(archive, &[]);
    assert_eq!(std::fs::read(target.path()).unwrap(), b"");
    assert_eq!(std::fs::read(root.path().join("x")).unwrap(), b"inside");
    assert_eq!(std::fs::read(root.path().join("y")).unwrap(), b"2");
}

#[test]
fn unnamed_parents_follow_the_layers_below() {
    if !is_root_or_skip("unnamed_parents_follow_the_layers_below") {
        return;
    }
    let below = Archive::new()
        .folder("usr/", 0o755, 0, 0)
        .folder("usr/bin/", 0o755, 0, 0)
        .symlink("bin", "usr/bin")
        .folder("home/", 0o711, 5, 5)
        .file("usr/bin/tool", b"tool", 0o755, 0, 0);
    let (below, _) = unpacked(below, &[]);
    let lowers = [below.path().to_path_buf()];
    let above = Archive::new()
        .file("bin/new", b"n", 0o755, 0, 0)
        .file("home/f", b"f", 0o644, 0, 0)
        .hard_link("usr/bin/tool2", "bin/tool");
    let (above, outcome) = unpacked(above, &lowers);
    assert!(outcome.depends);
    assert!(std::fs::symlink_metadata(above.path().join("bin")).is_err(), "the link below is not hidden by a folder");
    assert_eq!(std::fs::read(above.path().join("usr/bin/new")).unwrap(), b"n");
    let home = std::fs::metadata(above.path().join("home")).unwrap();
    assert_eq!((home.permissions().mode() & 0o7777, home.uid()), (0o711, 5));
    assert_eq!(std::fs::read(above.path().join("usr/bin/tool2")).unwrap(), b"tool");
    // So it is not what another image with plain parents needs, and that is known.
    let (_, plain) = unpacked(Archive::new().file("bin/new", b"n", 0o755, 0, 0), &[]);
    let implied: Vec<String> = plain.implied.iter().map(|p| p.display().to_string()).collect();
    assert!(!plain.depends);
    assert!(!fits(&implied, &lowers).unwrap());
    assert!(fits(&implied, &[]).unwrap());
}

#[test]
fn an_archive_cannot_speak_to_overlayfs() {
    let archive = Archive::new().xattr_file("f", "trusted.overlay.redirect", b"/etc");
    let (root, _) = unpacked(archive, &[]);
    let file = std::fs::File::open(root.path().join("f")).unwrap();
    let mut value = [0u8; 16];
    assert!(rustix::fs::fgetxattr(&file, "trusted.overlay.redirect", &mut value[..]).is_err());
}

#[test]
fn digests_are_of_the_plain_archive_whatever_its_compression() {
    let plain = Archive::new().file("f", &[7; 100_000], 0o644, 0, 0).bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    let expected = format!("sha256:{:x}", Sha256::digest(&plain));
    for bytes in [plain, gzip.finish().unwrap(), zstd] {
        let into = tempfile::tempdir().unwrap();
        assert_eq!(unpack(bytes.as_slice(), into.path(), &[], &left()).unwrap().diff_id, expected);
    }
    let into = tempfile::tempdir().unwrap();
    assert!(unpack(&b"BZh9...."[..], into.path(), &[], &left()).unwrap_err().to_string().contains("bzip2"));
    let truncated = &zstd::encode_all(&[1u8; 4096][..], 1).unwrap()[..8];
    assert!(unpack(truncated, into.path(), &[], &left()).is_err());
}
