//! The documents that describe the API's types: `/openapi/v2`, `/openapi/v3` and one per version.
//!
//! A document is large and asked for rarely, by clients that keep it: it is made when it is asked
//! for. Its ETag and the `hash` in its address change only with its contents, so that a client that
//! has it is answered without making it.

use api::Status;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kinds::{Kinds, openapi};
use serde_json::Value;

use crate::Server;
use crate::answer::{Body, Reply, Response};
use crate::published::hex;
use crate::route::no_such_resource;
use wire::query::Query;

/// The older form, of everything.
pub fn v2(server: &Server, headers: &HeaderMap) -> Result<Reply, Status> {
    let kinds = &*server.kinds();
    let document = match wants_protobuf(headers) {
        true => kept(&all(kinds), headers, || protobuf(kinds)),
        false => acceptable(headers).map(|()| kept(&all(kinds), headers, || json(&openapi::v2(kinds))))?,
    };
    Ok(Reply::ready(document))
}

/// The index, or the document of one group and version.
pub fn v3(server: &Server, root: &str, query: &Query, headers: &HeaderMap) -> Result<Reply, Status> {
    let kinds = &*server.kinds();
    let document = match root {
        "" => json(&openapi::v3_index(kinds)),
        root => acceptable(headers).and_then(|()| version(kinds, root, query, headers))?,
    };
    Ok(Reply::ready(document))
}

/// The document of one group and version: `api/v1`, `apis/apps/v1`.
fn version(kinds: &Kinds, root: &str, query: &Query, headers: &HeaderMap) -> Result<Response, Status> {
    let index = openapi::v3_index(kinds);
    let address = index["paths"][root]["serverRelativeURL"].as_str().ok_or_else(no_such_resource)?;
    let hash = address.split_once("hash=").map_or("", |(_, hash)| hash);
    let asked = query.get("hash");
    if !asked.is_empty() && asked != hash {
        let mut response = Response::text(StatusCode::MOVED_PERMANENTLY, "");
        if let Ok(location) = HeaderValue::from_str(address) {
            response.headers.insert(header::LOCATION, location);
        }
        return Ok(response);
    }
    let group_version = root.strip_prefix("apis/").or(root.strip_prefix("api/")).unwrap_or(root);
    let mut response = kept(hash, headers, || json(&openapi::v3(group_version, kinds)));
    if !asked.is_empty() {
        // This address always answers the same (handler3 HandleGroupVersion).
        response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Ok(response)
}

/// 304 for a client that has it, else the document.
fn kept(hash: &str, headers: &HeaderMap, make: impl FnOnce() -> Response) -> Response {
    let etag = format!("\"{hash}\"");
    let same = headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes());
    let mut response = match same {
        true => {
            Response { status: StatusCode::NOT_MODIFIED, headers: HeaderMap::new(), body: Body::Bytes(Bytes::new()) }
        }
        false => make(),
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers.insert(header::ETAG, etag);
    }
    response.headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
    response
}

fn json(document: &Value) -> Response {
    Response::json(StatusCode::OK, document)
}

/// client-go asks for version 2 in no other form (discovery_client.go OpenAPISchema).
fn wants_protobuf(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let first = accept.split([',', ';']).next().unwrap_or_default().trim();
    [openapi::V2_PROTOBUF_ASKED, openapi::V2_PROTOBUF].contains(&first)
}

fn protobuf(kinds: &Kinds) -> Response {
    let body = Body::Bytes(Bytes::from(openapi::v2_protobuf(kinds)));
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(openapi::V2_PROTOBUF))]);
    Response { status: StatusCode::OK, headers, body }
}

/// A hash of all documents.
fn all(kinds: &Kinds) -> String {
    use sha2::{Digest, Sha256};
    hex(&Sha256::digest(openapi::v3_index(kinds).to_string()))
}

/// JSON otherwise: a client that insists on another form is told so.
fn acceptable(headers: &HeaderMap) -> Result<(), Status> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    crate::accept::negotiate(accept).map(|_| ())
}
