//! The fields of objects that a plan reads.

use serde::Deserialize;

#[derive(Deserialize)]
pub struct IngressClass {
    #[serde(default)]
    pub spec: IngressClassSpec,
}

#[derive(Default, Deserialize)]
pub struct IngressClassSpec {
    #[serde(default)]
    pub controller: String,
}

#[derive(Deserialize)]
pub struct Ingress {
    #[serde(default)]
    pub spec: IngressSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    pub ingress_class_name: Option<String>,
    pub default_backend: Option<IngressBackend>,
    pub rules: Vec<IngressRule>,
    pub tls: Vec<IngressTls>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTls {
    pub hosts: Vec<String>,
    pub secret_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    pub host: String,
    pub http: Option<Paths>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Paths {
    pub paths: Vec<PathRule>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathRule {
    pub path: String,
    pub path_type: String,
    pub backend: IngressBackend,
}

/// One of the two.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct IngressBackend {
    pub service: Option<IngressServiceBackend>,
    pub resource: Option<Resource>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Resource {
    pub kind: String,
    pub name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct IngressServiceBackend {
    pub name: String,
    pub port: ServiceBackendPort,
}

/// One of the two.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ServiceBackendPort {
    pub name: Option<String>,
    pub number: Option<i32>,
}

#[derive(Deserialize)]
pub struct Service {
    #[serde(default)]
    pub spec: ServiceSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ServiceSpec {
    pub r#type: String,
    pub ports: Vec<ServicePort>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    pub name: String,
    pub port: i32,
    pub protocol: String,
    pub app_protocol: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct EndpointSlice {
    pub endpoints: Option<Vec<Endpoint>>,
    pub ports: Option<Vec<EndpointPort>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Any of them (discovery/v1 Endpoint.addresses).
    pub addresses: Vec<String>,
    pub conditions: Conditions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// None is true (discovery/v1 EndpointConditions.ready).
    pub ready: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct EndpointPort {
    pub name: Option<String>,
    pub port: Option<i32>,
}
