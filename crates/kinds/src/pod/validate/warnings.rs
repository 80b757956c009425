//! What is allowed in a new pod and yet worth a word (pkg/api/pod/warnings.go).

use std::collections::BTreeMap;

use serde_json::Value;

use super::annotations::SECCOMP_CONTAINER;
use super::spec::all_containers;
use crate::kind::Kind;
use crate::pod::{app_armor, unsupported};
use crate::validate::address::ip_warnings;
use crate::validate::at::At;
use api::names;
use api::quantity::Quantity;
use api::tree;

/// Overlapping pairs told of one pod's ports or one volume's paths: there may be millions.
const PAIRS_MAX: usize = 100;

const USE_SECCOMP_FIELD: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";

/// The addresses of a new status.
pub fn of_status(_: &Kind, pod: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let status = At::root(pod).get("status");
    for address in ["podIPs", "hostIPs"].iter().flat_map(|list| status.get(list).items()) {
        ip_warnings(&address.get("ip"), &mut out);
    }
    out
}

/// Only creations are commented on: people seldom edit pods, and machines do not read warnings.
pub fn warnings(_: &Kind, pod: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    if old.is_some() {
        return out;
    }
    let name = tree::text(pod, "metadata.name");
    let complaints = names::dns_label(name);
    if !name.is_empty() && !complaints.is_empty() {
        out.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label \
             is recommended: [{}]",
            complaints.join(" ")
        ));
    }
    let at = At::root(pod);
    of_spec(&at, |at| app_armor::warnings(at.value), &mut out);
    out.extend(unsupported::warnings(&at));
    out
}

/// The same of a template (GetWarningsForPodTemplate).
pub fn template(at: &At) -> Vec<String> {
    let mut out = Vec::new();
    of_spec(at, app_armor::template_warnings, &mut out);
    out.extend(unsupported::template_warnings(at));
    out
}

fn of_spec(pod: &At, app_armor: impl Fn(&At) -> Vec<String>, out: &mut Vec<String>) {
    let spec = pod.get("spec");
    labels(&spec, out);
    annotations(pod, out);
    out.extend(app_armor(pod));
    deprecated_volumes(&spec, out);
    overlaps(&spec, out);
    doubles(&spec, out);
    fractions(&spec.get("overhead"), out);
    let notes = pod.get("metadata").get("annotations");
    let has_seccomp = notes.entries().any(|(key, _)| key.starts_with(SECCOMP_CONTAINER));
    for container in all_containers(&spec) {
        if has_seccomp && !tree::has(container.value, "securityContext.seccompProfile") {
            let key = format!("{SECCOMP_CONTAINER}{}", container.get("name").text());
            let note = notes.key(&key);
            out.extend(note.has().then(|| format!("{}: {USE_SECCOMP_FIELD}", note.path())));
        }
        fractions(&container.get("resources").get("limits"), out);
        fractions(&container.get("resources").get("requests"), out);
        hidden_variables(&container, out);
    }
    ports(&spec, out);
    let grace = spec.get("terminationGracePeriodSeconds");
    if grace.number() < 0 {
        out.push(format!("{}: must be >= 0; negative values are invalid and will be treated as 1", grace.path()));
    }
    for server in spec.get("dnsConfig").get("nameservers").items() {
        ip_warnings(&server, out);
    }
    for alias in spec.get("hostAliases").items() {
        ip_warnings(&alias.get("ip"), out);
    }
}

/// Node labels that have a newer name.
pub fn deprecated_label(key: &str) -> Option<&'static str> {
    Some(match key {
        "beta.kubernetes.io/arch" => "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        "beta.kubernetes.io/os" => "deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "failure-domain.beta.kubernetes.io/region" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead"
        }
        "failure-domain.beta.kubernetes.io/zone" => {
            "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"
        }
        "beta.kubernetes.io/instance-type" => {
            "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"
        }
        "app.kubernetes.io/created-by" => "deprecated since v1.9",
        "scheduler.alpha.kubernetes.io/preferAvoidPods" => "deprecated since v1.22; use Taints and Tolerations instead",
        "node-role.kubernetes.io/master" => "use \"node-role.kubernetes.io/control-plane\" instead",
        _ => return None,
    })
}

/// Of what selects nodes: the keys of its `matchExpressions` that have a newer name.
pub fn deprecated_keys(term: &At) -> Vec<String> {
    let keys = term.get("matchExpressions").items().map(|expression| expression.get("key"));
    let told = |key: At| Some(format!("{}: {} is {}", key.path(), key.text(), deprecated_label(key.text())?));
    keys.filter_map(told).collect()
}

