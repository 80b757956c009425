//! What everybody knows of a kind: its names, its scope, its verbs. Nothing of how it is judged.
//!
//! A client, a controller or a node needs no more to ask for objects. The server's rows carry one
//! (crate `kinds`), discovery tells them to everybody else. Our own parts name a few by hand, below.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

/// One kind in one version. Clone is a reference count; two are equal if all their names are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource(Arc<Names>);

/// What a `Resource` says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Names {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub kind: String,
    /// `PodList`
    pub list_kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    /// In discovery's order, which is the alphabet's.
    pub verbs: Vec<String>,
    /// Sorted: `binding`, `status`.
    pub subresources: Vec<String>,
}

/// Every verb.
pub const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

impl Resource {
    /// With every verb, no short name, category or subresource; `api_version` is `v1` or `apps/v1`.
    pub fn namespaced(api_version: &str, kind: &str, plural: &str) -> Resource {
        Names::new(api_version, kind, plural, true).into()
    }

    /// Like `namespaced`, for what is in no namespace.
    pub fn cluster(api_version: &str, kind: &str, plural: &str) -> Resource {
        Names::new(api_version, kind, plural, false).into()
    }

    /// The same with other names.
    pub fn with(&self, change: impl FnOnce(&mut Names)) -> Resource {
        let mut names = Names::clone(&self.0);
        change(&mut names);
        names.into()
    }
}

