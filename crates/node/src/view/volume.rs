//! What the node reads of a volume.

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
        config_map: Option<ConfigMapProjection>,
        downward_api "downwardAPI": Option<DownwardAPIProjection>,
        secret: Option<SecretProjection>,
        service_account_token: Option<ServiceAccountTokenProjection>,
    }
    ConfigMapProjection {
        name: String,
        items: Option<Vec<KeyToPath>>,
        optional: Option<bool>,
    }
    DownwardAPIProjection {
        items: Option<Vec<DownwardAPIVolumeFile>>,
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
