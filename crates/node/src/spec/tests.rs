use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::view as core;
use runtime::{Image, ImageUser, MountSource, Network, Share};
use serde_json::{Value, json};

use super::container::{Resolved, container_spec, signal_number};
use super::*;
use crate::pod;
use crate::spec::Mounted;

fn settings() -> Settings {
    Settings {
        node_name: "n".into(),
        cgroup_root: "kubepods".into(),
        cluster_domain: "cluster.local".into(),
        host_resolv: "nameserver 192.0.2.53\nsearch example.org\noptions edns0\n".into(),
        host_hosts: "127.0.0.1 localhost\n".into(),
        memory_capacity: 1 << 30,
        log_root: "/var/log/pods".into(),
        log_size_max: 10 << 20,
        log_files_max: 5,
        pids_max: 0,
        sysctls_allowed: vec!["kernel.msg*".into()],
        apparmor: false,
    }
}

fn pod(spec: Value) -> core::Pod {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec});
    serde_json::from_value(pod).unwrap()
}

fn one(container: Value) -> core::Pod {
    pod(json!({"containers": [container]}))
}

fn spec_of(pod: &core::Pod, image: &Image, user: &ImageUser) -> Result<runtime::ContainerSpec, SpecError> {
    let part = &pod::parts(pod)[0];
    let volumes: BTreeMap<_, _> =
        [("v".to_owned(), Mounted { source: MountSource::Host("/vol".into()), read_only: false })].into();
    let resolved = Resolved {
        image,
        user,
        env: vec![("A".into(), "1".into())],
        volumes: &volumes,
        hostname: "p",
        hosts_file: Some("/pods/u/etc-hosts".into()),
        hostname_file: Some("/pods/u/hostname".into()),
        resolv_file: Some("/pods/u/resolv.conf".into()),
        message_file: Some("/pods/u/c/message".into()),
        profile: None,
        attempt: 2,
        backoff: 20,
    };
    container_spec(pod, part, &settings(), &resolved)
}

fn image() -> Image {
    Image { id: "sha256:1".into(), cmd: vec!["run".into()], ..Default::default() }
}

fn root() -> ImageUser {
    ImageUser { uid: 0, gid: 0, groups: vec![10], numeric: true, home: "/root".into() }
}

