//! `wait`: until objects are gone, have a condition, or show a value at a path.

use std::time::Duration;

use api::jsonpath::Template;
use api::{Object, Resource, WatchEvent};
use clap::Args;
use client::{Client, ListOptions, WatchOptions, WatchStream};
use futures::StreamExt;
use jiff::SignedDuration;
use serde_json::Value;

use super::Run;
use crate::failure::{Result, failure};
use crate::output;
use crate::resource;
use crate::session::Login;

/// Wait for a condition on objects
#[derive(Args)]
pub struct Wait {
    /// `pod/web`, `pods web db`
    pub resources: Vec<String>,
    /// `condition=Ready[=value]`, `delete`, `create`, `jsonpath={.status.phase}=Running`
    #[arg(long = "for", value_name = "WHAT")]
    pub what: String,
    /// Longest wait; negative: a week
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
    /// Label selector
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// All of the kind in the namespace
    #[arg(long)]
    pub all: bool,
}

enum Goal {
    Gone,
    There,
    Condition { name: String, value: String },
    Path { template: Template, value: Option<String> },
}

impl Run for Wait {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        let goal = goal_of(&flags.what)?;
        let named = resource::parse(session.kinds().await?, &flags.resources)?;
        if flags.all || flags.selector.is_some() {
            resource::unnamed(&flags.resources, &named)?;
        }
        // One time for all of them, as upstream's one context.
        let limit = tokio::time::Instant::now() + flags.timeout;
        let mut is_any = false;
        for named in named {
            let namespace = if named.kind.namespaced { session.namespace.as_str() } else { "" };
            let names: Vec<String> = match named.name {
                Some(name) => vec![name.to_string()],
                None if flags.all || flags.selector.is_some() => {
                    let selector = flags.selector.clone().unwrap_or_default();
                    let options = ListOptions { label_selector: selector, ..ListOptions::default() };
                    let list = session.client.list(&named.kind, namespace, &options).await?;
                    list.objects.iter().map(|o| o.meta().name.clone()).collect()
                }
                None => return Err(failure("resource(s) were provided, but no name was specified; --all takes all")),
            };
            is_any |= !names.is_empty();
            for name in names {
                let of = format!("{}/{name}", named.kind.plural);
                if flags.timeout.is_zero() {
                    once(&session.client, &named.kind, namespace, &name, &goal, &of).await?;
                } else {
                    let met = until(&session.client, &named.kind, namespace, &name, &goal);
                    let met = tokio::time::timeout_at(limit, met).await;
                    met.map_err(|_| failure(format!("timed out waiting for the condition on {of}")))??;
                }
                output::line(format_args!("{} condition met", resource::shown(&named.kind, &name)))?;
            }
        }
        if is_any || matches!(goal, Goal::Gone) { Ok(()) } else { Err(failure("no matching resources found")) }
    }
}

/// Looks, and does not wait.
async fn once(client: &Client, kind: &Resource, namespace: &str, name: &str, goal: &Goal, shown: &str) -> Result<()> {
    let met = match client.get(kind, namespace, name).await {
        Ok(object) => is_met(goal, &object),
        Err(status) if status.reason == api::Reason::NotFound && matches!(goal, Goal::Gone) => true,
        Err(status) => return Err(status.into()),
    };
    if met { Ok(()) } else { Err(failure(format!("condition not met for {shown}"))) }
}

fn goal_of(what: &str) -> Result<Goal> {
    match what.split_once('=') {
        None if what == "delete" => Ok(Goal::Gone),
        None if what == "create" => Ok(Goal::There),
        Some(("condition", rest)) => {
            let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
            Ok(Goal::Condition { name: name.into(), value: value.into() })
        }
        Some(("jsonpath", rest)) => {
            let rest = rest.trim_matches('\'');
            let (path, value) = match rest.rsplit_once('}') {
                Some((path, after)) => {
                    (format!("{path}}}"), after.strip_prefix('=').map(|v| v.trim_matches('\'').to_string()))
                }
                None => {
                    return Err(failure(format!(
                        "{what:?}: jsonpath wait format must be --for=jsonpath='{{.path}}'=value"
                    )));
                }
            };
            Ok(Goal::Path { template: Template::parse(&path).map_err(failure)?, value })
        }
        _ => Err(failure(format!("unrecognized condition: {what:?}"))),
    }
}

/// Waits for `what` (as `--for` takes it) on one object, which may come later.
pub async fn until_met(client: &Client, kind: &Resource, namespace: &str, name: &str, what: &str) -> Result<()> {
    let goal = goal_of(what)?;
    watch_until(client, kind, namespace, name, |object| is_met(&goal, object)).await.map(|_| ())
}

