//! What is served outside the API's resources: a table of paths, each with who answers it.
//!
//! A path is one line. Who may ask is decided before (`authorize`); a body is read for those who need one.
//! What is found below a resource's path is no business of this table (`route`).

use api::Status;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::StatusCode;
use serde_json::json;

use crate::answer::{Reply, Response};
use crate::route::{AUTHORITY_PATH, JOIN_PATH};
use crate::tokens::JWKS_PATH;
use crate::visit::Visit;
use crate::{Server, discovery, health, join, openapi};

/// In no order: no two are found by one path.
static PATHS: &[Path] = &[
    Path::one("", |visit| ok(&json!({"paths": index(visit.server)}))),
    Path::tree("/api", discovery::core),
    Path::tree("/apis", discovery::groups_and_versions),
    Path::one("/openapi/v2", |visit| openapi::v2(visit.server, visit.headers)),
    Path::tree("/openapi/v3", |visit| openapi::v3(visit.server, visit.rest, visit.query, visit.headers)),
    Path::tree("/healthz", |visit| health::health(visit.server, "healthz", visit.rest, visit.query)),
    Path::tree("/livez", |visit| health::health(visit.server, "livez", visit.rest, visit.query)),
    Path::tree("/readyz", |visit| health::health(visit.server, "readyz", visit.rest, visit.query)),
    Path::one("/version", |visit| visit.only_read().and_then(|()| ok(&health::version()))),
    Path::one("/metrics", |visit| Ok(Reply::ready(health::metrics(visit.server)))),
    Path::one("/.well-known/openid-configuration", |visit| {
        ok(&visit.server.0.tokens.discovery(visit.server.0.config.advertise))
    }),
    Path::one(JWKS_PATH, |visit| {
        let keys = visit.server.0.tokens.key_set().to_string();
        Ok(Reply::ready(Response::bytes(StatusCode::OK, "application/jwk-set+json", keys)))
    }),
    Path::one(AUTHORITY_PATH, |visit| Ok(join::authority(visit.server))).unlisted(),
    Path::to_body(JOIN_PATH, |visit, body| join::perform(visit.server, visit.identity, body).boxed()).unlisted(),
];

/// One line of the table.
pub struct Path {
    path: &'static str,
    /// Also what is below it: `rest` is not empty then.
    tree: bool,
    /// Shown at the root.
    listed: bool,
    pub answer: Answer,
}

pub enum Answer {
    AtOnce(fn(&Visit<'_>) -> Result<Reply, Status>),
    /// A body is read first.
    ToBody(for<'a> fn(&'a Visit<'a>, Bytes) -> BoxFuture<'a, Result<Reply, Status>>),
}

/// The line that answers a path, and what of the path is below it.
pub fn find(path: &str) -> Option<(&'static Path, &str)> {
    let path = path.trim_end_matches('/');
    PATHS.iter().find_map(|row| match path.strip_prefix(row.path)? {
        "" => Some((row, "")),
        rest if row.tree => Some((row, rest.strip_prefix('/')?)),
        _ => None,
    })
}

/// The paths that a browser is shown at the root.
fn index(server: &Server) -> Vec<String> {
    let own = PATHS.iter().filter(|row| row.listed && !row.path.is_empty()).map(|row| row.path.to_owned());
    let below = ["/apis/", "/openapi/v3/"].into_iter().map(str::to_owned);
    let mut paths: Vec<String> = own.chain(below).chain(health::paths()).chain(discovery::paths(server)).collect();
    paths.sort();
    paths
}

fn ok(value: &serde_json::Value) -> Result<Reply, Status> {
    Ok(Reply::ready(Response::json(StatusCode::OK, value)))
}

impl Path {
    const fn new(path: &'static str, answer: Answer) -> Path {
        Path { path, tree: false, listed: true, answer }
    }

    const fn one(path: &'static str, answer: fn(&Visit<'_>) -> Result<Reply, Status>) -> Path {
        Path::new(path, Answer::AtOnce(answer))
    }

    const fn tree(path: &'static str, answer: fn(&Visit<'_>) -> Result<Reply, Status>) -> Path {
        Path { tree: true, ..Path::one(path, answer) }
    }

    const fn to_body(
        path: &'static str,
        answer: for<'a> fn(&'a Visit<'a>, Bytes) -> BoxFuture<'a, Result<Reply, Status>>,
    ) -> Path {
        Path::new(path, Answer::ToBody(answer))
    }

    const fn unlisted(self) -> Path {
        Path { listed: false, ..self }
    }
}

#[cfg(test)]
mod tests;
