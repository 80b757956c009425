//! The command line: every verb and flag, kubectl's names wherever kubectl has them.
//!
//! Called under the name `kubectl`, the binary offers only kubectl's verbs. What a flag means is
//! said here once; the verbs take these structs as their typed config.

use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};
use ipnet::{IpNet, Ipv4Net};
use kubectl::Connection;

/// Where Ingresses are served.
mod ingress;
/// Nodes that fail.
mod monitor;

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

/// The command line with kubectl's booleans.
pub fn command() -> clap::Command {
    kubectl::booleans(Cli::command())
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
    pub service_cidr: Ipv4Net,
    /// Ports of nodes that services may have
    #[arg(long, default_value_t = server::PortRange::default(), value_name = "FIRST-LAST")]
    pub service_node_port_range: server::PortRange,
    /// Addresses of load balancers, those of the nodes by default: 192.0.2.0/28, 192.0.2.1-192.0.2.9
    #[arg(long, value_name = "RANGE", value_delimiter = ',')]
    pub load_balancer_pool: Vec<controllers::AddressPool>,
    /// Whether each node gets a part of --cluster-cidr for its pods
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    pub allocate_node_cidrs: bool,
    /// Prefix of a node's part
    #[arg(long, default_value_t = 24, value_name = "BITS")]
    pub node_cidr_mask_size_ipv4: u8,
    /// Whether pods may ask to be privileged
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    pub allow_privileged: bool,
    /// Steps of admission that are off by default and on here
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub enable_admission_plugins: Vec<String>,
    /// Steps of admission that are on by default and off here
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub disable_admission_plugins: Vec<String>,
    /// Controllers that run: `*` is all, `foo` is foo, `-foo` is not foo; empty: none, for others to do their work
    #[arg(long, value_delimiter = ',', default_value = "*", value_name = "NAME,…", allow_hyphen_values = true)]
    pub controllers: Vec<String>,
    /// Whether pods are placed; false: another scheduler does
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    pub scheduler: bool,
    /// Requests from outside that may read at once, but those that last; 0: no bound
    #[arg(long, default_value_t = server::Limits::default().reads, value_name = "NUMBER")]
    pub max_requests_inflight: usize,
    /// Requests from outside that may write at once; 0: no bound
    #[arg(long, default_value_t = server::Limits::default().writes, value_name = "NUMBER")]
    pub max_mutating_requests_inflight: usize,
    /// Bytes that the bodies of requests under way may take; 0: no bound
    #[arg(long, default_value_t = server::Limits::default().body_bytes, value_name = "BYTES")]
    pub max_body_bytes_inflight: usize,
    /// Most bytes of answers that are not taken yet, but for lists; 0: no bound.
    #[arg(long, default_value_t = server::Limits::default().answer_bytes, value_name = "BYTES")]
    pub max_answer_bytes_inflight: usize,
    /// What one user may take of each of these, and of the connections, in percent
    #[arg(long, default_value_t = server::Limits::default().share, value_name = "PERCENT")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100).map(|percent| percent as usize))]
    pub max_user_share: usize,
    /// Connections from outside, half of them for certificates, a quarter for tokens; 0: no bound
    #[arg(long, default_value_t = server::Limits::default().connections, value_name = "NUMBER")]
    pub max_connections: usize,
    /// KubeSchedulerConfiguration of the scheduler (kube-scheduler's --config)
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
    /// Go on without what is damaged of the store, once; it is put aside
    #[arg(long)]
    pub accept_loss: bool,
    #[command(flatten)]
    pub monitor: monitor::MonitorFlags,
}

impl ServerFlags {
    pub fn limits(&self) -> server::Limits {
        server::Limits {
            reads: self.max_requests_inflight,
            writes: self.max_mutating_requests_inflight,
            body_bytes: self.max_body_bytes_inflight,
            answer_bytes: self.max_answer_bytes_inflight,
            share: self.max_user_share,
            connections: self.max_connections,
        }
    }
}

/// What servers and nodes must agree on.
#[derive(Args, Clone, Debug)]
pub struct ClusterFlags {
    /// Address range of all nodes' pods
    #[arg(long, default_value = "10.244.0.0/16", value_parser = pod_range)]
    pub cluster_cidr: Ipv4Net,
}

