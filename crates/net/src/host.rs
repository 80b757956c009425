//! What the machine itself must allow: forwarding, and Docker's `FORWARD` chain beside us.
//!
//! What a machine refuses is said once and lived with: a read-only sysctl that already has the
//! value is no problem, one that does not is a warning with its consequence.

use std::fs;

use crate::nft;
use crate::rules::Step;
use crate::spec::{Config, Error};

/// Turns forwarding on, and lets pod traffic pass a `FORWARD` chain whose policy is to drop.
pub(crate) fn allow_forwarding(config: &Config) -> Result<(), Error> {
    set_sysctl("net/ipv4/ip_forward", "1", "pods cannot reach each other nor anything outside");
    let rules =
        [vec![Step::Destination(config.pod_cidr), Step::Accept], vec![Step::Source(config.pod_cidr), Step::Accept]];
    nft::precede("filter", "FORWARD", &config.table(), &rules)?;
    let legacy = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if legacy.lines().any(|table| table == "filter") {
        tracing::warn!(
            "legacy iptables has a filter table: if its FORWARD policy is DROP, allow {} there by hand",
            config.pod_cidr
        );
    }
    Ok(())
}

/// Takes this instance's rules out of `FORWARD` again. Forwarding itself stays on: others may rely on it.
pub(crate) fn forget_forwarding(config: &Config) -> Result<(), Error> {
    nft::precede("filter", "FORWARD", &config.table(), &[]).map(|_| ())
}

/// Lets processes of the host reach this link's pod from 127.0.0.1.
pub(crate) fn allow_loopback(link: &str) {
    let path = format!("net/ipv4/conf/{link}/route_localnet");
    set_sysctl(&path, "1", "its host ports cannot be reached from 127.0.0.1");
}

fn set_sysctl(name: &str, value: &str, consequence: &str) {
    let path = format!("/proc/sys/{name}");
    if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return;
    }
    if let Err(error) = fs::write(&path, value) {
        tracing::warn!(%error, "cannot set {path} to {value}: {consequence}");
    }
}
