//! What the API has: `/api`, `/apis`, each group and version; one by one or all in one document.
//!
//! Everything derives from the kind table and the table of reviews. The aggregated form
//! (apidiscovery.k8s.io/v2) has an ETag, so that clients ask again for nothing.

use std::sync::OnceLock;

use api::Status;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kinds::kind::Subresource;
use kinds::{Kinds, Served};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Server;
use crate::answer::{Body, Reply, Response};
use crate::priorities;
use crate::published::{Document, Published, hex};
use crate::reviews::REVIEWS;
use crate::route::no_such_resource;

/// `/api` and `/api/v1`.
pub fn core(server: &Server, rest: &str, headers: &HeaderMap) -> Result<Reply, Status> {
    let published = server.0.published.load();
    let Published { kinds, documents } = &**published;
    Ok(Reply::ready(match (rest, aggregated(headers)) {
        ("", Some(version)) => document(&documents.core, version, headers, || vec![group_items(kinds, "")]),
        ("", None) => {
            let addresses =
                json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": server.0.config.advertise.to_string()}]);
            ok(&json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}))
        }
        ("v1", _) => ok(&resource_list(kinds, "", "v1")),
        _ => return Err(no_such_resource()),
    }))
}

/// `/apis`, each group and each of its versions.
pub fn groups_and_versions(server: &Server, rest: &str, headers: &HeaderMap) -> Result<Reply, Status> {
    let published = server.0.published.load();
    let Published { kinds, documents } = &**published;
    let named = || groups(kinds).into_iter().filter(|group| !group.is_empty());
    let response = match (rest.split_once('/'), aggregated(headers)) {
        (None, Some(version)) if rest.is_empty() => {
            let all = || named().map(|name| group_items(kinds, &name)).collect();
            document(&documents.groups, version, headers, all)
        }
        (None, _) if rest.is_empty() => {
            let all: Vec<Value> = named().map(|name| group(kinds, &name)).collect();
            ok(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all}))
        }
        (None, _) if named().any(|name| name == rest) => {
            let mut value = group(kinds, rest);
            value["kind"] = json!("APIGroup");
            value["apiVersion"] = json!("v1");
            ok(&value)
        }
        (Some((name, version)), _) if versions(kinds, name).iter().any(|one| one == version) => {
            ok(&resource_list(kinds, name, version))
        }
        _ => return Err(no_such_resource()),
    };
    Ok(Reply::ready(response))
}

/// The paths of all groups and versions.
pub fn paths(server: &Server) -> Vec<String> {
    let kinds = &*server.kinds();
    let mut paths = vec!["/api/v1".to_string()];
    for group in groups(kinds).into_iter().filter(|g| !g.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions(kinds, &group).iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths
}

fn ok(value: &Value) -> Response {
    Response::json(StatusCode::OK, value)
}

/// Every group with something in it, in order.
fn groups(kinds: &Kinds) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let served = kinds.all_served().map(|served| served.group().to_owned());
    for group in served.chain(REVIEWS.iter().map(|r| r.group.to_owned())) {
        if !all.contains(&group) {
            all.push(group);
        }
    }
    all.sort_by_key(|group| (priorities::rank(group), group.clone()));
    all
}

/// Every version of every group, in order.
pub fn groups_with_versions(kinds: &Kinds) -> Vec<(String, String)> {
    let of = |group: String| versions(kinds, &group).into_iter().map(move |version| (group.clone(), version));
    groups(kinds).into_iter().flat_map(of).collect()
}

/// The versions of a group, the preferred one first.
fn versions(kinds: &Kinds, group: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let own = kinds.iter().filter(|kind| kind.group == group).map(|kind| kind.version.clone());
    let others = kinds.iter().flat_map(|kind| &kind.versions).map(|version| &version.resource);
    let others = others.filter(|resource| resource.group == group).map(|resource| resource.version.clone());
    let reviews = REVIEWS.iter().filter(|r| r.group == group).map(|r| r.version.to_owned());
    for version in own.chain(others).chain(reviews) {
        if !all.contains(&version) {
            all.push(version);
        }
    }
    all
}

fn group(kinds: &Kinds, name: &str) -> Value {
    let version = |v: &String| json!({"groupVersion": api_version(name, v), "version": v});
    let versions = versions(kinds, name);
    let preferred = versions.first().map(version);
    json!({"name": name, "versions": versions.iter().map(version).collect::<Vec<_>>(), "preferredVersion": preferred})
}

