//! kubectl's verbs: each file takes its flags, asks the server and prints what it answers.
//!
//! Nothing is decided here that the server decides: tables, validation and defaults are its.

use clap::Subcommand;

use crate::cli::Connection;
use crate::failure::Result;

pub mod api_resources;
pub mod apply;
pub mod attach;
pub mod create;
pub mod delete;
pub mod describe;
pub mod events;
pub mod exec;
pub mod get;
pub mod logs;
pub mod port_forward;
pub mod resource;
pub mod session;
pub mod streams;
pub mod table;
pub mod version;
pub mod wait;

pub use session::Session;

#[derive(Subcommand)]
pub enum Verb {
    /// Make objects what the files say
    Apply(apply::Apply),
    /// Make objects that are not there yet
    Create(create::Create),
    /// Show objects
    Get(get::Get),
    /// Tell objects and their events in detail
    Describe(describe::Describe),
    /// Delete objects by name, label or file
    Delete(delete::Delete),
    /// Wait for a condition on objects
    Wait(wait::Wait),
    /// Show what happened
    Events(events::Events),
    /// Show what containers wrote
    Logs(logs::Logs),
    /// Run a command in a container
    Exec(exec::Exec),
    /// Join the streams of a container's process
    Attach(attach::Attach),
    /// Lead ports of this machine to a pod's
    PortForward(port_forward::PortForward),
    /// List the kinds that the server serves
    ApiResources(api_resources::ApiResources),
    /// Show the versions of client and server
    Version(version::Version),
}

pub async fn run(connection: &Connection, verb: Verb) -> Result<()> {
    // The only one that may do without a server.
    if let Verb::Version(flags) = &verb
        && flags.client
    {
        return version::run(None, flags).await;
    }
    let session = Session::open(connection)?;
    match verb {
        Verb::Apply(flags) => apply::run(&session, flags).await,
        Verb::Create(flags) => create::run(&session, flags).await,
        Verb::Get(flags) => get::run(&session, flags).await,
        Verb::Describe(flags) => describe::run(&session, flags).await,
        Verb::Events(flags) => events::run(&session, flags).await,
        Verb::Logs(flags) => logs::run(&session, flags).await,
        Verb::Exec(flags) => exec::run(&session, flags).await,
        Verb::Attach(flags) => attach::run(&session, flags).await,
        Verb::PortForward(flags) => port_forward::run(&session, flags).await,
        Verb::Delete(flags) => delete::run(&session, flags).await,
        Verb::Wait(flags) => wait::run(&session, flags).await,
        Verb::ApiResources(flags) => api_resources::run(&session, flags).await,
        Verb::Version(flags) => version::run(Some(&session), &flags).await,
    }
}
