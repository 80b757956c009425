//! The API server alone, for trying clients against it: `cargo run -p server --example serve -- DIR [ADDRESS]`.
//!
//! Prints the path of an administrator's kubeconfig once it serves; ends with Ctrl-C.

use std::sync::Arc;

use server::{Config, Server};

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
    let server = Server::open(Config {
        data_dir: dir.clone(),
        backend: None,
        advertise,
        names: vec![],
        service_cidr: "10.96.0.0/16".into(),
        allow_privileged: true,
        clock,
        entropy: Arc::new(move |bytes| ring::rand::SecureRandom::fill(&random, bytes).expect("the system has entropy")),
    })
    .await?;
    let path = dir.join("kubeconfig");
    std::fs::write(&path, server.kubeconfig(&format!("https://{advertise}"), "gousse")?)?;
    println!("{}", path.display());
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    server.serve(listener, stop).await
}
