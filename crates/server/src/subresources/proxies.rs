//! `{pods,services,nodes}/proxy`: HTTP and upgrades to a pod, an endpoint of a service, or a node.
//!
//! Names may carry a scheme and a port: `https:web:443`. Headers and redirects match upstream's
//! apimachinery util/proxy (upgradeaware.go, transport.go): X-Forwarded-Uri, -Host and -Proto go out,
//! a Location, or a link within a page, that points back into the target is rewritten.

use std::net::IpAddr;

use api::{Reason, Status};
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::addresses;
use crate::answer::{Body, Reply, Response};
use crate::nodes::{self, Outgoing};
use crate::verbs::Call;

/// Links within pages.
mod pages;

use pages::Within;

/// Where a proxied request goes.
struct Goal {
    https: bool,
    host: String,
    port: u16,
}

pub async fn forward(call: Call<'_>) -> Result<Reply, Status> {
    let tail = call.target.tail.as_str();
    let reads = matches!(*call.method, http::Method::GET | http::Method::HEAD);
    let goal = match call.kind().plural.as_str() {
        "nodes" => nodes::locate(call.server, split(call.name()).1).map(|()| None)?,
        "pods" => Some(pod(&call)?),
        _ => Some(service(&call)?),
    };
    if tail.is_empty() && reads && !wire::upgrade::is_asked(call.headers) {
        return Ok(Reply::ready(with_slash(&call)));
    }
    let query = query_of(&call);
    let tail_or_root = if tail.is_empty() { "/" } else { tail };
    let path = format!("{tail_or_root}{query}");
    let mut headers = call.headers.clone();
    let host = call.headers.get(header::HOST).cloned().unwrap_or(HeaderValue::from_static("localhost"));
    let uri = HeaderValue::from_str(call.uri.path()).unwrap_or(HeaderValue::from_static("/"));
    headers.insert("x-forwarded-uri", uri);
    headers.insert("x-forwarded-host", host);
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    let upgrades = wire::upgrade::is_asked(call.headers);
    let outgoing = Outgoing {
        method: call.method.clone(),
        path,
        query: Vec::new(),
        headers,
        body: call.body.clone(),
        unverified: false,
    };
    let Some(goal) = goal else {
        let (_, name, port) = split(call.name());
        if !port.is_empty() && port != "10250" {
            return Err(Status::bad_request("only the node's own port can be proxied to"));
        }
        // A websocket begins with a GET; the node sees the server's certificate and asks no more.
        if runs_something(tail) {
            call.authorize("create")?;
        }
        return Ok(Reply::ready(nodes::send(call.server, name, outgoing, upgrades).await?));
    };
    let tls = if goal.https { Some(call.server.0.any_tls.clone()) } else { None };
    let dialled = wire::dial(&goal.host, goal.port, tls).await;
    let connection =
        dialled.map_err(|e| Status::new(Reason::ServiceUnavailable, format!("error trying to reach service: {e}")))?;
    let authority = match goal.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => format!("[{}]:{}", goal.host, goal.port),
        _ => format!("{}:{}", goal.host, goal.port),
    };
    let response = nodes::exchange(connection.stream, &authority, outgoing, upgrades).await?;
    Ok(Reply::ready(keep_within(&call, authority, response)))
}

/// Whether a node takes a path for one that runs or reaches something in a pod (node: api/access.rs). The path
/// goes out as it came, so that it counts as that however a node may read it: raw, decoded, with its dots
/// resolved. (Upstream lets `get nodes/proxy` suffice there.)
fn runs_something(path: &str) -> bool {
    let decoded = wire::query::decoded_lossy(path);
    [path, &*decoded].iter().any(|path| {
        let words = || path.split('/').filter(|word| !matches!(*word, "" | "."));
        let mut resolved = Vec::new();
        for word in words() {
            match word {
                ".." => drop(resolved.pop()),
                word => resolved.push(word),
            }
        }
        let first = [words().next(), resolved.first().copied()];
        first.into_iter().flatten().any(|word| matches!(word, "exec" | "attach" | "run" | "portForward"))
    })
}

