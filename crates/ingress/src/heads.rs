//! The heads of requests and answers: what is refused, taken out and put in. Pure.
//!
//! A request goes on only if everybody on its way reads the same host and path from it (RFC 9112 3.2, 9113 8.3.1).
//! What concerns one connection stays on it (RFC 9110 7.6.1). Who asked, and how, is told to the endpoint in
//! `X-Forwarded-…` and `Forwarded`; what the client itself says of that is believed only of proxies that are trusted.

use std::net::{IpAddr, Ipv6Addr};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use wire::heads::LongQuery;

/// Status and text for the client.
pub type Refused = (StatusCode, &'static str);

/// What of a head decides where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Lower case, without port; an IPv6 address in brackets; empty where HTTP/1.0 names none.
    pub host: String,
    /// As the client wrote it, with its port.
    pub authority: String,
}

/// The way by which a request came.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    pub peer: IpAddr,
    pub tls: bool,
    /// Where we listen.
    pub port: u16,
    /// The peer is a proxy whose word counts.
    pub trusted: bool,
}

/// Of one connection only, whether or not `Connection` names them.
const OF_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What we are called in `Via`, and how often a request may have come through one of us.
const OURSELVES: &str = "gousse-ingress";
const VIA: HeaderValue = HeaderValue::from_static("1.1 gousse-ingress");
const HOPS_MAX: usize = 4;

/// A name as it is compared: lower case, without the root's dot.
pub fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Host and authority of a request, or why it goes nowhere.
pub fn judge(head: &Parts) -> Result<Asked, Refused> {
    let bad = |why| (StatusCode::BAD_REQUEST, why);
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "this method is not forwarded"));
    }
    if head.extensions.get::<LongQuery>().is_some() {
        return Err((StatusCode::URI_TOO_LONG, "the URL is too long"));
    }
    if climbs(head.uri.path()) {
        return Err(bad("the path has segments . or .."));
    }
    let through_us = head.headers.get_all(header::VIA).iter().filter_map(|value| value.to_str().ok());
    if through_us.map(|value| value.matches(OURSELVES).count()).sum::<usize>() >= HOPS_MAX {
        return Err((StatusCode::LOOP_DETECTED, "the request comes back again and again"));
    }
    let mut named = head.headers.get_all(header::HOST).iter();
    let host = match (named.next(), named.next()) {
        (_, Some(_)) => return Err(bad("more than one Host")),
        (Some(host), None) => Some(host.to_str().map_err(|_| bad("Host is not a name"))?),
        (None, None) => None,
    };
    let target = head.uri.authority().map(|authority| authority.as_str());
    let authority = match (target, host) {
        (Some(target), Some(host)) if !target.eq_ignore_ascii_case(host) => {
            return Err(bad("Host is not that of the request's target"));
        }
        (Some(one), _) | (None, Some(one)) => one,
        (None, None) if head.version == Version::HTTP_10 => {
            return Ok(Asked { host: String::new(), authority: String::new() });
        }
        (None, None) => return Err(bad("no Host")),
    };
    let host = name_of(authority).ok_or(bad("Host is not a name"))?;
    Ok(Asked { host, authority: authority.into() })
}

/// `Example.COM.:8080` as `example.com`.
fn name_of(authority: &str) -> Option<String> {
    let is_port = |text: &str| text.is_empty() || text.parse::<u16>().is_ok() && !text.starts_with('+');
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let port = after.strip_prefix(':').or(after.is_empty().then_some(""))?;
        return is_port(port).then(|| format!("[{address}]"));
    }
    let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
    let name = plain(name);
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    (is_name && is_port(port)).then_some(name)
}

/// Whether an endpoint might read another path from it than we do: `.` and `..` however written, also before the
/// parameters of an element (`/..;x/`).
fn climbs(path: &str) -> bool {
    if !path.contains('.') && !path.contains('%') {
        return false;
    }
    let plain =
        path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/").replace("%3b", ";");
    let mut elements = plain.split(['/', '\\']).map(|element| element.split(';').next().unwrap_or_default());
    elements.any(|element| element == "." || element == "..")
}