/// `APIResourceList` of a version.
fn resource_list(kinds: &Kinds, group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for served in served(kinds, group, version) {
        let kind = &served.kind;
        let mut resource = json!({"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
            "kind": kind.kind, "verbs": kind.verbs, "storageVersionHash": storage_hash(&served)});
        if !kind.short_names.is_empty() {
            resource["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            resource["categories"] = json!(kind.categories);
        }
        resources.push(resource);
        for sub in &kind.subresources {
            let mut entry = json!({"name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
                "namespaced": kind.namespaced, "kind": body_kind(sub, &kind.kind), "verbs": sub.verbs});
            if let Some((group, version)) = sub.body_group_version.rsplit_once('/') {
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            resources.push(entry);
        }
    }
    for review in REVIEWS.iter().filter(|r| r.group == group && r.version == version) {
        resources.push(json!({"name": review.plural, "singularName": review.singular, "namespaced": review.namespaced,
            "kind": review.kind, "verbs": ["create"]}));
    }
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version(group, version),
        "resources": resources})
}

/// A group's entry in the aggregated document.
fn group_items(kinds: &Kinds, group: &str) -> Value {
    let versions: Vec<Value> = versions(kinds, group).iter().map(|v| version_items(kinds, group, v)).collect();
    let mut metadata = json!({"creationTimestamp": null});
    if !group.is_empty() {
        metadata["name"] = json!(group);
    }
    json!({"metadata": metadata, "versions": versions})
}

fn version_items(kinds: &Kinds, group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for served in served(kinds, group, version) {
        let kind = &served.kind;
        let own = json!({"group": group, "version": version, "kind": kind.kind});
        let mut resource = json!({"resource": kind.plural, "responseKind": own, "scope": scope(kind.namespaced),
            "singularResource": kind.singular, "verbs": kind.verbs});
        if !kind.short_names.is_empty() {
            resource["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            resource["categories"] = json!(kind.categories);
        }
        let subresources = kind.subresources.iter().map(|sub| {
            let (sub_group, sub_version) = sub.body_group_version.rsplit_once('/').unwrap_or((group, version));
            json!({"subresource": sub.name, "verbs": sub.verbs, "responseKind":
                {"group": sub_group, "version": sub_version, "kind": body_kind(sub, &kind.kind)}})
        });
        let subresources: Vec<Value> = subresources.collect();
        if !subresources.is_empty() {
            resource["subresources"] = subresources.into();
        }
        resources.push(resource);
    }
    for review in REVIEWS.iter().filter(|r| r.group == group && r.version == version) {
        let own = json!({"group": group, "version": version, "kind": review.kind});
        resources.push(json!({"resource": review.plural, "responseKind": own, "scope": scope(review.namespaced),
            "singularResource": review.singular, "verbs": ["create"]}));
    }
    resources.sort_by(|a, b| a["resource"].as_str().cmp(&b["resource"].as_str()));
    json!({"version": version, "freshness": "Current", "resources": resources})
}

fn served(kinds: &Kinds, group: &str, version: &str) -> impl Iterator<Item = Served> {
    kinds.all_served().filter(move |served| served.resource().is_of(group, version))
}

fn body_kind<'a>(sub: &Subresource, own: &'a str) -> &'a str {
    if sub.body_kind.is_empty() { own } else { sub.body_kind }
}

/// `v1` or `events.k8s.io/v1`.
fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.into() } else { format!("{group}/{version}") }
}

fn scope(namespaced: bool) -> &'static str {
    if namespaced { "Namespaced" } else { "Cluster" }
}

/// Names the stored form, so that clients notice a change of it.
fn storage_hash(served: &Served) -> String {
    use base64::Engine;
    let text = format!("{}/{}/{}", served.kind.group, served.kind.version, served.kind.kind);
    base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(text)[..8])
}

/// The aggregated version that the client takes, if it takes one.
fn aggregated(headers: &HeaderMap) -> Option<&'static str> {
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    accept.split(',').find_map(|clause| {
        let parts: Vec<&str> = clause.split(';').map(str::trim).collect();
        let wanted = parts.first() == Some(&"application/json")
            && parts.contains(&"g=apidiscovery.k8s.io")
            && parts.contains(&"as=APIGroupDiscoveryList");
        match (wanted, parts.contains(&"v=v2")) {
            (true, true) => Some("v2"),
            _ => None,
        }
    })
}

fn document(slot: &OnceLock<Document>, version: &str, headers: &HeaderMap, items: impl Fn() -> Vec<Value>) -> Response {
    let document = slot.get_or_init(|| {
        let value = json!({"kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
            "metadata": {}, "items": items()});
        let text = value.to_string();
        let etag = format!("\"{}\"", hex(&Sha256::digest(&text)));
        Document { text: text.into(), etag }
    });
    let same = headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == document.etag.as_bytes());
    let mut response = match same {
        // No content type: a client's cache would take it for that of the document it kept.
        true => {
            Response { status: StatusCode::NOT_MODIFIED, headers: HeaderMap::new(), body: Body::Bytes(Bytes::new()) }
        }
        false => Response::bytes(
            StatusCode::OK,
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            document.text.clone(),
        ),
    };
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        response.headers.insert(header::ETAG, etag);
    }
    response.headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}
