//! Endpoints: the addresses behind a Service, in the older of the two forms.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::service::validate::named;
use crate::validate::address::{ip, usable};
use crate::validate::at::{At, invalid_each};

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![
            NAME,
            computed("Endpoints", "The first addresses.", |endpoints, _| json!(addresses(endpoints))),
            AGE,
        ],
        hooks: Hooks { default, validate, ..HOOKS },
        writes: Writes { put_creates: true, ..WRITES },
        ..Kind::namespaced("v1", "Endpoints", "endpoints")
            .judged_as_new()
            .kept_in("services/endpoints")
            .short("ep")
            .deprecated("in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }
}

fn default(_: &Kind, endpoints: &mut Value) {
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

fn validate(kind: &Kind, endpoints: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, endpoints, old);
    let subsets = At::root(endpoints).get("subsets");
    if old.is_some_and(|old| At::root(old).get("subsets").value == subsets.value) {
        return errors;
    }
    for subset in subsets.items() {
        let lists = ["addresses", "notReadyAddresses"].map(|list| subset.get(list));
        if lists.iter().all(|list| list.is_empty()) {
            errors.push(subset.required("must specify `addresses` or `notReadyAddresses`"));
        }
        for address in lists.iter().flat_map(|list| list.items()) {
            ip(&address.get("ip"), &mut errors);
            for (field, rule) in [("hostname", names::dns_label as fn(&str) -> _), ("nodeName", names::dns_subdomain)] {
                // An empty node name is judged, an empty host name is none.
                if address.has_field(field) && (field == "nodeName" || !address.get(field).text().is_empty()) {
                    invalid_each(&address.get(field), rule(address.get(field).text()), &mut errors);
                }
            }
            usable(&address.get("ip"), &mut errors);
        }
        let ports = subset.get("ports");
        for port in ports.items() {
            named(&port, ports.len() > 1, |_| true, &mut errors);
        }
    }
    errors
}
