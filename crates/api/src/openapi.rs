//! OpenAPI documents, made from the kind table and the schema table when a client asks.
//!
//! `kubectl` reads version 3, one document per group and version: which parameters a PATCH takes
//! (`fieldValidation`, `dryRun`), merge keys, and what `explain` shows. Version 2 is one document for
//! all. Made documents are large: the server keeps them only as long as somebody reads them.
//! Upstream: kube-openapi builder and builder3, apiserver endpoints/installer.go.

use std::collections::BTreeMap;
use std::hash::Hasher;

use serde_json::{Map, Value, json};

use crate::Kind;

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

/// A kind in one of the versions that it is served in.
#[derive(Clone, Copy)]
struct Served<'a> {
    row: &'a Kind,
    group: &'a str,
    version: &'a str,
    schema: &'a str,
}

/// The document of a group and version: `v1`, `apps/v1`. Without paths if no kind is served there.
pub fn v3(group_version: &str, kinds: &[&Kind]) -> Value {
    let served: Vec<Served> = kinds.iter().flat_map(served).filter(|s| s.group_version() == group_version).collect();
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
pub fn v2(kinds: &[&Kind]) -> Value {
    let served: Vec<Served> = kinds.iter().flat_map(served).collect();
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
pub fn v2_protobuf(kinds: &[&Kind]) -> Vec<u8> {
    gnostic::document(&v2(kinds))
}

/// What `/openapi/v3` answers: the path of each document, with a hash that changes when it does.
pub fn v3_index(kinds: &[&Kind]) -> Value {
    let mut hashes: BTreeMap<String, rustc_hash::FxHasher> = BTreeMap::new();
    for served in kinds.iter().flat_map(served) {
        // The schemas behind the rows change only with the build.
        let hasher = hashes.entry(served.root()).or_default();
        hasher.write(VERSION.as_bytes());
        hasher.write(env!("CARGO_PKG_VERSION").as_bytes());
        hasher.write(served.schema.as_bytes());
        hasher.write(served.row.plural.as_bytes());
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

fn served<'a>(row: &'a &Kind) -> Vec<Served<'a>> {
    let stored = Served { row, group: row.group, version: row.version, schema: row.schema };
    let others = row.versions.iter().map(|v| Served { row, group: v.group, version: v.version, schema: v.schema });
    [stored].into_iter().chain(others).collect()
}

impl Served<'_> {
    fn group_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `api/v1`, `apis/apps/v1`
    fn root(&self) -> String {
        let prefix = if self.group.is_empty() { "api" } else { "apis" };
        format!("{prefix}/{}", self.group_version())
    }

    fn list_schema(&self) -> String {
        format!("{}List", self.schema)
    }
}
