//! Slices as their controllers plan them: endpoints of one family behind one set of ports.

use std::collections::BTreeMap;

use api::Object;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::services::{Family, HEADLESS, MANAGED_BY, Pod, SERVICE_NAME, Service, TRIGGER_TIME};
use crate::workload::controller_of;
use crate::workload::hash::fnv128;

pub type Labels = BTreeMap<String, String>;

/// One that is there, or that shall be.
#[derive(Clone, Debug)]
pub struct Slice {
    /// As it was found; None: it is to be made.
    pub found: Option<Object>,
    pub family: Family,
    /// In the order of `order`.
    pub ports: Vec<Port>,
    pub endpoints: Vec<Endpoint>,
    pub labels: Labels,
}

/// Of a slice; absent parts are told apart from empty ones.
#[derive(Deserialize, Serialize, Default, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(default, rename_all = "camelCase")]
pub struct Port {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

#[derive(Deserialize, Serialize, Default, Clone, Debug, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    pub addresses: Vec<String>,
    pub conditions: Conditions,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<Hints>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

#[derive(Deserialize, Serialize, Default, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct Conditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

/// Whose traffic an endpoint is for.
#[derive(Deserialize, Serialize, Default, Clone, Debug, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Hints {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub for_nodes: Vec<Named>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub for_zones: Vec<Named>,
}

#[derive(Deserialize, Serialize, Default, Clone, Debug, PartialEq)]
#[serde(default)]
pub struct Named {
    pub name: String,
}

/// What an endpoint is. Two are equal that are the same object, of whatever version.
#[derive(Deserialize, Serialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct Target {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl PartialEq for Target {
    fn eq(&self, other: &Target) -> bool {
        (&self.uid, &self.name, &self.namespace) == (&other.uid, &other.name, &other.namespace)
            && (&self.kind, &self.api_version, &self.field_path) == (&other.kind, &other.api_version, &other.field_path)
    }
}

/// What makes two endpoints the same one: addresses, host name, and whose they are.
pub type Identity = (Vec<String>, String, String, String);

impl Slice {
    /// None: of no family that addresses have here, or not to be read.
    pub fn of(object: &Object) -> Option<Slice> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Form {
            address_type: Family,
            #[serde(default)]
            ports: Option<Vec<Port>>,
            #[serde(default)]
            endpoints: Option<Vec<Endpoint>>,
        }
        let form: Form = object.view().ok()?;
        let (ports, endpoints) = (order(form.ports.unwrap_or_default()), form.endpoints.unwrap_or_default());
        let labels = (&object.meta().labels).into();
        Some(Slice { found: Some(object.clone()), family: form.address_type, ports, endpoints, labels })
    }

    pub fn new(family: Family, ports: Vec<Port>, endpoints: Vec<Endpoint>, labels: Labels) -> Slice {
        Slice { found: None, family, ports, endpoints, labels }
    }

    /// Whether a Service, or what else has that kind, owns it.
    pub fn is_owned_by(&self, kind: &str, uid: &str) -> bool {
        let mut owners = self.found.iter().flat_map(|found| &found.meta().owner_references);
        owners.any(|owner| owner.uid == uid && owner.kind == kind && owner.api_version == "v1")
    }

    pub fn name(&self) -> &str {
        self.found.as_ref().map_or("", |found| &found.meta().name)
    }

    /// How it is written: over what was found, else as a new one of that owner.
    pub fn to_value(&self, owner: &Object, annotations: &Labels) -> Value {
        let mut value = match &self.found {
            Some(found) => found.value(),
            // A prefix of 254 letters is cut by the server.
            None => json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"generateName": format!("{}-", owner.meta().name), "namespace": owner.meta().namespace},
                "addressType": self.family.as_str()}),
        };
        if !self.is_owned_by(&owner.meta().kind, &owner.meta().uid) {
            value["metadata"]["ownerReferences"] = json!([controller_of(owner)]);
        }
        value["ports"] = json!(self.ports);
        value["endpoints"] = json!(self.endpoints);
        value["metadata"]["labels"] = json!(self.labels);
        match (annotations.is_empty(), value["metadata"].as_object_mut()) {
            (true, Some(metadata)) => drop(metadata.remove("annotations")),
            _ => value["metadata"]["annotations"] = json!(annotations),
        }
        value
    }

    /// The annotations that it was found with, and since when what it tells is so: such a time that does not come anew
    /// goes (addTriggerTimeAnnotation).
    pub fn annotations(&self, since: Option<Timestamp>) -> Labels {
        let found = self.found.iter().flat_map(Object::annotations);
        let mut notes: Labels = found.map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
        notes.remove(TRIGGER_TIME);
        notes.extend(since.map(|since| (TRIGGER_TIME.into(), since.to_string())));
        notes
    }
}