#[test]
fn plain_container_gets_containerds_defaults() {
    let spec = spec_of(&one(json!({"name": "c", "image": "i"})), &image(), &root()).unwrap();
    assert_eq!(spec.argv, ["run"]);
    assert_eq!(spec.cwd, PathBuf::from("/"));
    assert_eq!(spec.capabilities.len(), 14);
    assert_eq!(spec.log.unwrap().path, PathBuf::from("/var/log/pods/ns_p_u/c/2.log"));
    assert_eq!(spec.stop_signal, 15);
    assert_eq!(spec.resources.cpu_shares, 2);
    assert_eq!(spec.oom_score_adj, 1000);
    let targets: Vec<_> = spec.mounts.iter().map(|m| m.target.to_string_lossy().into_owned()).collect();
    assert_eq!(targets, ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/termination-log"]);
    assert!(spec.env.contains(&("HOSTNAME".into(), "p".into())) && spec.env.contains(&("HOME".into(), "/root".into())));
}

#[test]
fn no_mount_hides_another_and_the_images_own_volumes_stand_among_them() {
    let image = Image { volumes: ["/var", "data/", "/a/./b", "/a/b/c"].map(PathBuf::from).into(), ..image() };
    let at = |path: &str| json!({"name": "v", "mountPath": path});
    let mounts = json!([at("/a/b/c/d"), at("/var/"), at("/a/b"), at("/x"), at("/a"), at("/etc/hostname")]);
    let pod = one(json!({"name": "c", "volumeMounts": mounts, "securityContext": {"readOnlyRootFilesystem": true}}));
    let spec = spec_of(&pod, &image, &root()).unwrap();
    let shown =
        |m: &runtime::Mount| format!("{}{}", m.target.display(), if m.source == MountSource::Own { "!" } else { "" });
    let targets: Vec<_> = spec.mounts.iter().map(shown).collect();
    assert_eq!(
        targets,
        [
            "/var",
            "/x",
            "/a",
            "/data!",
            "/a/b",
            "/etc/hostname",
            "/etc/hosts",
            "/etc/resolv.conf",
            "/dev/termination-log",
            "/a/b/c!",
            "/a/b/c/d"
        ]
    );
    let read_only = |target: &str| spec.mounts.iter().find(|m| m.target.ends_with(target)).unwrap().read_only;
    assert!(!read_only("etc/hosts") && read_only("etc/resolv.conf") && !read_only("data"));
    let many = Image { volumes: (0..257).map(|n| format!("/v{n}").into()).collect(), ..image };
    assert!(spec_of(&pod, &many, &root()).unwrap_err().message.contains("declares 257 volumes"));
}

#[test]
fn ordinary_users_listen_on_any_port_and_ping_unless_the_pod_says_otherwise() {
    let of = |spec: Value| {
        let made = sandbox::sandbox_spec(&pod(spec), &settings(), 0, Network::Host, &[]).unwrap();
        made.sysctls.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    let open = ["net.ipv4.ip_unprivileged_port_start=0", "net.ipv4.ping_group_range=0 2147483647"];
    assert_eq!(of(json!({"containers": []})), open);
    assert_eq!(of(json!({"containers": [], "hostNetwork": true})), Vec::<String>::new());
    let own = json!([{"name": "net/ipv4/ip_unprivileged_port_start", "value": "1024"}]);
    let own = of(json!({"containers": [], "securityContext": {"sysctls": own}}));
    assert_eq!(own, ["net.ipv4.ip_unprivileged_port_start=1024", open[1]]);
}

#[test]
fn capabilities_are_added_and_dropped_with_or_without_prefix() {
    let caps = |given: Value| {
        let pod = one(json!({"name": "c", "securityContext": {"capabilities": given}}));
        security::capabilities(&pod::parts(&pod)[0])
    };
    assert_eq!(caps(json!({"drop": ["ALL"], "add": ["CAP_NET_BIND_SERVICE"]})), ["NET_BIND_SERVICE"]);
    assert_eq!(
        caps(json!({"add": ["ALL"], "drop": ["CAP_SYS_ADMIN"]})).len(),
        runtime::capabilities::CAPABILITIES.len() - 1
    );
    assert!(!caps(json!({"drop": ["chown"]})).contains(&"CHOWN".to_owned()));
}

#[test]
fn root_is_refused_where_the_pod_forbids_it() {
    let check = |context: Value, image_user: &str, found: ImageUser| {
        let pod = one(json!({"name": "c", "securityContext": context}));
        let image = Image { user: image_user.into(), ..image() };
        spec_of(&pod, &image, &found).map(|s| s.user.uid).map_err(|e| e.message)
    };
    let named = ImageUser { uid: 33, numeric: false, ..root() };
    assert_eq!(
        check(json!({"runAsNonRoot": true}), "", root()).unwrap_err(),
        "container has runAsNonRoot and image will run as root (pod: \"p_ns(u)\", container: c)"
    );
    assert_eq!(
        check(json!({"runAsNonRoot": true}), "www-data", named.clone()).unwrap_err(),
        "container has runAsNonRoot and image has non-numeric user (www-data), cannot verify user is non-root (pod: \"p_ns(u)\", container: c)"
    );
    assert_eq!(
        check(json!({"runAsNonRoot": true, "runAsUser": 0}), "", root()).unwrap_err(),
        "container's runAsUser breaks non-root policy (pod: \"p_ns(u)\", container: c)"
    );
    assert_eq!(check(json!({"runAsNonRoot": true, "runAsUser": 7}), "www-data", named).unwrap(), 7);
}

/// A static pod is nobody's to validate but the node's; 4294967295 changes nothing, and root stays root.
#[test]
fn ids_beyond_the_apis_range_are_refused() {
    for id in [-1_i64, 2_147_483_648, 4_294_967_295, 4_294_967_296, i64::MIN, i64::MAX] {
        for (own, podwide) in [
            (json!({"runAsUser": id}), json!({})),
            (json!({"runAsGroup": id}), json!({})),
            (json!({}), json!({"runAsUser": id})),
            (json!({}), json!({"fsGroup": id})),
            (json!({}), json!({"supplementalGroups": [1, id]})),
        ] {
            let spec = json!({"securityContext": podwide, "containers": [{"name": "c", "securityContext": own}]});
            let refusal = spec_of(&pod(spec.clone()), &image(), &root()).map(|s| panic!("{spec}: {:?}", s.user));
            let refusal = refusal.unwrap_err();
            assert_eq!(refusal.message, format!("{id} is no user or group id: must be between 0 and 2147483647"));
        }
    }
}

#[test]
fn groups_are_the_images_and_the_pods() {
    let mut pod = pod(json!({
        "securityContext": {"fsGroup": 5, "supplementalGroups": [6], "runAsGroup": 3},
        "containers": [{"name": "c"}],
    }));
    let user = spec_of(&pod, &image(), &root()).unwrap().user;
    assert_eq!((user.gid, user.groups), (3, vec![10, 6, 5]));
    let context = pod.spec.as_mut().unwrap().security_context.as_mut().unwrap();
    context.supplemental_groups_policy = Some("Strict".into());
    assert_eq!(spec_of(&pod, &image(), &root()).unwrap().user.groups, [6, 5]);
}

#[test]
fn own_mount_of_etc_hosts_wins_and_sub_paths_stay_inside() {
    let mount = |m: Value| spec_of(&one(json!({"name": "c", "volumeMounts": [m]})), &image(), &root());
    let spec = mount(json!({"name": "v", "mountPath": "/etc/hosts", "subPathExpr": "x/$(A)"})).unwrap();
    assert_eq!(spec.mounts.iter().filter(|m| m.target.as_os_str() == "/etc/hosts").count(), 1);
    assert_eq!(spec.mounts[0].sub_path, Some(PathBuf::from("x/1")));
    assert!(mount(json!({"name": "v", "mountPath": "/m", "subPath": "a/../.."})).is_err());
    assert_eq!(
        mount(json!({"name": "v", "mountPath": "/m", "subPathExpr": "$(NO)"})).unwrap_err().message,
        "missing value for \"NO\""
    );
}

#[test]
fn limits_and_scores_are_upstreams() {
    let of = |resources: Value| {
        let pod = one(json!({"name": "c", "resources": resources}));
        let spec = spec_of(&pod, &image(), &root()).unwrap();
        (spec.resources.cpu_shares, spec.resources.cpu_quota, spec.resources.memory, spec.oom_score_adj)
    };
    assert_eq!(of(json!({"requests": {"cpu": "250m", "memory": "512Mi"}})), (256, 0, 0, 500));
    assert_eq!(of(json!({"limits": {"cpu": "1500m"}})), (1536, 150_000, 0, 999));
    let both = json!({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "1", "memory": "64Mi"}});
    assert_eq!(of(both), (1024, 100_000, 64 << 20, -997));
    assert_eq!(of(json!({"limits": {"cpu": "5m"}})).1, 1000);
}

#[test]
fn pod_cgroup_sums_its_containers_and_peaks_at_init() {
    let pod = pod(json!({
        "initContainers": [
            {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}},
            {"name": "i", "resources": {"requests": {"cpu": "2"}}},
        ],
        "containers": [
            {"name": "c", "resources": {"requests": {"cpu": "200m"}}},
            {"name": "d", "resources": {"requests": {"cpu": "300m"}}},
        ],
    }));
    assert_eq!(cgroup::pod_sum(&pod, "cpu", false), Some(2100));
    assert_eq!(cgroup::pod_sum(&pod, "cpu", true), None);
    assert_eq!(cgroup::pod_cgroup(&pod, &settings()), "kubepods/burstable/podu");
}

