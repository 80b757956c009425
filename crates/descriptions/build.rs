//! Packs what types and fields of the API mean, as k8s-openapi has it.
//!
//! A line per text, `TYPE<TAB>FIELD<TAB>TEXT`, sorted; the field is empty for the type itself.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use schemars::SchemaGenerator;
use serde_json::Value;

/// Adds kinds; what they refer to comes with them.
macro_rules! add {
    ($generator:ident; $($($module:ident)::+: $($kind:ident),+;)+) => {$(
        {
            use k8s_openapi::$($module)::+ as group;
            $($generator.subschema_for::<group::$kind>();)+
        }
    )+};
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs\ncargo::rerun-if-changed=more.txt");
    let mut generator = SchemaGenerator::default();
    add! { generator;
        api::admissionregistration::v1: MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration;
        api::apps::v1: ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet;
        api::authentication::v1: SelfSubjectReview, TokenRequest, TokenReview;
        api::authorization::v1: LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview;
        api::autoscaling::v1: HorizontalPodAutoscaler, Scale;
        api::autoscaling::v2: HorizontalPodAutoscaler;
        api::batch::v1: CronJob, Job;
        api::certificates::v1: CertificateSigningRequest, ClusterTrustBundle, PodCertificateRequest;
        api::certificates::v1beta1: ClusterTrustBundle, PodCertificateRequest;
        api::coordination::v1: Lease;
        api::core::v1: Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount;
        api::discovery::v1: EndpointSlice;
        api::events::v1: Event;
        api::flowcontrol::v1: FlowSchema, PriorityLevelConfiguration;
        api::networking::v1: IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR;
        api::node::v1: RuntimeClass;
        api::policy::v1: Eviction, PodDisruptionBudget;
        api::rbac::v1: ClusterRole, ClusterRoleBinding, Role, RoleBinding;
        api::resource::v1: DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate, ResourceSlice;
        api::scheduling::v1: PriorityClass;
        api::storage::v1: CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass;
        api::storagemigration::v1: StorageVersionMigration;
        api::storagemigration::v1beta1: StorageVersionMigration;
        apiextensions_apiserver::pkg::apis::apiextensions::v1: CustomResourceDefinition;
        apimachinery::pkg::apis::meta::v1: APIGroup, APIGroupList, APIResourceList, APIVersions, DeleteOptions, Patch, Status;
        kube_aggregator::pkg::apis::apiregistration::v1: APIService;
    }
    // Types that are not there, in our own words.
    let mut lines: BTreeSet<String> = include_str!("more.txt").lines().map(|line| format!("{line}\n")).collect();
    for (name, schema) in generator.take_definitions(true) {
        let mut add = |field: &str, schema: &Value| {
            if let Some(text) = schema["description"].as_str() {
                lines.insert(format!("{name}\t{field}\t{}\n", text.replace('\\', "\\\\").replace('\n', "\\n")));
            }
        };
        add("", &schema);
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            add(field, schema);
        }
    }
    let folder = std::env::var_os("OUT_DIR").expect("cargo names the folder");
    let file = std::fs::File::create(Path::new(&folder).join("texts.zz")).expect("the folder is there");
    let mut packer = flate2::write::ZlibEncoder::new(file, flate2::Compression::best());
    lines.iter().for_each(|line| packer.write_all(line.as_bytes()).expect("there is room"));
    packer.finish().expect("there is room");
}