/// An IPv4 range without bits of a host.
fn pod_range(text: &str) -> Result<Ipv4Net, String> {
    let range: IpNet = text.parse().map_err(|_| "expected ADDRESS/BITS, as 10.244.0.0/16".to_string())?;
    match range {
        IpNet::V6(_) => Err("pods have no IPv6 addresses yet (docs/compatibility.md)".into()),
        IpNet::V4(range) if range.trunc() != range => Err(format!("bits beyond the prefix are set: {}", range.trunc())),
        IpNet::V4(range) => Ok(range),
    }
}

/// What a node needs to know.
#[derive(Args, Clone, Debug)]
pub struct NodeFlags {
    /// Name of the node [default: the host's name]
    #[arg(long)]
    pub node_name: Option<String>,
    /// Address range of this node's pods, where the server gives it none within two seconds
    /// (--allocate-node-cidrs=false)
    #[arg(long, value_parser = pod_range)]
    pub pod_cidr: Option<Ipv4Net>,
    /// Pods that this node takes at most
    #[arg(long, default_value_t = 110)]
    pub max_pods: u32,
    /// Processes and threads of one pod; -1: as many as all pods together may have
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(i64).range(-1..))]
    pub pod_max_pids: i64,
    /// Bytes that files of ConfigMaps, Secrets, tokens and downward API take in one pod [default: a
    /// max-pods'th of the memory for all, 4Mi to 64Mi]
    #[arg(long, value_name = "QUANTITY", value_parser = crate::images::bytes)]
    pub pod_max_projected_bytes: Option<u64>,
    /// Folder of static pods [default: <data-dir>/manifests]
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// What is kept free for the node itself, by evicting pods; empty: nothing [default:
    /// memory.available<100Mi, 15% of the images' disk and 10% of the node's but at most 1Gi and 512Mi, 5% of inodes]
    #[arg(long, value_name = "SIGNAL<AMOUNT,…")]
    pub eviction_hard: Option<node::pressure::Thresholds>,
    /// Bytes that one image may unpack to
    #[arg(long, default_value = "64Gi", value_name = "QUANTITY", value_parser = crate::images::bytes)]
    pub image_size_max: u64,
    /// Files and folders that one image may have
    #[arg(long, default_value_t = runtime::images::bounds::Bounds::default().files)]
    pub image_files_max: u64,
    /// Port of the node's HTTPS API; 0: any free one
    #[arg(long, default_value_t = 10250)]
    pub node_port: u16,
    /// Port of /healthz on this machine's loopback, plain HTTP; 0: none
    #[arg(long, default_value_t = 10248)]
    pub healthz_port: u16,
    /// Where pods find the cluster's DNS [default: the addresses of Service kube-system/kube-dns, which each
    /// node serves itself]
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS,…")]
    pub cluster_dns: Vec<std::net::IpAddr>,
    /// Domain of the names of services and pods
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    pub cluster_domain: String,
    /// Have this machine itself resolve the names of services, by systemd-resolved or /etc/resolv.conf, as
    /// long as the instance runs
    #[arg(long)]
    pub host_dns: bool,
    /// What makes services reachable on this node; none: another program does
    #[arg(long, value_enum, default_value_t = ProxyMode::Nftables)]
    pub proxy: ProxyMode,
    /// Port of the proxy's /healthz and /livez on every address of this machine, plain HTTP; 0: none
    #[arg(long, default_value_t = 10256)]
    pub proxy_healthz_port: u16,
    /// How pods of other nodes are reached: auto (directly where both nodes share a network, else by VXLAN), direct,
    /// vxlan
    #[arg(long, default_value = "auto", value_name = "WAY", value_parser = crate::parts::peers::way)]
    pub node_tunnel: net::Way,
    /// UDP port of VXLAN, the same on all nodes
    #[arg(long, default_value_t = 4789, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub vxlan_port: u16,
    #[command(flatten)]
    pub ingress: ingress::IngressFlags,
}

/// Who serves services on a node.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub enum ProxyMode {
    Nftables,
    None,
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
    /// Run many nodes that only pretend, to try a large cluster
    Hollow(Hollow),
    /// Make tokens that nodes join with
    #[command(subcommand)]
    Token(Token),
    /// Print the path of the admin kubeconfig
    Kubeconfig(Kubeconfig),
    /// Tell what keeps a pod from each node, and what would let it run
    Why(Why),
    /// Load, pull, list and remove images of this machine's node
    #[command(subcommand)]
    Image(Image),
    #[command(flatten)]
    Verb(kubectl::Chosen),
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
    #[command(flatten)]
    pub cluster: ClusterFlags,
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
    #[command(flatten)]
    pub cluster: ClusterFlags,
}

