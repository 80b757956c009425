//! The node's ways to the pods of other nodes: how they are chosen, and what follows the Nodes.

use client::Client;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::cli::NodeFlags;
use kubectl::failure::{Context, Result, failure};

/// Nodes of a cluster agree on the identifier of their tunnel because they trust the same authority; two clusters on
/// one network do not.
pub fn settings(node: &str, flags: &NodeFlags, authority: &str) -> Result<proxy::peers::Settings> {
    let chain = wire::tls::chain(authority).context("reading the authority of the cluster")?;
    let first = chain.first().ok_or_else(|| failure("the authority of the cluster is no certificate"))?;
    let digest = Sha256::digest(first);
    let id = u32::from_be_bytes([0, digest[0], digest[1], digest[2]]).max(1);
    let vxlan = net::Vxlan { id, port: flags.vxlan_port };
    Ok(proxy::peers::Settings { node: node.into(), way: flags.node_tunnel, vxlan })
}

/// Runs as long as the network.
pub async fn follow(client: Client, nets: watch::Receiver<Option<net::Net>>, settings: proxy::peers::Settings) {
    proxy::peers::run(client.named("gousse-network"), nets, settings).await;
}

/// `--node-tunnel`
pub fn way(text: &str) -> std::result::Result<net::Way, String> {
    match text {
        "auto" => Ok(net::Way::Auto),
        "direct" => Ok(net::Way::Direct),
        "vxlan" => Ok(net::Way::Vxlan),
        "wireguard" => Err("WireGuard is not built in yet; a network that others can read needs one below the nodes \
                            (docs/nodes.md)"
            .into()),
        _ => Err("expected auto, direct or vxlan".into()),
    }
}
