//! How the server is: `/healthz`, `/livez`, `/readyz`, `/version`, `/metrics`.

use api::Status;
use http::StatusCode;
use serde_json::{Value, json};

use crate::Server;
use crate::answer::{Reply, Response};
use crate::route::nowhere;
use wire::query::Query;

/// The version of the API that is spoken.
pub const VERSION: &str = "v1.37.2";

/// The checks of `healthz` and `livez`; `readyz` has one more.
const CHECKS: [&str; 2] = ["ping", "store"];
const SHUTDOWN: &str = "shutdown";

/// All checks of a name, or one of them.
pub fn health(server: &Server, name: &str, one: &str, query: &Query) -> Result<Reply, Status> {
    let good = |check: &str| match check {
        "store" => server.0.store.is_writable(),
        SHUTDOWN => !*server.0.stopped.borrow(),
        _ => true,
    };
    let checks: Vec<(&str, bool)> = checks_of(name).map(|check| (check, good(check))).collect();
    let response = match checks.iter().find(|(check, _)| *check == one) {
        _ if one.is_empty() => told(name, &checks, query),
        Some((_, true)) => Response::text(StatusCode::OK, "ok"),
        Some(check) => told(one, std::slice::from_ref(check), query),
        None => return Ok(nowhere()),
    };
    Ok(Reply::ready(response))
}

fn checks_of(name: &str) -> impl Iterator<Item = &'static str> {
    CHECKS.into_iter().chain((name == "readyz").then_some(SHUTDOWN))
}

/// The paths of single checks.
pub fn paths() -> impl Iterator<Item = String> {
    let names = ["healthz", "livez", "readyz"].into_iter();
    names.flat_map(|name| checks_of(name).map(move |check| format!("/{name}/{check}")))
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
    let mut excluded: Vec<&str> = query.all("exclude").collect();
    let (mut text, mut good) = (String::new(), true);
    for (check, passes) in checks {
        if excluded.contains(check) {
            excluded.retain(|one| one != check);
            text += &format!("[+]{check} excluded: ok\n");
            continue;
        }
        good &= passes;
        text += &if *passes { format!("[+]{check} ok\n") } else { format!("[-]{check} failed: reason withheld\n") };
    }
    if !excluded.is_empty() {
        let unknown: Vec<String> = excluded.iter().map(|check| format!("{check:?}")).collect();
        text += &format!("warn: some health checks cannot be excluded: no matches for {}\n", unknown.join(", "));
    }
    if good && query.all("verbose").next().is_none() {
        return checked(StatusCode::OK, "ok");
    }
    text += &format!("{name} check {}\n", if good { "passed" } else { "failed" });
    checked(if good { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, text)
}

fn checked(code: StatusCode, text: impl Into<String>) -> Response {
    Response::text(code, text).unsniffed()
}
