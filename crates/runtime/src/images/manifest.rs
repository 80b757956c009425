//! The JSON of images: manifests, indexes and configurations, OCI's and Docker's (their forms agree).
//!
//! Source: opencontainers/image-spec and Docker's image manifest v2 schema 2. Schema 1 is refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::engine::{Error, Result};
use crate::images::reference::is_digest;
use crate::state::Image;

/// What a registry is asked for, in order of preference.
pub const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";
/// Manifests and configurations above this are refused.
pub const DOCUMENT_SIZE_MAX: u64 = 8 << 20;
/// Depth of indexes within indexes.
const INDEX_DEPTH_MAX: usize = 4;
/// Manifests looked at in search of one image.
const MANIFESTS_MAX: usize = 64;

/// Lower folders that overlayfs takes (fs/overlayfs OVL_MAX_STACK).
pub const LAYERS_MAX: usize = 500;

/// A manifest (config and layers) or an index (manifests); which one, its fields tell.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    pub schema_version: u32,
    pub artifact_type: String,
    pub config: Option<Descriptor>,
    pub layers: Vec<Descriptor>,
    pub manifests: Vec<Descriptor>,
}

/// Why a manifest does not give this machine's image.
#[derive(Debug)]
pub enum Unfit {
    /// It is another machine's, or no image at all; what stands beside it may be.
    Foreign(String),
    Failed(Error),
}

/// How far a search for this machine's image may still go.
pub struct Search {
    depth: usize,
    looks: usize,
}

/// Media types of an image's configuration, with what registries made of them in Docker's early days
/// (moby, distribution/registry.go). Everything else configures an artifact.
const CONFIG_TYPES: [&str; 6] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    "application/octet-stream",
    "application/json",
    "text/html",
    "",
];

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    pub platform: Option<Platform>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: String,
}

/// The configuration of an image; its digest is the image's id.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    pub os: String,
    pub architecture: String,
    pub config: Option<Execution>,
    pub rootfs: RootFs,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Execution {
    pub user: String,
    pub env: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub working_dir: String,
    pub stop_signal: String,
    pub labels: Option<BTreeMap<String, String>>,
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RootFs {
    pub diff_ids: Vec<String>,
}

impl Manifest {
    pub fn parse(bytes: &[u8]) -> Result<Manifest> {
        let manifest: Manifest = serde_json::from_slice(bytes)
            .map_err(|e| Error::Failed(format!("the manifest is no JSON manifest: {e}")))?;
        if manifest.schema_version == 1 {
            return Err(Error::Failed("the manifest is of Docker's old schema 1, which is not read".into()));
        }
        let all = manifest.config.iter().chain(&manifest.layers).chain(&manifest.manifests);
        if let Some(bad) = all.into_iter().find(|d| !is_digest(&d.digest)) {
            return Err(Error::Failed(format!("the manifest names {:?}, which is no sha256 digest", bad.digest)));
        }
        Ok(manifest)
    }

    /// Which manifests of an index may be this machine's: those that say so, then those that say nothing.
    pub fn candidates(&self) -> impl Iterator<Item = &Descriptor> {
        let said = self.manifests.iter().filter(|d| d.platform().is_some_and(Platform::is_ours));
        said.chain(self.manifests.iter().filter(|d| d.platform().is_none()))
    }

    /// Why none of them is, with what was found in those that were looked at.
    pub fn none_is_ours(&self, found: Vec<String>) -> Unfit {
        let stated = self.manifests.iter().filter_map(|d| d.platform()).map(Platform::name);
        let has: Vec<String> = stated.chain(found).collect();
        Unfit::Foreign(format!("no image for {}; there are: {}", Platform::ours().name(), has.join(", ")))
    }

    /// The descriptor of an image's configuration, if this is an image with layers that are read here.
    pub fn image_config(&self) -> Result<&Descriptor, Unfit> {
        let foreign = |what: &str| Err(Unfit::Foreign(format!("an artifact of type {what:?}, which is no image")));
        let config = match &self.config {
            Some(config) if CONFIG_TYPES.contains(&config.media_type.as_str()) => config,
            _ if !self.artifact_type.is_empty() => return foreign(&self.artifact_type),
            Some(config) => return foreign(&config.media_type),
            None => return Err(Unfit::Foreign("a manifest without configuration".into())),
        };
        match self.layers.iter().find(|layer| !layer.is_layer()) {
            Some(layer) => Err(Unfit::Foreign(format!(
                "an image with a layer of type {:?}, which is not read here",
                layer.media_type
            ))),
            None => Ok(config),
        }
    }
}

impl Search {
    pub fn new() -> Search {
        Search { depth: 0, looks: 0 }
    }

    /// Goes one index deeper.
    pub fn descend(&mut self) -> Result<(), Unfit> {
        self.depth += 1;
        match self.depth > INDEX_DEPTH_MAX {
            true => Err(Unfit::Failed(Error::Failed("its indexes are nested too deeply".into()))),
            false => Ok(()),
        }
    }

    pub fn ascend(&mut self) {
        self.depth -= 1;
    }

    /// Takes up one more manifest.
    pub fn look(&mut self) -> Result<(), Unfit> {
        self.looks += 1;
        let many = || Error::Failed(format!("none of the first {MANIFESTS_MAX} manifests is for this machine"));
        if self.looks > MANIFESTS_MAX { Err(Unfit::Failed(many())) } else { Ok(()) }
    }
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Unfit {
        Unfit::Failed(error)
    }
}

impl Unfit {
    /// The same where nothing stands beside it.
    pub fn alone(self) -> Error {
        match self {
            Unfit::Foreign(why) => Error::Failed(why),
            Unfit::Failed(error) => error,
        }
    }
}

impl Descriptor {
    /// What it says to be for; builders leave it out, or empty.
    pub fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref().filter(|p| !(p.os.is_empty() && p.architecture.is_empty()))
    }

    /// An archive that can be unpacked, by its media type. How it is compressed its first bytes tell:
    /// types are often wrong there.
    fn is_layer(&self) -> bool {
        let kind = self.media_type.as_str();
        let archive = ["tar", "gzip", "octet-stream"].iter().any(|word| kind.contains(word));
        (kind.is_empty() || archive) && !kind.contains("encrypted")
    }

    /// A layer that registries need not have: its publisher gives it away himself.
    pub fn is_elsewhere(&self) -> bool {
        self.media_type.contains(".nondistributable.") || self.media_type.contains(".foreign.")
    }
}