fn query_of(call: &Call<'_>) -> String {
    if call.raw_query.is_empty() { String::new() } else { format!("?{}", call.raw_query) }
}

/// 301 to the same path with a slash, so that relative links work.
fn with_slash(call: &Call<'_>) -> Response {
    let query = query_of(call);
    let mut response = Response::text(StatusCode::MOVED_PERMANENTLY, "");
    if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", call.uri.path())) {
        response.headers.insert(header::LOCATION, location);
    }
    response
}

/// Redirects and links within the target stay within the proxy.
fn keep_within(call: &Call<'_>, target: String, response: Response) -> Response {
    let text = |name| call.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let base = call.uri.path().strip_suffix(call.target.tail.as_str()).unwrap_or(call.uri.path());
    let within = Within { base: base.to_owned(), target, host: text(header::HOST).to_owned() };
    let Response { status, mut headers, body } = response;
    if let Some(location) = headers.get(header::LOCATION) {
        let rewritten = location.to_str().ok().and_then(|location| within.rewritten(location));
        if let Some(Ok(rewritten)) = rewritten.map(|rewritten| HeaderValue::from_str(&rewritten)) {
            headers.insert(header::LOCATION, rewritten);
        }
        return Response { status, headers, body };
    }
    let body = match body {
        Body::Stream(stream) if *call.method != http::Method::HEAD => {
            Body::Stream(pages::rewritten(&mut headers, stream, within))
        }
        body => body,
    };
    Response { status, headers, body }
}

