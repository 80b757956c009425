//! `delete`: asks for deletion, then waits until the objects are gone, by UID.

use std::time::Duration;

use api::{Reason, Resource, WatchEvent};
use clap::Args;
use client::{Client, DeleteOptions, ListOptions, WatchOptions};
use futures::StreamExt;

use super::Run;
use crate::failure::{Failure, Result, failure};
use crate::output;
use crate::resource;
use crate::selection::{Selection, Target};
use crate::session::{Login, Session};

/// Delete objects by name, label or file
#[derive(Args, Default)]
pub struct Delete {
    #[command(flatten)]
    pub selection: Selection,
    /// Field selector
    #[arg(long)]
    pub field_selector: Option<String>,
    /// All of the kind in the namespace
    #[arg(long)]
    pub all: bool,
    /// Seconds to end gracefully; -1: the object's own
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// Do not wait for the node; the grace is 0
    #[arg(long)]
    pub force: bool,
    /// Grace of one second
    #[arg(long)]
    pub now: bool,
    /// Wait until the objects are gone
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub wait: bool,
    /// Longest wait; 0: as long as it takes
    #[arg(long, default_value = "0s", value_parser = super::wait::duration)]
    pub timeout: Duration,
    /// `background`, `foreground` or `orphan`: what becomes of what the objects own
    #[arg(long, default_value = "background", num_args = 0..=1, require_equals = true,
        default_missing_value = "background")]
    pub cascade: String,
    /// Do not fail on what is not there
    #[arg(long)]
    pub ignore_not_found: bool,
    /// `name`: print kind/name only
    #[arg(short, long)]
    pub output: Option<String>,
}

const FORCED: &str = "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.";

impl Run for Delete {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        let mut options = DeleteOptions { propagation_policy: cascading(&flags.cascade)?, ..DeleteOptions::default() };
        if let Some(form) = flags.output.as_deref().filter(|form| !matches!(*form, "" | "name")) {
            return Err(failure(format!("unexpected -o output mode: {form}. We only support '-o name'")));
        }
        if flags.now && flags.grace_period != -1 {
            return Err(failure("--now and --grace-period cannot be specified together"));
        }
        if flags.force && flags.grace_period > 0 {
            return Err(failure("--force and --grace-period greater than 0 cannot be specified together"));
        }
        let mut wait = flags.wait;
        options.grace_period_seconds = match (flags.force, flags.now, flags.grace_period) {
            (true, ..) => Some(0),
            (_, true, _) => Some(1),
            // Without --force the node must confirm, so it gets its second.
            (_, _, 0) => Some(1),
            (_, _, seconds) if seconds > 0 => Some(seconds),
            _ => None,
        };
        if flags.force {
            output::note(FORCED);
            wait = false;
        }
        let (targets, mut failed) = match flags.selection.given.filename.is_empty() {
            true => (targets(session, &flags).await?, Vec::new()),
            false => targets_in_files(session, &flags).await?,
        };
        if targets.is_empty() && failed.is_empty() && !flags.ignore_not_found {
            output::note("No resources found");
        }
        let mut leaving = Vec::new();
        for target in targets {
            match session.client.delete(&target.kind, &target.namespace, &target.name, &options).await {
                Ok(object) => {
                    say(&flags, &target)?;
                    leaving.push((target, object));
                }
                Err(status) if status.reason == Reason::NotFound && flags.ignore_not_found => {}
                Err(status) => failed.push(status.into()),
            }
        }
        if wait {
            let gone = async {
                for (target, object) in &leaving {
                    wait_gone(&session.client, &target.kind, &target.namespace, &target.name, &object.meta().uid)
                        .await?;
                }
                Ok::<(), Failure>(())
            };
            match flags.timeout {
                Duration::ZERO => gone.await?,
                limit => tokio::time::timeout(limit, gone)
                    .await
                    .map_err(|_| failure("timed out waiting for the objects to be gone"))??,
            }
        }
        crate::failure::all_of(failed)
    }
}

fn say(flags: &Delete, target: &Target) -> Result<()> {
    if flags.output.as_deref() == Some("name") {
        return output::line(resource::shown(&target.kind, &target.name));
    }
    let how = if flags.force { "force deleted" } else { "deleted" };
    let kind = match target.kind.group.as_str() {
        "" => target.kind.singular.clone(),
        group => format!("{}.{group}", target.kind.singular),
    };
    match target.namespace.as_str() {
        "" => output::line(format_args!("{kind} {:?} {how}", target.name)),
        namespace => output::line(format_args!("{kind} {:?} {how} from {namespace} namespace", target.name)),
    }
}

