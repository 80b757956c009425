//! Several machines: each in a network namespace of its own, at the end of a cable.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use super::stage::{Instance, Output, Stage, Up, play};

/// A machine beside this one, at the other end of a cable: this one is 192.0.2.1 there, it is 192.0.2.2.
pub struct Machine {
    /// It holds the network namespace.
    holder: Child,
}

impl Machine {
    pub fn cabled() -> Machine {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "--", "sh", "-c", "echo; exec cat >/dev/null"]);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // The namespace is there when the program says something.
        holder.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let holder = Machine { holder };
        let pid = holder.pid().to_string();
        let run = |words: &str| {
            let done = Command::new("ip").args(words.split(' ')).output_now();
            assert!(done.ok, "ip {words}: {done:?}");
        };
        run(&format!("link add cable type veth peer name cable netns {pid}"));
        run("addr add 192.0.2.1/24 dev cable");
        run("link set cable up");
        for words in ["link set lo up", "addr add 192.0.2.2/24 dev cable", "link set cable up"] {
            let mut inside = Command::new("nsenter");
            let done = inside.arg(format!("--net=/proc/{pid}/ns/net")).arg("ip").args(words.split(' ')).output_now();
            assert!(done.ok, "ip {words}: {done:?}");
        }
        holder
    }

    pub fn pid(&self) -> i32 {
        self.holder.id().cast_signed()
    }

    pub fn end(mut self) {
        drop(self.holder.stdin.take());
        assert!(self.holder.wait().unwrap().success());
        // The cable goes with its far end, when the kernel comes to it.
        let _ = Command::new("ip").args(["link", "del", "cable"]).output_now();
    }
}

pub struct Cluster {
    pub own: Instance,
    pub server: Up,
    join: Vec<String>,
}

impl Cluster {
    pub fn start(stage: &Stage, arguments: &[&str]) -> Cluster {
        let own = stage.instance("own");
        let arguments = [&["--listen", "192.0.2.1:6443"], arguments].concat();
        let mut server = own.start("server", &arguments, &[], "gousse server is ready");
        let told = server.line("  nodes join with: gousse agent ");
        let join = told.split_whitespace().skip_while(|word| *word != "agent").skip(1).map(String::from).collect();
        Cluster { own, server, join }
    }

    pub fn join(&self, node: &Instance, name: &str, flags: &[&str]) -> Up {
        let arguments = self.join.iter().map(String::as_str).chain(flags.iter().copied());
        let arguments: Vec<&str> = arguments.chain(["--node-port", "0", "--node-name", name]).collect();
        node.start("agent", &arguments, &[], "gousse agent ")
    }

    /// The range of a node, once it has one.
    pub fn range(&self, node: &str) -> String {
        // An agent is up before its Node is.
        self.own.must(&format!("wait --for=create --timeout=60s node {node}"));
        self.own.must(&format!("wait --for=jsonpath={{.spec.podCIDR}} --timeout=60s node {node}"));
        let range = self.own.must(&format!("get node {node} -o jsonpath={{.spec.podCIDR}}"));
        assert_eq!(self.own.must(&format!("get node {node} -o jsonpath={{.spec.podCIDRs[*]}}")), range);
        range
    }

    /// Runs a pod on a node; its address.
    pub fn address(&self, pod: &str, node: &str) -> String {
        let applied = self.own.apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}}}, spec: {{nodeName: {node}, \
             terminationGracePeriodSeconds: 0, containers: [{{name: c, image: toolbox, command: [sleep, '1000']}}]}}}}"
        ));
        assert!(applied.ok, "{applied:?}");
        self.own.must(&format!("wait --for=condition=Ready --timeout=60s pod {pod}"));
        self.own.must(&format!("get pod {pod} -o jsonpath={{.status.podIP}}"))
    }
}

/// Every node took 10.244.0.0/24.
#[test]
fn each_node_gets_a_range_of_its_own_and_keeps_it() {
    play(|stage| {
        let machine = Machine::cabled();
        let cluster = Cluster::start(stage, &["--node-cidr-mask-size-ipv4", "25"]);
        let one = stage.instance("one");
        // Of a flag nobody takes anything once the server has given a range.
        let own_range = &["--pod-cidr", "10.244.9.0/25"];
        let other = Instance { network: Some(machine.pid()), ..stage.instance("other") };
        let (one_agent, other_agent) = (cluster.join(&one, "one", own_range), cluster.join(&other, "other", &[]));
        let mut ranges = [cluster.range("one"), cluster.range("other")];
        let prefix = |range: &str| match range {
            "10.244.0.0/25" => 0..128u8,
            "10.244.0.128/25" => 128..255,
            _ => panic!("{range} is no part of the cluster's range"),
        };
        let [first, second] = ranges.each_ref().map(|range| prefix(range));
        let is_in = |range: &std::ops::Range<u8>, address: &str| {
            address.strip_prefix("10.244.0.").is_some_and(|last| range.contains(&last.parse().unwrap()))
        };
        let before = [cluster.address("a", "one"), cluster.address("b", "other")];
        assert!(is_in(&first, &before[0]) && is_in(&second, &before[1]), "{before:?} of {ranges:?}");

        // An agent that is killed finds its pods and its range again.
        other_agent.kill();
        let other_agent = cluster.join(&other, "other", own_range);
        assert_eq!(cluster.range("other"), ranges[1]);
        let again = cluster.address("c", "other");
        assert!(is_in(&second, &again) && again != before[1], "{again}");
        assert_eq!(cluster.own.must("get pod b -o jsonpath={.status.podIP}"), before[1]);

        // Somebody else has its range by the time it comes back: it is left with the last pod that runs in it.
        other_agent.kill();
        cluster.own.must("delete node other");
        let thief = format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: thief}}, spec: {{podCIDR: {0}, podCIDRs: [{0}]}}}}",
            ranges[1]
        );
        let applied = cluster.own.apply(&thief);
        assert!(applied.ok, "{applied:?}");
        let other_agent = cluster.join(&other, "other", &[]);
        assert_eq!(cluster.range("other"), "10.244.1.0/25");
        cluster.own.must("wait --for=condition=Ready=false --timeout=60s node other");
        assert_eq!(cluster.own.must("get pod b -o jsonpath={.status.podIP}"), before[1]);
        cluster.own.must("delete pods b c");
        cluster.own.must("wait --for=condition=Ready --timeout=60s node other");
        let moved = cluster.address("d", "other");
        assert!(moved.starts_with("10.244.1."), "{moved}");

        ranges.sort();
        assert_eq!(ranges, ["10.244.0.0/25", "10.244.0.128/25"]);
        cluster.own.must("delete pods --all");
        for (node, agent) in [(one, one_agent), (other, other_agent)] {
            node.down(true);
            assert!(agent.end().ok);
        }
        cluster.own.down(true);
        assert!(cluster.server.end().ok);
        machine.end();
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}
