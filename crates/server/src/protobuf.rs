//! Bodies and answers in protobuf: `api::proto` along the schema table, at the server's edge.
//!
//! kubectl's `create` verbs send nothing else. An answer is JSON, which is the stored bytes, wherever
//! the client takes it too; only one that insists is transcoded for (serializer/protobuf).

use api::proto::{self, MEDIA_TYPE, ProtoError};
use api::{Reason, Status};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::answer::{Page, Response};
use kinds::Served;

pub const WATCH_MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Whether a content type names protobuf.
pub fn is_meant(content_type: &str) -> bool {
    content_type.split(';').next().unwrap_or("").trim() == MEDIA_TYPE
}

/// The object of a body. `schema` is what the path makes of it.
pub fn decode(body: &[u8], schema: &str) -> Result<Value, Status> {
    let kind = schema.rsplit('.').next().unwrap_or(schema);
    proto::decode(body, schema).map_err(|why| match kind {
        // Those are read before there is an object to speak of.
        "DeleteOptions" => Status::bad_request(why.to_string()),
        kind => api::decode::unrecognized(kind, &why.to_string(), body),
    })
}

/// Any tree that is an object of the schema table.
pub fn value(code: StatusCode, schema: &str, value: &Value) -> Response {
    written(code, proto::encode(schema, value))
}

pub fn list(code: StatusCode, page: &Page, metadata: &Value) -> Response {
    let served = &page.served;
    let message = |bytes: Bytes| {
        let schema = api::schema::get(served.schema()).ok_or_else(|| ProtoError::Formless(served.schema().into()))?;
        let mut message = Vec::with_capacity(bytes.len());
        proto::transcode(schema, &bytes, &mut message).map(|()| message)
    };
    let messages: Result<Vec<Vec<u8>>, _> = page.items.iter().map(|item| message(item.bytes(served))).collect();
    let kind = &served.kind.list_kind;
    let items =
        |messages: Vec<Vec<u8>>| proto::list(&served.api_version(), kind, metadata, messages.iter().map(Vec::as_slice));
    written(code, messages.and_then(items))
}

/// The length that a frame of a watch begins with.
pub const FRAME: usize = 4;

/// A frame of a watch: an event's word and its object.
pub fn frame(word: &str, schema: &str, object: &Value) -> Bytes {
    let body = proto::encode(schema, object).unwrap_or_else(|error| {
        let status = Status::internal(error.to_string()).to_value();
        proto::encode(STATUS, &status).unwrap_or_default()
    });
    proto::watch_frame(word, &body).into()
}

/// The schema of a `v1.Status`.
pub const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// The schema of an answer that is no stored object: a Status, a review, a Table.
pub fn schema_of(object: &Value, served: Option<&Served>) -> String {
    let (group_version, kind) = (object["apiVersion"].as_str().unwrap_or(""), object["kind"].as_str().unwrap_or(""));
    if kind == "Status" {
        return STATUS.into();
    }
    if let Some(served) = served.filter(|s| s.kind.kind == kind) {
        return served.schema().into();
    }
    let (group, version) = group_version.rsplit_once('/').unwrap_or(("", group_version));
    if ["APIVersions", "APIGroup", "APIGroupList", "APIResourceList"].contains(&kind) {
        return format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}");
    }
    if group == "meta.k8s.io" {
        return format!("io.k8s.apimachinery.pkg.apis.meta.{version}.{kind}");
    }
    let package = if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) };
    format!("io.k8s.api.{package}.{version}.{kind}")
}

/// A refused request.
pub fn refused(status: &Status) -> Response {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    value(code, STATUS, &status.to_value()).told(status)
}

fn written(code: StatusCode, body: Result<Vec<u8>, ProtoError>) -> Response {
    match body {
        Ok(body) => Response::bytes(code, MEDIA_TYPE, body),
        Err(error) => {
            let message = format!("the answer has no protobuf form: {error}");
            let status = Status::new(Reason::NotAcceptable, message);
            Response::json(StatusCode::NOT_ACCEPTABLE, &json!(status.to_value()))
        }
    }
}