/// What the files name, as far as the label selector fits what they say, and what cannot be deleted.
async fn targets_in_files(session: &Session, flags: &Delete) -> Result<(Vec<Target>, Vec<Failure>)> {
    not_all_and_some(flags)?;
    if flags.field_selector.is_some() && flags.selection.given.resources.is_empty() {
        return Err(failure("a field selector cannot be used when a path is specified"));
    }
    let (mut targets, mut failed) = (Vec::new(), Vec::new());
    for named in flags.selection.in_files(session).await? {
        match named {
            Ok(target) => targets.push(target),
            Err(why) => failed.push(why),
        }
    }
    Ok((targets, failed))
}

fn not_all_and_some(flags: &Delete) -> Result<()> {
    for (given, flag) in [(&flags.selection.selector, "selector"), (&flags.field_selector, "field-selector")] {
        if flags.all && given.is_some() {
            return Err(failure(format!("cannot set --all and --{flag} at the same time")));
        }
    }
    Ok(())
}

async fn targets(session: &Session, flags: &Delete) -> Result<Vec<Target>> {
    not_all_and_some(flags)?;
    let named = resource::parse(session.kinds().await?, &flags.selection.given.resources)?;
    if flags.all || flags.selection.selector.is_some() || flags.field_selector.is_some() {
        resource::unnamed(&flags.selection.given.resources, &named)?;
    }
    let mut targets = Vec::new();
    for named in named {
        let namespace = if named.kind.namespaced { session.namespace.clone() } else { String::new() };
        match named.name {
            Some(name) => targets.push(Target { kind: named.kind, namespace, name: name.to_string() }),
            None if flags.all || flags.selection.selector.is_some() || flags.field_selector.is_some() => {
                let options = ListOptions {
                    label_selector: flags.selection.selector.clone().unwrap_or_default(),
                    field_selector: flags.field_selector.clone().unwrap_or_default(),
                    ..ListOptions::default()
                };
                for object in session.client.list(&named.kind, &namespace, &options).await?.objects {
                    let meta = object.meta();
                    targets.push(Target {
                        kind: named.kind.clone(),
                        namespace: meta.namespace.clone(),
                        name: meta.name.clone(),
                    });
                }
            }
            None => return Err(failure("resource(s) were provided, but no name was specified; --all takes all")),
        }
    }
    Ok(targets)
}

/// Waits until the object of that UID is gone; another of its name is not it.
pub async fn wait_gone(client: &Client, kind: &Resource, namespace: &str, name: &str, uid: &str) -> Result<()> {
    let field_selector = format!("metadata.name={name}");
    loop {
        let options = ListOptions { field_selector: field_selector.clone(), ..ListOptions::default() };
        let listed = client.list(kind, namespace, &options).await?;
        // A Status in place of the object has no UID: whatever has the name is meant.
        let is_it = |object: &api::Object| uid.is_empty() || object.meta().uid == uid;
        if !listed.objects.iter().any(is_it) {
            return Ok(());
        }
        let options = WatchOptions {
            field_selector: field_selector.clone(),
            resource_version: listed.revision.to_string(),
            ..WatchOptions::default()
        };
        let mut watch = client.watch(kind, namespace, &options).await?;
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Deleted(object) if is_it(&object) => return Ok(()),
                WatchEvent::Error(_) => break,
                _ => {}
            }
        }
    }
}

/// The policy of `--cascade` (parseCascadingFlag).
fn cascading(flag: &str) -> Result<String> {
    let deprecated = |instead: &str| {
        output::note(format_args!(
            "warning: --cascade={flag} is deprecated (boolean value) and can be replaced with --cascade={instead}."
        ));
    };
    match (crate::flags::truth(flag), flag) {
        (Ok(true), _) => deprecated("background"),
        (Ok(false), _) => deprecated("orphan"),
        _ => {}
    }
    match (crate::flags::truth(flag), flag) {
        (Ok(true), _) | (_, "background") => Ok("Background".into()),
        (Ok(false), _) | (_, "orphan") => Ok("Orphan".into()),
        (_, "foreground") => Ok("Foreground".into()),
        (_, other) => Err(failure(format!(
            "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_what_is_owned_is_said_by_word_or_as_of_old() {
        for (flag, policy) in [
            ("background", "Background"),
            ("foreground", "Foreground"),
            ("orphan", "Orphan"),
            ("true", "Background"),
            ("false", "Orphan"),
        ] {
            assert_eq!(cascading(flag).unwrap(), policy);
        }
        let why = "invalid cascade value (all). Must be \"background\", \"foreground\", or \"orphan\"";
        assert_eq!(cascading("all").unwrap_err().message, why);
    }
}
