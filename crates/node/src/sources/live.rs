//! Sources from the API: objects that pods name are watched as long as a pod here names them.
//!
//! A watched object is read from its cache; everything else is asked for. Tokens are kept until four
//! fifths of their life are over. A change of a watched object rings its pods.

use runtime::engine::Boxed;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::view::{ConfigMap, Secret, Service};
use api::resource::{SERVICE_ACCOUNTS, SERVICES};
use api::{Clock, Entropy, Object, Reason, tree};
use client::{Cache, Client, Scope};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::sources::{Bundles, CertificateRequest, Credential, NAME, Source, Sources, Token, TokenRequest};

/// Certificates of pods, from the first request to the last renewal.
mod certificates;

use certificates::Held;

/// A node that cannot list services yet lets its pods wait this long for them.
const SERVICES_WAIT: Duration = Duration::from_secs(5);
/// So does one that waits for bundles (kubelet clustertrustbundle manager).
const BUNDLES_WAIT: Duration = Duration::from_secs(10);
/// Seconds until a token that could not be renewed is tried again.
const TOKEN_RETRY: i64 = 10;

/// Called when something that a pod names has changed.
pub type Ring = Arc<dyn Fn() + Send + Sync>;

/// By namespace, if the kind has one.
type Named = (String, Source);

pub struct Live {
    client: Client,
    node: String,
    clock: Clock,
    entropy: Entropy,
    services: Arc<Cache>,
    watched: Mutex<BTreeMap<Named, Watched>>,
    tokens: Mutex<BTreeMap<TokenRequest, (Token, i64)>>,
    certificates: Mutex<BTreeMap<CertificateRequest, Held>>,
}

struct Watched {
    cache: Arc<Cache>,
    /// Pods that name it, by UID, and where to ring.
    pods: Arc<Mutex<BTreeMap<String, Ring>>>,
}

impl Live {
    pub fn new(client: Client, node: &str, clock: Clock, entropy: Entropy) -> Live {
        Live {
            services: Cache::start(client.clone(), &SERVICES, Scope::default()),
            client,
            node: node.to_owned(),
            clock,
            entropy,
            watched: Mutex::default(),
            tokens: Mutex::default(),
            certificates: Mutex::default(),
        }
    }

    /// Watches what a pod names, and no longer what nobody names.
    pub fn follow(&self, uid: &str, namespace: &str, named: &[Source], ring: Ring) {
        let mut watched = lock(&self.watched);
        for source in named {
            let key = place(namespace, source);
            let namespace = key.0.clone();
            let entry = watched.entry(key).or_insert_with(|| self.watch(&namespace, source));
            lock(&entry.pods).insert(uid.to_owned(), ring.clone());
        }
    }

    /// A pod is gone: what only it named is no longer watched.
    pub fn leave(&self, uid: &str) {
        lock(&self.watched).retain(|_, entry| {
            let mut pods = lock(&entry.pods);
            pods.remove(uid);
            !pods.is_empty()
        });
        lock(&self.tokens).retain(|request, _| request.pod_uid != uid);
        lock(&self.certificates).retain(|request, _| request.pod_uid != uid);
    }

    fn watch(&self, namespace: &str, source: &Source) -> Watched {
        let value = if source.value.is_empty() { &self.node } else { &source.value };
        let field_selector = format!("{}={value}", source.field);
        let scope = Scope { namespace: namespace.into(), field_selector, ..Scope::default() };
        let cache = Cache::start(self.client.clone(), source.kind, scope);
        let pods: Arc<Mutex<BTreeMap<String, Ring>>> = Arc::default();
        let mut changes = cache.subscribe();
        let ring = pods.clone();
        tokio::spawn(async move {
            // Ends with the cache.
            while let Some(change) = changes.next().await {
                // What is one pod's alone concerns no other.
                let one = change.new.or(change.old).map(|object| object.value()).unwrap_or_default();
                let one = tree::text(&one, "spec.podUID");
                lock(&ring).iter().filter(|(uid, _)| one.is_empty() || *uid == one).for_each(|(_, ring)| ring());
            }
        });
        Watched { cache, pods }
    }

    async fn object(&self, namespace: &str, source: Source) -> Result<Option<Object>, String> {
        let key = place(namespace, &source);
        self.one(&key, &source.value).await
    }

    /// The object of the name, among what is watched or from the server itself.
    async fn one(&self, (namespace, source): &Named, name: &str) -> Result<Option<Object>, String> {
        let cached = self.cache_of(namespace, source).filter(|cache| cache.is_synced());
        if let Some(object) = cached.and_then(|cache| cache.get(namespace, name)) {
            return Ok(Some(object));
        }
        match self.client.get(source.kind, namespace, name).await {
            Ok(object) => Ok(Some(object)),
            Err(status) if status.reason == Reason::NotFound => Ok(None),
            Err(status) => Err(status.message),
        }
    }

    fn cache_of(&self, namespace: &str, source: &Source) -> Option<Arc<Cache>> {
        lock(&self.watched).get(&place(namespace, source)).map(|watched| watched.cache.clone())
    }

