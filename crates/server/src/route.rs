//! A path of the API, taken apart: which resource, which object, which part of it.
//!
//! Matches upstream's RequestInfo (apiserver pkg/endpoints/request/requestinfo.go). One parser for
//! all kinds; whether the resource exists is the kind table's business.

use api::{Reason, Status};
use http::StatusCode;
use wire::query::decoded;

use crate::answer::{Reply, Response};

/// What a path names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    pub group: String,
    pub version: String,
    /// The plural: `pods`.
    pub resource: String,
    /// Empty for cluster-scoped resources and for requests over all namespaces.
    pub namespace: String,
    /// The path goes through a namespace to what it names: that of a namespace itself does not.
    pub inside: bool,
    /// Empty for collections.
    pub name: String,
    pub subresource: String,
    /// What follows a proxy subresource, with its leading slash; empty when nothing does.
    pub tail: String,
    /// The old `/watch/` prefix.
    pub watch_prefix: bool,
}

/// The path of a resource, or none if it is something else (`/healthz`, `/apis`, `/api/v1`).
pub fn parse(path: &str) -> Option<Target> {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (group_version, rest) = match (parts.next()?, parts.next()?) {
        ("api", rest) => {
            let (version, rest) = cut(rest);
            ((String::new(), version.to_string()), rest)
        }
        ("apis", rest) => {
            let (group, rest) = cut(rest);
            let (version, rest) = cut(rest);
            ((group.to_string(), version.to_string()), rest)
        }
        _ => return None,
    };
    let mut target = Target { group: group_version.0, version: group_version.1, ..Target::default() };
    let mut rest = rest;
    if let Some(after) = rest.strip_prefix("watch/") {
        target.watch_prefix = true;
        rest = after;
    }
    let (first, after) = cut(rest);
    if first.is_empty() {
        return None;
    }
    // `namespaces/x/pods` is about pods, `namespaces/x` and `namespaces/x/status` about a namespace.
    if first == "namespaces" {
        let (namespace, inner) = cut(after);
        let (resource, _) = cut(inner);
        if !resource.is_empty() && !matches!(resource, "status" | "finalize") {
            target.namespace = decoded(namespace).into_owned();
            target.inside = true;
            rest = inner;
        }
    }
    let (resource, rest) = cut(rest);
    let (name, rest) = cut(rest);
    target.resource = decoded(resource).into_owned();
    target.name = decoded(name).into_owned();
    if target.name.is_empty() {
        return Some(target);
    }
    let (subresource, _) = cut(rest);
    target.subresource = decoded(subresource).into_owned();
    if subresource.len() < rest.len() {
        // The tail goes out again as it came in: not decoded.
        target.tail = rest[subresource.len()..].to_string();
    }
    if target.resource == "namespaces" && target.namespace.is_empty() {
        target.namespace = target.name.clone();
    }
    Some(target)
}

fn cut(path: &str) -> (&str, &str) {
    path.split_once('/').unwrap_or((path, ""))
}

/// POST `{"name", "hosts", "request"}` (`request`: a PEM signing request) answers `{"certificate", "authority"}`.
/// The certificate names the node, and of the `hosts` the addresses that may be its own.
pub const JOIN_PATH: &str = "/gousse/v1/nodes";
/// GET answers the authority's certificate, PEM, to anybody.
pub const AUTHORITY_PATH: &str = "/gousse/v1/authority";

/// A path that no part of the server has: what Go's net/http says, after which no client looks for a Status.
pub(crate) fn nowhere() -> Reply {
    Reply::ready(Response::text(StatusCode::NOT_FOUND, "404 page not found\n").unsniffed())
}

/// A path below one that is known, which leads nowhere.
pub(crate) fn no_such_resource() -> Status {
    Status::generic(Reason::NotFound, "the server could not find the requested resource")
}

pub(crate) fn method_not_allowed() -> Status {
    Status::generic(Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
}

#[cfg(test)]
mod tests;
