//! `/healthz` for whoever watches over the process: plain HTTP on the loopback, no questions.
//!
//! Upstream's healthzPort and healthzBindAddress (cmd/kubelet/app/server.go): `/healthz` and its one check,
//! `/healthz/ping`, which say `ok` and nothing else. The same paths on the node's HTTPS port ask who comes.

use std::convert::Infallible;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::answer::{self, Response};

const HEAD_MAX: Duration = Duration::from_secs(10);

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let service = service_fn(async |request| Ok::<_, Infallible>(respond(&request)));
                    let mut builder = http1::Builder::new();
                    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
                    connections.spawn(builder.serve_connection(TokioIo::new(stream), service));
                }
                Err(error) => {
                    tracing::warn!(%error, "healthz cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn respond<B>(request: &Request<B>) -> Response {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/healthz" | "/healthz/ping") => answer::text(StatusCode::OK, "ok"),
        _ => answer::text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_healthz_is_answered() {
        let status = |method: Method, path: &str| {
            respond(&Request::builder().method(method).uri(path).body(()).expect("a request")).status()
        };
        assert_eq!(status(Method::GET, "/healthz"), StatusCode::OK);
        assert_eq!(status(Method::HEAD, "/healthz/ping"), StatusCode::OK);
        assert_eq!(status(Method::POST, "/healthz"), StatusCode::NOT_FOUND);
        for path in
            ["/pods", "/", "/healthz/", "/healthz/log", "/healthz/syncloop", "/metrics", "/debug/pprof", "/logs"]
        {
            assert_eq!(status(Method::GET, path), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
