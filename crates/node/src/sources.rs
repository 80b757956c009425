//! Where volumes and environments get their contents: the API objects that a pod names.
//!
//! A seam with two engines: the API (`live::Live`, on the client's caches) and plain maps in tests
//! and in the simulator. `Ok(None)` means that the object does not exist, an error that nobody knows.

use std::collections::BTreeMap;

use crate::view::{ConfigMap, Secret, Service};
use api::Resource;
use api::resource::{CONFIG_MAPS, SECRETS};
use runtime::engine::Boxed;

/// The API's engine, on watches and requests.
pub mod live;

/// An object of the pod's namespace that contents come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    pub kind: &'static Resource,
    pub name: String,
}

impl Source {
    pub fn config_map(name: &str) -> Source {
        Source { kind: &CONFIG_MAPS, name: name.to_owned() }
    }

    pub fn secret(name: &str) -> Source {
        Source { kind: &SECRETS, name: name.to_owned() }
    }
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
    /// The second since the epoch at which the first token given to a pod is no longer fresh enough.
    fn token_due(&self, pod_uid: &str) -> Option<i64>;
    /// Every service of a namespace, for the variables that link to them.
    fn services<'a>(&'a self, namespace: &'a str) -> Boxed<'a, Result<Vec<Service>, String>>;
}

/// Plain maps by (namespace, name): an engine without a server.
#[derive(Clone, Debug, Default)]
pub struct Fixed {
    pub config_maps: BTreeMap<(String, String), ConfigMap>,
    pub secrets: BTreeMap<(String, String), Secret>,
    pub services: Vec<Service>,
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

    /// They do not expire.
    fn token_due(&self, _: &str) -> Option<i64> {
        None
    }

    fn services<'a>(&'a self, namespace: &'a str) -> Boxed<'a, Result<Vec<Service>, String>> {
        let inside = |s: &&Service| s.metadata.namespace.as_deref() == Some(namespace);
        let found = self.services.iter().filter(inside).cloned().collect();
        Box::pin(async move { Ok(found) })
    }
}