/// Hands over every version of one object, which may come later, until `met` says that it is enough.
pub async fn watch_until(
    client: &Client,
    kind: &Resource,
    namespace: &str,
    name: &str,
    mut met: impl FnMut(&Object) -> bool,
) -> Result<Object> {
    loop {
        let (listed, mut watch) = follow(client, kind, namespace, name).await?;
        if let Some(object) = listed
            && met(&object)
        {
            return Ok(object);
        }
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) if met(&object) => return Ok(object),
                WatchEvent::Error(_) => break,
                _ => {}
            }
        }
    }
}

/// One object as it is, and its changes from then on.
pub(super) async fn follow(
    client: &Client,
    kind: &Resource,
    namespace: &str,
    name: &str,
) -> Result<(Option<Object>, WatchStream)> {
    let field_selector = format!("metadata.name={name}");
    let options = ListOptions { field_selector: field_selector.clone(), ..ListOptions::default() };
    let listed = client.list(kind, namespace, &options).await?;
    let resource_version = listed.revision.to_string();
    let options = WatchOptions { field_selector, resource_version, ..WatchOptions::default() };
    let watch = client.watch(kind, namespace, &options).await?;
    Ok((listed.objects.into_iter().next(), watch))
}

async fn until(client: &Client, kind: &Resource, namespace: &str, name: &str, goal: &Goal) -> Result<()> {
    let mut seen = false;
    loop {
        let (listed, mut watch) = follow(client, kind, namespace, name).await?;
        match listed {
            None if matches!(goal, Goal::Gone) => return Ok(()),
            None if !matches!(goal, Goal::There) && !seen => {
                return Err(api::Status::not_found(&kind.group, &kind.plural, name).into());
            }
            Some(object) if is_met(goal, &object) => return Ok(()),
            _ => seen = true,
        }
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) if is_met(goal, &object) => return Ok(()),
                WatchEvent::Deleted(_) if matches!(goal, Goal::Gone) => return Ok(()),
                WatchEvent::Error(_) => break,
                _ => {}
            }
        }
    }
}

fn is_met(goal: &Goal, object: &Object) -> bool {
    match goal {
        Goal::Gone => false,
        Goal::There => true,
        Goal::Condition { name, value } => {
            let object = object.value();
            let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            let same = |field: &Value, text: &str| field.as_str().is_some_and(|f| f.eq_ignore_ascii_case(text));
            let Some(found) = conditions.iter().find(|c| same(&c["type"], name)) else { return false };
            // What speaks of an older generation says nothing yet (wait.go, getObservedGeneration).
            let observed = found["observedGeneration"].as_i64().or(object["status"]["observedGeneration"].as_i64());
            let is_stale =
                observed.zip(object["metadata"]["generation"].as_i64()).is_some_and(|(seen, now)| seen < now);
            same(&found["status"], value) && !is_stale
        }
        Goal::Path { template, value } => match template.render(&object.value()) {
            Ok(shown) => value.as_ref().map_or(!shown.is_empty(), |wanted| *wanted == shown),
            Err(_) => false,
        },
    }
}

/// Go's durations: `30s`, `1m30s`, `2h`, a bare number of seconds; negative: a week.
pub fn duration(text: &str) -> Result<Duration, String> {
    let signed = signed_duration(text)?;
    Ok(if signed.is_negative() { Duration::from_secs(7 * 24 * 3600) } else { signed.unsigned_abs() })
}

/// The same with its sign.
pub fn signed_duration(text: &str) -> Result<SignedDuration, String> {
    let amount = |text: &str| SignedDuration::try_from(amount(text)?).map_err(|why| why.to_string());
    text.strip_prefix('-').map_or_else(|| amount(text), |text| amount(text).map(|amount| -amount))
}

fn amount(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration like 30s, 1m30s or 2h");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |i| end + i);
        total += number
            * match &rest[end..unit_end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_of_an_older_generation_is_not_met() {
        let goal = goal_of("condition=ready").unwrap();
        let met = |observed: Value, of_all: Value| {
            let condition = json!({"type": "Ready", "status": "True", "observedGeneration": observed});
            let status = json!({"observedGeneration": of_all, "conditions": [condition]});
            let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "generation": 3}, "status": status});
            is_met(&goal, &Object::from_value(&object).unwrap())
        };
        assert!(met(Value::Null, Value::Null) && met(json!(3), json!(2)) && met(Value::Null, json!(4)));
        assert!(!met(json!(2), json!(3)) && !met(Value::Null, json!(2)));
    }
}
