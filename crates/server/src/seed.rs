//! Objects that every cluster has from the start, written when they are missing.
//!
//! Namespaces, the two system PriorityClasses, the `kubernetes` Service with its endpoint and range, flow
//! schemas and priority levels, an APIService for each version that is served, roles
//! and bindings. They take the path of any other
//! write, under the server's own name, and wait for the disk together.

use std::net::IpAddr;

use api::{Reason, Status, tree};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request};
use kinds::flowcontrol::bootstrap;
use kinds::validate::address::Range;
use serde_json::{Value, json};

use crate::identity::{Component, Identity};
use crate::{Body, Server, addresses, allocations, api_services, join, own_write};

/// Roles and bindings.
pub mod access;
/// The Service under which pods find the cluster's DNS.
mod dns;
/// Flow schemas and priority levels.
pub mod flows;

const NAMESPACES: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];
/// The Service's own port; the server's is its target.
const PORT: u16 = 443;

/// Writes what is missing; what is there stays as it is, but for the server's own address.
pub async fn seed(server: &Server) -> Result<(), Status> {
    let namespaces = NAMESPACES.iter().map(|name| {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        create(server, "/api/v1/namespaces", name, object)
    });
    // No service has an address before there is a range of them.
    let (namespaces, ranges) = futures::join!(all(namespaces), range(server));
    namespaces.and(ranges)?;
    allocations::adopt(server).await?;
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
    let mut writes: Vec<BoxFuture<'_, Result<(), Status>>> = vec![
        service.boxed(),
        dns::service(server).boxed(),
        tokens.boxed(),
        range_status(server).boxed(),
        api_services::keep(server).boxed(),
    ];
    writes.extend([authentication(server).boxed(), tracking(server).boxed()]);
    writes.push(access::reconcile(server).boxed());
    writes.extend(classes.map(FutureExt::boxed));
    writes
        .extend(endpoint(server).into_iter().flat_map(|ip| [endpoints(server, ip).boxed(), slice(server, ip).boxed()]));
    writes.extend(bootstrap::all().into_iter().map(|own| flows::ensure(server, own).boxed()));
    all(writes.into_iter().map(unless_refused)).await
}

/// What somebody's quota refuses is missing until the next start, but keeps no server from starting.
async fn unless_refused(write: BoxFuture<'_, Result<(), Status>>) -> Result<(), Status> {
    match write.await {
        Err(status) if status.reason == Reason::Forbidden => {
            tracing::error!(%status, "an object that every cluster has cannot be made");
            Ok(())
        }
        done => done,
    }
}

const SYSTEM_MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";

fn config_map(name: &str, data: Value) -> Value {
    let metadata = json!({"name": name, "namespace": "kube-system"});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
}

/// Whose client certificates count, for servers that ask this one who somebody is: put anew at every start
/// (pkg/controlplane/controller/clusterauthenticationtrust; nothing stands in front of us, so no request headers).
async fn authentication(server: &Server) -> Result<(), Status> {
    const NAME: &str = "extension-apiserver-authentication";
    let (object, own) =
        (config_map(NAME, json!({"client-ca-file": server.authority()})), format!("{SYSTEM_MAPS}/{NAME}"));
    match stored(server, &own).await? {
        Some(found) if found["data"] == object["data"] => Ok(()),
        Some(_) => own_write(server, Method::PUT, &own, object).await,
        None => own_write(server, Method::POST, SYSTEM_MAPS, object).await,
    }
}

/// Since when it is written down that a token in a Secret is used: who cleans such tokens counts from it
/// (pkg/controlplane/controller/legacytokentracking).
async fn tracking(server: &Server) -> Result<(), Status> {
    const NAME: &str = "kube-apiserver-legacy-service-account-token-tracking";
    let since = (server.0.config.clock)().strftime("%Y-%m-%d").to_string();
    create(server, SYSTEM_MAPS, NAME, config_map(NAME, json!({"since": since}))).await
}

fn service(server: &Server) -> Value {
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let port = server.0.config.advertise.port();
    let mut spec = json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "ports": [{"name": "https", "protocol": "TCP", "port": PORT, "targetPort": port}]});
    if let Some(address) = addresses::first_of(&server.0.config.service_cidr) {
        let family = addresses::family(&server.0.config.service_cidr);
        spec["clusterIP"] = json!(address.to_string());
        spec["clusterIPs"] = json!([address.to_string()]);
        spec["ipFamilies"] = json!([family]);
        spec["ipFamilyPolicy"] = json!("SingleStack");
    }
    let metadata = json!({"name": "kubernetes", "namespace": "default", "labels": labels});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}

