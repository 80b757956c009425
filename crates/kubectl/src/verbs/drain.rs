//! `drain`: no new pod goes to the nodes, and those that are there go elsewhere.
//!
//! Pods are evicted, so that their budgets are asked; what a budget holds back goes when the budget
//! changes. All waiting is on watches (kubectl pkg/cmd/drain, pkg/drain).

use std::time::Duration;

use api::Resource;
use api::selector::Labels;
use clap::Args;
use client::ListOptions;

use super::cordon::{Nodes, mark};
use super::{Run, wait};
use crate::change::{DryRun, DryRunFlag, OutputFlag, one_text};
use crate::failure::{Failure, Result, failure};
use crate::output;
use crate::selection::{Found, unmanaged};
use crate::session::{Login, Session, warned};

/// Evictions, and the wait for their pods' end.
mod eviction;
/// Which pods go.
mod verdicts;

use eviction::Leaving;
use verdicts::{Allowed, Missing, Verdicts};

/// Empty nodes for maintenance
#[derive(Args)]
pub struct Drain {
    #[command(flatten)]
    nodes: Nodes,
    #[command(flatten)]
    dry_run: DryRunFlag,
    /// Pods too that no controller makes again
    #[arg(long)]
    force: bool,
    /// Leave pods of DaemonSets where they are
    #[arg(long)]
    ignore_daemonsets: bool,
    /// Pods too whose emptyDir volumes go with them
    #[arg(long)]
    delete_emptydir_data: bool,
    /// Seconds for each pod to end gracefully; negative: the pod's own
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// Longest wait for a node; 0: as long as it takes
    #[arg(long, default_value = "0s", value_parser = wait::duration)]
    timeout: Duration,
    /// Label selector: only these pods
    #[arg(long, default_value = "", hide_default_value = true)]
    pod_selector: String,
    /// Delete pods instead, whatever their budgets say
    #[arg(long)]
    disable_eviction: bool,
    /// Do not wait for pods that have been going for more than so many seconds; 0: for all
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    skip_wait_for_delete_timeout: i64,
}

impl Run for Drain {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        let dry_run = flags.dry_run.wanted()?;
        if Labels::parse(&flags.pod_selector).is_err() {
            return Err(failure("--pod-selector=<pod_selector> must be a valid label selector"));
        }
        let said = OutputFlag::default().said(dry_run)?;
        let nodes = flags.nodes.found(session, "drain").await?;
        for node in &nodes {
            mark(session, node, true, dry_run, &said).await?;
        }
        let (mut failed, mut pending) = (Vec::new(), Vec::new());
        for node in &nodes {
            match flags.empty(session, node, dry_run).await {
                Ok(()) => said.done(&node.kind, node.name(), &unmanaged(&node.object), "drained")?,
                Err(why) => {
                    let (name, text) = (node.name(), one_text(&why));
                    output::note(format_args!(
                        "error: unable to drain node {name:?} due to error: {text}, continuing command..."
                    ));
                    pending.push(name);
                    failed.push(why);
                }
            }
        }
        if !pending.is_empty() {
            output::note("There are pending nodes to be drained:");
            pending.iter().for_each(|name| output::note(format_args!(" {name}")));
        }
        told(failed)
    }
}