#[derive(Args, Clone, Debug)]
pub struct Agent {
    /// File with the join token, as `gousse server` and `gousse token create` make it; `-`: standard input
    /// [default: $GOUSSE_TOKEN]
    #[arg(long, requires = "server", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Refused: it would stand where every user of the machine reads it.
    #[arg(long, hide = true)]
    pub token: Option<String>,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub node: NodeFlags,
    #[command(flatten)]
    pub cluster: ClusterFlags,
    /// Whether pods may ask to be privileged
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    pub allow_privileged: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Hollow {
    /// How many nodes, at most 16384
    #[arg(long, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=crate::hollow::NODES_MAX))]
    pub nodes: u32,
    /// What their names begin with; a number follows
    #[arg(long, default_value = "hollow-", value_name = "TEXT")]
    pub name_prefix: String,
    /// Processors that each of them has
    #[arg(long, default_value_t = 8, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub cpus: u32,
    /// Memory that each of them has
    #[arg(long, default_value = "16Gi", value_name = "QUANTITY", value_parser = crate::images::bytes)]
    pub memory: u64,
    /// Pods that each of them takes at most, at most 253
    #[arg(long, default_value_t = 110, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=crate::hollow::PODS_MAX))]
    pub max_pods: u32,
    /// Zones that they lie in, by turns; 0: in none
    #[arg(long, default_value_t = 3, value_name = "NUMBER")]
    pub zones: u32,
    /// Where their files lie until the end; a file system in memory, or root is needed [default: /dev/shm]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Subcommand, Clone, Debug)]
pub enum Token {
    /// Make one and print it; whoever has it may join a node under a new name until it ends
    Create {
        /// How long it holds
        #[arg(long, default_value = "24h", value_name = "DURATION")]
        ttl: jiff::SignedDuration,
    },
}

#[derive(Args, Clone, Debug)]
pub struct Kubeconfig {
    /// Add it as a context to ~/.kube/config (or the first file of $KUBECONFIG)
    #[arg(long)]
    pub merge: bool,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Args, Clone, Debug)]
pub struct Why {
    /// `pod/web`
    pub pod: String,
    /// The file that the server's scheduler has, if it has one
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
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

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn parsed(words: &str) -> Result<Command, String> {
        let matches = command().try_get_matches_from(words.split(' ')).map_err(|error| error.to_string())?;
        Cli::from_arg_matches(&matches).map(|cli| cli.command).map_err(|error| error.to_string())
    }

    #[test]
    fn booleans_are_kubectls() {
        let Ok(Command::Up(up)) = parsed("gousse up --allow-privileged site.yaml --detach other.yaml") else {
            panic!()
        };
        assert!(up.server.allow_privileged && up.detach && up.files.len() == 2);
        let Ok(Command::Up(up)) = parsed("gousse up --allow-privileged=false") else { panic!() };
        assert!(!up.server.allow_privileged && !up.detach);
        assert!(parsed("gousse delete pod/web --now --now=f").is_ok(), "the last one counts");
        assert!(parsed("gousse get pods --watch=perhaps").is_err_and(|error| error.contains("true or false")));
        assert!(parsed("gousse agent --ca-hash 00").is_err());
        assert!(parsed("gousse token create --ttl forever").is_err());
        assert!(parsed("gousse up --max-user-share 0").is_err());
        let Ok(Command::Server(server)) = parsed("gousse server --controllers -job,* --scheduler=false") else {
            panic!()
        };
        assert_eq!((server.flags.controllers, server.flags.scheduler), (vec!["-job".to_string(), "*".into()], false));
        let Ok(Command::Server(server)) = parsed("gousse server --controllers=") else { panic!() };
        assert_eq!((server.flags.controllers, server.flags.scheduler), (vec![String::new()], true));
        let pids = |words: &str| match parsed(&format!("gousse {words}")) {
            Ok(Command::Up(up)) => Some(up.node.pod_max_pids),
            _ => None,
        };
        assert_eq!(["up", "up --pod-max-pids -1", "up --pod-max-pids=100"].map(pids), [Some(-1), Some(-1), Some(100)]);
        assert_eq!(["up --pod-max-pids -2", "up --pod-max-pids few"].map(pids), [None, None]);
    }
}
