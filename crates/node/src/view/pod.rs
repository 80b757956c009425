//! What the node reads of a pod.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    AppArmorProfile, Container, ObjectMeta, PodStatus, Quantity, ResourceRequirements, SeccompProfile, Volume,
};

read! {
    Pod {
        metadata: ObjectMeta,
        spec: Option<PodSpec>,
        status: Option<PodStatus>,
    }
    PodSpec {
        active_deadline_seconds: Option<i64>,
        affinity: Option<Affinity>,
        containers: Vec<Container>,
        dns_config: Option<PodDNSConfig>,
        dns_policy: Option<String>,
        enable_service_links: Option<bool>,
        ephemeral_containers: Option<Vec<Container>>,
        host_aliases: Option<Vec<HostAlias>>,
        host_ipc "hostIPC": Option<bool>,
        host_network: Option<bool>,
        host_pid "hostPID": Option<bool>,
        host_users: Option<bool>,
        hostname: Option<String>,
        hostname_override: Option<String>,
        image_pull_secrets: Option<Vec<LocalObjectReference>>,
        init_containers: Option<Vec<Container>>,
        node_name: Option<String>,
        node_selector: Option<BTreeMap<String, String>>,
        os: Option<PodOS>,
        overhead: Option<BTreeMap<String, Quantity>>,
        priority: Option<i32>,
        priority_class_name: Option<String>,
        readiness_gates: Option<Vec<PodReadinessGate>>,
        resource_claims: Option<Vec<PodResourceClaim>>,
        resources: Option<ResourceRequirements>,
        restart_policy: Option<String>,
        runtime_class_name: Option<String>,
        security_context: Option<PodSecurityContext>,
        service_account_name: Option<String>,
        set_hostname_as_fqdn "setHostnameAsFQDN": Option<bool>,
        share_process_namespace: Option<bool>,
        subdomain: Option<String>,
        termination_grace_period_seconds: Option<i64>,
        tolerations: Option<Vec<Toleration>>,
        volumes: Option<Vec<Volume>>,
    }
    PodSecurityContext {
        app_armor_profile: Option<AppArmorProfile>,
        fs_group: Option<i64>,
        run_as_group: Option<i64>,
        run_as_non_root: Option<bool>,
        run_as_user: Option<i64>,
        seccomp_profile: Option<SeccompProfile>,
        supplemental_groups: Option<Vec<i64>>,
        supplemental_groups_policy: Option<String>,
        sysctls: Option<Vec<Sysctl>>,
    }
    Sysctl {
        name: String,
        value: String,
    }
    PodDNSConfig {
        nameservers: Option<Vec<String>>,
        options: Option<Vec<PodDNSConfigOption>>,
        searches: Option<Vec<String>>,
    }
    PodDNSConfigOption {
        name: Option<String>,
        value: Option<String>,
    }
    HostAlias {
        hostnames: Option<Vec<String>>,
        ip: String,
    }
    LocalObjectReference {
        name: String,
    }
    PodOS {
        name: String,
    }
    PodReadinessGate {
        condition_type: String,
    }
    PodResourceClaim {
    }
    Toleration {
        effect: Option<String>,
        key: Option<String>,
        operator: Option<String>,
        value: Option<String>,
    }
    Affinity {
        node_affinity: Option<NodeAffinity>,
    }
    NodeAffinity {
        required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
    }
    NodeSelector {
        node_selector_terms: Vec<NodeSelectorTerm>,
    }
    NodeSelectorTerm {
        match_expressions: Option<Vec<NodeSelectorRequirement>>,
        match_fields: Option<Vec<NodeSelectorRequirement>>,
    }
    NodeSelectorRequirement {
        key: String,
        operator: String,
        values: Option<Vec<String>>,
    }
}
