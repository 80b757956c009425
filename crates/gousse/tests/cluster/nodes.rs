//! One cluster on two machines: how a node joins, what reaches its pods, its end and its return.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use super::machines::{Cluster, Machine};
use super::stage::{Instance, Lines, Output, play};

impl Cluster {
    /// Runs a pod on a node that answers with the address that it is called from; its own address.
    fn echo(&self, pod: &str, node: &str) -> String {
        let applied = self.own.apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}}}, spec: {{nodeName: {node}, \
             terminationGracePeriodSeconds: 0, containers: [{{name: c, image: toolbox, \
             command: [serve-echo, '--http', '80']}}]}}}}"
        ));
        assert!(applied.ok, "{applied:?}");
        self.own.must(&format!("wait --for=condition=Ready --timeout=60s pod {pod}"));
        self.own.must(&format!("get pod {pod} -o jsonpath={{.status.podIP}}"))
    }

    /// Each calls the other, and is seen with its own address.
    fn connects(&self, [a, a_address]: [&str; 2], [b, b_address]: [&str; 2]) {
        for (from, own, to) in [(a, a_address, b_address), (b, b_address, a_address)] {
            let told = self.own.must(&format!("exec {from} -- wget -q -T 10 -O - http://{to}/"));
            assert!(told.contains(&format!("\nclient: [::ffff:{own}]:")), "{from} at {to}:\n{told}");
        }
    }
}

/// `ip WORDS` on a machine, or on the test's own.
fn ip(machine: Option<&Machine>, words: &str) -> Command {
    let mut command = match machine {
        None => Command::new("ip"),
        Some(machine) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/proc/{}/ns/net", machine.pid())).arg("ip");
            command
        }
    };
    command.args(words.split(' '));
    command
}

/// The routes of a machine that lead to other nodes' pods.
fn routes(machine: Option<&Machine>) -> String {
    let done = ip(machine, "-4 route show proto 103").output_now();
    assert!(done.ok, "{done:?}");
    done.out
}

#[test]
fn pods_of_two_machines_are_one_network() {
    play(|stage| {
        let machine = Machine::cabled();
        let cluster = Cluster::start(stage, &[]);
        let one = stage.instance("one");
        let other = Instance { network: Some(machine.pid()), ..stage.instance("other") };
        let one_agent = cluster.join(&one, "one", &[]);
        let other_agent = cluster.join(&other, "other", &[]);
        let ranges = [cluster.range("one"), cluster.range("other")];
        let (a, b) = (cluster.echo("a", "one"), cluster.echo("b", "other"));
        cluster.connects(["a", &a], ["b", &b]);
        assert!(routes(None).contains(&format!("{} via 192.0.2.2 dev cable", ranges[1])), "{}", routes(None));
        // The server reaches that node's own API, for what a pod printed and for what it is told to run.
        cluster.own.must("logs b");
        assert_eq!(cluster.own.must("exec b -- hostname").trim(), "b");
        let nodes = cluster.own.must("get nodes");
        assert_eq!(nodes.matches(" Ready ").count(), 2, "{nodes}");
        let wide = cluster.own.must("get nodes -o wide");
        assert!(wide.contains("192.0.2.1") && wide.contains("192.0.2.2"), "{wide}");

        // Without its agent a node's pods are reached all the same; one that comes back with other flags changes the way.
        other_agent.kill();
        one_agent.kill();
        let mut called = TcpStream::connect((b.as_str(), 80)).unwrap();
        called.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        assert!(std::io::read_to_string(called).unwrap().contains("\nclient: [::ffff:10.244."));
        let tunnel = ["--node-tunnel", "vxlan"];
        let monitors = [None, Some(&machine)].map(|machine| Lines::of(ip(machine, "-4 monitor route")));
        let one_agent = cluster.join(&one, "one", &tunnel);
        let other_agent = cluster.join(&other, "other", &tunnel);
        for mut monitor in monitors {
            monitor.until(|line| line.contains("dev vxg") && line.contains("proto 103"));
        }
        let c = cluster.echo("c", "other");
        let d = cluster.echo("d", "one");
        cluster.connects(["a", &a], ["b", &b]);
        cluster.connects(["d", &d], ["c", &c]);
        for shown in [routes(None), routes(Some(&machine))] {
            assert!(shown.contains("dev vxg") && !shown.contains("dev cable"), "{shown}");
        }

        // A node that is deleted is nobody's neighbour, until it is registered again.
        other_agent.kill();
        // With its last peer the tunnel goes, and all routes over it.
        let mut monitor = Lines::of(ip(None, "monitor link"));
        cluster.own.must("delete node other");
        monitor.until(|line| line.starts_with("Deleted ") && line.contains(" vxg"));
        drop(monitor);
        assert!(!routes(None).contains(&ranges[1]), "{}", routes(None));
        cluster.own.must("delete pods b c --force --grace-period=0");
        let other_agent = cluster.join(&other, "other", &tunnel);
        assert_eq!(cluster.range("other"), ranges[1]);
        let e = cluster.echo("e", "other");
        cluster.connects(["a", &a], ["e", &e]);

        cluster.own.must("delete pods --all");
        for (node, agent) in [(one, one_agent), (other, other_agent)] {
            node.down(true);
            assert!(agent.end().ok);
        }
        assert_eq!((routes(None), routes(Some(&machine))), (String::new(), String::new()));
        cluster.own.down(true);
        assert!(cluster.server.end().ok);
        machine.end();
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}