#[test]
fn sandbox_shares_what_the_pod_says() {
    let of = |spec: Value| sandbox::sandbox_spec(&pod(spec), &settings(), 1, Network::Host, &["10.0.0.1".into()]);
    let plain = of(json!({"containers": []})).unwrap();
    assert_eq!((plain.hostname.as_str(), plain.ipc, plain.pid), ("p", Share::Private, Share::Private));
    let shared = of(json!({"hostIPC": true, "shareProcessNamespace": true, "hostNetwork": true, "containers": []}));
    let shared = shared.unwrap();
    assert_eq!((shared.hostname.as_str(), shared.ipc, shared.pid), ("n", Share::Host, Share::Sandbox));
    assert!(of(json!({"hostUsers": false, "containers": []})).is_err());
}

#[test]
fn host_names_follow_the_pod() {
    let of = |spec: Value| names::hostname(&pod(spec), &settings());
    assert_eq!(of(json!({"hostname": "h", "containers": []})).unwrap(), "h");
    let fqdn = json!({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true, "containers": []});
    assert_eq!(of(fqdn).unwrap(), "h.s.ns.svc.cluster.local");
    assert_eq!(of(json!({"hostnameOverride": "o", "containers": []})).unwrap(), "o");
    let long = json!({"hostname": "h".repeat(60), "subdomain": "s", "setHostnameAsFQDN": true, "containers": []});
    assert!(of(long).unwrap_err().contains("(the max length is 64 characters, 83 characters requested)"));
}

