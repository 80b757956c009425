//! How the server is: `/healthz`, `/livez`, `/readyz`, `/version`, `/metrics`.

use api::Status;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::Server;
use crate::answer::{Reply, Response};
use crate::route::no_such_resource;
use wire::query::Query;

/// The version of the API that is spoken.
pub const VERSION: &str = "v1.37.2";

/// All checks of a name, or one of them.
pub fn health(server: &Server, name: &str, one: &str, query: &Query) -> Result<Reply, Status> {
    let stopping = *server.0.stopped.borrow();
    let ready: &[(&str, bool)] = &[("ping", true), ("store", server.0.store.is_writable()), ("shutdown", !stopping)];
    let response = match one {
        "" if name == "readyz" => told(name, ready, query),
        "" => told(name, &ready[..2], query),
        one => {
            let check = ready.iter().find(|(check, _)| *check == one).ok_or_else(no_such_resource)?;
            told(one, std::slice::from_ref(check), query)
        }
    };
    Ok(Reply::ready(response))
}

pub fn metrics(server: &Server) -> Response {
    let text = server.0.metrics.text(server.revision());
    Response::bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

pub fn version() -> Value {
    json!({"major": "1", "minor": "37", "gitVersion": VERSION, "gitCommit": concat!("gousse-", env!("CARGO_PKG_VERSION")),
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "rustc", "compiler": "rustc",
        "platform": format!("linux/{}", architecture()), "emulationMajor": "1", "emulationMinor": "37",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "36"})
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `ok`, or what is wrong; with `verbose` one line per check (apiserver pkg/server/healthz).
fn told(name: &str, checks: &[(&str, bool)], query: &Query) -> Response {
    let excluded = |check: &str| query.all("exclude").any(|e| e == check);
    let checks: Vec<_> = checks.iter().filter(|(check, _)| !excluded(check)).collect();
    let good = checks.iter().all(|(_, good)| *good);
    if good && !query.flag("verbose") {
        return plain(StatusCode::OK, "ok");
    }
    let mut text = String::new();
    for (check, good) in checks {
        text += &if *good { format!("[+]{check} ok\n") } else { format!("[-]{check} failed: reason withheld\n") };
    }
    text += &format!("{name} check {}\n", if good { "passed" } else { "failed" });
    plain(if good { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, text)
}

/// A text that no browser shall take for anything else.
fn plain(code: StatusCode, text: impl Into<String>) -> Response {
    let mut response = Response::text(code, text);
    response.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
