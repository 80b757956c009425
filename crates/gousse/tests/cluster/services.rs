//! Services, made by hand with their slices: pods and the host reach them, and go on to while nobody runs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::stage::{GUARD, Instance, Stage, play};

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: toolbox
    command: [sh, -c, 'echo -n hello > /tmp/index.html; exec web -p 8080 /tmp']
    readinessProbe: {periodSeconds: 1, httpGet: {port: 8080, path: /index.html}}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: toolbox, command: [sleep, 1h]}
";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.96.100.1
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-by-hand, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: '', port: 8080, protocol: TCP}]
endpoints: [{addresses: [ADDRESS], conditions: {ready: true}}]
";

fn answers(at: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(at) else { return false };
    let mut text = String::new();
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_to_string(&mut text).is_ok()
        && text.ends_with("hello")
}

/// The kernel is asked until it is so: nobody tells when a packet would be sent on.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < GUARD, "{what} does not come");
        std::thread::yield_now();
    }
}

fn made(own: &Instance) -> String {
    own.run_pod("web", PODS);
    own.must("wait pod client --for=condition=Ready");
    let pod = own.json("get pod web");
    let address = pod["status"]["podIP"].as_str().unwrap();
    let done = own.apply(&SERVICE.replace("ADDRESS", address));
    assert!(done.ok, "{done:?}");
    // The node's own address in its range.
    let range = own.json("get nodes")["items"][0]["spec"]["podCIDR"].as_str().unwrap().to_string();
    range.replace(".0/24", ".1:30080")
}

#[test]
fn a_service_is_served_while_nobody_runs_and_until_it_is_deleted() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        let at = made(&own);
        until("the service", || answers(&at));
        assert_eq!(own.must("exec client -- wget -q -O - -T 5 http://10.96.100.1/index.html"), "hello");
        let mut open = TcpStream::connect(&at).unwrap();
        open.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        up.kill();
        assert!(answers(&at), "the kernel serves on");
        let up = own.up(&[]);
        assert!(answers(&at));
        open.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        open.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("hello"), "a connection from before goes on: {text}");
        own.must("delete service web");
        until("its end", || !answers(&at));
        up.kill();
        own.down(true);
        assert_eq!(stage.left(), [""; 0]);
    });
}

#[test]
fn the_place_of_the_proxy_can_be_left_free() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&["--proxy=none"]);
        let at = made(&own);
        // What the node does after that is done by now: it had the pods of both later.
        assert!(!answers(&at));
        up.kill();
        own.down(true);
    });
}