    async fn bundles_of(&self, wanted: &Bundles) -> Result<Vec<String>, String> {
        let source = Source::bundles(wanted);
        let cache = self.cache_of("", &source).ok_or("ClusterTrustBundles are not watched")?;
        if tokio::time::timeout(BUNDLES_WAIT, cache.synced()).await.is_err() {
            return Err("ClusterTrustBundles are not known yet".into());
        }
        wanted.of(cache.list().iter().map(Object::value))
    }

    async fn fresh_token(&self, request: &TokenRequest) -> Result<Token, String> {
        let now = (self.clock)().as_second();
        let known = lock(&self.tokens).get(request).cloned();
        if let Some((token, _)) = known.as_ref().filter(|(_, due)| now < *due) {
            return Ok(token.clone());
        }
        match self.new_token(request, now).await {
            Ok((token, due)) => {
                lock(&self.tokens).insert(request.clone(), (token.clone(), due));
                Ok(token)
            }
            // An old one is better than none (kubelet token manager).
            Err(why) => match known.filter(|(token, _)| now < token.expires) {
                Some((token, _)) => {
                    tracing::warn!(pod = %request.pod_name, "a token is not renewed: {why}");
                    lock(&self.tokens).insert(request.clone(), (token.clone(), now + TOKEN_RETRY));
                    Ok(token)
                }
                None => Err(why),
            },
        }
    }

    /// A new token, and when it is to be replaced.
    async fn new_token(&self, request: &TokenRequest, now: i64) -> Result<(Token, i64), String> {
        let audiences: BTreeSet<&str> = [request.audience.as_str()].into_iter().filter(|a| !a.is_empty()).collect();
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": request.seconds,
                "boundObjectRef":
                    {"apiVersion": "v1", "kind": "Pod", "name": request.pod_name, "uid": request.pod_uid},
            },
        });
        let (namespace, account) = (&request.namespace, &request.service_account);
        let answer = self.client.create_sub(&SERVICE_ACCOUNTS, namespace, account, "token", &body).await;
        let answer = answer.map_err(|status| status.message)?.value();
        let status = &answer["status"];
        let expires = status["expirationTimestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        let (Some(token), Some(expires)) = (status["token"].as_str(), expires) else {
            return Err("the server's answer has no token".into());
        };
        let token = Token { token: token.to_owned(), expires: expires.as_second() };
        // Four fifths of its life, at most a day (kubelet token manager).
        let due = now + ((token.expires - now) * 4 / 5).min(86_400);
        Ok((token, due))
    }

    async fn services_of(&self, namespace: &str) -> Result<Vec<Service>, String> {
        if !self.services.is_synced() && tokio::time::timeout(SERVICES_WAIT, self.services.synced()).await.is_err() {
            // A static pod may be what the server itself needs.
            tracing::warn!("services are not known yet; a container starts without their variables");
        }
        let own = self.services.list().into_iter().filter(|o| o.meta().namespace == namespace);
        own.map(|o| o.view::<Service>().map_err(|e| e.to_string())).collect()
    }
}

impl Sources for Live {
    fn config_map<'a>(&'a self, namespace: &'a str, name: &'a str) -> Boxed<'a, Result<Option<ConfigMap>, String>> {
        Box::pin(async move { decoded(self.object(namespace, Source::config_map(name)).await?) })
    }

    fn secret<'a>(&'a self, namespace: &'a str, name: &'a str) -> Boxed<'a, Result<Option<Secret>, String>> {
        Box::pin(async move { decoded(self.object(namespace, Source::secret(name)).await?) })
    }

    fn token<'a>(&'a self, request: &'a TokenRequest) -> Boxed<'a, Result<Token, String>> {
        Box::pin(self.fresh_token(request))
    }

    fn bundles<'a>(&'a self, wanted: &'a Bundles) -> Boxed<'a, Result<Vec<String>, String>> {
        Box::pin(self.bundles_of(wanted))
    }

    fn certificate<'a>(&'a self, request: &'a CertificateRequest) -> Boxed<'a, Result<Credential, String>> {
        Box::pin(self.fresh_certificate(request))
    }

    fn due(&self, pod_uid: &str) -> Option<i64> {
        let tokens = lock(&self.tokens);
        let tokens = tokens.iter().filter(|(request, _)| request.pod_uid == pod_uid).map(|(_, (_, due))| *due);
        let certificates = lock(&self.certificates);
        let certificates = certificates.iter().filter(|(request, _)| request.pod_uid == pod_uid);
        tokens.chain(certificates.filter_map(|(_, held)| held.due())).min()
    }

    fn services<'a>(&'a self, namespace: &'a str) -> Boxed<'a, Result<Vec<Service>, String>> {
        Box::pin(self.services_of(namespace))
    }
}

/// Where a source is watched.
fn place(namespace: &str, source: &Source) -> Named {
    let inside = source.kind.namespaced && source.field == NAME;
    (if inside { namespace.to_owned() } else { String::new() }, source.clone())
}

fn decoded<T: DeserializeOwned>(object: Option<Object>) -> Result<Option<T>, String> {
    object.map(|o| o.view().map_err(|e| e.to_string())).transpose()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
