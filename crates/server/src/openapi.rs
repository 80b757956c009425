//! The documents that describe the API's types: of all of them, and of each group and version.
//!
//! A document is large and asked for rarely, by clients that keep it: it is made when it is asked
//! for. Its ETag and the `hash` in its address change only with its contents, so that a client that
//! has it is answered without making it. Each is there in JSON and in protobuf
//! (kube-openapi handler/handler.go, handler3/handler.go).

use std::sync::LazyLock;

use api::Status;
use api::proto::gnostic::{self, Message};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::{Span, Timestamp};
use kinds::openapi::{Review, Subjects};
use serde_json::Value;

use crate::Server;
use crate::answer::{Body, Reply, Response};
use crate::published::hex;
use crate::reviews::REVIEWS;
use wire::query::Query;

/// The forms of one version of the documents.
struct Forms {
    message: &'static Message,
    /// What clients ask for, and what they get.
    asked: &'static str,
    typed: &'static str,
}

const V2: Forms = Forms { message: &gnostic::V2, asked: gnostic::V2_ASKED, typed: gnostic::V2_TYPE };
const V3: Forms = Forms { message: &gnostic::V3, asked: gnostic::V3_ASKED, typed: gnostic::V3_TYPE };
const JSON: &str = "application/json";

static ASKED: LazyLock<Vec<Review>> = LazyLock::new(|| {
    let of = REVIEWS.iter().map(|review| Review {
        group: review.group,
        version: review.version,
        plural: review.plural,
        kind: review.kind,
        schema: review.schema,
        namespaced: review.namespaced,
    });
    of.collect()
});

/// The older form, of everything.
pub fn v2(server: &Server, headers: &HeaderMap) -> Result<Reply, Status> {
    let kinds = &*server.kinds();
    let subjects = Subjects { kinds, reviews: &ASKED };
    let mut response = match V2.chosen(headers) {
        Some(form) => kept(&all(&subjects), headers, || V2.made(form, &subjects.v2())),
        None => not_acceptable(),
    };
    response.headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
    Ok(Reply::ready(response))
}

/// The index, or the document of one group and version.
pub fn v3(server: &Server, root: &str, query: &Query, headers: &HeaderMap) -> Result<Reply, Status> {
    let kinds = &*server.kinds();
    let subjects = Subjects { kinds, reviews: &ASKED };
    if root.is_empty() {
        return Ok(Reply::ready(Response::json(StatusCode::OK, &subjects.v3_index())));
    }
    let mut response = match V3.chosen(headers) {
        Some(form) => version(&subjects, root, form, query, headers, &server.now()),
        None => not_acceptable(),
    };
    if response.status != StatusCode::NOT_FOUND {
        response.headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    }
    Ok(Reply::ready(response))
}

/// The document at a root: `api/v1`, `apis/apps`, `apis/apps/v1`.
fn version(
    subjects: &Subjects,
    root: &str,
    form: &'static str,
    query: &Query,
    headers: &HeaderMap,
    now: &str,
) -> Response {
    let index = subjects.v3_index();
    let Some(address) = index["paths"][root]["serverRelativeURL"].as_str() else {
        return nothing(StatusCode::NOT_FOUND);
    };
    let hash = address.split_once("hash=").map_or("", |(_, hash)| hash);
    let asked = query.get("hash");
    if !asked.is_empty() && asked != hash {
        let mut response = Response::bytes(StatusCode::MOVED_PERMANENTLY, form, Bytes::new());
        for (name, value) in [(header::LOCATION, address), (header::ETAG, &format!("\"{hash}\""))] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers.insert(name, value);
            }
        }
        return response;
    }
    let mut response = kept(hash, headers, || V3.made(form, &subjects.v3(root)));
    if !asked.is_empty() {
        // This address always answers the same (handler3 HandleGroupVersion).
        response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        if let Some(expires) = in_a_year(now).and_then(|text| HeaderValue::from_str(&text).ok()) {
            response.headers.insert(header::EXPIRES, expires);
        }
    }
    response
}