#[test]
fn hosts_file_names_the_pod_and_its_aliases() {
    let spec = json!({"hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}], "containers": []});
    let text = names::hosts(&pod(spec), &settings(), &["10.0.0.1".into()]);
    assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
    assert!(text.ends_with("10.0.0.1\tp\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
}

#[test]
fn hosts_file_names_what_replaces_the_host_name() {
    let spec = json!({"hostnameOverride": "other.example", "hostname": "h", "subdomain": "s", "containers": []});
    let text = names::hosts(&pod(spec), &settings(), &["10.0.0.1".into()]);
    assert!(text.ends_with("\n10.0.0.1\tother.example\n"), "{text}");
    let long = json!({"hostnameOverride": "h".repeat(64), "containers": []});
    assert_eq!(names::hostname(&pod(long), &settings()).unwrap(), "h".repeat(63));
}

#[test]
fn oom_scores_follow_upstream() {
    let memory = |name: &str, request: &str| json!({"name": name, "resources": {"requests": {"memory": request}}});
    let scores = |spec: Value| -> Vec<i32> {
        let pod = pod(spec);
        pod::parts(&pod).iter().map(|part| cgroup::oom_score(&pod, part, &settings())).collect()
    };
    // Only the node's own critical pods stand above the others, not every pod of the system.
    let system = |class: &str| json!({"priority": 2_000_000_000, "priorityClassName": class, "containers": [memory("c", "512Mi")]});
    assert_eq!(scores(system("system-cluster-critical")), [500]);
    assert_eq!(scores(system("system-node-critical")), [-997]);
    // A sidecar goes no sooner than the regular container that asks for least.
    let mut sidecar = memory("s", "0");
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({"initContainers": [sidecar], "containers": [memory("c", "256Mi"), memory("d", "512Mi")]});
    assert_eq!(scores(spec), [750, 750, 500]);
    // What the pod asks for beyond its containers is shared out among them.
    let spec =
        json!({"resources": {"requests": {"memory": "768Mi"}}, "containers": [memory("c", "256Mi"), memory("d", "0")]});
    assert_eq!(scores(spec), [500, 750]);
}

#[test]
fn resolver_follows_the_policy() {
    let known = ["10.96.0.10".parse().unwrap()];
    let of = |spec: Value| names::resolv(&pod(spec), &settings(), &known).0.text();
    let without = names::resolv(&pod(json!({"containers": []})), &settings(), &[]).0.text();
    assert_eq!(without, of(json!({"dnsPolicy": "Default", "containers": []})));
    assert_eq!(
        of(json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true, "containers": []})),
        of(json!({"containers": []}))
    );
    assert_eq!(of(json!({"hostNetwork": true, "containers": []})), without);
    assert_eq!(
        of(json!({"containers": []})),
        "search ns.svc.cluster.local svc.cluster.local cluster.local example.org\nnameserver 10.96.0.10\noptions ndots:5\n"
    );
    assert_eq!(
        of(json!({"dnsPolicy": "Default", "containers": []})),
        "search example.org\nnameserver 192.0.2.53\noptions edns0\n"
    );
    let own = json!({"dnsPolicy": "None", "containers": [],
        "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"], "options": [{"name": "ndots", "value": "2"}]}});
    assert_eq!(of(own), "search x\nnameserver 1.1.1.1\noptions ndots:2\n");
    let bare = json!({"dnsPolicy": "None", "containers": [],
        "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "edns0", "value": ""}, {"name": "inet6"}]}});
    assert_eq!(of(bare), "nameserver 1.1.1.1\noptions edns0 inet6\n");
    // What a pod names comes after what its policy gives it, and instead of options of the same name.
    let more = json!({"containers": [], "dnsConfig": {"nameservers": ["10.96.0.10", "1.1.1.1"],
        "searches": ["x", "cluster.local"], "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}]}});
    assert_eq!(
        of(more),
        "search ns.svc.cluster.local svc.cluster.local cluster.local example.org x\nnameserver 10.96.0.10\nnameserver 1.1.1.1\noptions ndots:2 rotate\n"
    );
    let long = json!({"dnsPolicy": "None", "containers": [], "dnsConfig": {"searches": ["a".repeat(254), "b"]}});
    let (cut, message) = names::resolv(&pod(long), &settings(), &known);
    assert_eq!((cut.searches, message.is_some()), (vec!["b".to_string()], true));
    let told = names::Resolv::parse("options ndots:1 rotate\noptions ndots:3\nsearch . a.\n");
    assert_eq!((told.options, told.searches), (vec!["ndots:3".into(), "rotate".into()], vec!["a".into()]));
}

#[test]
fn unsafe_sysctls_need_permission() {
    let of = |name: &str| {
        let spec = json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}, "containers": []});
        sandbox::forbidden_sysctl(&pod(spec), &settings())
    };
    assert_eq!(of("kernel.shm_rmid_forced"), None);
    assert_eq!(of("net/ipv4/tcp_syncookies"), None);
    assert_eq!(of("kernel.msgmax"), None);
    assert_eq!(of("kernel.sem").unwrap(), "forbidden sysctl: \"kernel.sem\" not allowlisted");
}

#[test]
fn bandwidth_is_held_to_upstreams_bounds() {
    const NAME: &str = "kubernetes.io/ingress-bandwidth";
    let of = |text: &str| {
        let mut pod = pod(json!({"containers": []}));
        pod.metadata.annotations = Some([(NAME.to_owned(), text.to_owned())].into());
        sandbox::bandwidth(&pod, NAME)
    };
    assert_eq!(sandbox::bandwidth(&pod(json!({"containers": []})), NAME), Ok(None));
    assert_eq!(
        (of("10M"), of("1k"), of("1P")),
        (Ok(Some(10_000_000)), Ok(Some(1000)), Ok(Some(1_000_000_000_000_000)))
    );
    let refused = |text: &str, why: &str| assert_eq!(of(text), Err(format!("annotation {NAME}: {text:?}: {why}")));
    refused("999", "resource is unreasonably small (< 1kbit)");
    refused("-1M", "resource is unreasonably small (< 1kbit)");
    refused("2P", "resource is unreasonably large (> 1Pbit)");
    refused("fast", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
}

#[test]
fn signals_are_read_in_every_spelling() {
    for (name, number) in
        [("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("SIGUSR1", 10)]
    {
        assert_eq!(signal_number(name), Some(number), "{name}");
    }
    assert_eq!(signal_number("SIGNO"), None);
}

/// A pod's own limit stands where a container has none; a request that is left out is the limit.
#[test]
fn containers_without_limits_have_the_pods() {
    let whole = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "3", "memory": "1Gi"}});
    let pod = pod(json!({"resources": whole, "containers": [{"name": "c", "resources": {}},
        {"name": "d", "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "100m"}}}]}));
    let of = |at: usize| cgroup::container_resources(&pod, pod::parts(&pod)[at].spec.resources.as_ref());
    let seen = [of(0), of(1)].map(|r| (r.memory, r.cpu_quota, r.cpu_shares));
    assert_eq!(seen, [(1 << 30, 300_000, 3072), (64 << 20, 300_000, 102)]);
    let bare = one(json!({"name": "c", "resources": {"limits": {"cpu": "1"}}}));
    let huge = self::pod(json!({"resources": {"limits": {"hugepages-2Mi": "4Mi"}}, "containers": [{"name": "c"},
        {"name": "d", "resources": {"limits": {"hugepages-2Mi": "0"}}}]}));
    let of = |at: usize| cgroup::container_resources(&huge, pod::parts(&huge)[at].spec.resources.as_ref()).hugepages;
    assert_eq!([of(0), of(1)], [4 << 20, 0].map(|bytes| [("2MB".to_owned(), bytes)].into()));
    let seen = cgroup::container_resources(&bare, pod::parts(&bare)[0].spec.resources.as_ref());
    assert_eq!((seen.memory, seen.cpu_quota), (0, 100_000));
}
