//! What the network is asked for and what comes back: plain values, serde where they are kept.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The file that says which ranges an instance uses.
const RANGES: &str = "ranges";

/// What a node's network is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Tells instances on one machine apart: prefix of links, nftables table name.
    pub instance: String,
    /// The node's pod range. Its first address is the node's own, on loopback.
    pub pod_cidr: Ipv4Net,
    /// The whole cluster's pod range: not masqueraded.
    pub cluster_cidr: Ipv4Net,
    /// Pinned namespaces and claims live here; gone after a reboot.
    pub run_dir: PathBuf,
    /// What the host serves by TCP and no pod's host port takes from it.
    pub own_ports: Vec<SocketAddr>,
}

/// What an attachment asks for. `id` is the caller's (the sandbox's id); it names files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttachSpec {
    pub id: String,
    pub host_ports: Vec<HostPort>,
    /// Bits a second that reach the pod; None: not limited.
    #[serde(default)]
    pub ingress: Option<u64>,
    /// Bits a second that leave it.
    #[serde(default)]
    pub egress: Option<u64>,
    /// Whose it is, in the caller's words: told again by `list`.
    #[serde(default)]
    pub owner: String,
}

/// A port of the host that leads to one of the pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostPort {
    /// `TCP`, `UDP`, `SCTP`
    pub protocol: String,
    /// None: every address of the host.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
}

impl HostPort {
    /// Whether the rules could not tell the two apart. One for an address goes before one for all.
    pub(crate) fn clashes(&self, other: &HostPort) -> bool {
        let address = |port: &HostPort| port.host_ip.filter(|ip| !ip.is_unspecified());
        self.protocol == other.protocol && self.host_port == other.host_port && address(self) == address(other)
    }
}

/// A network namespace with its link, address, routes and loopback up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    pub spec: AttachSpec,
    /// The pinned namespace, to enter or hand to the runtime.
    pub namespace: PathBuf,
    pub addresses: Vec<IpAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node's range has no free address.
    #[error("no free address in {0}: every address of the node's range belongs to a pod")]
    Exhausted(Ipv4Net),
    #[error("{0}")]
    Failed(String),
}

impl HostPort {
    /// Whether what is meant for this listener would come to the pod.
    pub fn takes(&self, listener: SocketAddr) -> bool {
        let everywhere = |address: IpAddr| address.is_unspecified();
        let same_address = self.host_ip.is_none_or(|address| {
            everywhere(address) || everywhere(listener.ip()) || address == listener.ip().to_canonical()
        });
        self.protocol == "TCP" && self.host_port == listener.port() && same_address
    }
}

impl Config {
    /// The node's own address inside its pod range, the source of what the host sends to pods.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.pod_cidr.network()).saturating_add(1))
    }

    /// What a run left in its run directory, for whoever goes on or ends it; None: nothing.
    pub fn left_in(instance: &str, run_dir: &Path) -> Result<Option<Config>, Error> {
        let path = run_dir.join(RANGES);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(failed(format_args!("reading {}", path.display())))?,
        };
        let (pod_cidr, cluster_cidr) = serde_json::from_slice(&text)
            .map_err(|error| Error::Failed(format!("{} is damaged: {error}", path.display())))?;
        let own_ports = Vec::new();
        Ok(Some(Config { instance: instance.into(), pod_cidr, cluster_cidr, run_dir: run_dir.into(), own_ports }))
    }

    pub(crate) fn leave(&self) -> Result<(), Error> {
        let path = self.run_dir.join(RANGES);
        let text = serde_json::to_vec(&(self.pod_cidr, self.cluster_cidr)).expect("ranges are plain data");
        let draft = self.run_dir.join(".ranges");
        std::fs::write(&draft, text).map_err(failed(format_args!("writing {}", draft.display())))?;
        std::fs::rename(&draft, &path).map_err(failed(format_args!("writing {}", path.display())))
    }

    /// What the names of this instance's links begin with: `g` and three letters.
    pub fn link_prefix(&self) -> String {
        let letters = hash(&self.instance);
        let letter = |shift: u32| char::from(b'a' + ((letters >> shift) % 26) as u8);
        format!("g{}{}{}", letter(0), letter(16), letter(32))
    }

    /// The nftables table of this instance, and the mark of its rules in chains of others.
    pub fn table(&self) -> String {
        format!("gousse-{}", self.instance)
    }
}

/// FNV-1a, 64 bits: short stable names from long ids.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf29ce484222325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100000001b3))
}

/// Adds what was being done to an error of the system.
pub(crate) fn failed(doing: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Error {
    move |error| Error::Failed(format!("{doing}: {error}"))
}
