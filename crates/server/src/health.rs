//! Paths outside the API: `/healthz`, `/livez`, `/readyz`, `/version`, `/metrics`, token discovery.

use http::StatusCode;
use serde_json::{Value, json};

use crate::Server;
use crate::answer::Response;
use crate::tokens::JWKS_PATH;
use wire::query::Query;

/// The version of the API that is spoken.
pub const VERSION: &str = "v1.37.2";

/// Serves such a path; None if it is none.
pub fn perform(server: &Server, path: &str, query: &Query) -> Option<Response> {
    let stopping = *server.0.stopped.borrow();
    let ready: &[(&str, bool)] = &[("ping", true), ("store", server.0.store.is_writable()), ("shutdown", !stopping)];
    Some(match path.trim_end_matches('/') {
        "/healthz" => health("healthz", &ready[..2], query),
        "/livez" => health("livez", &ready[..2], query),
        "/readyz" => health("readyz", ready, query),
        "/version" => Response::json(StatusCode::OK, &version()),
        "/metrics" => Response::bytes(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            server.0.metrics.text(server.revision()),
        ),
        "/.well-known/openid-configuration" => {
            Response::json(StatusCode::OK, &server.0.tokens.discovery(server.0.config.advertise))
        }
        JWKS_PATH => Response::bytes(StatusCode::OK, "application/jwk-set+json", server.0.tokens.key_set().to_string()),
        other => {
            let (root, check) = other.strip_prefix('/')?.split_once('/')?;
            if !matches!(root, "healthz" | "livez" | "readyz") {
                return None;
            }
            let one = ready.iter().find(|(name, _)| *name == check)?;
            health(check, std::slice::from_ref(one), query)
        }
    })
}

fn version() -> Value {
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
fn health(name: &str, checks: &[(&str, bool)], query: &Query) -> Response {
    let excluded = |check: &str| query.all("exclude").any(|e| e == check);
    let checks: Vec<_> = checks.iter().filter(|(check, _)| !excluded(check)).collect();
    let good = checks.iter().all(|(_, good)| *good);
    if good && !query.flag("verbose") {
        return Response::text(StatusCode::OK, "ok");
    }
    let mut text = String::new();
    for (check, good) in checks {
        text += &if *good { format!("[+]{check} ok\n") } else { format!("[-]{check} failed: reason withheld\n") };
    }
    text += &format!("{name} check {}\n", if good { "passed" } else { "failed" });
    Response::text(if good { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, text)
}