/// The server's own address. A loopback address is no endpoint to upstream's validation; then the machine's own
/// is named.
fn endpoint(server: &Server) -> Option<IpAddr> {
    let ip = match server.0.config.advertise.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => addresses::primary(),
        ip => ip,
    };
    (!ip.is_loopback()).then_some(ip)
}

/// Put anew at every start.
async fn endpoints(server: &Server, ip: IpAddr) -> Result<(), Status> {
    let port = server.0.config.advertise.port();
    let object = json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": ip.to_string()}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]});
    own_write(server, Method::PUT, "/api/v1/namespaces/default/endpoints/kubernetes", object).await
}

/// The same as a slice (controlplane/reconcilers/endpointsadapter.go); of another family it is made anew.
async fn slice(server: &Server, ip: IpAddr) -> Result<(), Status> {
    const PATH: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let object = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "endpoints": [{"addresses": [ip.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": server.0.config.advertise.port(), "protocol": "TCP"}]});
    let own = format!("{PATH}/kubernetes");
    match stored(server, &own).await? {
        Some(found) if found["addressType"] == family => own_write(server, Method::PUT, &own, object).await,
        Some(_) => {
            own_write(server, Method::DELETE, &own, Value::Null).await?;
            own_write(server, Method::POST, PATH, object).await
        }
        None => own_write(server, Method::POST, PATH, object).await,
    }
}

const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";

/// Where Services' addresses come from (controller/defaultservicecidr).
async fn range(server: &Server) -> Result<(), Status> {
    let Some(range) = Range::sloppy(&server.0.config.service_cidr) else { return Ok(()) };
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"}, "spec": {"cidrs": [range.to_string()]}});
    create(server, RANGES, "kubernetes", object).await
}

/// The server itself says that its range is ready, unless somebody has said something already.
async fn range_status(server: &Server) -> Result<(), Status> {
    let Some(range) = Range::sloppy(&server.0.config.service_cidr) else { return Ok(()) };
    let Some(found) = stored(server, &format!("{RANGES}/kubernetes")).await? else { return Ok(()) };
    let cidrs = json!([range.to_string()]);
    if found["spec"]["cidrs"] != cidrs {
        tracing::warn!(%range, found = %found["spec"]["cidrs"], "services have addresses of another range than configured");
        return Ok(());
    }
    let is_said = tree::list(&found, "status.conditions").iter().any(|condition| {
        tree::text(condition, "type") == "Ready" && matches!(tree::text(condition, "status"), "True" | "False")
    });
    if is_said || tree::has(&found, "metadata.deletionTimestamp") {
        return Ok(());
    }
    let condition = json!({"type": "Ready", "status": "True", "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": server.now()});
    let status = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "status": {"conditions": [condition]}});
    let path = format!("{RANGES}/kubernetes/status?fieldManager=kubernetes-service-cidr-controller&force=true");
    own_write(server, Method::PATCH, &path, status).await
}

async fn create(server: &Server, path: &str, name: &str, object: Value) -> Result<(), Status> {
    match stored(server, &format!("{path}/{name}")).await? {
        Some(_) => Ok(()),
        None => own_write(server, Method::POST, path, object).await,
    }
}

/// What is there; None: nothing.
async fn stored(server: &Server, path: &str) -> Result<Option<Value>, Status> {
    let get = Request::builder().uri(path).body(bytes::Bytes::new());
    let response = server.handle(&identity(), get.map_err(|e| Status::internal(e.to_string()))?).await;
    match response.body {
        Body::Bytes(bytes) if response.status.is_success() => Ok(serde_json::from_slice(&bytes).ok()),
        _ => Ok(None),
    }
}

async fn all(writes: impl IntoIterator<Item = impl Future<Output = Result<(), Status>>>) -> Result<(), Status> {
    futures::future::join_all(writes).await.into_iter().collect()
}

fn identity() -> Identity {
    Identity::component(Component::Admin)
}

#[cfg(test)]
mod tests;
