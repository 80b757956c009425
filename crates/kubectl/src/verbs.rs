//! kubectl's verbs: a file each, and a line in the table.
//!
//! A verb's file holds its flags (clap) and what it does with them; its first line of documentation is
//! what `--help` says of it.

use std::pin::Pin;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};

use crate::failure::Result;
use crate::session::Login;

pub mod annotate;
pub mod api_resources;
pub mod apply;
pub mod attach;
pub mod autoscale;
pub mod cordon;
pub mod create;
pub mod delete;
pub mod describe;
pub mod drain;
pub mod events;
pub mod exec;
pub mod get;
pub mod label;
pub mod logs;
pub mod patch;
pub mod port_forward;
pub mod rollout;
pub mod scale;
pub mod taint;
pub mod top;
pub mod uncordon;
pub mod version;
pub mod wait;

/// In the order of the help.
pub static VERBS: &[Verb] = &[
    verb::<apply::Apply>("apply"),
    verb::<create::Create>("create"),
    verb::<get::Get>("get"),
    verb::<describe::Describe>("describe"),
    verb::<delete::Delete>("delete"),
    verb::<wait::Wait>("wait"),
    verb::<rollout::Rollout>("rollout"),
    verb::<scale::Scale>("scale"),
    verb::<autoscale::Autoscale>("autoscale"),
    verb::<cordon::Cordon>("cordon"),
    verb::<uncordon::Uncordon>("uncordon"),
    verb::<drain::Drain>("drain"),
    verb::<taint::Taint>("taint"),
    verb::<patch::Patch>("patch"),
    verb::<label::Label>("label"),
    verb::<annotate::Annotate>("annotate"),
    verb::<events::Events>("events"),
    verb::<top::Top>("top"),
    verb::<logs::Logs>("logs"),
    verb::<exec::Exec>("exec"),
    verb::<attach::Attach>("attach"),
    verb::<port_forward::PortForward>("port-forward"),
    verb::<api_resources::ApiResources>("api-resources"),
    verb::<version::Version>("version"),
];

/// What a verb's flags do.
pub trait Run: Args {
    fn run(self, login: Login) -> impl Future<Output = Result<()>>;
}

/// A row of the table.
pub struct Verb {
    pub name: &'static str,
    flags: fn(Command) -> Command,
    chosen: fn(&ArgMatches) -> Result<Chosen, clap::Error>,
}

/// A verb with its flags, as a command line names it.
pub struct Chosen(Box<dyn FnOnce(Login) -> Running>);

type Running = Pin<Box<dyn Future<Output = Result<()>>>>;

const fn verb<F: Run + 'static>(name: &'static str) -> Verb {
    let chosen = |matches: &ArgMatches| {
        let flags = F::from_arg_matches(matches)?;
        Ok(Chosen(Box::new(|login| Box::pin(flags.run(login)))))
    };
    Verb { name, flags: F::augment_args, chosen }
}

impl Chosen {
    pub async fn run(self, login: Login) -> Result<()> {
        (self.0)(login).await
    }
}

impl FromArgMatches for Chosen {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Chosen, clap::Error> {
        let missing = || clap::Error::new(clap::error::ErrorKind::MissingSubcommand);
        let (name, matches) = matches.subcommand().ok_or_else(missing)?;
        (VERBS.iter().find(|verb| verb.name == name).ok_or_else(missing)?.chosen)(matches)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Chosen::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Chosen {
    fn augment_subcommands(command: Command) -> Command {
        VERBS.iter().fold(command, |command, verb| command.subcommand((verb.flags)(Command::new(verb.name))))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Chosen::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        VERBS.iter().any(|verb| verb.name == name)
    }
}

#[cfg(test)]
mod tests;
