//! What the node reads of a container.

use serde::Deserialize;

use super::{IntOrString, Quantity, ResourceRequirements};

read! {
    Container {
        args: Option<Vec<String>>,
        command: Option<Vec<String>>,
        env: Option<Vec<EnvVar>>,
        env_from: Option<Vec<EnvFromSource>>,
        image: Option<String>,
        image_pull_policy: Option<String>,
        lifecycle: Option<Lifecycle>,
        liveness_probe: Option<Probe>,
        name: String,
        ports: Option<Vec<ContainerPort>>,
        readiness_probe: Option<Probe>,
        resize_policy: Option<Vec<ContainerResizePolicy>>,
        resources: Option<ResourceRequirements>,
        restart_policy: Option<String>,
        restart_policy_rules: Option<Vec<ContainerRestartRule>>,
        security_context: Option<SecurityContext>,
        startup_probe: Option<Probe>,
        stdin: Option<bool>,
        stdin_once: Option<bool>,
        target_container_name: Option<String>,
        termination_message_path: Option<String>,
        termination_message_policy: Option<String>,
        tty: Option<bool>,
        volume_devices: Option<Vec<VolumeDevice>>,
        volume_mounts: Option<Vec<VolumeMount>>,
        working_dir: Option<String>,
    }
    ContainerPort {
        container_port: i32,
        host_ip "hostIP": Option<String>,
        host_port: Option<i32>,
        name: Option<String>,
        protocol: Option<String>,
    }
    ContainerResizePolicy {
        resource_name: String,
        restart_policy: String,
    }
    ContainerRestartRule {
        action: String,
        exit_codes: Option<ContainerRestartRuleOnExitCodes>,
    }
    ContainerRestartRuleOnExitCodes {
        operator: String,
        values: Option<Vec<i32>>,
    }
    VolumeDevice {
    }
    VolumeMount {
        mount_path: String,
        mount_propagation: Option<String>,
        name: String,
        read_only: Option<bool>,
        recursive_read_only: Option<String>,
        sub_path: Option<String>,
        sub_path_expr: Option<String>,
    }
    SecurityContext {
        allow_privilege_escalation: Option<bool>,
        app_armor_profile: Option<AppArmorProfile>,
        capabilities: Option<Capabilities>,
        privileged: Option<bool>,
        proc_mount: Option<String>,
        read_only_root_filesystem: Option<bool>,
        run_as_group: Option<i64>,
        run_as_non_root: Option<bool>,
        run_as_user: Option<i64>,
        seccomp_profile: Option<SeccompProfile>,
    }
    Capabilities {
        add: Option<Vec<String>>,
        drop: Option<Vec<String>>,
    }
    AppArmorProfile {
        type_: String,
    }
    SeccompProfile {
        localhost_profile: Option<String>,
        type_: String,
    }
    EnvVar {
        name: String,
        value: Option<String>,
        value_from: Option<EnvVarSource>,
    }
    EnvVarSource {
        config_map_key_ref: Option<ConfigMapKeySelector>,
        field_ref: Option<ObjectFieldSelector>,
        file_key_ref: Option<FileKeySelector>,
        resource_field_ref: Option<ResourceFieldSelector>,
        secret_key_ref: Option<SecretKeySelector>,
    }
    EnvFromSource {
        config_map_ref: Option<ConfigMapEnvSource>,
        prefix: Option<String>,
        secret_ref: Option<SecretEnvSource>,
    }
    ConfigMapEnvSource {
        name: String,
        optional: Option<bool>,
    }
    SecretEnvSource {
        name: String,
        optional: Option<bool>,
    }
    ConfigMapKeySelector {
        name: String,
        key: String,
        optional: Option<bool>,
    }
    SecretKeySelector {
        name: String,
        key: String,
        optional: Option<bool>,
    }
    FileKeySelector {
        key: String,
        optional: Option<bool>,
        path: String,
        volume_name: String,
    }
    ObjectFieldSelector {
        field_path: String,
    }
    ResourceFieldSelector {
        container_name: Option<String>,
        divisor: Option<Quantity>,
        resource: String,
    }
    Lifecycle {
        post_start: Option<LifecycleHandler>,
        pre_stop: Option<LifecycleHandler>,
        stop_signal: Option<String>,
    }
    LifecycleHandler {
        exec: Option<ExecAction>,
        http_get: Option<HTTPGetAction>,
        sleep: Option<SleepAction>,
    }
    Probe {
        exec: Option<ExecAction>,
        grpc: Option<GRPCAction>,
        http_get: Option<HTTPGetAction>,
        tcp_socket: Option<TCPSocketAction>,
        failure_threshold: Option<i32>,
        initial_delay_seconds: Option<i32>,
        period_seconds: Option<i32>,
        success_threshold: Option<i32>,
        termination_grace_period_seconds: Option<i64>,
        timeout_seconds: Option<i32>,
    }
    ExecAction {
        command: Option<Vec<String>>,
    }
    GRPCAction {
        port: i32,
        service: Option<String>,
    }
    HTTPGetAction {
        host: Option<String>,
        http_headers: Option<Vec<HTTPHeader>>,
        path: Option<String>,
        port: IntOrString,
        scheme: Option<String>,
    }
    HTTPHeader {
        name: String,
        value: String,
    }
    TCPSocketAction {
        host: Option<String>,
        port: IntOrString,
    }
    SleepAction {
        seconds: i64,
    }
}
