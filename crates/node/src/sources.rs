//! Where volumes and environments get their contents: the API objects that a pod names.
//!
//! A seam with two engines: the API (`live::Live`, on the client's caches) and plain maps in tests
//! and in the simulator. `Ok(None)` means that the object does not exist, an error that nobody knows.

use std::collections::BTreeMap;

use crate::view::{ConfigMap, Secret, Service};
use api::Resource;
use api::resource::{CLUSTER_TRUST_BUNDLES, CONFIG_MAPS, POD_CERTIFICATE_REQUESTS, SECRETS};
use api::selector::Labels;
use api::tree;
use runtime::engine::Boxed;
use serde_json::Value;

/// The API's engine, on watches and requests.
pub mod live;

/// Objects that contents come from: of the pod's namespace, if their kind has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    pub kind: &'static Resource,
    /// They are those with this value in the field: one of a name, or those of a signer, of a node.
    pub field: &'static str,
    pub value: String,
}

const NAME: &str = "metadata.name";

impl Source {
    pub fn config_map(name: &str) -> Source {
        Source { kind: &CONFIG_MAPS, field: NAME, value: name.to_owned() }
    }

    pub fn secret(name: &str) -> Source {
        Source { kind: &SECRETS, field: NAME, value: name.to_owned() }
    }

    pub fn bundles(wanted: &Bundles) -> Source {
        let (field, value) = match wanted {
            Bundles::Named(name) => (NAME, name),
            Bundles::Of { signer, .. } => ("spec.signerName", signer),
        };
        Source { kind: &CLUSTER_TRUST_BUNDLES, field, value: value.clone() }
    }

    /// What the node itself asked for, whose name the engine knows.
    pub fn certificate_requests() -> Source {
        Source { kind: &POD_CERTIFICATE_REQUESTS, field: "spec.nodeName", value: String::new() }
    }
}

/// Which trust bundles.
#[derive(Clone, Debug, PartialEq)]
pub enum Bundles {
    Named(String),
    /// Those of a signer that a label selector matches; an absent one (null) matches none.
    Of {
        signer: String,
        labels: Value,
    },
}

impl Bundles {
    /// The anchors of those that are wanted.
    fn of(&self, bundles: impl Iterator<Item = Value>) -> Result<Vec<String>, String> {
        let labels = match self {
            Bundles::Named(_) => Labels::default(),
            Bundles::Of { labels, .. } => {
                Labels::from_label_selector(labels).map_err(|why| format!("while parsing label selector: {why}"))?
            }
        };
        let is_wanted = |bundle: &Value| match self {
            Bundles::Named(name) => tree::text(bundle, NAME) == name,
            Bundles::Of { signer, .. } => {
                let own: BTreeMap<String, String> = tree::entries(bundle, "metadata.labels")
                    .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                    .collect();
                tree::text(bundle, "spec.signerName") == signer && labels.matches(&own)
            }
        };
        Ok(bundles.filter(is_wanted).map(|bundle| tree::text(&bundle, "spec.trustBundle").to_owned()).collect())
    }
}

/// A key and what a signer made of it, both PEM.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    pub key: String,
    /// The pod's certificate first.
    pub chain: String,
}

/// What a pod wants a certificate for: one source of one volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateRequest {
    pub namespace: String,
    pub pod_name: String,
    pub pod_uid: String,
    pub service_account: String,
    pub volume: String,
    /// Among the volume's sources.
    pub index: usize,
    pub signer: String,
    /// `ECDSAP256`
    pub key_type: String,
    /// None: the server's default.
    pub seconds: Option<i32>,
    pub annotations: BTreeMap<String, String>,
}

/// A service-account token for one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub token: String,
    /// Seconds since the epoch; it is replaced when four fifths of its life are over.
    pub expires: i64,
}

/// Which pod a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenRequest {
    pub namespace: String,
    pub service_account: String,
    pub pod_name: String,
    pub pod_uid: String,
    /// Empty: the API server's own.
    pub audience: String,
    pub seconds: i64,
}

pub trait Sources: Send + Sync + 'static {
    fn config_map<'a>(&'a self, namespace: &'a str, name: &'a str) -> Boxed<'a, Result<Option<ConfigMap>, String>>;
    fn secret<'a>(&'a self, namespace: &'a str, name: &'a str) -> Boxed<'a, Result<Option<Secret>, String>>;
    /// The same token again while it is fresh enough.
    fn token<'a>(&'a self, request: &'a TokenRequest) -> Boxed<'a, Result<Token, String>>;
    /// The anchors in every bundle that is wanted, each bundle as it stands; none where there is none.
    fn bundles<'a>(&'a self, wanted: &'a Bundles) -> Boxed<'a, Result<Vec<String>, String>>;
    /// The same credential again while it is fresh enough, an error until it is there.
    fn certificate<'a>(&'a self, request: &'a CertificateRequest) -> Boxed<'a, Result<Credential, String>>;
    /// The second since the epoch at which the first token or certificate given to a pod is no longer fresh
    /// enough.
    fn due(&self, pod_uid: &str) -> Option<i64>;
    /// Every service of a namespace, for the variables that link to them.
    fn services<'a>(&'a self, namespace: &'a str) -> Boxed<'a, Result<Vec<Service>, String>>;
}

/// Plain maps by (namespace, name): an engine without a server.
#[derive(Clone, Debug, Default)]
pub struct Fixed {
    pub config_maps: BTreeMap<(String, String), ConfigMap>,
    pub secrets: BTreeMap<(String, String), Secret>,
    pub services: Vec<Service>,
    pub bundles: Vec<Value>,
}

impl Sources for Fixed {
    fn config_map<'a>(&'a self, namespace: &'a str, name: &'a str) -> Boxed<'a, Result<Option<ConfigMap>, String>> {
        let found = self.config_maps.get(&(namespace.into(), name.into())).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn secret<'a>(&'a self, namespace: &'a str, name: &'a str) -> Boxed<'a, Result<Option<Secret>, String>> {
        let found = self.secrets.get(&(namespace.into(), name.into())).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn token<'a>(&'a self, request: &'a TokenRequest) -> Boxed<'a, Result<Token, String>> {
        let token = format!("token of {}/{} for {:?}", request.namespace, request.service_account, request.audience);
        Box::pin(async move { Ok(Token { token, expires: i64::MAX }) })
    }

    fn bundles<'a>(&'a self, wanted: &'a Bundles) -> Boxed<'a, Result<Vec<String>, String>> {
        Box::pin(std::future::ready(wanted.of(self.bundles.iter().cloned())))
    }

    fn certificate<'a>(&'a self, request: &'a CertificateRequest) -> Boxed<'a, Result<Credential, String>> {
        let key = format!("{} key of {} {}\n", request.key_type, request.volume, request.index);
        let chain = format!("certificate of {} for {}\n", request.signer, request.service_account);
        Box::pin(async move { Ok(Credential { key, chain }) })
    }

    /// They do not expire.
    fn due(&self, _: &str) -> Option<i64> {
        None
    }

    fn services<'a>(&'a self, namespace: &'a str) -> Boxed<'a, Result<Vec<Service>, String>> {
        let inside = |s: &&Service| s.metadata.namespace.as_deref() == Some(namespace);
        let found = self.services.iter().filter(inside).cloned().collect();
        Box::pin(async move { Ok(found) })
    }
}
