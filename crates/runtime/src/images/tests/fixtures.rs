//! Archives and images made by the tests.

use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Says aloud (past the harness's capture) what a machine without root does not test.
pub fn is_root_or_skip(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "needs root");
    }
    root
}

pub fn skip(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// A tar in the making.
pub struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    pub fn new() -> Archive {
        Archive(tar::Builder::new(Vec::new()))
    }

    pub fn folder(self, name: &str, mode: u32, uid: u64, gid: u64) -> Archive {
        self.entry(tar::EntryType::Directory, name.as_bytes(), b"", |h| {
            h.set_mode(mode);
            h.set_uid(uid);
            h.set_gid(gid);
        })
    }

    pub fn file(self, name: &str, content: &[u8], mode: u32, uid: u64, gid: u64) -> Archive {
        self.entry(tar::EntryType::Regular, name.as_bytes(), content, |h| {
            h.set_mode(mode);
            h.set_uid(uid);
            h.set_gid(gid);
        })
    }

    /// A name that tar's own writer would refuse.
    pub fn raw_file(self, name: &[u8], content: &[u8]) -> Archive {
        self.entry(tar::EntryType::Regular, name, content, |_| {})
    }

    pub fn symlink(self, name: &str, target: &str) -> Archive {
        self.entry(tar::EntryType::Symlink, name.as_bytes(), b"", |h| h.set_link_name_literal(target).unwrap())
    }

    pub fn hard_link(self, name: &str, target: &str) -> Archive {
        self.entry(tar::EntryType::Link, name.as_bytes(), b"", |h| h.set_link_name_literal(target).unwrap())
    }

    pub fn fifo(self, name: &str) -> Archive {
        self.entry(tar::EntryType::Fifo, name.as_bytes(), b"", |_| {})
    }

    pub fn xattr_file(mut self, name: &str, key: &str, value: &[u8]) -> Archive {
        let key = format!("SCHILY.xattr.{key}");
        self.0.append_pax_extensions([(key.as_str(), value)]).unwrap();
        self.file(name, b"x", 0o644, 0, 0)
    }

    /// A file whose name stands in a GNU extension of its own.
    pub fn long_name(mut self, name: &[u8]) -> Archive {
        self.extend(b'L', name);
        self.raw_file(b"short", b"")
    }

    pub fn long_link(mut self, name: &str, target: &[u8]) -> Archive {
        self.extend(b'K', target);
        self.symlink(name, "short")
    }

    fn extend(&mut self, kind: u8, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn entry(
        mut self,
        kind: tar::EntryType,
        name: &[u8],
        content: &[u8],
        set: impl FnOnce(&mut tar::Header),
    ) -> Archive {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1234);
        header.set_size(content.len() as u64);
        set(&mut header);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image: its configuration, plain layers and their compressed forms, its manifest.
pub struct Sample {
    pub config: Vec<u8>,
    pub layers: Vec<Vec<u8>>,
    pub packed: Vec<Vec<u8>>,
    pub manifest: Vec<u8>,
}

impl Sample {
    pub fn new(layers: Vec<Vec<u8>>) -> Sample {
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        Sample::of(arch, layers)
    }

    pub fn of(arch: &str, layers: Vec<Vec<u8>>) -> Sample {
        let diff_ids: Vec<String> = layers.iter().map(|l| digest(l)).collect();
        let config = serde_json::to_vec(&serde_json::json!({
            "os": "linux", "architecture": arch,
            "config": {"Cmd": ["/bin/run"], "Env": ["A=b=c"], "User": "app", "StopSignal": "SIGQUIT", "WorkingDir": "/w"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }))
        .unwrap();
        let packed: Vec<Vec<u8>> = layers.iter().map(|l| gzip(l)).collect();
        let described = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
        let manifest = serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described("application/vnd.oci.image.config.v1+json", &config),
            "layers": packed.iter().map(|l| described("application/vnd.oci.image.layer.v1.tar+gzip", l)).collect::<Vec<_>>(),
        }))
        .unwrap();
        Sample { config, layers, packed, manifest }
    }

    /// Two layers: users, and a program that the second replaces a file of.
    pub fn usual() -> Sample {
        let base = Archive::new()
            .folder("etc/", 0o755, 0, 0)
            .file("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:7:8::/home/app:\n", 0o644, 0, 0)
            .file("etc/old", b"old", 0o644, 0, 0)
            .bytes();
        let top = Archive::new()
            .folder("etc/", 0o755, 0, 0)
            .file("etc/group-real", b"extra:x:9:app\n", 0o644, 0, 0)
            .symlink("etc/group", "/etc/group-real")
            .file("etc/.wh.old", b"", 0o644, 0, 0)
            .bytes();
        Sample::new(vec![base, top])
    }

    pub fn id(&self) -> String {
        digest(&self.config)
    }

    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    pub fn write_layout(&self, folder: &Path, name: &str) {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        for blob in self.packed.iter().chain([&self.config, &self.manifest]) {
            std::fs::write(blobs.join(digest(blob).trim_start_matches("sha256:")), blob).unwrap();
        }
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": self.digest(), "size": self.manifest.len(),
            "annotations": {"io.containerd.image.name": name},
        }]});
        std::fs::write(folder.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
        std::fs::write(folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }

    /// As `docker save` wrote it before it wrote OCI layouts, with a layer shared by a link.
    pub fn docker_archive(&self, tag: &str) -> Vec<u8> {
        let config = format!("{}.json", digest(&self.config).trim_start_matches("sha256:"));
        let mut archive = Archive::new().file(&config, &self.config, 0o644, 0, 0);
        let mut names = Vec::new();
        for (n, layer) in self.layers.iter().enumerate() {
            archive = archive.file(&format!("real{n}/layer.tar"), layer, 0o644, 0, 0);
            archive = archive.symlink(&format!("l{n}/layer.tar"), &format!("../real{n}/layer.tar"));
            names.push(format!("l{n}/layer.tar"));
        }
        let entries = serde_json::json!([{"Config": config, "RepoTags": [tag], "Layers": names}]);
        archive.file("manifest.json", &serde_json::to_vec(&entries).unwrap(), 0o644, 0, 0).bytes()
    }
}

/// A folder as a tar.
pub fn tar_of(folder: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", folder).unwrap();
    builder.into_inner().unwrap()
}
