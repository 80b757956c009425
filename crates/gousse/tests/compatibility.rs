//! docs/compatibility.md says what is true: generated from the tables (UPDATE_EXPECT=1 writes it).

use expect_test::expect_file;
use kinds::pod::unsupported::{Answer, UNSUPPORTED};

const HEAD: &str = "# Compatibility\n\
Generated from the kind table and the table of unsupported fields (crates/gousse/tests/compatibility.rs).\n\n\
Gousse serves the Kubernetes API v1.37. Every field of a served kind is honoured, refused with an error that names it, or warned about; none is silently ignored. \
A kind that is not listed is not served (404). One on which nobody acts yet is stored and judged as upstream judges it; the last column says what is missing, and so does a `Warning` to whoever creates one.\n\n\
What the official suite says is in [conformance.md](conformance.md).\n\n";

const NOT_YET: &str = "\n## Not there yet\n\
- Kinds whose column \"not yet\" says something: custom resources are not served, admission webhooks and policies not asked.\n\
- Services, their slices and names, NetworkPolicies and Ingresses act, for IPv4: pods and services have addresses of one family, and a second is refused. No CNI plugin is run, no WireGuard tunnel made (`--node-tunnel`), the address of a load balancer is announced to no network, no service wakes a Deployment, and there is no Gateway API. What differs from kube-proxy, CoreDNS and usual controllers stands in docs/decisions: services, service-claims, dns, network-policy, ingress.\n\
- Nothing binds claims to volumes, and no driver of volumes (CSI) can register with a node: a pod with a claim is refused, one with a `csi` volume waits on its node (FailedMount). A bound claim gets no condition Unused.\n\
- Graceful node shutdown: a node that is switched off tells its pods nothing (SIGTERM to gousse leaves them running; `gousse down` ends them with their grace).\n\
- Bandwidth annotations (kubernetes.io/ingress-bandwidth, egress-bandwidth) are honoured when a pod's network is made, not when they change later; egress is held back at the pod's own end of its link, which a container with CAP_NET_ADMIN can undo.\n\
- Several nodes can join (`gousse agent`) and reach each other's pods, directly or by VXLAN ([nodes.md](nodes.md)); an agent reads its machine's addresses when it starts. WireGuard and CNI configurations are not there yet.\n\
- Pods have one IPv4 address. An IPv6 range of `--cluster-cidr` or `--pod-cidr` is refused, as is one that somebody else writes into a Node (its node is not ready then).\n\
- User namespaces are refused. AppArmor profiles are not loaded: the node refuses pods that ask for one (reason AppArmor), Unconfined excepted, and others run without one even where the kernel has AppArmor.\n\
- A pod with imagePullPolicy IfNotPresent or Never gets any image that the node has: whether its own credentials could pull it is not checked (upstream's KubeletEnsureSecretPulledImages).\n\
- A critical pod that a full node cannot take is refused (OutOfcpu and its like); upstream evicts others for it.\n\
- `targetContainerName` of an ephemeral container (`kubectl debug --target`) needs a pod with shareProcessNamespace: elsewhere the container waits with CreateContainerConfigError.\n\
- Static pods: their UID is made with SHA-256, not MD5, and they carry no annotation kubernetes.io/config.seen.\n\
- The event SystemOOM is not told, and a node answers 501 at /metrics/probes.\n\
- `status.resources` and `status.allocatedResources` of a pod are written only where its spec has resources of its own.\n\
- A supervisor that answers nothing for eight seconds is replaced, and continued if somebody stopped it; a keeper that hangs is not noticed. A runtime that cannot be reached for 30 seconds makes its node NotReady.\n\
- The custom and external metrics APIs: a HorizontalPodAutoscaler with metrics of Pods, an Object or External says so in its conditions (FailedGetPodsMetric and the like), as on a cluster where nobody serves them.\n\
- A store on etcd; the embedded one serves a single API server.\n\
- Images are refused, in words, that are compressed with xz, bzip2 or lz4, encrypted, of manifest schema 1, named by another digest than sha256, or no images at all (charts, signatures); so are sparse files of the pax form in a layer, archives whose own members are sparse (`tar --sparse`), and docker archives from before manifest.json (Docker 1.10). A layer that its publisher gives away elsewhere (`foreign`, `nondistributable`) is taken if the registry has it. An image for linux/386 does not stand in where one for linux/amd64 is missing (containerd's does).\n";

