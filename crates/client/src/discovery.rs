//! Discovery: which resources the server has, with all their names (apidiscovery.k8s.io/v2).
//!
//! Who must know every kind (the garbage collector, a user's word for one) asks the server: what it was
//! compiled with says nothing of what is served.

use std::sync::Arc;
use std::time::Duration;

use api::resource::{Names, Resource};
use api::{Status, tree};
use bytes::Bytes;
use http::{Method, Request};
use serde_json::Value;

use crate::Client;
use crate::backoff::Backoff;

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// What a server has, in its order; a kind that has several versions stands in it once for each. Clone is
/// a reference count.
#[derive(Clone, Debug)]
pub struct Resources(Arc<[Resource]>);

impl Resources {
    /// Asks once.
    ///
    /// # Errors
    /// The server's, or `InternalError` for an answer that is no discovery document.
    pub async fn ask(client: &Client) -> Result<Resources, Status> {
        let mut all = Vec::new();
        for path in ["/api", "/apis"] {
            let request = Request::builder().method(Method::GET).uri(path).header(http::header::ACCEPT, ACCEPT);
            let request = request.header(http::header::USER_AGENT, client.agent()).body(Bytes::new());
            let request = request.map_err(|why| Status::bad_request(why.to_string()))?;
            let body = client.send(request).await?.bytes().await?;
            let document: Value = serde_json::from_slice(&body).map_err(|why| Status::internal(why.to_string()))?;
            if document["kind"] != "APIGroupDiscoveryList" {
                return Err(Status::internal(
                    "the server does not tell its kinds in one document: it is older than Kubernetes 1.30",
                ));
            }
            all.extend(resources(&document));
        }
        Ok(Resources(all.into()))
    }

    /// Asks until there is an answer.
    pub async fn of(client: &Client) -> Resources {
        let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(10), seed: client.seed() };
        for failures in 1.. {
            match Resources::ask(client).await {
                Ok(resources) => return resources,
                Err(status) => {
                    tracing::debug!("discovery is tried again: {status}");
                    tokio::time::sleep(backoff.after(failures)).await;
                }
            }
        }
        unreachable!("the loop returns")
    }

    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.0.iter()
    }

    /// Of an `apiVersion` and `kind`.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        self.iter().find(|resource| resource.is(api_version, kind) && resource.can("get"))
    }
}

fn resources(document: &Value) -> impl Iterator<Item = Resource> {
    let of_version = |group: &str, version: &Value| {
        let name = tree::text(version, "version").to_string();
        let group = group.to_string();
        let one = move |resource: &Value| {
            let strings = |field: &str| {
                tree::list(resource, field).iter().filter_map(|text| text.as_str().map(String::from)).collect()
            };
            let kind = tree::text(resource, "responseKind.kind");
            let subresources = tree::list(resource, "subresources").iter();
            Resource::from(Names {
                group: group.clone(),
                version: name.clone(),
                kind: kind.into(),
                list_kind: format!("{kind}List"),
                plural: tree::text(resource, "resource").into(),
                singular: tree::text(resource, "singularResource").into(),
                short_names: strings("shortNames"),
                categories: strings("categories"),
                namespaced: resource["scope"] == "Namespaced",
                verbs: strings("verbs"),
                subresources: subresources.map(|s| tree::text(s, "subresource").into()).collect(),
            })
        };
        tree::list(version, "resources").iter().map(one).collect::<Vec<_>>()
    };
    let of_group = move |group: &Value| {
        let name = tree::text(group, "metadata.name");
        tree::list(group, "versions").iter().flat_map(|version| of_version(name, version)).collect::<Vec<_>>()
    };
    tree::list(document, "items").iter().flat_map(of_group).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests;
