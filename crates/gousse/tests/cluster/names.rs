//! Names of services, as the first pod and the machine itself resolve them.

use std::fs;
use std::process::Command;

use super::stage::{Output, Stage, play};

/// The node's own address where it has no other: the first of the first range.
const NODE: &str = "10.244.0.1";

/// A file of the test's stands before the machine's own resolv.conf.
fn resolv_conf(stage: &Stage, text: &str) -> std::path::PathBuf {
    let file = stage.file("resolv.conf", text);
    let done = Command::new("mount").args(["--bind", file.to_str().unwrap(), "/etc/resolv.conf"]).output_now();
    assert!(done.ok, "{done:?}");
    file
}

#[test]
fn the_first_pod_finds_the_clusters_dns_and_the_node_answers_it() {
    play(|stage: &Stage| {
        resolv_conf(stage, "search example.org\nnameserver 192.0.2.53\n");
        let first = "{apiVersion: v1, kind: Pod, metadata: {name: first}, spec: {restartPolicy: Never, containers: [
            {name: main, image: toolbox, command: [cat, /etc/resolv.conf]}]}}";
        // Until what the rules of services do with the address, the node is asked under its own.
        let asks = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: asks}}, spec: {{restartPolicy: Never, dnsPolicy: None,
            dnsConfig: {{nameservers: [{NODE}], searches: [svc.cluster.local], options: [{{name: ndots, value: '5'}}]}},
            containers: [{{name: main, image: toolbox, command: [nslookup, kubernetes.default]}}]}}}}"
        );
        let file = stage.file("pods.yaml", &format!("{first}\n---\n{asks}\n"));
        let own = stage.instance("own");
        let up = own.up(&[file.to_str().unwrap(), "--cluster-domain", "cluster.local"]);
        for pod in ["first", "asks"] {
            own.must(&format!("wait --for=jsonpath={{.status.phase}}=Succeeded pod/{pod} --timeout=60s"));
        }
        let expected = "search default.svc.cluster.local svc.cluster.local cluster.local example.org\n\
            nameserver 10.96.0.10\noptions ndots:5\n";
        assert_eq!(own.must("logs first"), expected);
        assert_eq!(own.must("logs asks"), "Name:\tkubernetes.default\nAddress: 10.96.0.1\n");
        own.down(true);
        assert!(up.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

#[test]
fn the_machine_asks_the_cluster_while_it_runs_and_after_a_crash_until_down() {
    play(|stage: &Stage| {
        let own_text = "nameserver 192.0.2.53\n";
        let file = resolv_conf(stage, own_text);
        let own = stage.instance("own");
        let mut up = own.up(&["--host-dns"]);
        let begins = format!("# begin: gousse {}", own.name);
        let text = || fs::read_to_string(&file).unwrap();
        // The network, and with it the server, may come a moment after the node.
        own.run_pod(
            "one",
            "{apiVersion: v1, kind: Pod, metadata: {name: one}, spec: {containers: [
            {name: main, image: toolbox, command: [sleep, 1h]}]}}",
        );
        assert!(text().starts_with(&begins) && text().contains(&format!("nameserver {NODE}\n")), "{}", text());
        assert!(text().ends_with(own_text));
        up.signal(nix::sys::signal::Signal::SIGKILL);
        assert!(!up.end().ok);
        assert!(text().starts_with(&begins), "nobody could take it out");
        own.down(true);
        assert_eq!(text(), own_text);
        up = own.up(&[]);
        assert_eq!(text(), own_text);
        own.down(true);
        assert!(up.end().ok);
    });
}