const DIFFERENT: &str = "\n## Different on purpose\n\
- What one look at a Deployment finds is one status: conditions that upstream writes in passing (NewReplicaSetCreated and FoundNewReplicaSet of a rollout that is over at once) are not seen, and a rollout counts as progressing once its ReplicaSet has pods (upstream: if it was looked at before that).\n\
- Answers are not compressed for a client on the server's own address, whatever it accepts: compressing takes longer than loopback.\n\
- An end and what follows at once (the next instance, CrashLoopBackOff) are one status, where upstream may write two; a pod of which nothing has begun yet says so after a second ([status-writes](decisions/status-writes.md)).\n\
- On a full disk up to 1 MiB of a container's output waits in its pipe for room in its log; only what is beyond that, or waits at the container's end, is lost and counted in the log (containerd drops it).\n\
- A container whose pod says nothing about seccomp is held to the runtime's default profile (upstream: Unconfined, unless the kubelet's seccompDefault is on). `seccompProfile: {type: Unconfined}` lifts it; privileged containers have none.\n\
- That profile is stricter than both Docker's and containerd's in four calls ([seccomp.md](seccomp.md) compares them all). Programs notice one: `socketcall`, the way to sockets of 32-bit x86 programs (Debian's i386 libraries, so SteamCMD and Wine; GOARCH=386), is ENOSYS, since no filter can see its family. examples/seccomp-i386.json as a `Localhost` profile allows it.\n\
- Pods are evicted for want of disk at upstream's shares (15 % where the images are, 10 % where volumes and logs are) on small disks only, on large ones at 1Gi and 512Mi ([why](decisions/eviction-thresholds.md)); `--eviction-hard` sets both.\n\
- An ephemeral container that was made and never started before its agent ended is made anew (upstream leaves it).\n\
- An agent never chooses its node's `podCIDRs`: neither its identity nor a join token may write them (upstream: NodeRestriction lets a kubelet). An agent whose pods have addresses of another range than its Node is not ready until they have ended.\n\
- A pod's link carries IPv4 packets from the pod's own address, and nothing else: no IPv6, no ARP. What a container sends with another source (raw sockets, a VPN or containers within it without address translation) is dropped; pods in the host's network are not held to this.\n\
- Requests from outside have bounds as upstream's (--max-requests-inflight, --max-mutating-requests-inflight), and so have the bytes of their bodies (--max-body-bytes-inflight), of answers that are not taken yet (--max-answer-bytes-inflight; one alone may have any size, and lists are made as they are taken) and connections (--max-connections). One user gets a tenth of each (--max-user-share), of which a twentieth of all is kept for them whatever the others take; nodes have a pool of their own; system:masters is not bounded but in connections. The refusal is a 429 Status with a Retry-After. Half of the connections are for client certificates, a quarter for tokens; where too many peers have shown neither, the oldest connections of the address (IPv6: of the /64) that has most of them are closed. Answers that are not taken have as many places, by the same rule; whoever takes nothing for 60 seconds loses the connection, but for watches, logs and what an upgrade became. A connection over HTTP/2 without a certificate has 100 streams. Priority and fairness (APF) is not there.\n\
- A connection that idles over HTTP/2 for 90 seconds is closed only if its peer showed no certificate (upstream: any).\n\
- A join token (`gousse token create`, DATA/token of `gousse server`) holds for 24 hours and certifies new node names only, any number of them: joining makes the Node object, and a name whose Node exists is refused (409) until an administrator deletes it, but to the key that it was taken with. The Node says which keys speak for it (annotation `gousse.dev/node-keys`); once its name is joined anew with another key, the certificate of the first counts no more. A token on the command line is refused.\n\
- The certificate of a node that joined names the node, and of the addresses it asks for those that are no loopback, no Service's and not the server's (upstream: what an approver lets pass). An agent on the server's own machine has none of its addresses in it; the server knows nodes by name and key.\n\
- `metrics.k8s.io` is served by the API server, which asks the nodes when somebody asks for figures ([why](decisions/figures.md)); elsewhere it is metrics-server's. A node speaks for its own pods only. Swap and `metrics.k8s.io/v1` are not there.\n\
- A node sets and removes no finalizer, on no object (upstream: its mirror pods and Events may have any).\n\
- `pods/proxy` and `services/proxy` refuse multicast, broadcast and unspecified addresses too (upstream: loopback and link-local ones). The address of a node passes the same check, its agent's own port included, unless the node is part of the server's process. What answers there must show that node's certificate, or logs, exec and `nodes/proxy` fail; a log with `insecureSkipTLSVerifyBackend=true` asks for no certificate, as upstream.\n\
- `nodes/proxy` to a path that runs or reaches something in a pod (exec, attach, run, portForward) needs `create nodes/proxy` by whatever method (upstream: `get` where it begins as a websocket).\n\
- The roles and bindings that upstream has from the start are there from the start, and some of ours: `gousse:node-joiner` and `gousse:authority-viewer`, by which a node joins, and the right of a node to the certificate that it serves with (`system:certificates.k8s.io:certificatesigningrequests:selfnodeserver`, which upstream gives to nobody). Rights are held against a writer's own at the write itself: who loses them meanwhile writes nothing (upstream: as its caches show them). Each controller has the account and the role that upstream gives it.\n\
- A request with Impersonate-Group, -Uid or -Extra-* and no user is refused in other words than upstream's, which prints a structure of Go.\n\
- The UID that a static pod's manifest names must be a plain name (1 to 64 letters, digits, `-`, `_`, `.`) and no other pod's of its node: folders and cgroups are named after it (upstream takes any). Where it names none, the UID is made from the manifest's path with every link in it followed: after an upgrade from a version that did not follow them, static pods of a data folder behind a link begin anew once.\n\
- An image may unpack to 64Gi and four million files (`--image-size-max`, `--image-files-max`) and have 500 layers; its USER may not be above 2147483647, in numbers nor by its own /etc/passwd (containerd refuses the number and takes the passwd's). A compressed archive of several images (`docker save a b | gzip`) is bounded by `--image-size-max` as a whole: save them one by one, or uncompressed.\n\
- Extended attributes of an image's files are kept where programs use them: `security.capability`, `user.*`, `system.posix_acl_*`; others are left out.\n\
- Limits of ephemeral-storage also see /etc/resolv.conf and termination messages (upstream: /etc/hosts alone), and folders however deep.\n\
- Logs are neither read nor written through a link below /var/log/pods. That folder itself, and /var/log/containers, may be root's links when the node starts; where they lead then they lead until it starts again. Where they are another user's, logs go missing with a warning.\n\
- A pod whose hostPort is a TCP port that Gousse itself listens on at that node (API server, node API, /healthz) is refused by the node (Failed, reason NodePorts; upstream lets the pod answer in its place). Pods in the host's network are not judged by it.\n\
- All pods of a node together may have nine tenths of the processes and threads that the machine can have (upstream: all, unless `--system-reserved pid=…` says less). `--pod-max-pids` is the kubelet's.\n\
- What ConfigMaps, Secrets, tokens and the downward API put into one pod's volumes is bounded (upstream: by nothing): `--pod-max-projected-bytes`, by default a `--max-pods`th of half the machine's memory, 4 to 64 MiB, whole pages counted; a pod that takes more gets FailedMount.\n\
- An archive that names another image `gousse.dev/toolbox:latest`, as the built-in one, is refused.\n\
- Exec, attach, run and port-forward at a node's own API need `create` on nodes/proxy, whatever the HTTP verb (a kubelet lets `get` suffice for a WebSocket).\n\
- A pod with a network of its own has `net.ipv4.ip_unprivileged_port_start=0` and `net.ipv4.ping_group_range=0 2147483647` unless its sysctls say otherwise, as with containerd since 2.0 and Docker: ordinary users listen on port 80 and ping (CRI-O: no).\n\
- Of an image's configuration User, Env, Entrypoint, Cmd, WorkingDir, StopSignal and Volumes are honoured; ExposedPorts, Healthcheck, OnBuild, Shell, Labels and the rest mean nothing to Kubernetes. A declared volume is a folder of the container's own, with what the image has there, writable under a read-only root, gone with the container, and counted as its writable layer (containerd: not counted); an image may declare 256.\n\
- What is mounted below a configMap, secret, downwardAPI or projected volume gets its mount point there when the container starts, a file where a file is mounted (upstream makes folders only); a key that is to come where a mount point is fails with FailedMount. Below another read-only volume the mount point must be there already, as upstream.\n\
- A host port belongs to one pod until its network is gone: the successor of a pod that was removed by force waits for it with FailedCreatePodSandBox.\n\
- Heads of requests may have 1 MiB as upstream's, without a client certificate 256 KiB (over HTTP/2 32 KiB). A URL of more than 64 KiB is read on the first request of a connection over HTTP/1.1, as every exec is; over HTTP/2 its stream is reset. Who sends more gets a 431 Status (upstream: 431 in plain text).\n\
- Port-forward: an answer to a client that has ended its half is gathered and comes whole: when the pod ends, or ten seconds after it began (containerd cuts it off one second after the client's end). A mebibyte and more comes as it is sent.\n\
- What a node tells of a pod is a stock kubelet's ([testing.md](testing.md) says how to compare them), but for the words of the runtime in errors of images, starts and probes; `user` and `stopSignal` of a container, which are always there (upstream: where the runtime tells them); and the moments: a node that is faster passes steps unseen or tells them apart, and `ImagePullBackOff` comes with its first failure (upstream: ten seconds later, with the next sync).\n\
- `lifecycle.stopSignal` is honoured (upstream: alpha, off).\n\
- A volume on /proc or below is refused when the container starts, but over the files that lxcfs shows (as runc refuses it).\n";

