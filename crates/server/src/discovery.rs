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

use crate::accept::{self, Encoding};
use crate::answer::{Body, Reply, Response};
use crate::published::{Document, Published, hex};
use crate::reviews::REVIEWS;
use crate::route::{no_such_resource, nowhere};
use crate::visit::Visit;
use crate::{Server, priorities, protobuf};

/// `/api` and `/api/v1`.
pub fn core(visit: &Visit<'_>) -> Result<Reply, Status> {
    if matches!(visit.rest, "" | "v1") {
        visit.only_read()?;
    }
    let published = visit.server.0.published.load();
    let Published { kinds, documents } = &**published;
    Ok(match (visit.rest, aggregated(visit.headers)) {
        ("", Some(encoding)) => {
            Reply::ready(document(&documents.core, encoding, visit.headers, || vec![group_items(kinds, "")]))
        }
        ("", None) => {
            let addresses =
                json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": visit.server.0.config.advertise.to_string()}]);
            let all = json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses});
            ok(all, visit.headers)?
        }
        ("v1", _) => ok(resource_list(kinds, "", "v1"), visit.headers)?,
        _ => return Err(no_such_resource()),
    })
}

/// `/apis`, each group and each of its versions.
pub fn groups_and_versions(visit: &Visit<'_>) -> Result<Reply, Status> {
    let published = visit.server.0.published.load();
    let Published { kinds, documents } = &**published;
    let named = || groups(kinds).into_iter().filter(|group| !group.is_empty());
    let (rest, headers) = (visit.rest, visit.headers);
    match (rest.split_once('/'), aggregated(headers)) {
        (None, Some(encoding)) if rest.is_empty() => {
            let all = || named().map(|name| group_items(kinds, &name)).collect();
            Ok(Reply::ready(document(&documents.groups, encoding, headers, all)))
        }
        (None, _) if rest.is_empty() => {
            let all: Vec<Value> = named().map(|name| group(kinds, &name)).collect();
            unrouted(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all}), headers)
        }
        (None, _) if named().any(|name| name == rest) => {
            let mut value = group(kinds, rest);
            value["kind"] = json!("APIGroup");
            value["apiVersion"] = json!("v1");
            unrouted(value, headers)
        }
        (Some((name, version)), _) if versions(kinds, name).iter().any(|one| one == version) => {
            visit.only_read()?;
            ok(resource_list(kinds, name, version), headers)
        }
        (below, _) if is_known(kinds, below.map_or(rest, |(name, _)| name)) => Err(no_such_resource()),
        _ => Ok(nowhere()),
    }
}

/// Whether there is a group of that name.
pub fn is_known(kinds: &Kinds, group: &str) -> bool {
    kinds.all_served().any(|served| served.group() == group) || REVIEWS.iter().any(|review| review.group == group)
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

/// In the form that is taken, where no route looks at it first (kube-aggregator handler_apis.go).
fn unrouted(value: Value, headers: &HeaderMap) -> Result<Reply, Status> {
    accept::whole(headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()))?;
    Ok(Reply::ok(value))
}

/// In the form that is taken.
fn ok(value: Value, headers: &HeaderMap) -> Result<Reply, Status> {
    accept::document(headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()))?;
    Ok(Reply::ok(value))
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
            "kind": kind.kind, "verbs": kind.verbs});
        // What nobody makes is not stored.
        if kind.can("create") {
            resource["storageVersionHash"] = storage_hash(&served).into();
        }
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
    let mut list =
        json!({"kind": "APIResourceList", "groupVersion": api_version(group, version), "resources": resources});
    // The list of the first group is older than its version, and is encoded without (endpoints/discovery/version.go).
    if !group.is_empty() {
        list["apiVersion"] = json!("v1");
    }
    list
}

/// A group's entry in the aggregated document.
fn group_items(kinds: &Kinds, group: &str) -> Value {
    let versions: Vec<Value> = versions(kinds, group).iter().map(|v| version_items(kinds, group, v)).collect();
    let mut metadata = json!({});
    if !group.is_empty() {
        metadata["name"] = json!(group);
    }
    json!({"metadata": metadata, "versions": versions})
}

