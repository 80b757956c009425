//! What the node reads of other objects, and of all.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ByteString, Time};

read! {
    ObjectMeta {
        annotations: Option<BTreeMap<String, String>>,
        deletion_grace_period_seconds: Option<i64>,
        deletion_timestamp: Option<Time>,
        generation: Option<i64>,
        labels: Option<BTreeMap<String, String>>,
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
    }
    Node {
        spec: Option<NodeSpec>,
        status: Option<NodeStatus>,
    }
    NodeSpec {
        pod_cidrs "podCIDRs": Option<Vec<String>>,
        taints: Option<Vec<Taint>>,
    }
    Taint {
        effect: String,
        key: String,
        value: Option<String>,
    }
    NodeStatus {
        node_info: Option<NodeSystemInfo>,
    }
    NodeSystemInfo {
        boot_id "bootID": String,
    }
    ConfigMap {
        binary_data: Option<BTreeMap<String, ByteString>>,
        data: Option<BTreeMap<String, String>>,
    }
    Secret {
        data: Option<BTreeMap<String, ByteString>>,
    }
    Service {
        metadata: ObjectMeta,
        spec: Option<ServiceSpec>,
    }
    ServiceSpec {
        cluster_ip "clusterIP": Option<String>,
        ports: Option<Vec<ServicePort>>,
    }
    ServicePort {
        name: Option<String>,
        port: i32,
        protocol: Option<String>,
    }
}
