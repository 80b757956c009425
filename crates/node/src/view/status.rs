//! What the node tells of a pod.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Absent, Quantity, Time};

told! {
    PodStatus {
        allocated_resources: Option<BTreeMap<String, Quantity>>,
        conditions: Option<Vec<PodCondition>>,
        container_statuses: Option<Vec<ContainerStatus>>,
        ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
        host_ip "hostIP": Option<String>,
        host_ips "hostIPs": Option<Vec<HostIP>>,
        init_container_statuses: Option<Vec<ContainerStatus>>,
        message: Option<String>,
        nominated_node_name: Option<String>,
        observed_generation: Option<i64>,
        phase: Option<String>,
        pod_ip "podIP": Option<String>,
        pod_ips "podIPs": Option<Vec<PodIP>>,
        qos_class: Option<String>,
        reason: Option<String>,
        resize: Option<String>,
        resources: Option<ResourceRequirements>,
        start_time: Option<Time>,
    }
    PodCondition {
        last_probe_time: Option<Time>,
        last_transition_time: Option<Time>,
        message: Option<String>,
        observed_generation: Option<i64>,
        reason: Option<String>,
        status: String,
        type_: String,
    }
    ContainerStatus {
        allocated_resources: Option<BTreeMap<String, Quantity>>,
        container_id "containerID": Option<String>,
        image: String,
        image_id "imageID": String,
        last_state: Option<ContainerState>,
        name: String,
        ready: bool,
        resources: Option<ResourceRequirements>,
        restart_count: i32,
        started: Option<bool>,
        state: Option<ContainerState>,
        stop_signal: Option<String>,
        user: Option<ContainerUser>,
        volume_mounts: Option<Vec<VolumeMountStatus>>,
    }
    HostIP {
        ip: String,
    }
    PodIP {
        ip: String,
    }
    ResourceRequirements {
        claims: Option<Vec<ResourceClaim>>,
        limits: Option<BTreeMap<String, Quantity>>,
        requests: Option<BTreeMap<String, Quantity>>,
    }
    ContainerState {
        running: Option<ContainerStateRunning>,
        terminated: Option<ContainerStateTerminated>,
        waiting: Option<ContainerStateWaiting>,
    }
    ContainerUser {
        linux: Option<LinuxContainerUser>,
    }
    VolumeMountStatus {
        mount_path: String,
        name: String,
        read_only: Option<bool>,
        recursive_read_only: Option<String>,
        volume_status: Option<VolumeStatus>,
    }
    ResourceClaim {
        name: String,
        request: Option<String>,
    }
    ContainerStateRunning {
        started_at: Option<Time>,
    }
    ContainerStateTerminated {
        container_id "containerID": Option<String>,
        exit_code: i32,
        finished_at: Option<Time>,
        message: Option<String>,
        reason: Option<String>,
        signal: Option<i32>,
        started_at: Option<Time>,
    }
    ContainerStateWaiting {
        message: Option<String>,
        reason: Option<String>,
    }
    LinuxContainerUser {
        gid: i64,
        supplemental_groups: Option<Vec<i64>>,
        uid: i64,
    }
    VolumeStatus {
        image: Option<ImageVolumeStatus>,
    }
    ImageVolumeStatus {
        image_ref: String,
    }
}
