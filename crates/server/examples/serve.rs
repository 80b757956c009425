//! The API server with its controllers, for trying clients against it.
//!
//! `cargo run -p server --example serve -- DIR [ADDRESS]`
//!
//! Prints the path of an administrator's kubeconfig once it serves; ends with Ctrl-C.

use std::sync::Arc;

use server::{Body, Component, Config, Server};

/// The server in the same process, as its controllers see it.
struct Inside(Server);

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
        allow_privileged: true,
        limits: server::Limits::default(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    })
    .await?;
    let admin: Arc<dyn client::Transport> = Arc::new(Inside(server.clone()));
    let parts = controllers::Config { authority: server.authority().into(), clock, entropy };
    tokio::spawn(controllers::run(client::Client::new(admin), parts));
    let path = dir.join("kubeconfig");
    std::fs::write(&path, server.kubeconfig(&format!("https://{advertise}"), "gousse")?)?;
    println!("{}", path.display());
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    server.serve(listener, stop).await
}

impl client::Transport for Inside {
    fn call(
        &self,
        request: http::Request<bytes::Bytes>,
    ) -> client::transport::Boxed<'_, Result<client::Reply, api::Status>> {
        Box::pin(async move {
            let response = self.0.handle(&self.0.internal(Component::Controllers), request).await;
            let body = match response.body {
                Body::Bytes(bytes) => client::Body::Bytes(bytes),
                Body::List { objects, revision, continue_token } => {
                    client::Body::List { objects, revision, continue_token }
                }
                Body::Events(events) => client::Body::Events(events),
                Body::Stream(stream) => client::Body::Stream(stream),
                Body::Upgrade(_) => return Err(api::Status::internal("no upgrade was asked for")),
            };
            Ok(client::Reply { status: response.status, headers: response.headers, body })
        })
    }
}
