//! `up`: server and node in one process; applies files and shows what happens until Ctrl-C.
//!
//! Ctrl-C deletes gracefully what `up` made and stops, a second one forces it, a third leaves what is
//! left. Any other end leaves pods running: they belong to the keeper, and the next start takes them over.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Instant;

use api::resource::NODES;
use client::{Client, DeleteOptions};
use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Up;
use crate::instance::Instance;
use crate::made::Made;
use crate::parts::{Alarm, Ended, Local, Seams, broken, node, serve, serving};
use kubectl::Kinds;
use kubectl::failure::{Context, Result, failure};
use kubectl::manifest::{self, Manifest, Place};
use kubectl::output;
use kubectl::resource::shown;
use kubectl::verbs::{apply, delete, wait};

/// What becomes of the files' objects, on the terminal.
mod show;

/// Tells the waiting `--detach` that the instance is ready.
const READY: &str = "GOUSSE_READY";

pub async fn run(flags: Up) -> Result<()> {
    let instance = Instance::of(&flags.place)?;
    // A file that cannot be read must not cost a start.
    let manifests = manifest::read(&flags.files, false)?;
    if manifests.is_empty() && !flags.files.is_empty() {
        return Err(failure("no objects passed to apply"));
    }
    // The one in the background has the same flags, and the pipe.
    if flags.detach && std::env::var_os(READY).is_none() {
        return detach(&instance).await;
    }
    let begun = Instant::now();
    crate::log("warn");
    let _held = instance.hold()?;
    let (seams, (alarm, ended)) = (Seams::real(), Alarm::new());
    if flags.server.allocate_node_cidrs && flags.node.pod_cidr.is_some() {
        return Err(failure(
            "--pod-cidr is for --allocate-node-cidrs=false: else the node gets a part of --cluster-cidr",
        ));
    }
    let listening = serve::listen(&flags.server).await?;
    let machine = node::open(&instance, &flags.node, &flags.cluster, Some(listening.1)).await?;
    let serving = serve::start(&instance, &flags.server, &flags.cluster, listening, &seams, &alarm).await?;
    let server = serving.server.clone();
    let first = server.node_pair(&machine.name, machine.hosts()).context("making the node's certificate")?;
    let (certificate, own) = serving::begin(&instance, first, server.authority(), |_| true)?;
    let credentials = node::Credentials {
        client: Local::client(&server, server::Component::Node(machine.name.clone()), "kubelet"),
        certificate,
        authority: server.authority().to_string(),
        within: Some(server.clone()),
        own: vec![own],
    };
    let running =
        node::start(&instance, &flags.node, flags.server.allow_privileged, &machine, credentials, &seams, &alarm)
            .await?;
    let admin = Local::client(&server, server::Component::Admin, "gousse")
        .warning(kubectl::session::warned)
        .validating("Strict");
    let mut ends = Ends::listen(ended)?;
    tokio::select! {
        ready = node_ready(&admin, &machine.name) => ready?,
        () = ends.next() => {
            return Err(ends.broken.map_or_else(|| failure("stopped before the node was ready"), broken));
        }
    }
    output::tell(format_args!("gousse is ready after {} ms: https://{}", begun.elapsed().as_millis(), serving.address));
    output::tell(format_args!("  kubeconfig: {}", instance.kubeconfig().display()));
    let mut made = Made::of(&instance)?;
    let mut going = !apply_all(&admin, &manifests, &mut made, &mut ends).await?;
    // Not before the files are taken: whoever waits would not hear of what the server refuses.
    told_ready();
    if !going {
        tokio::select! {
            shown = show::show(&admin, &manifests) => shown?,
            () = ends.next() => going = true,
        }
    }
    if !going {
        if !made.is_empty() {
            output::tell("Ctrl-C deletes what was made here and stops");
        }
        ends.next().await;
    }
    if ends.by_hand {
        undo(&admin, &mut made, &mut ends).await?;
    }
    running.stop().await;
    serving.stop().await;
    if let Some(part) = ends.broken {
        return Err(broken(part));
    }
    if ends.by_hand {
        crate::down::clean_if_empty(&instance, &machine).await?;
    }
    Ok(())
}

/// Ctrl-C, the other polite ends, and the end of a part.
struct Ends {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    parts: Ended,
    /// The last one was Ctrl-C.
    by_hand: bool,
    /// The part that ended and should not have.
    broken: Option<&'static str>,
}

impl Ends {
    fn listen(parts: Ended) -> Result<Ends> {
        let on = |kind| signal(kind).context("listening for signals");
        Ok(Ends {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
            parts,
            by_hand: false,
            broken: None,
        })
    }

    async fn next(&mut self) {
        self.by_hand = tokio::select! {
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => false,
            _ = self.hangup.recv() => false,
            Some(part) = self.parts.recv() => {
                self.broken = Some(part);
                false
            }
        };
    }
}

