//! Port-forward with the clients that people have: kubectl of several ages, our own, Python's, JavaScript's.
//!
//! Old clients are found beside the stock kubectl (`kubectl.1.27` …) or in $KUBECTLS, apart by colons. What is not
//! there is said.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;

use crate::sessions::foreign;
use crate::stage::{GUARD, Instance, Lines, Stage, play, say};

const POD: &str = "
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
";

#[test]
fn whoever_ends_first_and_whatever_the_client_the_next_connection_goes() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        own.run_pod("web", POD);
        let clients = [vec![PathBuf::from(env!("CARGO_BIN_EXE_gousse"))], kubectls()].concat();
        for client in &clients {
            forwarded(&own, client);
        }
        foreign(stage, &own, "python3", PYTHON);
        foreign(stage, &own, "node", JAVASCRIPT);
        up.kill();
        own.down(true);
    });
}

/// The stock one, and all of other ages.
pub fn kubectls() -> Vec<PathBuf> {
    if let Some(given) = std::env::var_os("KUBECTLS") {
        return std::env::split_paths(&given).collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let stock = std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|program| program.exists());
    let Some(stock) = stock else {
        say("SKIPPED port-forward of kubectl: there is none");
        return Vec::new();
    };
    let beside = std::fs::canonicalize(&stock).unwrap();
    let beside = std::fs::read_dir(beside.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let aged = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kubectl.1."));
    let mut all: Vec<PathBuf> = beside.filter(aged).collect();
    if all.is_empty() {
        say("SKIPPED port-forward of old kubectls: none beside the stock one, nor in $KUBECTLS");
    }
    all.push(stock);
    all.sort();
    all
}

fn forwarded(own: &Instance, client: &std::path::Path) {
    let mut lines = Lines::of(own.program(client.to_str().unwrap(), "port-forward pod/web :8080"));
    let line = lines.until(|line| line.starts_with("Forwarding from 127.0.0.1:"));
    let port: u16 = line.split([':', ' ']).nth(3).unwrap().parse().unwrap();
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        stream
    };
    let heard = |mut stream: TcpStream, when: &str| {
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        assert!(read.is_ok() && answer.ends_with("hello"), "{client:?}, {when}: {read:?} {answer:?}");
    };
    let ask = |mut stream: &TcpStream| stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").unwrap();
    let pod_ends = |when: &str| {
        let stream = connect();
        ask(&stream);
        heard(stream, when);
    };
    pod_ends("the pod ends first");
    let stream = connect();
    ask(&stream);
    stream.shutdown(Shutdown::Write).unwrap();
    heard(stream, "the client ends its half first");
    for _ in 0..6 {
        let stream = connect();
        ask(&stream);
        // With what comes unread: the kernel resets the connection.
        let mut first = [0];
        let _ = (&stream).read(&mut first);
        drop(stream);
        pod_ends("after one who broke off");
    }
    drop(lines);
}

/// Its client speaks v4.channel.k8s.io, a port with nobody behind it included.
const PYTHON: &str = "from kubernetes import client, config, stream\n\
         config.load_kube_config()\n\
         api = client.CoreV1Api()\n\
         for port, wanted in (8080, b'hello'), (8081, b''):\n\
         \x20   forward = stream.portforward(api.connect_get_namespaced_pod_portforward, 'web', 'default', ports=str(port))\n\
         \x20   socket = forward.socket(port); socket.setblocking(True); socket.settimeout(30)\n\
         \x20   got = b''\n\
         \x20   try: socket.sendall(b'GET /index.html HTTP/1.0\\r\\n\\r\\n')\n\
         \x20   except OSError: assert port == 8081\n\
         \x20   while True:\n\
         \x20       try: piece = socket.recv(4096)\n\
         \x20       except OSError: break\n\
         \x20       if not piece: break\n\
         \x20       got += piece\n\
         \x20   assert got.endswith(wanted), got\n\
         \x20   assert bool(forward.error(port)) == (port == 8081), forward.error(port)\n";

const JAVASCRIPT: &str = "\
const k8s = require('@kubernetes/client-node'), stream = require('node:stream'), assert = require('node:assert');
const config = new k8s.KubeConfig();
config.loadFromDefault();
setTimeout(() => { console.error('too late'); process.exit(1); }, 30000).unref();
async function ask(port) {
  const [out, err, input] = [1, 2, 3].map(() => new stream.PassThrough()), told = { out: '', err: '' };
  out.on('data', piece => told.out += piece);
  err.on('data', piece => told.err += piece);
  const socket = await new k8s.PortForward(config).portForward('default', 'web', [port], out, err, input);
  const closed = new Promise(go => socket.onclose = go);
  input.write('GET /index.html HTTP/1.0\\r\\n\\r\\n');
  await closed;
  return told;
}
(async () => {
  for (const round of [1, 2]) assert((await ask(8080)).out.endsWith('hello'));
  assert((await ask(8081)).err.includes('refused'));
  process.exit(0);
})().catch(error => { console.error(error); process.exit(1); });
";
