//! Service kube-system/kube-dns: each node serves its address itself, from its own DNS server.
//!
//! As kubeadm makes CoreDNS's (cmd/kubeadm/app/phases/addons/dns), so that tools find it, but without a
//! selector. It is made once: whoever gives it one has its pods serve it.

use api::{Reason, Status};
use serde_json::{Value, json};

use super::create;
use crate::{Server, addresses};

const SERVICES: &str = "/api/v1/namespaces/kube-system/services";
const NAME: &str = "kube-dns";

/// Writes it where it is missing. Where its address is somebody else's already it gets another one.
pub async fn service(server: &Server) -> Result<(), Status> {
    let range = &server.0.config.service_cidr;
    let address = addresses::tenth_of(range);
    let with = |address: Option<std::net::IpAddr>| {
        let mut object = object();
        if let Some(address) = address {
            object["spec"]["clusterIP"] = json!(address.to_string());
            object["spec"]["clusterIPs"] = json!([address.to_string()]);
            object["spec"]["ipFamilies"] = json!([addresses::family(range)]);
            object["spec"]["ipFamilyPolicy"] = json!("SingleStack");
        }
        object
    };
    match create(server, SERVICES, NAME, with(address)).await {
        Err(status) if status.reason == Reason::Invalid && address.is_some() => {
            tracing::warn!(%status, "the cluster's DNS has another address than the tenth of --service-cidr");
            create(server, SERVICES, NAME, with(None)).await
        }
        done => done,
    }
}

fn object() -> Value {
    let labels = json!({"k8s-app": NAME, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"});
    let port = |name: &str, protocol: &str| json!({"name": name, "port": 53, "protocol": protocol, "targetPort": 53});
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "namespace": "kube-system", "labels": labels},
        "spec": {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")]}})
}