impl Platform {
    /// This machine's, in Go's words.
    pub fn ours() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: String::new() }
    }

    pub fn is_ours(&self) -> bool {
        self.fits(&Platform::ours())
    }

    fn fits(&self, ours: &Platform) -> bool {
        let variant =
            matches!((self.architecture.as_str(), self.variant.as_str()), (_, "") | ("arm64", "v8") | ("amd64", "v1"));
        self.os == ours.os && self.architecture == ours.architecture && variant
    }

    fn name(&self) -> String {
        let variant = if self.variant.is_empty() { String::new() } else { format!("/{}", self.variant) };
        format!("{}/{}{variant}", self.os, self.architecture)
    }
}

impl ImageConfig {
    pub fn parse(bytes: &[u8]) -> Result<ImageConfig> {
        let config: ImageConfig = serde_json::from_slice(bytes)
            .map_err(|e| Error::Failed(format!("the image's configuration cannot be read: {e}")))?;
        if let Some(bad) = config.rootfs.diff_ids.iter().find(|d| !is_digest(d)) {
            return Err(Error::Failed(format!("the image's configuration names {bad:?}, which is no sha256 digest")));
        }
        Ok(config)
    }

    /// The same, if it is for this machine; one that does not say is.
    pub fn for_this_machine(bytes: &[u8]) -> Result<ImageConfig, Unfit> {
        let config = ImageConfig::parse(bytes)?;
        let ours = Platform::ours();
        if !config.os.is_empty() && config.os != ours.os {
            return Err(Unfit::Foreign(format!("the image is for {}, not linux", config.os)));
        }
        if !config.architecture.is_empty() && config.architecture != ours.architecture {
            let (its, ours) = (config.architecture, ours.architecture);
            return Err(Unfit::Foreign(format!("the image is for {its}, this machine is {ours}")));
        }
        Ok(config)
    }

    /// The digests of its layers, if an image of so many has a root and the other document has as many.
    pub fn layers(&self, listed: usize) -> Result<&[String], String> {
        let diff_ids = &self.rootfs.diff_ids;
        if diff_ids.len() != listed {
            return Err(format!("{listed} layers, but its configuration names {}", diff_ids.len()));
        }
        match listed > LAYERS_MAX {
            true => Err(format!("it has {listed} layers; no overlay takes more than {LAYERS_MAX}")),
            false => Ok(diff_ids),
        }
    }

    /// What the rest of the node needs of it; names, size and origin are the index's to fill in.
    pub fn image(&self, id: &str) -> Image {
        let execution = self.config.clone().unwrap_or_default();
        let pair = |entry: &String| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_string(), value.to_string())
        };
        Image {
            id: id.to_string(),
            entrypoint: execution.entrypoint.unwrap_or_default(),
            cmd: execution.cmd.unwrap_or_default(),
            env: execution.env.unwrap_or_default().iter().map(pair).collect(),
            cwd: PathBuf::from(execution.working_dir),
            user: execution.user,
            stop_signal: execution.stop_signal,
            labels: execution.labels.unwrap_or_default(),
            volumes: execution.volumes.unwrap_or_default().into_keys().map(PathBuf::from).collect(),
            ..Image::default()
        }
    }
}