/// Waits until the Node object says Ready.
pub async fn node_ready(client: &Client, name: &str) -> Result<()> {
    let goal = "condition=Ready";
    wait::until_met(client, &NODES, "", name, goal).await
}

/// Applies the manifests one by one; false where a signal came between. A request is never given up
/// halfway: what it made would belong to nobody.
async fn apply_all(client: &Client, manifests: &[Manifest], made: &mut Made, ends: &mut Ends) -> Result<bool> {
    let kinds = Kinds::of(client).await?;
    let place = Place { namespace: "default", is_demanded: false };
    for manifest in manifests {
        if ends.next().now_or_never().is_some() {
            return Ok(false);
        }
        let done = apply::one(client, &kinds, place, manifest, "gousse", false).await?;
        output::tell(format_args!("{} {}", shown(&done.kind, &done.object.meta().name), done.outcome));
        made.note(&done)?;
    }
    Ok(true)
}

/// Deletes what was made; a second signal forces it, a third leaves the rest.
async fn undo(client: &Client, made: &mut Made, ends: &mut Ends) -> Result<()> {
    let gone = tokio::select! {
        gone = remove(client, made, None) => Some(gone),
        () = ends.next() => None,
    };
    match gone {
        Some(gone) => gone?,
        None => {
            output::tell("forced");
            tokio::select! {
                gone = remove(client, made, Some(0)) => gone?,
                () = ends.next() => {
                    output::tell("the rest stays");
                    return Ok(());
                }
            }
        }
    }
    made.forget()
}

/// Deletes it, the last first, and waits until it is gone.
async fn remove(client: &Client, made: &Made, grace: Option<i64>) -> Result<()> {
    let (kinds, mut leaving) = (Kinds::of(client).await?, Vec::new());
    for one in made.all() {
        let kind = kinds.named(&one.kind)?;
        // With what it made, and gone only when that is.
        let options = DeleteOptions {
            grace_period_seconds: grace,
            uid: Some(one.uid.clone()),
            propagation_policy: "Foreground".into(),
            ..DeleteOptions::default()
        };
        match client.delete(&kind, &one.namespace, &one.name, &options).await {
            Ok(_) => leaving.push((kind, one)),
            // Gone, or another one of that name, which is not ours.
            Err(status) if matches!(status.reason, api::Reason::NotFound | api::Reason::Conflict) => {}
            Err(status) => return Err(status.into()),
        }
    }
    for (kind, one) in leaving {
        delete::wait_gone(client, &kind, &one.namespace, &one.name, &one.uid).await?;
        output::tell(format_args!("{} deleted", shown(&kind, &one.name)));
    }
    Ok(())
}

/// Starts the same command in the background and waits until it says that it is ready.
async fn detach(instance: &Instance) -> Result<()> {
    if let Some(pid) = instance.process() {
        return Err(failure(format!("instance {:?} runs already (process {pid})", instance.name)));
    }
    instance.take_folders()?;
    let path = instance.log();
    let log = std::fs::File::options().create(true).append(true).mode(0o644).open(&path);
    let log = log.context(format_args!("opening {}", path.display()))?;
    let (reader, writer) = nix::unistd::pipe().context("making a pipe")?;
    let program = std::env::current_exe().context("finding this program")?;
    let words = std::env::args_os().skip(1);
    let mut command = std::process::Command::new(program);
    command.args(words).env(READY, writer.as_raw_fd().to_string()).stdin(Stdio::null());
    command.stdout(log.try_clone().context("sharing the log")?).stderr(log).process_group(0);
    // A pipe's ends stay open over exec only without this flag.
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))
        .context("handing over a pipe")?;
    nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
        .context("keeping a pipe")?;
    let mut child = command.spawn().context("starting in the background")?;
    drop(writer);
    let text = tokio::task::spawn_blocking(move || std::io::read_to_string(std::fs::File::from(reader)))
        .await
        .context("waiting for the instance")?
        .context("waiting for the instance")?;
    if text.is_empty() {
        let status = child.wait().context("waiting for the instance")?;
        return Err(failure(format!("it ended before it was ready ({status}); {} says why", path.display())));
    }
    output::line(format_args!("gousse is ready (process {}); log: {}", child.id(), path.display()))?;
    output::line(format_args!("  kubeconfig: {}", instance.kubeconfig().display()))
}

fn told_ready() {
    // Ignoring the outcome: whoever waited may be gone, and the instance runs all the same.
    if let Some(number) = std::env::var(READY).ok().and_then(|n| n.parse::<i32>().ok()) {
        if let Ok(mut pipe) = std::fs::File::options().write(true).open(format!("/proc/self/fd/{number}")) {
            let _ = pipe.write_all(b"ready\n");
        }
        let _ = nix::unistd::close(number);
    }
}