fn labels(spec: &At, out: &mut Vec<String>) {
    for (key, value) in spec.get("nodeSelector").entries() {
        out.extend(deprecated_label(key).map(|text| format!("{}: {text}", value.path())));
    }
    let node = spec.get("affinity").get("nodeAffinity");
    let required = node.get("requiredDuringSchedulingIgnoredDuringExecution").get("nodeSelectorTerms");
    let preferred = node.get("preferredDuringSchedulingIgnoredDuringExecution");
    let terms = required.items().chain(preferred.items().map(|t| t.get("preference")));
    out.extend(terms.flat_map(|term| deprecated_keys(&term)));
    const NULL: &str = "a null labelSelector results in matching no pod";
    for constraint in spec.get("topologySpreadConstraints").items() {
        let key = constraint.get("topologyKey");
        out.extend(deprecated_label(key.text()).map(|text| format!("{}: {} is {text}", key.path(), key.text())));
        if !constraint.has_field("labelSelector") {
            out.push(format!("{}: {NULL}", constraint.get("labelSelector").path()));
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let at = spec.get("affinity").get(kind);
        let required = at.get("requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = at.get("preferredDuringSchedulingIgnoredDuringExecution");
        for term in required.items().chain(preferred.items().map(|t| t.get("podAffinityTerm"))) {
            if !term.has_field("labelSelector") {
                out.push(format!("{}: {NULL}", term.get("labelSelector").path()));
            }
        }
    }
}

fn annotations(pod: &At, out: &mut Vec<String>) {
    for (key, note) in pod.get("metadata").get("annotations").entries() {
        let text = match key.as_str() {
            "scheduler.alpha.kubernetes.io/critical-pod" => {
                "non-functional in v1.16+; use the \"priorityClassName\" field instead"
            }
            "security.alpha.kubernetes.io/sysctls" | "security.alpha.kubernetes.io/unsafe-sysctls" => {
                "non-functional in v1.11+; use the \"sysctls\" field instead"
            }
            "seccomp.security.alpha.kubernetes.io/pod"
                if !tree::has(pod.value, "spec.securityContext.seccompProfile") =>
            {
                USE_SECCOMP_FIELD
            }
            "kubernetes.io/ingress-bandwidth" | "kubernetes.io/egress-bandwidth"
                if tree::flag(pod.value, "spec.hostNetwork") =>
            {
                "has no effect on a pod with hostNetwork"
            }
            _ => continue,
        };
        out.push(format!("{}: {text}", note.path()));
    }
}

/// The other old volume types are refused as a whole.
fn deprecated_volumes(spec: &At, out: &mut Vec<String>) {
    for volume in spec.get("volumes").items() {
        if volume.has_field("gitRepo") {
            out.push(format!(
                "{}: deprecated in v1.11, and disabled by default in v1.33+",
                volume.get("gitRepo").path()
            ));
        }
    }
}

/// Paths within one volume that lie on or under each other.
fn overlaps(spec: &At, out: &mut Vec<String>) {
    for volume in spec.get("volumes").items() {
        let name = volume.get("name").text();
        let items = |at: &At, source: String| -> Vec<(String, String)> {
            let paths = at.get("items").items().map(|i| i.get("path").text().trim_end_matches('/').to_string());
            paths.map(|path| (path, source.clone())).collect()
        };
        for (field, title) in [("configMap", "name"), ("secret", "secretName"), ("downwardAPI", "")] {
            let at = volume.get(field);
            let what = match field {
                "configMap" => format!("ConfigMap {:?}", at.get(title).text()),
                "secret" => format!("Secret {:?}", at.get(title).text()),
                _ => "DownwardAPI".into(),
            };
            collide(name, &what, items(&at, String::new()), out);
        }
        let mut all = Vec::new();
        for source in volume.get("projected").get("sources").items() {
            if source.is_empty() {
                out.push(format!("volume {name:?} (Projected) has no sources provided"));
            }
            let (map, secret) = (source.get("configMap"), source.get("secret"));
            all.extend(items(&map, format!("ConfigMap {:?}", map.get("name").text())));
            all.extend(items(&secret, format!("Secret {:?}", secret.get("name").text())));
            all.extend(items(&source.get("downwardAPI"), "DownwardAPI".into()));
            let token = source.get("serviceAccountToken");
            if token.has() {
                let path = token.get("path").text().trim_end_matches('/').to_string();
                all.push((path, "ServiceAccountToken".into()));
            }
        }
        collide(name, "Projected", all, out);
    }
}

fn collide(volume: &str, what: &str, paths: Vec<(String, String)>, out: &mut Vec<String>) {
    let shown = |(path, source): &(String, String)| match source.as_str() {
        "" => format!("{path:?}"),
        source => format!("{path:?} ({source})"),
    };
    for (later, earlier) in overlapping(&paths) {
        let both = format!("{} with {}", shown(&paths[later]), shown(&paths[earlier]));
        out.push(format!("volume {volume:?} ({what}): overlapping paths: {both}"));
    }
}

/// The pairs (later, earlier) of paths that lie on or under each other, in the order of the list. In
/// sorted order a path is followed by all that is under it: no pair is looked at that is none.
fn overlapping(paths: &[(String, String)]) -> Vec<(usize, usize)> {
    let steps = |index: usize| paths[index].0.split('/');
    let mut sorted: Vec<usize> = (0..paths.len()).filter(|index| !paths[*index].0.is_empty()).collect();
    sorted.sort_by(|a, b| steps(*a).cmp(steps(*b)).then(a.cmp(b)));
    let (mut pairs, mut above) = (Vec::new(), Vec::<usize>::new());
    for index in sorted {
        let path = &paths[index].0;
        let is_under =
            |over: &str| path.strip_prefix(over).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        while above.last().is_some_and(|over| !is_under(&paths[*over].0)) {
            above.pop();
        }
        pairs.extend(above.iter().map(|over| (index.max(*over), index.min(*over))));
        if pairs.len() > PAIRS_MAX {
            break;
        }
        above.push(index);
    }
    pairs.sort_unstable();
    pairs.truncate(PAIRS_MAX);
    pairs
}

fn doubles(spec: &At, out: &mut Vec<String>) {
    for (list, field, word) in [("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")] {
        let mut seen = std::collections::BTreeSet::new();
        for entry in spec.get(list).items() {
            let at = entry.get(field);
            if !seen.insert(at.text()) {
                out.push(format!("{}: duplicate {word} {:?}", at.path(), at.text()));
            }
        }
    }
    for secret in spec.get("imagePullSecrets").items().filter(|s| s.get("name").text().is_empty()) {
        out.push(format!("{}: invalid empty name \"\"", secret.get("name").path()));
    }
}

fn fractions(amounts: &At, out: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        let at = amounts.key(name);
        let amount = Quantity::of(at.value);
        if !amount.is_integer() {
            let shown = amount.to_string();
            out.push(format!("{}: fractional byte value {shown:?} is invalid, must be an integer", at.path()));
        }
    }
}

fn hidden_variables(container: &At, out: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    for variable in container.get("env").items() {
        let name = variable.get("name").text();
        if seen.insert(name) {
            continue;
        }
        let (reference, value) = (format!("$({name})"), variable.get("value").text());
        if variable.has_field("valueFrom") || value == reference || !value.contains(&reference) {
            out.push(format!(
                "{}: hides previous definition of {name:?}, which may be dropped when using apply",
                variable.path()
            ));
        }
    }
}

fn ports(spec: &At, out: &mut Vec<String>) {
    let ports: Vec<At> = all_containers(spec).flat_map(|c| c.get("ports").items().collect::<Vec<_>>()).collect();
    let number = |port: &At| port.get("hostPort").number();
    let mut by_port: BTreeMap<(i64, &str), HostPorts> = BTreeMap::new();
    let mut by_name: BTreeMap<&str, String> = BTreeMap::new();
    let mut named = Vec::new();
    let mut pairs = 0;
    for (index, port) in ports.iter().enumerate() {
        let ip = port.get("hostIP").text();
        if !ip.is_empty() && number(port) == 0 {
            let shown = format!(
                "Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{ip}",
                port.get("name").text(),
                port.get("containerPort").number(),
                port.get("protocol").text(),
            );
            out.push(format!("{}: hostIP set without hostPort: {{{shown}}}", port.path()));
        }
        let same = by_port.entry((port.get("containerPort").number(), port.get("protocol").text())).or_default();
        for (other, what) in same.collisions(number(port), ip, PAIRS_MAX - pairs) {
            out.push(format!("{}: {what} port definition with {}", port.path(), ports[other].path()));
            pairs += 1;
        }
        let name = port.get("name").text();
        if !name.is_empty() {
            match by_name.get(name) {
                Some(other) => named.push(format!(
                    "{}: duplicate port name {name:?} with {other}, services and probes that select ports by name \
                     will use {other}",
                    port.path()
                )),
                None => {
                    by_name.insert(name, port.path());
                }
            }
        }
        same.0.entry(number(port)).or_default().entry(ip).or_default().push(index);
    }
    out.append(&mut named);
}

/// The definitions of one container port: where they are, by host port and host address.
#[derive(Default)]
struct HostPorts<'p>(BTreeMap<i64, BTreeMap<&'p str, Vec<usize>>>);

impl<'p> HostPorts<'p> {
    /// Those that a further one collides with, in the order of the pod, and how; at most so many.
    fn collisions(&self, number: i64, ip: &'p str, most: usize) -> Vec<(usize, &'static str)> {
        let word = |other: i64, other_ip: &str| match (other == number, other_ip == ip) {
            (true, true) => "duplicate",
            _ if other == 0 || number == 0 => "overlapping",
            _ => "dangerously ambiguous",
        };
        // No host port is any; no address is any.
        let (zero, same) = match number {
            0 => (self.0.range(..), self.0.range(0..0)),
            number => (self.0.range(0..=0), self.0.range(number..=number)),
        };
        let found = zero.chain(same).flat_map(|(other, by_ip)| {
            let (any, same) = match *other == 0 || number == 0 || ip.is_empty() {
                true => (by_ip.range::<&str, _>(..), by_ip.range(ip..ip)),
                false => (by_ip.range(""..=""), by_ip.range(ip..=ip)),
            };
            any.chain(same).flat_map(|(other_ip, at)| at.iter().map(|index| (*index, word(*other, other_ip))))
        });
        let mut found: Vec<_> = found.take(most).collect();
        found.sort_unstable();
        found
    }
}