fn pod(call: &Call<'_>) -> Result<Goal, Status> {
    let (scheme, name, port) = split(call.name());
    let pod = call.server.0.snapshot.value("pods", call.namespace(), name).ok_or_else(|| call.not_found(name))?;
    let host = proxyable(pod["status"]["podIP"].as_str().unwrap_or(""))?;
    let ports = || {
        pod["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|c| c["ports"].as_array().into_iter().flatten())
    };
    let number = match port {
        "" => ports().find_map(|p| p["containerPort"].as_u64()).unwrap_or(if scheme == "https" { 443 } else { 80 }),
        port => match port.parse::<u64>() {
            Ok(number) => number,
            Err(_) => ports()
                .find(|p| p["name"] == port)
                .and_then(|p| p["containerPort"].as_u64())
                .ok_or_else(|| Status::bad_request(format!("invalid pod request {:?}", call.name())))?,
        },
    };
    let port = u16::try_from(number).map_err(|_| Status::bad_request("invalid port"))?;
    Ok(Goal { https: scheme == "https", host, port })
}

/// Any ready endpoint of the service that is a pod (pkg/registry/core/service/storage ResourceLocation).
fn service(call: &Call<'_>) -> Result<Goal, Status> {
    let (scheme, name, port) = split(call.name());
    let snapshot = &call.server.0.snapshot;
    let unavailable = |message: String| Status::new(Reason::ServiceUnavailable, message);
    // A number is one of the service's ports, which the endpoints know by its name; of a name they alone are asked.
    let wanted = match port.parse::<i64>() {
        Ok(number) => {
            let service = snapshot.value("services", call.namespace(), name).ok_or_else(|| call.not_found(name))?;
            let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
            let found = ports.find(|p| p["port"].as_i64() == Some(number));
            let none = || unavailable(format!("no service port {number} found for service {name:?}"));
            found.ok_or_else(none)?["name"].as_str().unwrap_or("").to_owned()
        }
        Err(_) => port.to_owned(),
    };
    let none = || unavailable(format!("no endpoints available for service {name:?}"));
    let endpoints = snapshot.value("endpoints", call.namespace(), name).ok_or_else(none)?;
    let subsets = endpoints["subsets"].as_array().into_iter().flatten();
    let mut goals: Vec<(String, u64)> = Vec::new();
    for subset in subsets {
        let number =
            subset["ports"].as_array().into_iter().flatten().find(|p| p["name"].as_str().unwrap_or("") == wanted);
        let Some(number) = number.and_then(|p| p["port"].as_u64()) else { continue };
        let addresses = subset["addresses"].as_array().into_iter().flatten();
        let pods = addresses.filter(|address| is_pod(call, address));
        goals.extend(pods.filter_map(|a: &Value| Some((a["ip"].as_str()?.to_string(), number))));
    }
    let mut random = [0; 8];
    (call.server.0.config.entropy)(&mut random);
    let pick = usize::from_ne_bytes(random).checked_rem(goals.len()).ok_or_else(none)?;
    let (host, number) = goals.swap_remove(pick);
    let host = proxyable(&host)?;
    Ok(Goal { https: scheme == "https", host, port: u16::try_from(number).map_err(|_| none())? })
}

/// Whether an endpoint is a pod of the service's namespace that has that very address (isValidAddress): whoever
/// may write endpoints does not decide whither the server connects.
fn is_pod(call: &Call<'_>, address: &Value) -> bool {
    let of = &address["targetRef"];
    let (Some(name), Some(ip)) = (of["name"].as_str(), address["ip"].as_str()) else { return false };
    if of["namespace"].as_str() != Some(call.namespace()) {
        return false;
    }
    let pod = call.server.0.snapshot.value("pods", call.namespace(), name).unwrap_or_default();
    pod["status"]["podIPs"].as_array().into_iter().flatten().any(|own| own["ip"].as_str() == Some(ip))
}

/// An address that the server connects to for a client: none that is its own, or next to it, whatever
/// somebody wrote into a status or into endpoints (pkg/proxy/util IsProxyableIP).
fn proxyable(address: &str) -> Result<String, Status> {
    match address.parse::<IpAddr>() {
        Ok(parsed) if addresses::is_far(parsed) => Ok(address.to_string()),
        _ => Err(Status::bad_request("address not allowed")),
    }
}

/// Scheme, name and port of `[scheme:]name[:port]` (apimachinery util/net port_split.go).
fn split(name: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = name.split(':').collect();
    match parts[..] {
        [scheme @ ("http" | "https" | ""), name, port] => (scheme, name, port),
        [scheme @ ("http" | "https"), name] => (scheme, name, ""),
        [name, port] => ("", name, port),
        _ => ("", name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_in_a_pod_is_no_reading_of_its_node() {
        for path in [
            "/exec/ns/p/c",
            "//exec/ns/p/c",
            "/attach/ns/p/c",
            "/run/ns/p/c",
            "/portForward/ns/p",
            "/%65xec/ns/p/c",
            "/exec%2Fns%2Fp%2Fc",
            "%2fexec/ns/p/c",
            "/exec%2Fns%2F%ff",
            "/./exec/ns/p/c",
            "/pods/../exec/ns/p/c",
            "/pods/%2e%2E/exec/ns/p/c",
            "/exec/../pods",
            "/../exec/ns/p/c",
            "/exec",
        ] {
            assert!(runs_something(path), "{path}");
        }
        for path in ["", "/", "/pods", "/containerLogs/exec/p/c", "/stats/exec", "/execute", "/EXEC", "/%2565xec"] {
            assert!(!runs_something(path), "{path}");
        }
    }

    #[test]
    fn the_servers_own_addresses_are_no_goal() {
        for own in [
            "",
            "web",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "fe80::1",
            "224.0.0.1",
            "ff02::1",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "10.0.0.1%lo",
        ] {
            let refused = proxyable(own).unwrap_err();
            assert_eq!((refused.code, refused.message.as_str()), (400, "address not allowed"), "{own}");
        }
        assert_eq!(proxyable("10.244.0.7"), Ok("10.244.0.7".into()));
        assert_eq!(proxyable("fd00::7"), Ok("fd00::7".into()));
    }
}
