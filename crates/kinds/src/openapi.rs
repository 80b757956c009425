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

/// What can be done with what.
mod operations;
/// Operations in the form of a dialect.
mod paths;
/// Types as JSON schemas.
mod schemas;
#[cfg(test)]
mod tests;

use schemas::Schemas;

/// The level of the API that is served.
const VERSION: &str = "1.37";
/// Documents of what is neither a kind's nor a group's.
const OTHERS: [&str; 5] = [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"];

/// The two forms that clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    V2,
    V3,
}

/// A kind that is only created: what is asked comes back with its answer.
pub struct Review {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    /// The row of the schema table.
    pub schema: &'static str,
    pub namespaced: bool,
}

/// What the documents are about.
pub struct Subjects<'a> {
    pub kinds: &'a Kinds,
    pub reviews: &'a [Review],
}

impl Subjects<'_> {
    /// The document at a root of version 3: `api`, `apis/apps`, `apis/apps/v1`. Nearly empty if nothing is there.
    pub fn v3(&self, root: &str) -> Value {
        let (paths, schemas) = self.contents(Dialect::V3, Some(root));
        let mut components = json!({"securitySchemes": {"BearerToken": bearer()}});
        if schemas.as_object().is_some_and(|schemas| !schemas.is_empty()) {
            components["schemas"] = schemas;
        }
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": VERSION},
            "paths": paths,
            "components": components,
        })
    }

    /// The document of everything.
    pub fn v2(&self) -> Value {
        let (paths, schemas) = self.contents(Dialect::V2, None);
        json!({
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": VERSION},
            "paths": paths,
            "definitions": schemas,
            "securityDefinitions": {"BearerToken": bearer()},
            "security": [{"BearerToken": []}],
        })
    }

    /// What `/openapi/v3` answers: the path of each document, with a hash that changes when it does.
    pub fn v3_index(&self) -> Value {
        let path = |(root, hasher): (String, rustc_hash::FxHasher)| {
            let url = format!("/openapi/v3/{root}?hash={:016X}", hasher.finish());
            (root, json!({ "serverRelativeURL": url }))
        };
        json!({ "paths": self.roots().into_iter().map(path).collect::<Map<String, Value>>() })
    }

    /// Every root of version 3, with what its document is made of.
    fn roots(&self) -> BTreeMap<String, rustc_hash::FxHasher> {
        let mut roots: BTreeMap<String, rustc_hash::FxHasher> = BTreeMap::new();
        let mut add = |root: &str, parts: &[&str]| {
            // The schemas behind the rows change only with the build.
            let hasher = roots.entry(root.to_owned()).or_default();
            let build = [VERSION, env!("CARGO_PKG_VERSION"), root];
            build.iter().chain(parts).for_each(|part| hasher.write(part.as_bytes()));
        };
        OTHERS.iter().for_each(|root| add(root, &[]));
        for served in self.kinds.all_served() {
            add(&root(&served), &[served.schema(), &served.kind.plural]);
        }
        for review in self.reviews {
            add(&review.root(), &[review.schema, review.plural]);
        }
        let versions: Vec<String> = roots.keys().cloned().collect();
        for version in versions {
            if let Some((group, _)) = version.strip_prefix("apis/").and_then(|rest| rest.split_once('/')) {
                let hasher = roots.entry(format!("apis/{group}")).or_default();
                [VERSION, env!("CARGO_PKG_VERSION"), group].iter().for_each(|part| hasher.write(part.as_bytes()));
            }
        }
        roots
    }

    /// Paths and schemas, of one root or of all.
    fn contents(&self, dialect: Dialect, only: Option<&str>) -> (Value, Value) {
        let mut schemas = Schemas::new(dialect, self, only);
        let mut paths = Map::new();
        let asked = |root: &str| only.is_none_or(|only| only == root);
        for served in self.kinds.all_served().filter(|served| asked(&root(served))) {
            operations::of_kind(&served, dialect, &mut schemas, &mut paths);
        }
        for review in self.reviews.iter().filter(|review| asked(&review.root())) {
            operations::of_review(review, dialect, &mut schemas, &mut paths);
        }
        for root in self.roots().keys().filter(|root| asked(root)) {
            operations::of_other(root, dialect, &mut schemas, &mut paths);
        }
        (Value::Object(paths), schemas.finish())
    }
}

impl Review {
    /// `apis/authorization.k8s.io/v1`
    fn root(&self) -> String {
        match self.group {
            "" => format!("api/{}", self.version),
            group => format!("apis/{group}/{}", self.version),
        }
    }
}

fn bearer() -> Value {
    json!({"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"})
}

/// `api/v1`, `apis/apps/v1`
fn root(served: &Served) -> String {
    let prefix = if served.group().is_empty() { "api" } else { "apis" };
    format!("{prefix}/{}", served.api_version())
}

fn list_schema(served: &Served) -> String {
    format!("{}List", served.schema())
}
