//! Variables that link to services, as Docker's links did: `WEB_SERVICE_HOST`, `WEB_PORT_80_TCP`, ….
//!
//! Matches pkg/kubelet/envvars upstream. Services without a cluster address have none.

use std::collections::BTreeMap;

use crate::view::Service;

/// The variables of all these services.
pub fn variables(services: &[Service]) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let host = spec.cluster_ip.as_deref().unwrap_or_default();
        let ports = spec.ports.as_deref().unwrap_or_default();
        let Some(first) = ports.first().filter(|_| !matches!(host, "" | "None")) else { continue };
        let name = upper(service.metadata.name.as_deref().unwrap_or_default());
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
        let mut set = |key: String, value: String| variables.insert(key, value);
        set(format!("{name}_SERVICE_HOST"), host.to_string());
        set(format!("{name}_SERVICE_PORT"), first.port.to_string());
        for (number, port) in ports.iter().enumerate() {
            if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
                set(format!("{name}_SERVICE_PORT_{}", upper(port_name)), port.port.to_string());
            }
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let url = format!("{}://{bracketed}:{}", protocol.to_lowercase(), port.port);
            if number == 0 {
                set(format!("{name}_PORT"), url.clone());
            }
            let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
            set(prefix.clone(), url);
            set(format!("{prefix}_PROTO"), protocol.to_lowercase());
            set(format!("{prefix}_PORT"), port.port.to_string());
            set(format!("{prefix}_ADDR"), host.to_string());
        }
    }
    variables
}

fn upper(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}
