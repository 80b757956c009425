//! The API server with its controllers, for trying clients against it.
//!
//! `cargo run -p server --example serve -- DIR [ADDRESS]`
//!
//! Prints the path of an administrator's kubeconfig once it serves; ends with Ctrl-C.

use std::sync::Arc;

use server::{Component, Config, Server};

/// The server in the same process.
#[path = "../../gousse/src/parts/local.rs"]
mod local;

use local::Local;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir: std::path::PathBuf = arguments.next().expect("the first argument is a folder").into();
    let address = arguments.next().unwrap_or("127.0.0.1:0".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    let advertise = listener.local_addr()?;
    let random = ring::rand::SystemRandom::new();
    #[allow(clippy::disallowed_methods)]
    let clock: api::Clock = Arc::new(jiff::Timestamp::now);
    let entropy: api::Entropy =
        Arc::new(move |bytes| ring::rand::SecureRandom::fill(&random, bytes).expect("the system has entropy"));
    let server = Server::open(Config {
        data_dir: dir.clone(),
        backend: None,
        advertise,
        names: vec![],
        service_cidr: "10.96.0.0/16".into(),
        node_ports: server::PortRange::default(),
        allow_privileged: true,
        admission: server::Admission::default(),
        limits: server::Limits::default(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    })
    .await?;
    let within = server.clone();
    let clients: controllers::Clients =
        Arc::new(move |account| Local::client(&within, Component::controller(account), "gousse"));
    let pair = server.authority_pair();
    let parts = controllers::Config {
        authority: pair.certificate,
        authority_key: pair.key,
        may_bear: server.may_bear(),
        node_ranges: Vec::new(),
        service_range: None,
        node_ports: (30000, 32767),
        load_balancer_pool: Vec::new(),
        node_monitor: controllers::NodeMonitor::default(),
        clock,
        entropy,
    };
    tokio::spawn(controllers::run(clients, parts));
    let path = dir.join("kubeconfig");
    std::fs::write(&path, server.kubeconfig(&format!("https://{advertise}"), "gousse")?)?;
    println!("{}", path.display());
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    server.serve(listener, stop).await
}