impl Drain {
    /// Empties one node; what went wrong with each pod.
    async fn empty(&self, session: &Session, node: &Found, dry_run: DryRun) -> Result<(), Vec<Failure>> {
        let one = |why: Failure| vec![why];
        let kind = session.kinds().await.and_then(|kinds| kinds.named("pods.v1.")).map_err(one)?;
        let (verdicts, revision) = self.verdicts(session, &kind, node.name()).await.map_err(one)?;
        let refusals = verdicts.refusals();
        if !refusals.is_empty() {
            return Err(refusals.into_iter().map(failure).collect());
        }
        let warnings = verdicts.warnings();
        if !warnings.is_empty() {
            warned(&warnings);
        }
        let going = verdicts.going();
        if dry_run == DryRun::Client {
            for pod in &going {
                let meta = pod.meta();
                output::line(format_args!("evicting pod {}/{} (dry run)", meta.namespace, meta.name)).map_err(one)?;
            }
            return Ok(());
        }
        if going.is_empty() {
            return Ok(());
        }
        let leaving = Leaving {
            session,
            evicts: !self.disable_eviction && kind.subresources.iter().any(|sub| sub == "eviction"),
            pods: kind.clone(),
            node: node.name(),
            grace: self.grace_period,
            timeout: self.timeout,
            skip_after: self.skip_wait_for_delete_timeout,
            dry_run,
        };
        let Err(failed) = leaving.all(going, revision).await else { return Ok(()) };
        self.tell_pending(session, &kind, node.name(), &failed).await;
        Err(failed)
    }

    /// The node's pods with what becomes of them, as of a revision.
    async fn verdicts(&self, session: &Session, kind: &Resource, node: &str) -> Result<(Verdicts, u64)> {
        let options = ListOptions {
            label_selector: self.pod_selector.clone(),
            field_selector: format!("spec.nodeName={node}"),
            ..ListOptions::default()
        };
        let listed = session.client.list(kind, "", &options).await?;
        let mut missing = Missing::new();
        for pod in &listed.objects {
            let Some(name) = verdicts::daemon_set_of(pod) else { continue };
            let key = (pod.meta().namespace.clone(), name.to_string());
            if missing.contains_key(&key) {
                continue;
            }
            let sets = session.kinds().await?.named("daemonsets.apps")?;
            if let Err(status) = session.client.get(&sets, &key.0, name).await {
                missing.insert(key, status);
            }
        }
        let allowed = Allowed {
            force: self.force,
            ignore_daemon_sets: self.ignore_daemonsets,
            delete_empty_dirs: self.delete_emptydir_data,
            skip_deleted_after: self.skip_wait_for_delete_timeout,
        };
        let now = (session.clock)();
        let judged = |pod: api::Object| {
            let verdict = verdicts::of(&pod, &missing, allowed, now);
            (pod, verdict)
        };
        Ok((Verdicts(listed.objects.into_iter().map(judged).collect()), listed.revision))
    }

    /// Which pods are still there (cmd/drain/drain.go, deleteOrEvictPodsSimple).
    async fn tell_pending(&self, session: &Session, kind: &Resource, node: &str, failed: &[Failure]) {
        let Ok((verdicts, _)) = self.verdicts(session, kind, node).await else { return };
        let going = verdicts.going();
        if !going.is_empty() {
            let why = one_text(failed);
            output::note(format_args!("There are pending pods in node {node:?} when an error occurred: {why}"));
            going.iter().for_each(|pod| output::note(format_args!("pod/{}", pod.meta().name)));
        }
    }
}

/// What went wrong, node by node: of one node a line for each thing, of several a line for each node
/// (cmd/util/helpers.go, checkErr, of an aggregate of aggregates).
fn told(mut nodes: Vec<Vec<Failure>>) -> Result<()> {
    let lines: Vec<String> = match nodes.len() {
        0 => return Ok(()),
        1 => nodes.remove(0).into_iter().map(|failure| failure.message).collect(),
        _ => nodes.iter().map(|node| one_text(node)).collect(),
    };
    Err(Failure { is_servers: true, ..failure(lines.join("\n")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_nodes_troubles_stand_each_on_a_line_and_several_nodes_each_on_one() {
        let node = |whys: &[&str]| -> Vec<Failure> { whys.iter().map(|why| failure(*why)).collect() };
        let text = |nodes| told(nodes).unwrap_err().printed();
        assert!(told(Vec::new()).is_ok());
        assert_eq!(text(vec![node(&["a", "b"])]), "a\nb");
        assert_eq!(text(vec![node(&["a", "b", "a"]), node(&["c"])]), "[a, b]\nc");
    }
}
