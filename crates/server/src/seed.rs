//! Objects that every cluster has from the start, written when they are missing.
//!
//! Namespaces, the two system PriorityClasses, the `kubernetes` Service with its endpoint, roles and bindings.
//! They take the path of any other write, under the server's own name.

use api::Status;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::identity::{Component, Identity};
use crate::{Server, addresses, join, own_write};

/// Roles and bindings.
pub mod access;

const NAMESPACES: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];
/// The Service's own port; the server's is its target.
const PORT: u16 = 443;

/// Writes what is missing; what is there stays as it is, but for the server's own address.
pub async fn seed(server: &Server) -> Result<(), Status> {
    let namespaces = NAMESPACES.iter().map(|name| {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        create(server, "/api/v1/namespaces", name, object)
    });
    all(namespaces).await?;
    let classes = [("system-node-critical", 2_000_001_000_i64), ("system-cluster-critical", 2_000_000_000)];
    let classes = classes.map(|(name, value)| {
        let description = match name {
            "system-node-critical" => "Used for system critical pods that must not be moved from their current node.",
            _ => "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        };
        let object = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description});
        create(server, "/apis/scheduling.k8s.io/v1/priorityclasses", name, object)
    });
    let service = create(server, "/api/v1/namespaces/default/services", "kubernetes", service(server));
    let tokens = join::forget_tokens(server);
    let access = access::reconcile(server);
    let (classes, tokens, service, endpoints, access) =
        futures::join!(all(classes), tokens, service, endpoints(server), access);
    classes.and(tokens).and(service).and(endpoints).and(access)
}

fn service(server: &Server) -> Value {
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let port = server.0.config.advertise.port();
    let mut spec = json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "ports": [{"name": "https", "protocol": "TCP", "port": PORT, "targetPort": port}]});
    if let Some(address) = addresses::first_of(&server.0.config.service_cidr) {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        spec["clusterIP"] = json!(address.to_string());
        spec["clusterIPs"] = json!([address.to_string()]);
        spec["ipFamilies"] = json!([family]);
        spec["ipFamilyPolicy"] = json!("SingleStack");
    }
    let metadata = json!({"name": "kubernetes", "namespace": "default", "labels": labels});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

/// The server's own address, put anew at every start. A loopback address is no endpoint to upstream's
/// validation; then the machine's own is named.
async fn endpoints(server: &Server) -> Result<(), Status> {
    let advertise = server.0.config.advertise;
    let ip = match advertise.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => addresses::primary(),
        ip => ip,
    };
    if ip.is_loopback() {
        return Ok(());
    }
    let object = json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": ip.to_string()}],
            "ports": [{"name": "https", "port": advertise.port(), "protocol": "TCP"}]}]});
    own_write(server, Method::PUT, "/api/v1/namespaces/default/endpoints/kubernetes", object).await
}

async fn create(server: &Server, path: &str, name: &str, object: Value) -> Result<(), Status> {
    let get = Request::builder().uri(format!("{path}/{name}")).body(bytes::Bytes::new());
    let get = get.map_err(|e| Status::internal(e.to_string()))?;
    if server.handle(&identity(), get).await.status.is_success() {
        return Ok(());
    }
    own_write(server, Method::POST, path, object).await
}

async fn all(writes: impl IntoIterator<Item = impl Future<Output = Result<(), Status>>>) -> Result<(), Status> {
    futures::future::join_all(writes).await.into_iter().collect()
}

fn identity() -> Identity {
    Identity::component(Component::Admin)
}
