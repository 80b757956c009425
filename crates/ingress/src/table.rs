//! The table of routes: which endpoints serve a request for a host and a path. Pure.
//!
//! The rules are those of the Ingress API (networking/v1 HTTPIngressPath, IngressRule): the most specific host
//! first, of its paths an exact one, then the longest prefix by whole elements; of equals the older. What no
//! path of a host takes falls to less specific hosts, then to the defaults in the same order. Whoever fills it
//! (Ingresses today) hands over routes; the table knows no kind.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::certificates::Certificate;

/// Which hosts a route is for; names are lower case, without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    Exact(String),
    /// `*.example.com` as `example.com`: one label more, and no other number of them.
    Wildcard(String),
    Any,
}

/// Which paths of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    Exact(String),
    /// By whole elements; a slash at the end says nothing.
    Prefix(String),
    /// What no path takes.
    Rest,
}

/// One row before it is in the table.
#[derive(Clone, Debug)]
pub struct Route {
    pub host: Host,
    pub path: Path,
    pub to: Arc<Backend>,
}

/// What endpoints speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Http1,
    /// HTTP/2 in the clear, known beforehand (appProtocol `kubernetes.io/h2c`).
    H2c,
}

/// One port of a Service, and who serves it.
#[derive(Debug, Default)]
pub struct Backend {
    /// `default/web:80`, for people.
    pub name: String,
    pub protocol: Protocol,
    /// Those that are ready. None: requests are answered with 503.
    pub endpoints: Vec<SocketAddr>,
    /// Whose turn it is.
    turn: AtomicUsize,
}

/// Everything that requests and handshakes are judged by.
#[derive(Default)]
pub struct Table {
    exact: HashMap<String, Paths>,
    wildcard: HashMap<String, Paths>,
    any: Paths,
    shown: HashMap<Host, Arc<Certificate>>,
}

/// The paths of one host.
#[derive(Default)]
struct Paths {
    exact: HashMap<String, Arc<Backend>>,
    /// Without the slash at the end, so that "/" is "".
    prefix: HashMap<String, Arc<Backend>>,
    /// Elements of the longest prefix: no more of a request's path are looked at.
    deepest: usize,
    rest: Option<Arc<Backend>>,
}

impl Host {
    /// As a rule names it; empty is any.
    pub fn of(text: &str) -> Host {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix("*.") {
            Some(rest) => Host::Wildcard(rest.into()),
            None if text.is_empty() => Host::Any,
            None => Host::Exact(text),
        }
    }
}

impl Backend {
    /// `first`: whose turn it is at first. Tables follow each other quickly while pods come and go: if each began
    /// with the same endpoint, that one would have most of the requests.
    pub fn new(name: String, protocol: Protocol, endpoints: Vec<SocketAddr>, first: usize) -> Backend {
        Backend { name, protocol, endpoints, turn: AtomicUsize::new(first) }
    }

    /// All endpoints, in the order in which they are to be tried for one request.
    pub fn turns(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.endpoints.len().max(1);
        self.endpoints[first..].iter().chain(&self.endpoints[..first]).copied()
    }
}

impl Table {
    /// Of routes and certificates of equal rank the first counts: the oldest comes first.
    pub fn of(
        routes: impl IntoIterator<Item = Route>,
        shown: impl IntoIterator<Item = (Host, Arc<Certificate>)>,
    ) -> Table {
        let mut table = Table::default();
        for Route { host, path, to } in routes {
            let paths = match host {
                Host::Exact(host) => table.exact.entry(host).or_default(),
                Host::Wildcard(rest) => table.wildcard.entry(rest).or_default(),
                Host::Any => &mut table.any,
            };
            paths.add(path, to);
        }
        for (host, certificate) in shown {
            table.shown.entry(host).or_insert(certificate);
        }
        table
    }

    /// Who serves a request; None: nobody is named for it (404). `host` is lower case and has no port.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Backend>> {
        let hosts = [self.exact.get(host), parent(host).and_then(|rest| self.wildcard.get(rest)), Some(&self.any)];
        let hosts = || hosts.iter().copied().flatten();
        hosts().find_map(|paths| paths.find(path)).or_else(|| hosts().find_map(|paths| paths.rest.as_ref()))
    }

    /// What a peer is shown that asks for a name, or for none.
    pub fn certificate(&self, name: Option<&str>) -> Option<&Arc<Certificate>> {
        let exact = |name: &str| self.shown.get(&Host::Exact(name.into()));
        let wildcard = |name: &str| self.shown.get(&Host::Wildcard(parent(name)?.into()));
        let named = name.and_then(|name| exact(name).or_else(|| wildcard(name)));
        named.or_else(|| self.shown.get(&Host::Any))
    }

    /// Every endpoint of every route.
    pub fn endpoints(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let hosts = self.exact.values().chain(self.wildcard.values()).chain([&self.any]);
        let backends = hosts.flat_map(|paths| paths.exact.values().chain(paths.prefix.values()).chain(&paths.rest));
        backends.flat_map(|backend| backend.endpoints.iter().copied())
    }
}

/// What is left of a name without its first label.
fn parent(name: &str) -> Option<&str> {
    name.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, rest)| rest)
}

impl Paths {
    fn add(&mut self, path: Path, to: Arc<Backend>) {
        match path {
            Path::Exact(path) => {
                self.exact.entry(path).or_insert(to);
            }
            Path::Prefix(path) => {
                let path = path.strip_suffix('/').unwrap_or(&path);
                self.deepest = self.deepest.max(path.matches('/').count());
                self.prefix.entry(path.into()).or_insert(to);
            }
            Path::Rest => {
                self.rest.get_or_insert(to);
            }
        }
    }

    fn find(&self, path: &str) -> Option<&Arc<Backend>> {
        if let Some(found) = self.exact.get(path) {
            return Some(found);
        }
        if self.prefix.is_empty() {
            return None;
        }
        // Where each prefix by whole elements ends, the shortest ("") first; a path is as long as its sender likes.
        let ends = path.char_indices().skip(1).filter(|(_, c)| *c == '/').map(|(at, _)| at).chain([path.len()]);
        let ends: Vec<usize> = [0].into_iter().chain(ends).take(self.deepest + 1).collect();
        ends.into_iter().rev().find_map(|end| self.prefix.get(&path[..end]))
    }
}

#[cfg(test)]
mod tests;
