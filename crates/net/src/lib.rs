//! Addresses, links and host ports from plain specs. Knows no Pod and no API.
//!
//! Pod links are routed: a veth pair with a host route per pod, no bridge. Rule sets are planned as
//! pure values and applied atomically (nftables over netlink, no `nft` binary).
//!
//! Laws: no two live attachments share an address, across crashes too; every call is idempotent;
//! `list` is the truth.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a node's network is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Tells instances on one machine apart: prefix of links, nftables table name.
    pub instance: String,
    /// The node's pod range.
    pub pod_cidr: ipnet::IpNet,
    /// The whole cluster's pod range: not masqueraded.
    pub cluster_cidr: ipnet::IpNet,
    pub service_cidr: ipnet::IpNet,
    /// Pinned namespaces and leases live here; gone after a reboot.
    pub run_dir: PathBuf,
}

/// What an attachment asks for. `id` is the caller's (the sandbox's id).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttachSpec {
    pub id: String,
    pub host_ports: Vec<HostPort>,
    /// Bits per second; 0: unlimited.
    pub ingress_rate: u64,
    pub egress_rate: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostPort {
    /// `TCP`, `UDP`, `SCTP`
    pub protocol: String,
    /// None: every address of the host.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
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
    #[error("no free address in {0}")]
    Exhausted(ipnet::IpNet),
    #[error("{0}")]
    Failed(String),
}

// The calls (see docs in `node`): Net::open(Config) -> Net; attach(AttachSpec) -> Attachment;
// detach(&id); list() -> Vec<Attachment>; close() removes links, rules, routes and pins;
// host_addresses() -> Vec<IpAddr> in order of preference.
