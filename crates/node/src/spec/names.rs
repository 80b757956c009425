//! Names inside a pod: its host name and FQDN, /etc/hosts, /etc/resolv.conf.
//!
//! Upstream: kubelet_pods.go (GeneratePodHostNameAndDomain, managedHostsFileContent) and
//! network/dns/dns.go (policies, limits of 3 servers and 32 search domains of 2048 characters).

use std::net::IpAddr;

use crate::view as core;

use crate::pod;
use crate::spec::Settings;

/// The host name of a pod, or why there is none.
pub fn hostname(pod: &core::Pod, settings: &Settings) -> Result<String, String> {
    let Some(spec) = &pod.spec else { return Ok(String::new()) };
    if let Some(name) = overridden(spec) {
        return Ok(name);
    }
    if pod::host_network(pod) {
        return Ok(settings.node_name.clone());
    }
    let short = short_name(pod);
    if !spec.set_hostname_as_fqdn.unwrap_or(false) {
        return Ok(short);
    }
    let Some(domain) = domain(pod, settings) else { return Ok(short) };
    let fqdn = format!("{short}.{domain}");
    if fqdn.len() > 64 {
        return Err(format!(
            "Failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long (the max length is 64 characters, {} characters requested)",
            fqdn.len()
        ));
    }
    Ok(fqdn)
}

fn overridden(spec: &core::PodSpec) -> Option<String> {
    spec.hostname_override.as_deref().filter(|h| !h.is_empty()).map(cut)
}

/// spec.hostname, else the pod's name.
fn short_name(pod: &core::Pod) -> String {
    let given = pod.spec.as_ref().and_then(|s| s.hostname.as_deref()).filter(|h| !h.is_empty());
    cut(given.unwrap_or(pod::name(pod)))
}

/// To 63 characters (truncatePodHostnameIfNeeded).
fn cut(name: &str) -> String {
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// `subdomain.namespace.svc.domain`, where the pod has a subdomain.
fn domain(pod: &core::Pod, settings: &Settings) -> Option<String> {
    let subdomain = pod.spec.as_ref()?.subdomain.as_deref().filter(|s| !s.is_empty())?;
    Some(format!("{subdomain}.{}.svc.{}", pod::namespace(pod), settings.cluster_domain))
}

/// The pod's /etc/hosts.
pub fn hosts(pod: &core::Pod, settings: &Settings, ips: &[String]) -> String {
    let mut text = if pod::host_network(pod) {
        format!("# Kubernetes-managed hosts file (host network).\n{}", settings.host_hosts)
    } else {
        let mut text = String::from("# Kubernetes-managed hosts file.\n");
        text.push_str("127.0.0.1\tlocalhost\n");
        text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
        text.push_str("fe00::0\tip6-localnet\n");
        text.push_str("fe00::0\tip6-mcastprefix\n");
        text.push_str("fe00::1\tip6-allnodes\n");
        text.push_str("fe00::2\tip6-allrouters\n");
        // A name that replaces the pod's own has no domain.
        let (name, domain) = match pod.spec.as_ref().and_then(overridden) {
            Some(name) => (name, None),
            None => (short_name(pod), domain(pod, settings)),
        };
        for ip in ips {
            match &domain {
                Some(domain) => text.push_str(&format!("{ip}\t{name}.{domain}\t{name}\n")),
                None => text.push_str(&format!("{ip}\t{name}\n")),
            }
        }
        text
    };
    let aliases: Vec<_> = pod.spec.iter().flat_map(|s| s.host_aliases.iter().flatten()).collect();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let names = alias.hostnames.clone().unwrap_or_default().join("\t");
            text.push_str(&format!("{}\t{names}\n", alias.ip));
        }
    }
    text
}

/// A resolver configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolv {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

const SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;
const SEARCH_LENGTH_MAX: usize = 253;

impl Resolv {
    pub fn parse(text: &str) -> Resolv {
        let mut r = Resolv::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => r.servers.extend(words.next().map(str::to_owned)),
                Some("search") => r.searches = words.map(|s| s.trim_end_matches('.').to_owned()).collect(),
                Some("options") => words.for_each(|option| put_option(&mut r.options, option.to_owned())),
                _ => {}
            }
        }
        r.searches.retain(|s| !s.is_empty());
        r
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

/// Whether a pod is to ask the cluster's DNS.
pub fn asks_cluster(pod: &core::Pod) -> bool {
    match policy(pod) {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !pod::host_network(pod),
        _ => false,
    }
}

fn policy(pod: &core::Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.dns_policy.as_deref()).unwrap_or("ClusterFirst")
}

/// The pod's resolver, and a DNSConfigForming message where limits cut something off. `cluster_dns`: where the
/// cluster's DNS is; nowhere: a pod asks whom its node asks.
pub fn resolv(pod: &core::Pod, settings: &Settings, cluster_dns: &[IpAddr]) -> (Resolv, Option<String>) {
    let spec = pod.spec.as_ref();
    let host = Resolv::parse(&settings.host_resolv);
    let mut r = match policy(pod) {
        "None" => Resolv::default(),
        _ if asks_cluster(pod) && !cluster_dns.is_empty() => {
            let domain = &settings.cluster_domain;
            let mut searches = vec![format!("{}.svc.{domain}", pod::namespace(pod)), format!("svc.{domain}")];
            searches.push(domain.clone());
            for s in host.searches {
                if !searches.contains(&s) {
                    searches.push(s);
                }
            }
            let servers = cluster_dns.iter().map(ToString::to_string).collect();
            Resolv { servers, searches, options: vec!["ndots:5".into()] }
        }
        _ => host,
    };
    if let Some(config) = spec.and_then(|s| s.dns_config.as_ref()) {
        merge(&mut r, config);
    }
    let message = limit(&mut r);
    (r, message)
}

fn merge(r: &mut Resolv, config: &core::PodDNSConfig) {
    for server in config.nameservers.iter().flatten() {
        if !r.servers.contains(server) {
            r.servers.push(server.clone());
        }
    }
    for search in config.searches.iter().flatten() {
        if !r.searches.contains(search) {
            r.searches.push(search.clone());
        }
    }
    for option in config.options.iter().flatten() {
        let Some(name) = option.name.as_deref().filter(|n| !n.is_empty()) else { continue };
        let text = option.value.as_ref().filter(|v| !v.is_empty()).map_or(name.to_owned(), |v| format!("{name}:{v}"));
        put_option(&mut r.options, text);
    }
}

/// `ndots:5`; the last one of a name counts.
fn put_option(options: &mut Vec<String>, option: String) {
    let name = |option: &str| option.split(':').next().map(str::to_owned);
    match options.iter_mut().find(|known| name(known) == name(&option)) {
        Some(known) => *known = option,
        None => options.push(option),
    }
}

fn limit(r: &mut Resolv) -> Option<String> {
    let mut messages = Vec::new();
    if r.servers.len() > SERVERS_MAX {
        r.servers.truncate(SERVERS_MAX);
        messages.push(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            r.servers.join(" ")
        ));
    }
    let before = r.searches.len();
    r.searches.truncate(SEARCHES_MAX);
    // Some resolvers end over a longer one.
    r.searches.retain(|search| search.len() <= SEARCH_LENGTH_MAX);
    while r.searches.join(" ").len() > SEARCH_CHARS_MAX {
        r.searches.pop();
    }
    if r.searches.len() < before {
        messages.push(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            r.searches.join(" ")
        ));
    }
    (!messages.is_empty()).then(|| messages.join("; "))
}
