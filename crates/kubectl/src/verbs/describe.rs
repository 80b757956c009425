//! `describe`: an object and its events for a person, in kubectl's layout.
//!
//! A pod and a node have their own pages; every other kind is told field by field.

use api::resource::{EVENTS, LEASES, PODS};
use api::{Object, Resource};
use clap::Args;
use client::ListOptions;
use serde_json::Value;

use super::Run;
use crate::failure::{Result, all_of};
use crate::output;
use crate::resource;
use crate::session::{Login, Session};

mod fields;
mod node;
mod page;
mod pod;
mod template;

use page::Page;

pub(super) use template::template;

/// Tell objects and their events in detail
#[derive(Args)]
pub struct Describe {
    /// `pod/web`, `pods web db`, `pods`
    pub resources: Vec<String>,
    /// Label selector
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Every namespace
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// With the object's events
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub show_events: bool,
}

impl Run for Describe {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        let (mut pages, mut failed) = (Vec::new(), Vec::new());
        let named = resource::parse(session.kinds().await?, &flags.resources)?;
        resource::in_one_namespace(flags.all_namespaces, &named)?;
        if flags.selector.is_some() {
            resource::unnamed(&flags.resources, &named)?;
        }
        for named in named {
            let namespace = match named.kind.namespaced && !flags.all_namespaces {
                true => session.namespace.as_str(),
                false => "",
            };
            let objects = match named.name {
                Some(name) => match session.client.get(&named.kind, namespace, name).await {
                    Ok(object) => vec![object],
                    Err(status) => {
                        failed.push(status.into());
                        continue;
                    }
                },
                None => {
                    let label_selector = flags.selector.clone().unwrap_or_default();
                    let options = ListOptions { label_selector, ..ListOptions::default() };
                    session.client.list(&named.kind, namespace, &options).await?.objects
                }
            };
            for object in objects {
                pages.push(page_of(session, &named.kind, &object, flags.show_events).await?);
            }
        }
        if pages.is_empty() && failed.is_empty() {
            output::note("No resources found");
        }
        output::text(&crate::table::escaped(&pages.join("\n\n")))?;
        all_of(failed)
    }
}

async fn page_of(session: &Session, kind: &Resource, object: &Object, show_events: bool) -> Result<String> {
    let value = object.value();
    let mut page = Page::default();
    match kind.kind.as_str() {
        "Pod" => pod::write(&mut page, &value),
        "Node" => {
            let lease = session.client.get(&LEASES, "kube-node-lease", &object.meta().name).await;
            let lease = lease.ok().map(|lease| lease.value().clone());
            node::write(&mut page, &value, lease.as_ref(), &pods_on(session, object).await?, (session.clock)());
        }
        _ => fields::write(&mut page, &value),
    }
    if show_events {
        events(session, kind, object, &mut page).await?;
    }
    Ok(page.text())
}

/// The pods of a node that still hold its resources.
async fn pods_on(session: &Session, node: &Object) -> Result<Vec<Value>> {
    let selector = format!("spec.nodeName={},status.phase!=Failed,status.phase!=Succeeded", node.meta().name);
    let options = ListOptions { field_selector: selector, ..ListOptions::default() };
    let pods = session.client.list(&PODS, "", &options).await?;
    Ok(pods.objects.iter().map(Object::value).collect())
}

async fn events(session: &Session, kind: &Resource, object: &Object, page: &mut Page) -> Result<()> {
    let meta = object.meta();
    // The node agent's events name a node by its name instead of its UID.
    let by_uid = if kind.kind == "Node" { String::new() } else { format!(",involvedObject.uid={}", meta.uid) };
    let selector = format!("involvedObject.name={},involvedObject.kind={}{by_uid}", meta.name, kind.kind);
    let options = ListOptions { field_selector: selector, ..ListOptions::default() };
    let found = session.client.list(&EVENTS, &meta.namespace, &options).await?;
    let mut events: Vec<Value> = found.objects.iter().map(Object::value).collect();
    if events.is_empty() {
        page.field(0, "Events", "<none>");
        return Ok(());
    }
    // As kubectl: what tells only of one moment (a pod's being scheduled) comes first.
    events.sort_by_key(|event| super::events::time(&event["lastTimestamp"]));
    let now = (session.clock)();
    let mut rows = vec![["Type", "Reason", "Age", "From", "Message"].map(String::from).to_vec()];
    rows.push(["----", "------", "----", "----", "-------"].map(String::from).to_vec());
    for event in &events {
        let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_string();
        let from =
            [&event["source"]["component"], &event["reportingComponent"]].into_iter().map(text).find(|t| !t.is_empty());
        rows.push(vec![
            text(&event["type"]),
            text(&event["reason"]),
            super::events::age(event, now),
            from.unwrap_or_default(),
            match text(&event["involvedObject"]["fieldPath"]) {
                path if path.is_empty() => text(&event["message"]),
                path => format!("{path}: {}", text(&event["message"])),
            },
        ]);
    }
    page.head(0, "Events");
    page.table(1, &rows);
    Ok(())
}