fn version_items(kinds: &Kinds, group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for served in served(kinds, group, version) {
        let kind = &served.kind;
        let mut resource = json!({"resource": kind.plural, "responseKind": response_kind("", &kind.kind), "scope": scope(kind.namespaced),
            "singularResource": kind.singular, "verbs": kind.verbs});
        if !kind.short_names.is_empty() {
            resource["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            resource["categories"] = json!(kind.categories);
        }
        let subresources = kind.subresources.iter().map(|sub| {
            let kind = response_kind(sub.body_group_version, body_kind(sub, &kind.kind));
            json!({"subresource": sub.name, "verbs": sub.verbs, "responseKind": kind})
        });
        let subresources: Vec<Value> = subresources.collect();
        if !subresources.is_empty() {
            resource["subresources"] = subresources.into();
        }
        resources.push(resource);
    }
    for review in REVIEWS.iter().filter(|r| r.group == group && r.version == version) {
        resources.push(json!({"resource": review.plural, "responseKind": response_kind("", review.kind), "scope": scope(review.namespaced),
            "singularResource": review.singular, "verbs": ["create"]}));
    }
    resources.sort_by(|a, b| a["resource"].as_str().cmp(&b["resource"].as_str()));
    json!({"version": version, "freshness": "Current", "resources": resources})
}

/// Empty names are those of the version that it stands in (endpoints/discovery/aggregated of what is built in).
fn response_kind(group_version: &str, kind: &str) -> Value {
    let (group, version) = group_version.rsplit_once('/').unwrap_or_default();
    json!({"group": group, "version": version, "kind": kind})
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
    let (group, kind) = (&served.kind.group, &served.kind.kind);
    // The form is the same in the older version that a stock server stores.
    let older = Some(served.kind.upstream.version).filter(|version| !version.is_empty());
    let text = format!("{group}/{}/{kind}", older.unwrap_or(&served.kind.version));
    base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(text)[..8])
}

/// The form in which the client takes the aggregated document, if it takes it at all: then it gets nothing else
/// (endpoints/discovery/aggregated/wrapper.go).
fn aggregated(headers: &HeaderMap) -> Option<Encoding> {
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    let mut clauses: Vec<(u32, Encoding)> = accept.split(',').filter_map(clause).collect();
    clauses.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
    clauses.first().map(|(_, encoding)| *encoding)
}

/// How gladly the aggregated document is taken, in thousandths, and in which form; None: that is not asked for.
fn clause(text: &str) -> Option<(u32, Encoding)> {
    let mut parts = text.split(';').map(str::trim);
    let encoding = match parts.next()? {
        "application/json" | "*/*" | "application/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        api::proto::MEDIA_TYPE => Encoding::Protobuf,
        _ => return None,
    };
    let (mut quality, mut names) = (1.0, [false; 3]);
    for part in parts {
        match part.split_once('=').unwrap_or((part, "")) {
            ("q", number) => quality = number.parse::<f32>().unwrap_or(1.0).clamp(0.0, 1.0),
            ("g", group) => names[0] = group == "apidiscovery.k8s.io",
            ("v", version) => names[1] = version == "v2",
            ("as", kind) => names[2] = kind == "APIGroupDiscoveryList",
            _ => {}
        }
    }
    (names == [true; 3]).then_some(((quality * 1000.0) as u32, encoding))
}

const AGGREGATED: &str = "io.k8s.api.apidiscovery.v2.APIGroupDiscoveryList";

fn document(
    slot: &OnceLock<Document>,
    encoding: Encoding,
    headers: &HeaderMap,
    items: impl Fn() -> Vec<Value>,
) -> Response {
    let document = slot.get_or_init(|| {
        let value = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {}, "items": items()});
        let text = value.to_string();
        let etag = format!("\"{}\"", hex(&Sha256::digest(&text)));
        Document { text: text.into(), etag }
    });
    let same = headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == document.etag.as_bytes());
    let typed = |media: &'static str, body: Bytes| {
        let mut response = Response::bytes(StatusCode::OK, media, body);
        let media = format!("{media};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
        if let Ok(media) = HeaderValue::from_str(&media) {
            response.headers.insert(header::CONTENT_TYPE, media);
        }
        response
    };
    // What stands there is JSON; the other forms are asked for rarely.
    let read = || serde_json::from_slice::<Value>(&document.text).unwrap_or_default();
    let mut response = match encoding {
        // No content type: a client's cache would take it for that of the document it kept.
        _ if same => {
            Response { status: StatusCode::NOT_MODIFIED, headers: HeaderMap::new(), body: Body::Bytes(Bytes::new()) }
        }
        Encoding::Json => typed("application/json", document.text.clone()),
        Encoding::Yaml => typed("application/yaml", api::yaml::print(&read()).into()),
        Encoding::Protobuf => match api::proto::encode(AGGREGATED, &read()) {
            Ok(body) => typed(api::proto::MEDIA_TYPE, body.into()),
            Err(why) => protobuf::refused(&Status::internal(why.to_string())),
        },
    };
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        response.headers.insert(header::ETAG, etag);
    }
    response.headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aggregated_document_is_for_who_takes_it() {
        const AS: &str = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let check = |accept: String, want: Option<Encoding>| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(&accept).unwrap())]);
            assert_eq!(aggregated(&headers), want, "{accept}");
        };
        check(format!("application/json{AS},application/json"), Some(Encoding::Json));
        check(format!("application/json,application/json{AS}"), Some(Encoding::Json));
        check(format!("application/json{AS};q=0.5,application/yaml{AS}"), Some(Encoding::Yaml));
        check(format!("application/vnd.kubernetes.protobuf{AS}"), Some(Encoding::Protobuf));
        check(format!("application/yaml{AS},application/json"), Some(Encoding::Yaml));
        let beta = AS.replace("v2", "v2beta1");
        check(format!("application/json{beta},application/json{AS},application/json"), Some(Encoding::Json));
        check(format!("application/json{beta}"), None);
        check("application/json".into(), None);
    }
}
