//! Endpoints: the addresses behind a Service, in the older of the two forms.

use serde_json::{Value, json};

use super::shared::*;
use crate::kind::{DeleteStrategy, Hooks, Kind};
use crate::tree;
use crate::validate::network;

pub static ENDPOINTS: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    categories: &[],
    namespaced: true,
    schema: "io.k8s.api.core.v1.Endpoints",
    verbs: ALL_VERBS,
    subresources: &[],
    columns: &[NAME, column("Endpoints", "The first addresses.", |endpoints, _| json!(addresses(endpoints))), AGE],
    field_selectors: &[],
    versions: &[],
    hooks: Hooks {
        prepare: prepare_nothing,
        default,
        validate: network::validate_endpoints,
        warnings: network::endpoints_warnings,
    },
    delete: DeleteStrategy::Immediate,
};

fn default(endpoints: &mut Value) {
    for subset in tree::each(endpoints, "subsets") {
        for port in tree::each(subset, "ports") {
            tree::set_default_text(port, "protocol", "TCP");
        }
    }
}

/// At most three addresses, then how many more there are.
fn addresses(endpoints: &Value) -> String {
    let mut all = Vec::new();
    let subsets = tree::list(endpoints, "subsets");
    for subset in subsets {
        let ips = || tree::list(subset, "addresses").iter().map(|a| tree::text(a, "ip"));
        let ports = tree::list(subset, "ports");
        if ports.is_empty() {
            all.extend(ips().map(str::to_string));
        }
        for port in ports.iter().map(|p| tree::int(p, "port").unwrap_or(0)) {
            all.extend(
                ips().map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }),
            );
        }
    }
    match all.len() {
        _ if subsets.is_empty() => "<none>".into(),
        0..=3 => all.join(","),
        n => format!("{} + {} more...", all[..3].join(","), n - 3),
    }
}
