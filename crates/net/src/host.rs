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

/// Turns IPv6 off on the host's end of a link: else it would take routes and addresses from its pod's router
/// advertisements. Where the kernel has no IPv6 there is nothing to turn off.
pub(crate) fn no_ipv6(link: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
    match fs::write(&path, "1") {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "cannot set {path} to 1: only the rules keep its pod's IPv6 from this machine");
        }
        _ => {}
    }
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