/// The one protocol that a request wants to change to, if it is one that can be carried on as bytes. HTTP/2 is
/// not: its requests would go past the table.
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut named = headers.get_all(header::UPGRADE).iter();
    let (Some(protocol), None) = (named.next(), named.next()) else { return None };
    let name = protocol.to_str().ok()?.trim().to_ascii_lowercase();
    let is_other = ["h2", "http", "tls"].iter().any(|begin| name.starts_with(begin)) || name.contains(',');
    (wire::upgrade::is_asked(headers) && !is_other && !name.is_empty()).then(|| protocol.clone())
}

/// The fields of a request as the endpoint gets them. `upgrade` as it was found; `multiplexed`: the endpoint speaks HTTP/2.
pub fn forward(headers: &mut HeaderMap, asked: &Asked, hop: Hop, upgrade: Option<HeaderValue>, multiplexed: bool) {
    let trailers = multiplexed && mentions(headers, header::TE, "trailers");
    disconnect(headers);
    // Answered by ourselves when the body is read.
    headers.remove(header::EXPECT);
    if !hop.trusted {
        forget(headers);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    one_cookie(headers);
    headers.remove(header::HOST);
    let text = |text: &str| HeaderValue::from_str(text).expect("addresses and judged hosts are plain text");
    let authority = text(&asked.authority);
    if !multiplexed {
        headers.insert(header::HOST, authority.clone());
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    let peer = hop.peer.to_string();
    let proto = if hop.tls { "https" } else { "http" };
    let node = if hop.peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.clone() };
    let host = if asked.authority.is_empty() { String::new() } else { format!(";host=\"{}\"", asked.authority) };
    append(headers, header::FORWARDED, &format!("for={node}{host};proto={proto}"));
    append(headers, X_FORWARDED_FOR, &peer);
    headers.entry(X_REAL_IP).or_insert_with(|| text(&peer));
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(proto));
    headers.entry(X_FORWARDED_PORT).or_insert_with(|| hop.port.into());
    if !asked.authority.is_empty() {
        headers.entry(X_FORWARDED_HOST).or_insert(authority);
    }
    headers.append(header::VIA, VIA);
}

/// The fields of an answer as the client gets them; those of a change of protocols stay.
pub fn answer(headers: &mut HeaderMap, switches: bool) {
    let upgrade = headers.get(header::UPGRADE).cloned().filter(|_| switches);
    disconnect(headers);
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

/// Takes out what is of this connection.
fn disconnect(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| token.trim().parse().ok())
        // These end the request's or the answer's message, whoever says otherwise.
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&OF_CONNECTION) {
        headers.remove(name);
    }
}

/// Takes out what only a proxy may say; with an underscore too, which CGI reads as the same.
fn forget(headers: &mut HeaderMap) {
    let is_told = |name: &HeaderName| {
        let name = name.as_str();
        let begins = |begin: &str| name.len() > begin.len() && name[..begin.len()].replace('_', "-") == begin;
        name == "forwarded"
            || begins("x-forwarded-")
            || begins("x-real-i")
            || begins("x-original-")
            || begins("x-envoy-")
    };
    let told: Vec<HeaderName> = headers.keys().filter(|name| is_told(name)).cloned().collect();
    for name in told {
        headers.remove(name);
    }
}

/// HTTP/2 may split it, HTTP/1.1 may not (RFC 9113 8.2.3).
fn one_cookie(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Adds to a list that may be there.
fn append(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    let mut all: Vec<u8> = Vec::new();
    for value in headers.get_all(&name) {
        all.extend_from_slice(value.as_bytes());
        all.extend_from_slice(b", ");
    }
    all.extend_from_slice(text.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&all) {
        headers.insert(name, value);
    }
}

fn mentions(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>();
    values.iter().flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests;
