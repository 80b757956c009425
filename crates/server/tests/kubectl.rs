//! A stock kubectl against the server and its controllers: what it prints, word for word.
//!
//! Skipped, aloud, where the machine has no kubectl. Only what needs no node stands here.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use server::{Backend, Component, Config, Server};
use tokio::net::TcpListener;

/// The server in the same process.
#[path = "../../gousse/src/parts/local.rs"]
mod local;

use local::Local;

struct Kubectl {
    home: PathBuf,
}

impl Kubectl {
    /// Output and errors of one call, and whether it succeeded.
    fn call(&self, arguments: &str, stdin: &str) -> (String, bool) {
        let mut words: Vec<String> = Vec::new();
        // Words in single quotes hold blanks.
        for (index, part) in arguments.split('\'').enumerate() {
            match index % 2 {
                0 => words.extend(part.split_whitespace().map(String::from)),
                _ => words.push(part.into()),
            }
        }
        let mut child = Command::new("kubectl")
            .args(words)
            .env("KUBECONFIG", self.home.join("kubeconfig"))
            .env("HOME", &self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.success())
    }

    #[track_caller]
    fn says(&self, arguments: &str, want: &str) {
        self.with(arguments, "", want);
    }

    #[track_caller]
    fn with(&self, arguments: &str, stdin: &str, want: &str) {
        let (text, _) = self.call(arguments, stdin);
        assert_eq!(text.trim_end(), want, "kubectl {arguments}");
    }

