//! The namespaces of a run's own cluster: network, mounts, processes.
//!
//! The command starts itself again inside them, so that the suite reaches the pods as the node does. The network is one
//! of its own with a link that leads nowhere: nothing a run sends leaves the machine. When the first process inside
//! ends, the kernel ends all others and drops mounts and links with them, however the run ended.

use super::cache::run;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Set for the process inside: the folder that the run's cluster lives in.
const INSIDE: &str = "GOUSSE_CONFORMANCE_INSIDE";

/// What the cluster sees as its machine's address; the gateway beside it does not answer.
pub const ADDRESS: &str = "10.213.0.2";
const GATEWAY: &str = "10.213.0.1";

/// The folder of the run's cluster, if this is the process inside.
pub fn inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// Runs this same command (`cargo xtask VERB WORDS`) inside new namespaces, to its end.
pub fn enter(verb: &str, words: &[String], home: &Path) -> Result<ExitStatus> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    // The first process of the namespace inherits its orphans: a shell reaps them, and passes the exit code on.
    command.args(["sh", "-c", "\"$@\"; exit $?", "sh"]).arg(program).arg(verb).args(words);
    command.env(INSIDE, home);
    // A variable of the caller's would have the suite look at another cluster.
    command.env_remove("KUBECONFIG");
    command.status().context("starting unshare (util-linux; the run must be root's)")
}

/// Makes the network look like a machine's: loopback, one link with an address and a default route, a name server that
/// refuses at once (a resolver that waits would make each look-up of a name outside take ten seconds). Mounts are
/// shared, as under systemd, but with nobody outside.
pub fn furnish(scratch: &Path) -> Result<()> {
    run(Command::new("mount").args(["--make-rshared", "/"]))?;
    let ip = |words: &str| run(Command::new("ip").args(words.split(' '))).map(drop);
    ip("link set lo up")?;
    ip("link add eth0 type veth peer name outside")?;
    ip(&format!("addr add {ADDRESS}/24 dev eth0"))?;
    ip("link set outside up")?;
    ip("link set eth0 up")?;
    ip(&format!("route add default via {GATEWAY}"))?;
    let resolv = scratch.join("resolv.conf");
    fs::write(&resolv, format!("nameserver {ADDRESS}\n"))?;
    let target = fs::canonicalize("/etc/resolv.conf").context("finding /etc/resolv.conf")?;
    run(Command::new("mount").arg("--bind").arg(&resolv).arg(target)).map(drop)
}
