//! Both servers, each with an administrator's credentials: the stock one with its etcd, and Gousse's.
//!
//! Nothing else of a cluster runs beside the stock one (but for `workloads`). What a controller of Gousse's does to objects is kept apart by
//! the cases: each sees its own objects only.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use client::{Client, Https, HttpsConfig, Transport, kubeconfig};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::conformance::cache::run;
use crate::conformance::namespace::ADDRESS;

/// Far above what either takes on a busy machine.
const START: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_secs(30);
/// Connections to each.
const CONNECTIONS: usize = 3;
pub const TOKEN: &str = "administrator";

pub struct Servers {
    pub stock: Server,
    pub gousse: Server,
    children: Vec<Child>,
}

/// One of them, and a few connections to it.
pub struct Server {
    config: HttpsConfig,
    connections: Vec<Https>,
    turn: AtomicUsize,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub code: u16,
    /// Names in lower case, as they came.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Servers {
    /// Starts all, Gousse's server with `further` flags, and waits until both are ready. Their logs go to `out`.
    pub async fn start(
        apiserver: &Path,
        etcd: &Path,
        (gousse, further): (&Path, &[&str]),
        home: &Path,
        out: &Path,
    ) -> Result<Servers> {
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        let at = |name: &str| text(home.join(name));
        run(std::process::Command::new("openssl").args(["genrsa", "-out", &at("sa.key"), "2048"]))?;
        std::fs::write(home.join("tokens.csv"), format!("{TOKEN},{USER},,system:masters\n"))?;
        let mut etcd = Command::new(etcd);
        etcd.args(["--data-dir", &at("etcd"), "--log-level", "error", "--unsafe-no-fsync"]);
        for (flag, port) in [("client", 2379), ("peer", 2380)] {
            let url = format!("http://127.0.0.1:{port}");
            etcd.args([&format!("--listen-{flag}-urls"), &url]);
            if flag == "client" {
                etcd.args(["--advertise-client-urls", &url]);
            }
        }
        let mut stock = Command::new(apiserver);
        stock.args(["--etcd-servers", "http://127.0.0.1:2379", "--secure-port", "7443", "--cert-dir", &at("stock")]);
        stock.args(["--token-auth-file", &at("tokens.csv"), "--authorization-mode", "Node,RBAC"]);
        stock.args(["--service-account-key-file", &at("sa.key"), "--service-account-signing-key-file", &at("sa.key")]);
        stock.args(["--service-account-issuer", "https://kubernetes.default.svc.cluster.local"]);
        stock.args(["--service-cluster-ip-range", "10.96.0.0/12", "--advertise-address", ADDRESS]);
        stock.args(["--allow-privileged", "--enable-admission-plugins", "NodeRestriction"]);
        let mut ours = Command::new(gousse);
        ours.args(["server", "--name", "compare", "--data-dir", &at("data"), "--run-dir", &at("run")]);
        ours.args(["--max-user-share", "100"]).args(further);
        let mut children = Vec::new();
        for (name, command) in [("etcd", &mut etcd), ("kube-apiserver", &mut stock), ("gousse", &mut ours)] {
            let log = File::create(out.join(format!("{name}.log")))?;
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
            children.push(command.spawn().with_context(|| format!("starting {name}"))?);
        }
        let file = home.join("data/admin.kubeconfig");
        let begun = Instant::now();
        while !file.exists() {
            if begun.elapsed() > START {
                bail!("gousse made no kubeconfig: see {}", out.join("gousse.log").display());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let stock = HttpsConfig {
            server: "https://127.0.0.1:7443".to_owned(),
            insecure: true,
            bearer: Some(client::https::Bearer::Token(TOKEN.to_owned())),
            ..HttpsConfig::default()
        };
        let servers = Servers {
            stock: Server::new(&stock)?,
            gousse: Server::new(&kubeconfig::load(Some(&file), None)?.https)?,
            children,
        };
        servers.stock.ready().await.context("the stock server")?;
        servers.gousse.ready().await.context("gousse's server")?;
        Ok(servers)
    }

    pub async fn stop(mut self) {
        for child in &mut self.children {
            let _ = child.kill().await;
        }
    }
}

/// As Gousse calls its administrator.
const USER: &str = "kubernetes-admin";

impl Server {
    fn new(config: &HttpsConfig) -> Result<Server> {
        let connections: std::io::Result<Vec<Https>> = (0..CONNECTIONS).map(|_| Https::new(config.clone())).collect();
        Ok(Server { config: config.clone(), connections: connections?, turn: AtomicUsize::new(0) })
    }

    /// A client of its administrator, on a connection of its own.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(Arc::new(Https::new(self.config.clone())?)).named("compare"))
    }

    async fn ready(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let request = http::Request::builder().uri("/readyz").body(Bytes::new())?;
            if self.send(request).await.is_ok_and(|answer| answer.code == 200) {
                return Ok(());
            }
            if begun.elapsed() > START {
                bail!("was not ready within {} s", START.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// One request, and its whole answer.
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<Answer> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let whole = async {
            let reply = self.connections[turn % CONNECTIONS].call(request).await?;
            let (code, headers) = (reply.status.as_u16(), reply.headers.clone());
            let headers = headers.iter().map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            });
            Ok::<_, api::Status>(Answer { code, headers: headers.collect(), body: reply.bytes().await? })
        };
        let answer = timeout(ANSWER, whole).await.with_context(|| format!("no answer in {} s", ANSWER.as_secs()))?;
        answer.map_err(|why| anyhow::anyhow!("{why}"))
    }
}