    #[track_caller]
    fn mentions(&self, arguments: &str, want: &str) {
        let (text, _) = self.call(arguments, "");
        assert!(text.contains(want), "kubectl {arguments}: {text}");
    }
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web}}\nspec:\n  containers:\n  - {name: c, image: \"nginx:1.25\"}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_kubectl_is_at_home() {
    if Command::new("kubectl").arg("version").arg("--client").output().is_err() {
        writeln!(std::io::stderr(), "skipped: this machine has no kubectl").unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let advertise = listener.local_addr().unwrap();
    let server = open(dir.path(), advertise).await;
    let pair = server.authority_pair();
    let config = controllers::Config {
        authority: pair.certificate,
        authority_key: pair.key,
        may_bear: server.may_bear(),
        node_ranges: Vec::new(),
        service_range: None,
        node_ports: (30000, 32767),
        load_balancer_pool: Vec::new(),
        node_monitor: controllers::NodeMonitor::default(),
        clock: clock(),
        entropy: entropy(),
    };
    let within = server.clone();
    let clients: controllers::Clients =
        Arc::new(move |account| Local::client(&within, Component::controller(account), "gousse"));
    let controllers = tokio::spawn(controllers::run(clients, config));
    let kubeconfig = server.kubeconfig(&format!("https://{advertise}"), "test").unwrap();
    std::fs::write(dir.path().join("kubeconfig"), kubeconfig).unwrap();
    let serving = tokio::spawn(async move { server.serve(listener, std::future::pending()).await });
    let kubectl = Kubectl { home: dir.path().into() };
    tokio::task::spawn_blocking(move || transcript(&kubectl)).await.unwrap();
    serving.abort();
    controllers.abort();
}

fn transcript(k: &Kubectl) {
    k.says("create namespace n", "namespace/n created");
    k.with("apply -n n -f -", POD, "pod/web created");
    k.with("apply -n n -f -", POD, "pod/web unchanged");
    k.with("apply -n n -f -", &POD.replace("1.25", "1.26"), "pod/web configured");
    k.with("apply -n n --server-side --force-conflicts -f -", POD, "pod/web serverside-applied");
    k.says("get pod web -n n -o jsonpath={.spec.containers[0].image}", "nginx:1.25");
    k.says("get pods -n n --no-headers -o custom-columns=N:.metadata.name,P:.status.phase", "web   Pending");
    k.mentions("get pods -n n", "NAME   READY   STATUS    RESTARTS   AGE\nweb    0/1     Pending   0");
    k.mentions("get pods -n n -o wide", "NOMINATED NODE   READINESS GATES");
    k.mentions("describe pod web -n n", "kube-root-ca.crt");
    k.says("label pod web -n n tier=front", "pod/web labeled");
    k.says("annotate pod web -n n note=x", "pod/web annotated");
    k.says("get pods -n n -l tier=front -o name", "pod/web");
    k.says(
        "patch pod web -n n --type=json -p '[{\"op\":\"remove\",\"path\":\"/metadata/labels/tier\"}]'",
        "pod/web patched",
    );
    k.says("patch pod web -n n --type=merge -p '{\"metadata\":{\"labels\":{\"a\":\"b\"}}}'", "pod/web patched");
    let image = "patch pod web -n n -p '{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"nginx:1.27\"}]}}'";
    k.says(image, "pod/web patched");
    k.says("wait -n n pod/web --for=jsonpath={.spec.containers[0].image}=nginx:1.27", "pod/web condition met");
    k.says("create configmap m -n n --from-literal=k=v", "configmap/m created");
    k.says("create secret generic s -n n --from-literal=k=v", "secret/s created");
    k.says("create serviceaccount a -n n", "serviceaccount/a created");
    k.says("run b -n n --image=busybox --restart=Never -- sleep 1", "pod/b created");
    let twice = "Error from server (AlreadyExists): configmaps \"m\" already exists";
    k.says(
        "create configmap m -n n",
        &format!("error: failed to create configmap: {}", &twice["Error from server (AlreadyExists): ".len()..]),
    );
    k.says("get pod none -n n", "Error from server (NotFound): pods \"none\" not found");
    let unknown = POD.replace("name: c,", "name: c, portz: 1,").replace("web", "bad");
    let text = "Error from server (BadRequest): error when creating \"STDIN\": Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.containers[0].portz\"";
    k.with("create -n n -f -", &unknown, text);
    let nameless = POD.replace("name: c, ", "");
    k.with(
        "create -n n --validate=false -f -",
        &nameless.replace("web", "bad"),
        "The Pod \"bad\" is invalid: spec.containers[0].name: Required value",
    );
    k.mentions("explain pod.spec.containers.image", "FIELD: image <string>");
    k.mentions("api-resources", "false        RuntimeClass");
    k.mentions("auth whoami", "kubernetes-admin");
    k.says("auth can-i delete pods", "yes");
    k.mentions("version", "Server Version: v1.37.2");
    let refused = "get pods -n n --as=system:serviceaccount:n:default";
    let text = "Error from server (Forbidden): pods is forbidden: User \"system:serviceaccount:n:default\" cannot list resource \"pods\" in API group \"\" in the namespace \"n\"";
    k.says(refused, text);
    // Newer ones add the namespace.
    k.mentions("delete pod web b -n n", "pod \"web\" deleted");
    k.mentions("delete namespace n", "namespace \"n\" deleted");
    k.says("get configmaps -n n", "No resources found in n namespace.");
    k.says(
        "delete namespace default",
        "Error from server (Forbidden): namespaces \"default\" is forbidden: this namespace may not be deleted",
    );
}

async fn open(dir: &Path, advertise: std::net::SocketAddr) -> Server {
    Server::open(Config {
        data_dir: dir.into(),
        backend: Some(Backend::Memory),
        advertise,
        names: vec![],
        service_cidr: "10.96.0.0/16".into(),
        node_ports: server::PortRange::default(),
        allow_privileged: true,
        admission: server::Admission::default(),
        limits: server::Limits::default(),
        clock: clock(),
        entropy: entropy(),
    })
    .await
    .unwrap()
}

fn clock() -> api::Clock {
    #[allow(clippy::disallowed_methods)]
    Arc::new(jiff::Timestamp::now)
}

fn entropy() -> api::Entropy {
    let random = ring::rand::SystemRandom::new();
    Arc::new(move |bytes| ring::rand::SecureRandom::fill(&random, bytes).unwrap())
}
