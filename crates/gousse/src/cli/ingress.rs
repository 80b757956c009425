//! Where Ingresses are served, and which proxies before us are believed.

use clap::Args;
use ipnet::IpNet;

/// Of a node.
#[derive(Args, Clone, Debug)]
pub struct IngressFlags {
    /// Port for Ingresses, once there is an IngressClass of controller gousse.dev/ingress; 0: none
    #[arg(long, default_value_t = 80, value_name = "PORT")]
    pub ingress_http_port: u16,
    /// The same over TLS; 0: none
    #[arg(long, default_value_t = 443, value_name = "PORT")]
    pub ingress_https_port: u16,
    /// Proxies before it, whose X-Forwarded-… and Forwarded count
    #[arg(long, value_delimiter = ',', value_name = "RANGE,…")]
    pub ingress_trusted_proxies: Vec<IpNet>,
}
