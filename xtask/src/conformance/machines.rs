//! Further machines of a run: network namespaces beside the first, each with an agent of its own.
//!
//! They join as anybody's nodes do, by a token that is made for them, and have folders, cgroups and images of their own.
//! Whatever they are ends with the namespaces of the run.

use super::cache::run;
use super::cluster::Place;
use super::namespace::ADDRESS;
use super::suite::end_of;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The network that all machines' links lead to: a bridge in a namespace of its own, since a machine's rules see what
/// is bridged in its own (br_netfilter).
pub struct Wire(Child);

impl Wire {
    /// The far end of the first machine's link becomes a port of it.
    pub fn new() -> Result<Wire> {
        let wire = Wire(hold()?);
        ip(None, &format!("link set outside netns {}", wire.0.id()))?;
        for words in ["link add wire type bridge", "link set outside master wire up", "link set wire up"] {
            ip(Some(wire.0.id()), words)?;
        }
        Ok(wire)
    }
}

/// One machine beside the first.
pub struct Machine {
    pub place: Place,
    /// Holds the network namespace.
    _holder: Child,
    agent: Child,
}

impl Machine {
    /// The `number`th machine, from 2 on, joins the server of `first`.
    pub fn join(number: usize, wire: &Wire, home: &Path, first: &Place, kubeconfig: &Path) -> Result<Machine> {
        let holder = cabled(number, wire)?;
        let home = home.join(format!("machine{number}"));
        fs::create_dir_all(home.join("data"))?;
        fs::copy(first.data.join("registries.yaml"), home.join("data/registries.yaml"))?;
        let place = Place::under(&first.gousse, &home, &format!("{}-{number}", first.name));
        let place = Place { network: Some(holder.id()), ..place };
        let mut create = Command::new(&first.gousse);
        let token = run(create.args(["token", "create", "--kubeconfig"]).arg(kubeconfig)).context("making a token")?;
        let file = home.join("token");
        fs::write(&file, token)?;
        let log = home.join("gousse.log");
        let output = File::create(&log)?;
        let mut agent = place.command(&["agent", "--server", &format!("https://{ADDRESS}:6443")]);
        agent.arg("--token-file").arg(&file);
        agent.args(["--node-name", &format!("machine{number}")]);
        agent.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let agent = agent.spawn().context("starting nsenter (util-linux)")?;
        Ok(Machine { place, _holder: holder, agent })
    }

    /// An error if its agent has ended.
    pub fn goes_on(&mut self) -> Result<()> {
        match self.agent.try_wait()? {
            Some(status) => bail!("gousse agent ended ({status}); it said:\n{}", self.said()),
            None => Ok(()),
        }
    }

    pub fn said(&self) -> String {
        end_of(&self.place.home.join("gousse.log"), 30)
    }

    /// Its pods are gone already; the namespaces end what is left.
    pub fn stop(mut self) {
        self.place.down();
        if !matches!(self.agent.try_wait(), Ok(Some(_))) {
            let _ = self.agent.kill();
            let _ = self.agent.wait();
        }
    }
}

/// A namespace with an address and the same way out as the first machine has; the process that holds it.
fn cabled(number: usize, wire: &Wire) -> Result<Child> {
    let holder = hold()?;
    let pid = holder.id();
    let (network, _) = ADDRESS.rsplit_once('.').context("the address of the first machine")?;
    ip(Some(wire.0.id()), &format!("link add port{number} type veth peer name eth0 netns {pid}"))?;
    ip(Some(wire.0.id()), &format!("link set port{number} master wire up"))?;
    for words in [
        "link set lo up".to_string(),
        format!("addr add {network}.{}/24 dev eth0", number + 1),
        "link set eth0 up".into(),
        format!("route add default via {network}.1"),
    ] {
        ip(Some(pid), &words)?;
    }
    Ok(holder)
}

/// A process that holds a new network namespace, as long as it has its input.
fn hold() -> Result<Child> {
    let mut holder = Command::new("unshare");
    holder.args(["--net", "--", "sh", "-c", "echo; exec cat >/dev/null"]);
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting unshare")?;
    // The namespace is there when the program says something.
    let said = holder.stdout.as_mut().map(|out| out.read_exact(&mut [0]));
    said.context("unshare has an output")?.context("a network namespace for a machine")?;
    Ok(holder)
}

/// `ip WORDS` in the namespace of a process, or in the run's.
fn ip(inside: Option<u32>, words: &str) -> Result<()> {
    let mut command = match inside {
        None => Command::new("ip"),
        Some(pid) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/proc/{pid}/ns/net")).arg("ip");
            command
        }
    };
    run(command.args(words.split(' '))).map(drop)
}
