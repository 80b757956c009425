//! What the node reads of a volume.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{ObjectFieldSelector, Quantity, ResourceFieldSelector};

/// A volume: its name and its source.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) config_map: Option<ConfigMapVolumeSource>,
    #[serde(rename = "downwardAPI")]
    pub(crate) downward_api: Option<DownwardAPIVolumeSource>,
    pub(crate) empty_dir: Option<EmptyDirVolumeSource>,
    pub(crate) host_path: Option<HostPathVolumeSource>,
    pub(crate) image: Option<ImageVolumeSource>,
    pub(crate) projected: Option<ProjectedVolumeSource>,
    pub(crate) secret: Option<SecretVolumeSource>,
    /// Sources of other types as they stand: each is read by its row.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// As it stands: `api::selector` reads it.
pub type LabelSelector = Value;

read! {
    ConfigMapVolumeSource {
        name: String,
        default_mode: Option<i32>,
        items: Option<Vec<KeyToPath>>,
        optional: Option<bool>,
    }
    DownwardAPIVolumeSource {
        default_mode: Option<i32>,
        items: Option<Vec<DownwardAPIVolumeFile>>,
    }
    DownwardAPIVolumeFile {
        field_ref: Option<ObjectFieldSelector>,
        mode: Option<i32>,
        path: String,
        resource_field_ref: Option<ResourceFieldSelector>,
    }
    EmptyDirVolumeSource {
        medium: Option<String>,
        size_limit: Option<Quantity>,
    }
    HostPathVolumeSource {
        path: String,
        type_: Option<String>,
    }
    ImageVolumeSource {
        pull_policy: Option<String>,
        reference: Option<String>,
    }
    ProjectedVolumeSource {
        default_mode: Option<i32>,
        sources: Option<Vec<VolumeProjection>>,
    }
    VolumeProjection {
        cluster_trust_bundle: Option<ClusterTrustBundleProjection>,
        config_map: Option<ConfigMapProjection>,
        downward_api "downwardAPI": Option<DownwardAPIProjection>,
        pod_certificate: Option<PodCertificateProjection>,
        secret: Option<SecretProjection>,
        service_account_token: Option<ServiceAccountTokenProjection>,
    }
    ClusterTrustBundleProjection {
        label_selector: Option<LabelSelector>,
        name: Option<String>,
        optional: Option<bool>,
        path: String,
        signer_name: Option<String>,
    }
    ConfigMapProjection {
        name: String,
        items: Option<Vec<KeyToPath>>,
        optional: Option<bool>,
    }
    DownwardAPIProjection {
        items: Option<Vec<DownwardAPIVolumeFile>>,
    }
    PodCertificateProjection {
        certificate_chain_path: String,
        credential_bundle_path: String,
        key_path: String,
        key_type: String,
        max_expiration_seconds: Option<i32>,
        signer_name: String,
        user_annotations: Option<BTreeMap<String, String>>,
    }
    SecretProjection {
        name: String,
        items: Option<Vec<KeyToPath>>,
        optional: Option<bool>,
    }
    ServiceAccountTokenProjection {
        audience: Option<String>,
        expiration_seconds: Option<i64>,
        path: String,
    }
    SecretVolumeSource {
        default_mode: Option<i32>,
        items: Option<Vec<KeyToPath>>,
        optional: Option<bool>,
        secret_name: Option<String>,
    }
    KeyToPath {
        key: String,
        mode: Option<i32>,
        path: String,
    }
}
