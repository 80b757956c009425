//! What is read of services and nodes.

use serde::Deserialize;

#[derive(Deserialize)]
pub struct Serving {
    #[serde(default)]
    pub spec: Spec,
    #[serde(default)]
    pub status: Told,
}

#[derive(Clone, Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    #[serde(rename = "type")]
    pub kind: String,
    pub ip_families: Vec<String>,
    pub ports: Vec<Port>,
    pub load_balancer_class: Option<String>,
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: String,
}

#[derive(Clone, Debug, Deserialize, Default)]
#[serde(default)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    pub protocol: String,
    pub port: i64,
    /// A number or a name.
    pub target_port: serde_json::Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Told {
    pub load_balancer: Balancer,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Balancer {
    pub ingress: Vec<Ingress>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    pub ip: String,
    pub ip_mode: String,
}

#[derive(Deserialize)]
pub struct Node {
    #[serde(default)]
    pub spec: NodeSpec,
    #[serde(default)]
    pub status: NodeStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct NodeSpec {
    pub taints: Vec<Taint>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Taint {
    pub key: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    pub conditions: Vec<Condition>,
    pub addresses: Vec<Address>,
    pub daemon_endpoints: Endpoints,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoints {
    pub kubelet_endpoint: Endpoint,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Endpoint {
    #[serde(rename = "Port")]
    pub port: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Address {
    #[serde(rename = "type")]
    pub kind: String,
    pub address: String,
}
