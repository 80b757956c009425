//! `server` and `agent`: the two halves apart, the agent with credentials of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::cli;
use crate::instance::{Instance, write_private};
use crate::parts::{Alarm, Ended, Seams, broken, ingress, join, serve};
use crate::token;
use kubectl::failure::{Context, Result, failure};
use kubectl::output;

/// Runs the API server, scheduler and controllers until a signal.
pub async fn server(flags: cli::Server) -> Result<()> {
    crate::log("warn");
    let instance = Instance::of(&flags.place)?;
    let _held = instance.hold()?;
    let (alarm, mut parts) = Alarm::new();
    let listening = serve::listen(&flags.flags).await?;
    let seams = Seams::real();
    let serving = serve::start(&instance, &flags.flags, &flags.cluster, listening, &seams, &alarm).await?;
    tokio::spawn(alarm.over("what tells of Ingresses", ingress::without_node(&serving.server, &seams)));
    output::tell(format_args!("gousse server is ready: https://{}", serving.address));
    output::tell(format_args!("  kubeconfig: {}", instance.kubeconfig().display()));
    if let Err(why) = invite(&instance, &serving).await {
        // A full disk is no reason not to serve: somebody must be able to delete.
        tracing::warn!("no node can join by a token of this start: {why}");
    }
    let ended = ended(&mut parts).await;
    serving.stop().await;
    ended
}

/// Makes a join token, and says how nodes join with it.
async fn invite(instance: &Instance, serving: &serve::Serving) -> Result<()> {
    let token = serving.server.join_token(server::TOKEN_LIFETIME).await.context("making the join token")?;
    let file = instance.data_dir.join("token");
    write_private(&file, token.text.as_bytes())?;
    output::tell(format_args!(
        "  nodes join with: gousse agent --server https://{} --token-file {}",
        serving.address,
        file.display()
    ));
    output::tell(format_args!("  that token holds until {}; gousse token create makes another", token.ends));
    Ok(())
}

/// Runs a node until a signal; its pods go on.
pub async fn agent(connection: kubectl::Connection, flags: cli::Agent) -> Result<()> {
    token::refuse(flags.token.as_deref())?;
    crate::log("warn");
    let instance = Instance::of(&flags.place)?;
    let _held = instance.hold()?;
    let Some(server) = connection.server else {
        return Err(failure("--server URL is needed: the server that `gousse server` printed"));
    };
    let token = || token::given(flags.token_file.as_deref());
    let (seams, (alarm, mut parts)) = (Seams::real(), Alarm::new());
    let own = own_server(&server);
    let machine = Arc::new(crate::parts::node::open(&instance, &flags.node, &flags.cluster, own).await?);
    let beside = own.is_some();
    let credentials = join::credentials(&instance, &server, token, machine.clone(), beside, &seams.clock).await?;
    let running = crate::parts::node::start(
        &instance,
        &flags.node,
        flags.allow_privileged,
        &machine,
        credentials,
        &seams,
        &alarm,
    )
    .await?;
    output::tell(format_args!("gousse agent {:?} runs; server: {server}", machine.name));
    let ended = ended(&mut parts).await;
    running.stop().await;
    ended
}

/// Where that server listens, if it is one of this machine's.
fn own_server(url: &str) -> Option<SocketAddr> {
    let url: http::Uri = url.parse().ok()?;
    let (host, port) = (url.host()?, url.port_u16().unwrap_or(443));
    let is_own = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || net::host_addresses().is_ok_and(|own| own.contains(&address)),
        Err(_) => host == "localhost" || nix::unistd::gethostname().is_ok_and(|name| name == host),
    };
    // It may listen on others of its addresses too.
    is_own.then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
}

async fn ended(parts: &mut Ended) -> Result<()> {
    tokio::select! {
        done = signalled() => done,
        Some(part) = parts.recv() => Err(broken(part)),
    }
}

/// Returns at the first polite signal.
pub async fn signalled() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let on = |kind| signal(kind).context("listening for signals");
    let (mut interrupt, mut terminate, mut hangup) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