impl Names {
    fn new(api_version: &str, kind: &str, plural: &str, namespaced: bool) -> Names {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Names {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            list_kind: format!("{kind}List"),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced,
            verbs: VERBS.map(String::from).into(),
            subresources: Vec::new(),
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods`, `leases.coordination.k8s.io`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Whether it is this kind of this version.
    pub fn is(&self, api_version: &str, kind: &str) -> bool {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        self.kind == kind && self.is_of(group, version)
    }

    pub fn is_of(&self, group: &str, version: &str) -> bool {
        self.group == group && self.version == version
    }

    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}

impl From<Names> for Resource {
    fn from(names: Names) -> Resource {
        Resource(Arc::new(names))
    }
}

impl Deref for Resource {
    type Target = Names;

    fn deref(&self) -> &Names {
        &self.0
    }
}

/// A kind that our own parts speak of; a test of `kinds` holds each against its row.
pub type Named = LazyLock<Resource>;

pub static CERTIFICATE_SIGNING_REQUESTS: Named = LazyLock::new(|| {
    Resource::cluster("certificates.k8s.io/v1", "CertificateSigningRequest", "certificatesigningrequests")
});
pub static CLUSTER_TRUST_BUNDLES: Named =
    LazyLock::new(|| Resource::cluster("certificates.k8s.io/v1", "ClusterTrustBundle", "clustertrustbundles"));
pub static CLUSTER_ROLES: Named =
    LazyLock::new(|| Resource::cluster("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles"));
pub static CONFIG_MAPS: Named = LazyLock::new(|| Resource::namespaced("v1", "ConfigMap", "configmaps"));
pub static CONTROLLER_REVISIONS: Named =
    LazyLock::new(|| Resource::namespaced("apps/v1", "ControllerRevision", "controllerrevisions"));
pub static DAEMON_SETS: Named = LazyLock::new(|| Resource::namespaced("apps/v1", "DaemonSet", "daemonsets"));
pub static DEPLOYMENTS: Named = LazyLock::new(|| Resource::namespaced("apps/v1", "Deployment", "deployments"));
pub static ENDPOINTS: Named = LazyLock::new(|| Resource::namespaced("v1", "Endpoints", "endpoints"));
pub static ENDPOINT_SLICES: Named =
    LazyLock::new(|| Resource::namespaced("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"));
pub static EVENTS: Named = LazyLock::new(|| Resource::namespaced("v1", "Event", "events"));
pub static CRON_JOBS: Named = LazyLock::new(|| Resource::namespaced("batch/v1", "CronJob", "cronjobs"));
pub static IP_ADDRESSES: Named =
    LazyLock::new(|| Resource::cluster("networking.k8s.io/v1", "IPAddress", "ipaddresses"));
pub static INGRESSES: Named = LazyLock::new(|| Resource::namespaced("networking.k8s.io/v1", "Ingress", "ingresses"));
pub static INGRESS_CLASSES: Named =
    LazyLock::new(|| Resource::cluster("networking.k8s.io/v1", "IngressClass", "ingressclasses"));
pub static JOBS: Named = LazyLock::new(|| Resource::namespaced("batch/v1", "Job", "jobs"));
pub static HORIZONTAL_POD_AUTOSCALERS: Named =
    LazyLock::new(|| Resource::namespaced("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"));
pub static LEASES: Named = LazyLock::new(|| Resource::namespaced("coordination.k8s.io/v1", "Lease", "leases"));
pub static NAMESPACES: Named = LazyLock::new(|| Resource::cluster("v1", "Namespace", "namespaces"));
pub static NETWORK_POLICIES: Named =
    LazyLock::new(|| Resource::namespaced("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"));
pub static NODES: Named = LazyLock::new(|| Resource::cluster("v1", "Node", "nodes"));
pub static PERSISTENT_VOLUMES: Named =
    LazyLock::new(|| Resource::cluster("v1", "PersistentVolume", "persistentvolumes"));
pub static PERSISTENT_VOLUME_CLAIMS: Named =
    LazyLock::new(|| Resource::namespaced("v1", "PersistentVolumeClaim", "persistentvolumeclaims"));
pub static POD_CERTIFICATE_REQUESTS: Named =
    LazyLock::new(|| Resource::namespaced("certificates.k8s.io/v1", "PodCertificateRequest", "podcertificaterequests"));
pub static PODS: Named = LazyLock::new(|| Resource::namespaced("v1", "Pod", "pods"));
pub static RESOURCE_QUOTAS: Named = LazyLock::new(|| Resource::namespaced("v1", "ResourceQuota", "resourcequotas"));
pub static POD_DISRUPTION_BUDGETS: Named =
    LazyLock::new(|| Resource::namespaced("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"));
pub static REPLICA_SETS: Named = LazyLock::new(|| Resource::namespaced("apps/v1", "ReplicaSet", "replicasets"));
pub static REPLICATION_CONTROLLERS: Named =
    LazyLock::new(|| Resource::namespaced("v1", "ReplicationController", "replicationcontrollers"));
pub static RUNTIME_CLASSES: Named =
    LazyLock::new(|| Resource::cluster("node.k8s.io/v1", "RuntimeClass", "runtimeclasses"));
pub static SECRETS: Named = LazyLock::new(|| Resource::namespaced("v1", "Secret", "secrets"));
pub static SERVICES: Named = LazyLock::new(|| Resource::namespaced("v1", "Service", "services"));
pub static SERVICE_CIDRS: Named =
    LazyLock::new(|| Resource::cluster("networking.k8s.io/v1", "ServiceCIDR", "servicecidrs"));
pub static SERVICE_ACCOUNTS: Named = LazyLock::new(|| Resource::namespaced("v1", "ServiceAccount", "serviceaccounts"));
pub static STATEFUL_SETS: Named = LazyLock::new(|| Resource::namespaced("apps/v1", "StatefulSet", "statefulsets"));
pub static VOLUME_ATTRIBUTES_CLASSES: Named =
    LazyLock::new(|| Resource::cluster("storage.k8s.io/v1", "VolumeAttributesClass", "volumeattributesclasses"));

/// All of the above.
pub static NAMED: &[&Named] = &[
    &CLUSTER_ROLES,
    &CONFIG_MAPS,
    &CONTROLLER_REVISIONS,
    &DAEMON_SETS,
    &DEPLOYMENTS,
    &ENDPOINTS,
    &ENDPOINT_SLICES,
    &EVENTS,
    &CRON_JOBS,
    &IP_ADDRESSES,
    &INGRESSES,
    &INGRESS_CLASSES,
    &JOBS,
    &LEASES,
    &NAMESPACES,
    &NETWORK_POLICIES,
    &NODES,
    &PERSISTENT_VOLUMES,
    &PERSISTENT_VOLUME_CLAIMS,
    &POD_CERTIFICATE_REQUESTS,
    &PODS,
    &RESOURCE_QUOTAS,
    &POD_DISRUPTION_BUDGETS,
    &REPLICA_SETS,
    &REPLICATION_CONTROLLERS,
    &RUNTIME_CLASSES,
    &SECRETS,
    &SERVICES,
    &SERVICE_CIDRS,
    &SERVICE_ACCOUNTS,
    &STATEFUL_SETS,
    &VOLUME_ATTRIBUTES_CLASSES,
];
