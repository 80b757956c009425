//! `events`: what happened, the latest last.

use api::resource::EVENTS;
use api::{Object, WatchEvent};
use clap::Args;
use client::{ListOptions, WatchOptions};
use futures::StreamExt;
use serde_json::Value;

use super::Run;
use crate::failure::Result;
use crate::output;
use crate::session::Login;
use crate::{resource, table};

/// Show what happened
#[derive(Args)]
pub struct Events {
    /// Only of this object: `pod/web`
    #[arg(long = "for", value_name = "KIND/NAME")]
    pub of: Option<String>,
    /// Only of these types: `Normal`, `Warning`
    #[arg(long, value_delimiter = ',')]
    pub types: Vec<String>,
    /// Every namespace
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Show further ones as they come
    #[arg(short, long)]
    pub watch: bool,
    #[arg(long)]
    pub no_headers: bool,
}

impl Run for Events {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        let namespace = if flags.all_namespaces { "" } else { session.namespace.as_str() };
        let mut selector = Vec::new();
        if let Some(of) = &flags.of {
            let words = [of.clone()];
            for named in resource::parse(session.kinds().await?, &words)? {
                selector.push(format!("involvedObject.kind={}", named.kind.kind));
                selector.extend(named.name.map(|name| format!("involvedObject.name={name}")));
            }
        }
        let field_selector = selector.join(",");
        let options = ListOptions { field_selector: field_selector.clone(), ..ListOptions::default() };
        let listed = session.client.list(&EVENTS, namespace, &options).await?;
        let mut events: Vec<Value> = listed.objects.iter().map(Object::value).filter(|e| wanted(&flags, e)).collect();
        events.sort_by_key(last_time);
        let mut rows = Vec::new();
        if !flags.no_headers {
            let mut head = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"].map(String::from).to_vec();
            if flags.all_namespaces {
                head.insert(0, "NAMESPACE".into());
            }
            rows.push(head);
        }
        rows.extend(events.iter().map(|event| row(&flags, event, (session.clock)())));
        if events.is_empty() && !flags.watch {
            match namespace {
                "" => output::note("No events found."),
                namespace => output::note(format_args!("No events found in {namespace} namespace.")),
            }
            return Ok(());
        }
        output::text(&table::aligned(&rows))?;
        if !flags.watch {
            return Ok(());
        }
        let options =
            WatchOptions { field_selector, resource_version: listed.revision.to_string(), ..WatchOptions::default() };
        let mut watch = session.client.watch(&EVENTS, namespace, &options).await?;
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let event = object.value();
                    if wanted(&flags, &event) {
                        output::text(&table::aligned(&[row(&flags, &event, (session.clock)())]))?;
                    }
                }
                WatchEvent::Error(status) => return Err(status.into()),
                WatchEvent::Deleted(_) | WatchEvent::Bookmark { .. } => {}
            }
        }
        Ok(())
    }
}

fn wanted(flags: &Events, event: &Value) -> bool {
    flags.types.is_empty()
        || flags.types.iter().any(|t| event["type"].as_str().is_some_and(|e| e.eq_ignore_ascii_case(t)))
}

fn row(flags: &Events, event: &Value, now: jiff::Timestamp) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_string();
    let about = &event["involvedObject"];
    let mut row = vec![
        age(event, now),
        text(&event["type"]),
        text(&event["reason"]),
        format!("{}/{}", text(&about["kind"]), text(&about["name"])),
        text(&event["message"]),
    ];
    if flags.all_namespaces {
        row.insert(0, text(&event["metadata"]["namespace"]));
    }
    row
}

/// When it was last seen: whichever field its author uses.
pub fn last_time(event: &Value) -> jiff::Timestamp {
    let fields = [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    fields.into_iter().filter_map(time).next().unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// `5s (x3 over 2m)`
pub fn age(event: &Value, now: jiff::Timestamp) -> String {
    let since = |then: jiff::Timestamp| api::age::human(now.duration_since(then).as_secs());
    let count = event["series"]["count"].as_i64().or(event["count"].as_i64()).unwrap_or(1);
    let first = [&event["firstTimestamp"], &event["eventTime"]].into_iter().filter_map(time).next();
    match first {
        Some(first) if count > 1 => format!("{} (x{count} over {})", since(last_time(event)), since(first)),
        _ => since(last_time(event)),
    }
}

pub fn time(value: &Value) -> Option<jiff::Timestamp> {
    value.as_str()?.parse().ok()
}