impl Endpoint {
    /// A pod's addresses of a family, as one endpoint of a Service; None: it has none.
    pub fn of(pod: &Pod, zone: Option<&str>, name: &str, service: &Service, family: Family) -> Option<Endpoint> {
        let mut addresses: Vec<String> = pod.of_family(family).map(|address| address.to_string()).collect();
        addresses.sort_unstable();
        if addresses.is_empty() {
            return None;
        }
        let conditions = Conditions {
            ready: Some(pod.serves(service)),
            serving: Some(pod.is_ready),
            terminating: Some(pod.is_terminating),
        };
        let target = Target {
            kind: "Pod".into(),
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            uid: pod.uid.clone(),
            ..Target::default()
        };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Endpoint {
            addresses,
            conditions,
            hints: None,
            hostname: pod.hostname_of(&pod.namespace, name).map(str::to_owned),
            node_name: some(&pod.node),
            target_ref: Some(target),
            zone: zone.and_then(some),
        })
    }

    pub fn identity(&self) -> Identity {
        let mut addresses = self.addresses.clone();
        addresses.sort_unstable();
        let (namespace, name) =
            self.target_ref.as_ref().map(|to| (to.namespace.clone(), to.name.clone())).unwrap_or_default();
        (addresses, self.hostname.clone().unwrap_or_default(), namespace, name)
    }

    /// Whether two of one identity tell the same; hints are not asked (endpointsliceutil.EndpointsEqualBeyondHash).
    pub fn says_as(&self, other: &Endpoint) -> bool {
        (&self.node_name, &self.zone, &self.conditions) == (&other.node_name, &other.zone, &other.conditions)
            && self.target_ref == other.target_ref
    }

    pub fn is_ready(&self) -> bool {
        self.conditions.ready == Some(true)
    }
}

/// The ports of a Service as a pod has them; those that it does not have are left out.
pub fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let led = service.ports.iter().filter_map(|port| Some((port, pod.target(port)?)));
    order(
        led.map(|(port, number)| Port {
            name: Some(port.name.clone()),
            protocol: Some(port.protocol.clone()),
            port: Some(number),
            app_protocol: port.app_protocol.clone(),
        })
        .collect(),
    )
}

/// In upstream's order, which is of their hashes (endpointsliceutil portsInOrder).
pub fn order(mut ports: Vec<Port>) -> Vec<Port> {
    if ports.len() > 1 {
        ports.sort_by_cached_key(|port| fnv128(dump(port).as_bytes()));
    }
    ports
}

/// As Go shows it (k8s.io/utils/dump.ForHash).
fn dump(port: &Port) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "<nil>".into());
    let number = port.port.map_or_else(|| "<nil>".into(), |number| number.to_string());
    format!(
        "(v1.EndpointPort){{Name:(*string){} Protocol:(*v1.Protocol){} Port:(*int32){number} AppProtocol:(*string){}}}",
        text(&port.name),
        text(&port.protocol),
        text(&port.app_protocol)
    )
}

/// The labels of a Service's slices; and whether a slice with these must be written for them: the reserved ones are no
/// reason (endpointslice.setEndpointSliceLabels).
pub fn labels(object: &Object, service: &Service, manager: &str, of_slice: &Labels) -> (Labels, bool) {
    let is_own = |key: &&str| !matches!(*key, SERVICE_NAME | MANAGED_BY | HEADLESS);
    let own = object.meta().labels.iter().filter(|(key, _)| is_own(key));
    let mut labels: Labels = own.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let differ = !labels.iter().eq(of_slice.iter().filter(|(key, _)| is_own(&key.as_str())));
    if !service.has_address() {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), object.meta().name.clone());
    labels.insert(MANAGED_BY.into(), manager.into());
    (labels, differ)
}
