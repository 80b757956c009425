//! The command line: every verb and flag, kubectl's names wherever kubectl has them.
//!
//! Called under the name `kubectl`, the binary offers only kubectl's verbs. What a flag means is
//! said here once; the verbs take these structs as their typed config.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Kubernetes Pods from one static binary.
// Of a flag given twice the last counts, as in kubectl.
#[derive(Parser)]
#[command(name = "gousse", version, disable_help_subcommand = true, max_term_width = 100, args_override_self = true)]
pub struct Cli {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: Command,
}

/// Which server, as whom, in which namespace.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// Path of a kubeconfig; else $KUBECONFIG, ~/.kube/config, this machine's own instance
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Namespace; else the context's
    #[arg(long, short, global = true)]
    pub namespace: Option<String>,
    /// The API server's URL, instead of the kubeconfig's
    #[arg(long, short, global = true, value_name = "URL")]
    pub server: Option<String>,
}

/// Where an instance lives: several may run side by side under different names.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// Name of the instance
    #[arg(long, default_value = "default")]
    pub name: String,
    /// State that survives a reboot [default: /var/lib/gousse, with a name /var/lib/gousse-NAME]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// State that does not [default: /run/gousse, with a name /run/gousse-NAME]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
}

/// What a server needs to know.
#[derive(Args, Clone, Debug)]
pub struct ServerFlags {
    /// Address of the API server
    #[arg(long, default_value = "0.0.0.0:6443", value_name = "ADDRESS:PORT")]
    pub listen: std::net::SocketAddr,
    /// Address range of services
    #[arg(long, default_value = "10.96.0.0/12")]
    pub service_cidr: ipnet::Ipv4Net,
    /// Whether pods may ask to be privileged
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub allow_privileged: bool,
}

/// What a node needs to know.
#[derive(Args, Clone, Debug)]
pub struct NodeFlags {
    /// Name of the node [default: the host's name]
    #[arg(long)]
    pub node_name: Option<String>,
    /// Address range of this node's pods
    #[arg(long, default_value = "10.244.0.0/24")]
    pub pod_cidr: ipnet::Ipv4Net,
    /// Address range of all nodes' pods
    #[arg(long, default_value = "10.244.0.0/16")]
    pub cluster_cidr: ipnet::Ipv4Net,
    /// Pods that this node takes at most
    #[arg(long, default_value_t = 110)]
    pub max_pods: u32,
    /// Folder of static pods [default: <data-dir>/manifests]
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// What is kept free for the node itself, by evicting pods; empty: nothing
    #[arg(long, value_name = "SIGNAL<AMOUNT,…", default_value = node::pressure::DEFAULT)]
    pub eviction_hard: node::pressure::Thresholds,
    /// Port of the node's HTTPS API; 0: any free one
    #[arg(long, default_value_t = 10250)]
    pub node_port: u16,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run server and node in this process; apply the files, and show what happens until Ctrl-C
    Up(Up),
    /// End an instance: pods gracefully, then its links, mounts, cgroups and rules
    Down(Down),
    /// Run the API server, scheduler and controllers only
    Server(Server),
    /// Run a node only
    Agent(Agent),
    /// Print the path of the admin kubeconfig
    Kubeconfig(Kubeconfig),
    /// Load, pull, list and remove images of this machine's node
    #[command(subcommand)]
    Image(Image),
    #[command(flatten)]
    Verb(crate::verbs::Verb),
}

#[derive(Args, Clone, Debug)]
pub struct Up {
    /// Manifests to apply; Ctrl-C deletes what was made of them, not what was there before
    pub files: Vec<PathBuf>,
    /// Go to the background once ready
    #[arg(long)]
    pub detach: bool,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub server: ServerFlags,
    #[command(flatten)]
    pub node: NodeFlags,
}

#[derive(Args, Clone, Debug)]
pub struct Down {
    /// Remove the data too
    #[arg(long)]
    pub purge: bool,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args, Clone, Debug)]
pub struct Server {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub flags: ServerFlags,
}

#[derive(Args, Clone, Debug)]
pub struct Agent {
    /// Bootstrap token, as the server's `<data-dir>/token` holds it
    #[arg(long, requires = "server")]
    pub token: Option<String>,
    /// Trust the server whose CA has this SHA-256 (the token's own, when it carries one, is used otherwise)
    #[arg(long, value_name = "HEX")]
    pub ca_hash: Option<String>,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub node: NodeFlags,
    /// Whether pods may ask to be privileged
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub allow_privileged: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Kubeconfig {
    /// Add it as a context to ~/.kube/config (or the first file of $KUBECONFIG)
    #[arg(long)]
    pub merge: bool,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Subcommand, Clone, Debug)]
pub enum Image {
    /// Load a docker archive or an OCI layout (a tar, compressed or not; `-` or nothing: standard input)
    Load {
        file: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Pull from a registry
    Pull {
        image: String,
        #[command(flatten)]
        place: Place,
    },
    /// List
    Ls {
        #[command(flatten)]
        place: Place,
    },
    /// Remove
    Rm {
        images: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
}
