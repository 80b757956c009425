//! The image that the binary itself carries: `gousse.dev/toolbox:latest`, by the short name `toolbox`.
//!
//! One layer made from the program's bytes: the program, a link per applet, users, folders. The same
//! bytes give the same image, so that a start after the first one only computes its id and finds it.

use std::io::Read;

use sha2::{Digest, Sha256};

use crate::engine::{Error, Result};
use crate::images::archive::pinned;
use crate::images::bounds::{Bounds, Left};
use crate::images::manifest::Platform;
use crate::images::{ImagesStore, NewImage, blocking, chain_ids};
use crate::state::Image;

const REPOSITORY: &str = "gousse.dev/toolbox";
const TAG: &str = "gousse.dev/toolbox:latest";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// The applets that have a link in /bin; a test of crate gousse holds it against the toolbox's own list.
pub const LINKS: &[&str] = &[
    "[",
    "cat",
    "chmod",
    "cp",
    "date",
    "eat",
    "echo",
    "env",
    "false",
    "fetch",
    "grep",
    "head",
    "hostname",
    "id",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "nc",
    "nproc",
    "nslookup",
    "printenv",
    "printf",
    "probe",
    "ps",
    "puppet",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "seq",
    "serve-echo",
    "sh",
    "sleep",
    "stat",
    "sync",
    "tail",
    "tar",
    "tee",
    "test",
    "touch",
    "true",
    "tty",
    "uname",
    "wc",
    "web",
    "wget",
    "whoami",
];

/// Whether an image is the one that this binary carries.
pub fn is_it(image: &Image) -> bool {
    image.tags.iter().any(|tag| tag == TAG)
}

/// Its name is no archive's to give to another image.
pub(super) fn require_other_name(store: &ImagesStore, image: &NewImage) -> Result<()> {
    let is_named_so = image.tags.iter().any(|tag| tag == TAG);
    match is_named_so && store.look_up(TAG)?.is_none_or(|known| known.id != image.id) {
        true => Err(Error::Failed(format!(
            "{TAG} is the image built into this program: the archive's image needs another name (docker tag)"
        ))),
        false => Ok(()),
    }
}

impl ImagesStore {
    /// Sees to it that the image of this program is there; milliseconds the first time, less after.
    pub async fn load_builtin(&self, mut program: impl Read + Send + 'static) -> Result<Image> {
        let store = self.shared();
        blocking(move || {
            let mut bytes = Vec::new();
            let read = program.read_to_end(&mut bytes);
            read.map_err(|why| Error::Failed(format!("the built-in program cannot be read: {why}")))?;
            let layer = layer(&bytes);
            let diff_id = digest(&layer);
            let config = config(&diff_id);
            let id = digest(&config);
            let known = store.look_up(&id)?.filter(|image| image.tags.iter().any(|tag| tag == TAG));
            if let Some(image) = known {
                return Ok(image);
            }
            let chain = chain_ids(std::slice::from_ref(&diff_id));
            let pins = store.pin(pinned(&id, std::slice::from_ref(&diff_id), &chain));
            let key = match store.present_layer(&diff_id, &chain[0], &[])? {
                Some(key) => key,
                None => store.unpack_layer(layer.as_slice(), &diff_id, &chain[0], &[], &Left::of(Bounds::default()))?,
            };
            let image = store.commit(NewImage {
                digests: vec![format!("{REPOSITORY}@{}", digest(&manifest(&config, &layer)))],
                id,
                config,
                layers: vec![key],
                tags: vec![TAG.into()],
                preloaded: true,
            });
            drop(pins);
            image
        })
        .await
    }
}

fn layer(program: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::with_capacity(program.len() + (64 << 10)));
    let mut add = |kind: tar::EntryType, path: &str, mode: u32, link: Option<&str>, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        // Nothing but the program's bytes decides the image's id.
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        let named = header.set_path(path).and_then(|()| link.map_or(Ok(()), |link| header.set_link_name(link)));
        named.expect("the names here are short");
        header.set_cksum();
        archive.append(&header, content).expect("a vector takes all that is written");
    };
    let folders = [("bin/", 0o755), ("dev/", 0o755), ("etc/", 0o755), ("proc/", 0o555), ("root/", 0o700)];
    let more = [("sys/", 0o555), ("tmp/", 0o1777), ("usr/", 0o755), ("usr/bin/", 0o755), ("var/", 0o755)];
    for (path, mode) in folders.into_iter().chain(more) {
        add(tar::EntryType::Directory, path, mode, None, b"");
    }
    add(tar::EntryType::Regular, "bin/toolbox", 0o755, None, program);
    for name in LINKS {
        add(tar::EntryType::Symlink, &format!("bin/{name}"), 0o777, Some("toolbox"), b"");
    }
    // Scripts begin with this path.
    add(tar::EntryType::Symlink, "usr/bin/env", 0o777, Some("../../bin/toolbox"), b"");
    add(tar::EntryType::Regular, "etc/passwd", 0o644, None, PASSWD.as_bytes());
    add(tar::EntryType::Regular, "etc/group", 0o644, None, GROUP.as_bytes());
    archive.into_inner().expect("a vector takes all that is written")
}

fn config(diff_id: &str) -> Vec<u8> {
    let Platform { os, architecture, .. } = Platform::ours();
    encoded(serde_json::json!({
        "os": os,
        "architecture": architecture,
        "config": {
            "Entrypoint": ["/bin/toolbox"],
            "Cmd": ["sleep", "inf"],
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "WorkingDir": "/",
            "Labels": {"org.opencontainers.image.title": "toolbox"},
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }))
}

fn manifest(config: &[u8], layer: &[u8]) -> Vec<u8> {
    let described = |kind: &str, bytes: &[u8]| {
        let media_type = format!("application/vnd.oci.image.{kind}");
        serde_json::json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
    };
    encoded(serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("config.v1+json", config),
        "layers": [described("layer.v1.tar", layer)],
    }))
}

fn encoded(value: serde_json::Value) -> Vec<u8> {
    serde_json::to_vec(&value).expect("a value with string keys is always JSON")
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}
