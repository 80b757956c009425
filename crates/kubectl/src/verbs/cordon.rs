//! `cordon`: no new pod goes to the nodes. `uncordon` and `drain` begin here too.

use clap::Args;
use client::ListOptions;
use serde_json::{Value, json};

use super::Run;
use crate::change::{DryRun, DryRunFlag, OutputFlag, Patch, STRATEGIC_PATCH, Said, patch};
use crate::failure::{Result, failure};
use crate::output;
use crate::resource;
use crate::selection::{Found, unmanaged};
use crate::session::{Login, Session};

/// Keep new pods off nodes
#[derive(Args)]
pub struct Cordon {
    #[command(flatten)]
    pub(super) nodes: Nodes,
    #[command(flatten)]
    pub(super) dry_run: DryRunFlag,
}

/// Which nodes.
#[derive(Args, Clone, Default)]
pub(super) struct Nodes {
    /// Names of nodes, `node/name` too
    pub nodes: Vec<String>,
    /// Label selector, instead of names
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
}

impl Run for Cordon {
    async fn run(self, login: Login) -> Result<()> {
        self.marked(&login.session()?, "cordon", true).await
    }
}

impl Cordon {
    pub(super) async fn marked(&self, session: &Session, verb: &str, cordoned: bool) -> Result<()> {
        let dry_run = self.dry_run.wanted()?;
        let said = OutputFlag::default().said(dry_run)?;
        for node in &self.nodes.found(session, verb).await? {
            mark(session, node, cordoned, dry_run, &said).await?;
        }
        Ok(())
    }
}

impl Nodes {
    /// All of them, or the first thing that is wrong (kubectl pkg/cmd/drain/drain.go, Complete).
    pub async fn found(&self, session: &Session, verb: &str) -> Result<Vec<Found>> {
        let usage = |what: String| failure(format!("{what}\nSee 'gousse {verb} -h' for help and examples"));
        let selector = self.selector.as_deref().filter(|selector| !selector.is_empty());
        if self.nodes.is_empty() && self.selector.is_none() {
            return Err(usage(format!("USAGE: {verb} NODE [flags]")));
        }
        if !self.nodes.is_empty() && selector.is_some() {
            return Err(usage("error: cannot specify both a node name and a --selector option".into()));
        }
        let kinds = session.kinds().await?;
        let kind = kinds.named("nodes.v1.")?;
        if self.nodes.is_empty() {
            let label_selector = selector.unwrap_or_default().to_string();
            let options = ListOptions { label_selector, ..ListOptions::default() };
            let listed = session.client.list(&kind, "", &options).await?;
            let found = |object| Found { kind: kind.clone(), namespace: String::new(), object };
            return Ok(listed.objects.into_iter().map(found).collect());
        }
        let mut all = Vec::new();
        for word in &self.nodes {
            let name = match word.contains('/') {
                false => word.as_str(),
                true => {
                    let named = resource::parse(kinds, std::slice::from_ref(word))?;
                    match named.first().and_then(|one| one.name.map(|name| (&one.kind, name))) {
                        Some((of, name)) if of.qualified() == kind.qualified() => name,
                        _ => return Err(failure(format!("expected resource of type node, got {word:?}"))),
                    }
                }
            };
            let object = session.client.get(&kind, "", name).await?;
            all.push(Found { kind: kind.clone(), namespace: String::new(), object });
        }
        Ok(all)
    }
}

/// Marks one node; what the server refuses is told, and the rest goes on (RunCordonOrUncordon).
pub(super) async fn mark(session: &Session, node: &Found, cordoned: bool, dry_run: DryRun, said: &Said) -> Result<()> {
    let (kind, name) = (&node.kind, node.name());
    let verb = if cordoned { "cordon" } else { "uncordon" };
    let done = |what: String| said.done(kind, name, &unmanaged(&node.object), &what);
    let Some(body) = change(&node.object.value(), cordoned) else {
        return done(format!("already {verb}ed"));
    };
    if dry_run != DryRun::Client {
        let change = Patch { content: STRATEGIC_PATCH, body: &body, sub: "", manager: "", dry_run };
        if let Err(status) = patch(session, kind, "", name, &change).await {
            output::note(format_args!("error: unable to {verb} node {name:?}: {status}"));
            return Ok(());
        }
    }
    done(format!("{verb}ed"))
}

/// The patch, if one is needed.
fn change(node: &Value, cordoned: bool) -> Option<Value> {
    let wanted = if cordoned { json!(true) } else { Value::Null };
    (node["spec"]["unschedulable"].as_bool().unwrap_or(false) != cordoned)
        .then(|| json!({"spec": {"unschedulable": wanted}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_patched_only_where_it_is_otherwise() {
        let (open, closed) = (json!({"spec": {}}), json!({"spec": {"unschedulable": true}}));
        assert_eq!(change(&open, true), Some(json!({"spec": {"unschedulable": true}})));
        assert_eq!(change(&closed, true), None);
        assert_eq!(change(&closed, false), Some(json!({"spec": {"unschedulable": null}})));
        assert_eq!(change(&json!({}), false), None);
    }
}
