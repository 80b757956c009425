//! Images from strangers: layers that are not what they say, archives that are none.
//!
//! Laws: whatever is loaded, nothing is written outside the store's folder, and the store goes on.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use runtime::engine::Images;
use runtime::images::ImagesStore;
use sha2::{Digest, Sha256};

use crate::Target;

pub const LAYER: Target = Target { name: "layer", samples: layers, words: WORDS, run: layer };
pub const ARCHIVE: Target = Target { name: "archive", samples: archives, words: WORDS, run: archive };

const WORDS: &[&str] =
    &["../", "/", ".wh.", ".wh..wh..opq", "etc/", "link", "\0", "ustar", "0000644", "7777777", "sha256:"];

/// One store for many inputs, in a folder with a neighbour that must stay as it is.
struct Place {
    folder: tempfile::TempDir,
    store: Arc<ImagesStore>,
    tokio: tokio::runtime::Runtime,
    loaded: u32,
}

thread_local!(static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) });

fn load(archive: &[u8]) -> bool {
    PLACE.with(|place| {
        let mut place = place.borrow_mut();
        let held = place.get_or_insert_with(|| {
            let folder = tempfile::tempdir().expect("a folder");
            std::fs::write(folder.path().join("canary"), "alive").expect("a file");
            let store = ImagesStore::open(&folder.path().join("store")).expect("a store");
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            Place { folder, store, tokio, loaded: 0 }
        });
        let reader = Box::new(std::io::Cursor::new(archive.to_vec()));
        let loaded = held.tokio.block_on(Images::load(&*held.store, reader)).is_ok();
        held.loaded += 1;
        neighbours(held.folder.path());
        // A store that has grown makes every further step slower.
        if held.loaded > 500 {
            *place = None;
        }
        loaded
    })
}

fn neighbours(folder: &Path) {
    let mut names: Vec<_> = std::fs::read_dir(folder).expect("the folder").flatten().map(|e| e.file_name()).collect();
    names.sort();
    assert_eq!(names, ["canary", "store"], "written outside of the store");
    assert_eq!(std::fs::read_to_string(folder.join("canary")).ok().as_deref(), Some("alive"));
}

/// A layer with every sort of entry.
fn layers() -> Vec<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: tar::EntryType, link: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        if !link.is_empty() {
            header.set_link_name(link).expect("a short name");
        }
        tar.append_data(&mut header, name, content).expect("memory");
    };
    add("etc/", tar::EntryType::Directory, "", b"");
    add("etc/passwd", tar::EntryType::Regular, "", b"root:x:0:0::/root:/bin/sh\n");
    add("etc/link", tar::EntryType::Symlink, "../../canary", b"");
    add("etc/hard", tar::EntryType::Link, "etc/passwd", b"");
    add("etc/.wh.gone", tar::EntryType::Regular, "", b"");
    add("link/file", tar::EntryType::Regular, "", b"x");
    add("fifo", tar::EntryType::Fifo, "", b"");
    let whole = tar.into_inner().expect("memory");
    vec![whole]
}

fn archives() -> Vec<Vec<u8>> {
    layers().iter().map(|layer| packed(layer)).collect()
}

/// A docker archive with that layer under its right digest.
fn packed(layer: &[u8]) -> Vec<u8> {
    let digest = format!("{:x}", Sha256::digest(layer));
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["x"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{digest}"]}}}}"#
    );
    let manifest = r#"[{"Config":"c.json","RepoTags":["fuzz:1"],"Layers":["l.tar"]}]"#;
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [("l.tar", layer), ("c.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, content).expect("memory");
    }
    archive.into_inner().expect("memory")
}

fn layer(input: &[u8]) -> bool {
    load(&packed(input))
}

fn archive(input: &[u8]) -> bool {
    load(input)
}
