//! OpenAPI documents, made from the kind table and the schema table when a client asks.
//!
//! `kubectl` reads version 3, one document per group and version: which parameters a PATCH takes
//! (`fieldValidation`, `dryRun`), merge keys, and what `explain` shows. Version 2 is one document for
//! all. Made documents are large: the server keeps them only as long as somebody reads them.
//! Upstream: kube-openapi builder and builder3, apiserver endpoints/installer.go.

use std::collections::BTreeMap;
use std::hash::Hasher;

use serde_json::{Map, Value, json};

use crate::{Kinds, Served};

/// The version 2 document in protobuf.
mod gnostic;
/// Operations: what can be done at which path.
mod paths;
/// Types as JSON schemas.
mod schemas;
#[cfg(test)]
mod tests;

use schemas::Schemas;

pub use gnostic::{ASKED as V2_PROTOBUF_ASKED, MEDIA_TYPE as V2_PROTOBUF};

/// The level of the API that is served.
const VERSION: &str = "v1.37.2";

/// The two forms that clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

/// The document of a group and version: `v1`, `apps/v1`. Without paths if no kind is served there.
pub fn v3(group_version: &str, kinds: &Kinds) -> Value {
    let served: Vec<Served> = kinds.all_served().filter(|s| s.api_version() == group_version).collect();
    let (paths, schemas) = contents(Dialect::V3, &served);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {"in": "header", "name": "authorization", "type": "apiKey"}},
        },
    })
}

/// The document of everything.
pub fn v2(kinds: &Kinds) -> Value {
    let served: Vec<Served> = kinds.all_served().collect();
    let (paths, schemas) = contents(Dialect::V2, &served);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "definitions": schemas,
        "securityDefinitions": {"BearerToken": {"in": "header", "name": "authorization", "type": "apiKey"}},
        "security": [{"BearerToken": []}],
    })
}

/// The document of everything in protobuf (`V2_PROTOBUF`): client-go asks for it so.
pub fn v2_protobuf(kinds: &Kinds) -> Vec<u8> {
    gnostic::document(&v2(kinds))
}

/// What `/openapi/v3` answers: the path of each document, with a hash that changes when it does.
pub fn v3_index(kinds: &Kinds) -> Value {
    let mut hashes: BTreeMap<String, rustc_hash::FxHasher> = BTreeMap::new();
    for served in kinds.all_served() {
        // The schemas behind the rows change only with the build.
        let hasher = hashes.entry(root(&served)).or_default();
        hasher.write(VERSION.as_bytes());
        hasher.write(env!("CARGO_PKG_VERSION").as_bytes());
        hasher.write(served.schema().as_bytes());
        hasher.write(served.kind.plural.as_bytes());
    }
    let path = |(root, hasher): (String, rustc_hash::FxHasher)| {
        let url = format!("/openapi/v3/{root}?hash={:016X}", hasher.finish());
        (root, json!({ "serverRelativeURL": url }))
    };
    json!({ "paths": hashes.into_iter().map(path).collect::<Map<String, Value>>() })
}

fn contents(dialect: Dialect, served: &[Served]) -> (Value, Value) {
    let mut schemas = Schemas::new(dialect, served);
    let mut paths = Map::new();
    for kind in served {
        paths::of_kind(kind, dialect, &mut schemas, &mut paths);
    }
    (Value::Object(paths), schemas.finish())
}

/// `api/v1`, `apis/apps/v1`
fn root(served: &Served) -> String {
    let prefix = if served.group().is_empty() { "api" } else { "apis" };
    format!("{prefix}/{}", served.api_version())
}

fn list_schema(served: &Served) -> String {
    format!("{}List", served.schema())
}
