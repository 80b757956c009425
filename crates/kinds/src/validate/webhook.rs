//! Where a webhook listens: an address, or a service of the cluster.
//!
//! Matches apiserver pkg/util/webhook/validation.go.

use api::names;

use super::at::{At, Errors};

const FORM: &str = "; desired format: https://host[/path]";

/// An https address without a user, a query and a fragment.
pub fn url(at: &At, errors: &mut Errors) {
    let text = at.text();
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = match parse_scheme(rest) {
        Ok(parts) => parts,
        Err(why) => {
            let why = format!("url must be a valid URL: parse {text:?}: {why}{FORM}");
            return errors.push(at.required(&why));
        }
    };
    let authority = rest.strip_prefix("//").map_or("", |rest| rest.split('/').next().unwrap_or_default());
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if let Some(port) = bad_port(host) {
        let why = format!("url must be a valid URL: parse {text:?}: invalid port {port:?} after host{FORM}");
        return errors.push(at.required(&why));
    }
    if scheme != "https" {
        errors.push(at.invalid_as(scheme, &format!("'https' is the only allowed URL scheme{FORM}")));
    }
    if host.is_empty() {
        errors.push(at.invalid_as(host, &format!("host must be specified{FORM}")));
    }
    if let Some(user) = user {
        errors.push(at.invalid_as(user, "user information is not permitted in the URL"));
    }
    if !fragment.is_empty() {
        errors.push(at.invalid_as(fragment, "fragments are not permitted in the URL"));
    }
    if !query.is_empty() {
        errors.push(at.invalid_as(query, "query parameters are not permitted in the URL"));
    }
}

/// The scheme, empty if there is none, and what follows it; or why Go's parser takes no such text.
fn parse_scheme(text: &str) -> Result<(String, &str), &'static str> {
    if text.chars().any(|c| c.is_ascii_control()) {
        return Err("net/url: invalid control character in URL");
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
    match end.map(|end| text.split_at(end)) {
        Some(("", rest)) if rest.starts_with(':') => Err("missing protocol scheme"),
        Some((scheme, rest)) if rest.starts_with(':') && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Ok((scheme.to_lowercase(), &rest[1..]))
        }
        _ if text.split('/').next().is_some_and(|first| first.contains(':')) => {
            Err("first path segment in URL cannot contain colon")
        }
        _ => Ok((String::new(), text)),
    }
}

fn bad_port(host: &str) -> Option<&str> {
    let behind = host.rfind(']').map_or(0, |end| end + 1);
    let port = &host[behind + host[behind..].find(':')?..];
    port[1..].bytes().any(|b| !b.is_ascii_digit()).then_some(port)
}

/// A service by name and namespace, its port and a path. Upstream takes the name for the namespace.
pub fn service(at: &At, errors: &mut Errors) {
    for (field, shown) in [("namespace", "name"), ("name", "namespace")] {
        if at.get(field).text().is_empty() {
            errors.push(at.get(shown).required(""));
        }
    }
    let port = at.get("port");
    let complaints = names::port_number(port.number());
    if !complaints.is_empty() {
        let why = format!("port is not valid: {}", complaints.join(", "));
        errors.push(port.invalid_as(port.number(), &why));
    }
    path(&at.get("path"), errors);
}

fn path(at: &At, errors: &mut Errors) {
    match at.text() {
        "" | "/" => {}
        "//" => errors.push(at.invalid("segment[0] may not be empty")),
        text => {
            if !text.starts_with('/') {
                errors.push(at.invalid("must start with a '/'"));
            }
            let mut rest = text.chars();
            rest.next();
            let rest = rest.as_str();
            for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
                let complaints = match step {
                    "" => vec![format!("segment[{index}] may not be empty")],
                    _ => names::dns_subdomain(step).iter().map(|m| format!("segment[{index}]: {m}")).collect(),
                };
                errors.extend(complaints.iter().map(|m| at.invalid(m)));
            }
        }
    }
}
