//! The binary: parse, dispatch; `up`, `server`, `agent`, `hollow` assemble the parts.

#![forbid(unsafe_code)]

/// Every verb and flag.
mod cli;
/// `down`: the end of an instance.
mod down;
/// `server` and `agent`: the two halves apart.
mod halves;
/// `hollow`: many nodes that only pretend.
mod hollow;
/// Image commands of this machine's node.
mod images;
/// Where an instance lives on this machine.
mod instance;
/// Credentials for the user's own kubeconfig.
mod kubeconfig;
/// What `up` made of its files.
mod made;
/// The parts of a running instance, put together.
mod parts;
/// Tokens that nodes join with.
mod token;
/// `up`: server and node in one process.
mod up;
/// Why a pod has no node.
mod why;

use std::process::ExitCode;

use clap::FromArgMatches;

use cli::{Cli, Command};
use instance::Instance;
use kubectl::VERBS;
use kubectl::failure::{Context, Failure, failure};
use kubectl::output;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Keeper and supervisor are this program too, and must stay small and single-threaded.
    if let Some(code) = runtime::native::supervise(std::env::args_os()) {
        return ExitCode::from(code as u8);
    }
    runtime::native::small_pages();
    runtime::native::give_memory_back();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                output::note(kubectl::table::escaped(&failure.printed()));
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run() -> Result<(), Failure> {
    let cli = parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| failure("two cryptography providers want to be the default"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        match cli.command {
            Command::Up(flags) => up::run(flags).await,
            Command::Down(flags) => down::run(flags).await,
            Command::Server(flags) => halves::server(flags).await,
            Command::Agent(flags) => halves::agent(cli.connection, flags).await,
            Command::Hollow(flags) => hollow::run(login(cli.connection)?, flags).await,
            Command::Token(command) => token::run(cli.connection, command).await,
            Command::Kubeconfig(flags) => kubeconfig::run(&flags),
            Command::Image(command) => images::run(command).await,
            Command::Why(flags) => why::run(cli.connection, flags).await,
            Command::Verb(verb) => verb.run(login(cli.connection)?).await,
        }
    })
}

/// kubectl's name offers kubectl's verbs only.
fn parse() -> Cli {
    let name = std::env::args_os().next().map(std::path::PathBuf::from);
    let is_kubectl = name.as_deref().and_then(|p| p.file_name()).is_some_and(|n| n == "kubectl");
    if !is_kubectl {
        return parsed(cli::command());
    }
    let own = cli::command().name("kubectl");
    let is_verb = |name: &str| VERBS.iter().any(|verb| verb.name == name);
    let hidden: Vec<String> =
        own.get_subcommands().map(|c| c.get_name().to_string()).filter(|name| !is_verb(name)).collect();
    parsed(hidden.iter().fold(own, |command, name| command.mut_subcommand(name, |c| c.hide(true))))
}

/// What cannot be read of the command line ends with 1, as kubectl's (cmd/util/helpers.go, DefaultErrorExitCode).
fn parsed(command: clap::Command) -> Cli {
    let read = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    read.unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(i32::from(error.use_stderr()))
    })
}

/// The administrator of the default instance, where nothing else is named.
fn login(connection: kubectl::Connection) -> Result<kubectl::Login, Failure> {
    let place = cli::Place { name: "default".into(), data_dir: None, run_dir: None };
    let own = Instance::of(&place)?.kubeconfig();
    Ok(kubectl::Login { connection, own, clock: parts::Seams::real().clock })
}

/// Where log lines go: standard error, `GOUSSE_LOG` chooses what (`info`, `node=debug`).
pub fn log(default: &str) {
    let usual = || default.parse::<Targets>().expect("written in this program");
    let filter = std::env::var("GOUSSE_LOG").map_or_else(
        |_| usual(),
        |chosen| {
            chosen.parse().unwrap_or_else(|error| {
                output::note(format_args!(
                    "warning: GOUSSE_LOG is {chosen:?} and not like `info` or `node=debug,warn`: {error}"
                ));
                usual()
            })
        },
    );
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if let Err(error) = tracing_subscriber::registry().with(lines).with(filter).try_init() {
        output::note(format_args!("warning: no log: {error}"));
    }
}
