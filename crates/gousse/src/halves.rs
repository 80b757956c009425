//! `server` and `agent`: the two halves apart, the agent with credentials of its own.

use crate::cli;
use crate::failure::{Context, Result, failure};
use crate::instance::Instance;
use crate::parts::{Alarm, Ended, Seams, broken, serve};

/// Runs the API server, scheduler and controllers until a signal.
pub async fn server(flags: cli::Server) -> Result<()> {
    crate::log("warn");
    let instance = Instance::of(&flags.place)?;
    let _held = instance.hold()?;
    let (alarm, mut parts) = Alarm::new();
    let serving = serve::start(&instance, &flags.flags, &Seams::real(), &alarm).await?;
    let token = serving.server.join_token().context("making the join token")?;
    println!("gousse server is ready: https://{}", serving.address);
    println!("  kubeconfig: {}", instance.kubeconfig().display());
    println!("  nodes join with: gousse agent --server https://{} --token {token}", serving.address);
    let ended = ended(&mut parts).await;
    serving.stop().await;
    ended
}

/// Runs a node until a signal; its pods go on.
pub async fn agent(connection: cli::Connection, flags: cli::Agent) -> Result<()> {
    crate::log("warn");
    let instance = Instance::of(&flags.place)?;
    let _held = instance.hold()?;
    let Some(server) = connection.server else {
        return Err(failure("--server URL is needed: the server that `gousse server` printed"));
    };
    let (seams, (alarm, mut parts)) = (Seams::real(), Alarm::new());
    let machine = crate::parts::node::open(&instance, &flags.node).await?;
    let credentials =
        crate::parts::join::credentials(&instance, &server, flags.token.as_deref(), &machine, &seams.clock).await?;
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
    println!("gousse agent {:?} runs; server: {server}", machine.name);
    let ended = ended(&mut parts).await;
    running.stop().await;
    ended
}

async fn ended(parts: &mut Ended) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let on = |kind| signal(kind).context("listening for signals");
    let (mut interrupt, mut terminate, mut hangup) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        Some(part) = parts.recv() => return Err(broken(part)),
    }
    Ok(())
}
