//! What the node reads of a volume.

use serde::Deserialize;

use super::{ObjectFieldSelector, Quantity, ResourceFieldSelector};

read! {
    Volume {
        config_map: Option<ConfigMapVolumeSource>,
        downward_api "downwardAPI": Option<DownwardAPIVolumeSource>,
        empty_dir: Option<EmptyDirVolumeSource>,
        host_path: Option<HostPathVolumeSource>,
        image: Option<ImageVolumeSource>,
        projected: Option<ProjectedVolumeSource>,
        secret: Option<SecretVolumeSource>,
        name: String,
    }
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