/// As Go writes it (RFC 1123), a year after a moment in RFC 3339.
fn in_a_year(now: &str) -> Option<String> {
    let year = now.parse::<Timestamp>().ok()?.checked_add(Span::new().hours(365 * 24)).ok()?;
    Some(year.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string())
}

impl Forms {
    /// The content type that an `Accept` header leads to: of its clauses, the gladest first.
    fn chosen(&self, headers: &HeaderMap) -> Option<&'static str> {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let accept = if accept.is_empty() { "*/*" } else { accept };
        let mut clauses: Vec<(u32, &str)> = accept.split(',').map(clause).collect();
        clauses.sort_by_key(|(quality, wanted)| (std::cmp::Reverse(*quality), wanted.contains('*')));
        let forms = [(JSON, JSON), (self.typed, self.typed), (self.asked, self.typed)];
        clauses.iter().find_map(|(_, wanted)| {
            let (kind, sub) = wanted.split_once('/')?;
            let fits = |form: &&(&str, &str)| {
                let (own_kind, own_sub) = form.0.split_once('/').unwrap_or_default();
                (kind == "*" || kind == own_kind) && (sub == "*" || sub == own_sub)
            };
            forms.iter().find(fits).map(|(_, made)| *made)
        })
    }

    fn made(&self, form: &'static str, document: &Value) -> Response {
        match form {
            JSON => Response::json(StatusCode::OK, document),
            form => Response::bytes(StatusCode::OK, form, gnostic::encode(self.message, document)),
        }
    }
}

/// How gladly it is taken, in thousandths, and which type.
fn clause(text: &str) -> (u32, &str) {
    let mut parts = text.split(';').map(str::trim);
    let wanted = parts.next().unwrap_or_default();
    let quality = parts.find_map(|part| part.strip_prefix("q=")).and_then(|number| number.parse::<f32>().ok());
    ((quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u32, wanted)
}

/// 304 for a client that has it, else the document.
fn kept(hash: &str, headers: &HeaderMap, make: impl FnOnce() -> Response) -> Response {
    let etag = format!("\"{hash}\"");
    let held = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let same = held.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag);
    let mut response = match same {
        true => nothing(StatusCode::NOT_MODIFIED),
        false => make(),
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers.insert(header::ETAG, etag);
    }
    response
}

fn not_acceptable() -> Response {
    nothing(StatusCode::NOT_ACCEPTABLE)
}

fn nothing(status: StatusCode) -> Response {
    Response { status, headers: HeaderMap::new(), body: Body::Bytes(Bytes::new()) }
}

/// A hash of all documents.
fn all(subjects: &Subjects) -> String {
    use sha2::{Digest, Sha256};
    hex(&Sha256::digest(subjects.v3_index().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_in_the_form_that_is_taken_most_gladly() {
        let check = |accept: &str, want: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            assert_eq!(V3.chosen(&headers), want, "{accept}");
        };
        for (accept, want) in [
            ("", Some(JSON)),
            ("*/*", Some(JSON)),
            ("application/*", Some(JSON)),
            ("application/json", Some(JSON)),
            (gnostic::V3_ASKED, Some(gnostic::V3_TYPE)),
            (gnostic::V3_TYPE, Some(gnostic::V3_TYPE)),
            (
                "application/json;q=0.5, application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
                Some(gnostic::V3_TYPE),
            ),
            ("application/yaml", None),
            ("application/yaml, application/json;q=0.1", Some(JSON)),
            (gnostic::V2_TYPE, None),
            ("nonsense", None),
        ] {
            check(accept, want);
        }
    }

    #[test]
    fn what_never_changes_expires_in_a_year() {
        assert_eq!(in_a_year("2026-11-29T14:33:58Z").as_deref(), Some("Mon, 29 Nov 2027 14:33:58 UTC"));
    }
}