const COMPARED: &str = "
## Different on purpose, as `cargo xtask compare` meets it
The same requests to a stock API server and to Gousse's (docs/testing.md) differ in this, and each time it is met.
";

/// The last cells of the rows, each once.
fn reasons(table: &str) -> Vec<&str> {
    let rows = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut reasons: Vec<&str> = rows.filter_map(|row| row.rsplit('\t').next()).collect();
    let mut seen = std::collections::HashSet::new();
    reasons.retain(|reason| seen.insert(*reason));
    reasons
}

#[test]
fn docs_compatibility_is_current() {
    let mut text = String::from(HEAD);
    text.push_str("## Kinds\n| kind | versions | verbs | subresources | not yet |\n|---|---|---|---|---|\n");
    for kind in kinds::built_in().iter() {
        let versions = kind.versions.iter().map(|v| v.resource.api_version());
        let versions: Vec<String> = std::iter::once(kind.api_version()).chain(versions).collect();
        let subresources: Vec<&str> = kind.subresources.iter().map(|s| s.name).collect();
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} |\n",
            kind.kind,
            versions.join(", "),
            kind.verbs.join(" "),
            subresources.join(" "),
            kind.dormant
        ));
    }
    text.push_str("\n## Pod fields that are not honoured\n| field | value | answer | why |\n|---|---|---|---|\n");
    for row in UNSUPPORTED {
        let answer = match row.answer {
            Answer::Refuse => "refused (422)",
            Answer::Warn => "warned about",
        };
        let value = if row.value.is_empty() { "any" } else { row.value };
        text.push_str(&format!("| `{}` | {value} | {answer} | {} |\n", row.path, row.why));
    }
    text.push_str(NOT_YET);
    text.push_str(DIFFERENT);
    text.push_str(COMPARED);
    for reason in reasons(include_str!("../../../xtask/compare/purposes.tsv")) {
        text.push_str(&format!("- {reason}\n"));
    }
    expect_file!["../../../docs/compatibility.md"].assert_eq(&text);
}
