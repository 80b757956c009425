//! A path of the API, taken apart: which resource, which object, which part of it.
//!
//! Matches upstream's RequestInfo (apiserver pkg/endpoints/request/requestinfo.go). One parser for
//! all kinds; whether the resource exists is the kind table's business.

use std::borrow::Cow;

/// What a path names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    pub group: String,
    pub version: String,
    /// The plural: `pods`.
    pub resource: String,
    /// Empty for cluster-scoped resources and for requests over all namespaces.
    pub namespace: String,
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
    if target.resource == "namespaces" {
        target.namespace = target.name.clone();
    }
    Some(target)
}

/// `%41` and `+`-free percent decoding; what is not UTF-8 stays as it stands.
pub fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The query of a request: names may repeat, order is kept.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: &str) -> Query {
        let pairs = query.split('&').filter(|p| !p.is_empty());
        Query(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    let plain = |text: &str| decoded(&text.replace('+', " ")).into_owned();
                    (plain(name), plain(value))
                })
                .collect(),
        )
    }

    /// The first value of a name; empty if it is absent.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// `true`, `1` and their like; as upstream, a bare name or an unknown word is true.
    pub fn flag(&self, name: &str) -> bool {
        let present = self.0.iter().find(|(n, _)| n == name);
        present.is_some_and(|(_, v)| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }
}

fn cut(path: &str) -> (&str, &str) {
    path.split_once('/').unwrap_or((path, ""))
}

#[cfg(test)]
mod tests;
