//! `get`: the server's table, or the objects as YAML, JSON, names or a JSONPath.

use wire::query::encoded;

use api::{Object, Reason, Resource, WatchEvent};
use bytes::Bytes;
use clap::Args;
use client::{ListOptions, WatchOptions};
use futures::StreamExt;
use serde_json::{Value, json};

use super::Run;
use crate::failure::{Context, Result, all_of, failure};
use crate::form::{Output, output_of, show};
use crate::output;
use crate::resource::{self, Named, shown};
use crate::session::{Login, Session};
use crate::table;

/// Show objects
#[derive(Args, Default)]
pub struct Get {
    /// `pods`, `pod/web`, `pods web db`, `po,svc`
    pub resources: Vec<String>,
    /// wide, yaml, json, name, jsonpath=…
    #[arg(short, long)]
    pub output: Option<String>,
    /// Show changes as they come
    #[arg(short, long)]
    pub watch: bool,
    /// Only changes from now on
    #[arg(long)]
    pub watch_only: bool,
    /// Every namespace
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Label selector
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Field selector
    #[arg(long)]
    pub field_selector: Option<String>,
    /// A column of all labels
    #[arg(long)]
    pub show_labels: bool,
    /// Without the column names
    #[arg(long)]
    pub no_headers: bool,
    /// Fields that the server keeps books with
    #[arg(long)]
    pub show_managed_fields: bool,
    /// Do not fail on what is not there
    #[arg(long)]
    pub ignore_not_found: bool,
}

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

impl Run for Get {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        let output = output_of(flags.output.as_deref())?;
        let named = resource::parse(session.kinds().await?, &flags.resources)?;
        resource::in_one_namespace(flags.all_namespaces, &named)?;
        if flags.selector.is_some() || flags.field_selector.is_some() {
            resource::unnamed(&flags.resources, &named)?;
        }
        if flags.watch || flags.watch_only {
            // kubectl pkg/cmd/get/get.go, watch
            if named.iter().any(|one| one.kind.plural != named[0].kind.plural) {
                return Err(failure("you may only specify a single resource type"));
            }
            if named.len() > 1 {
                let many = named.len();
                return Err(failure(format!(
                    "watch is only supported on individual resources and resource collections - {many} resources were found"
                )));
            }
        }
        match output {
            Output::Table { wide } => tables(session, &flags, &named, wide).await,
            output => objects(session, &flags, &named, &output).await,
        }
    }
}

fn namespace_of<'a>(session: &'a Session, flags: &Get, kind: &Resource) -> &'a str {
    if kind.namespaced && !flags.all_namespaces { &session.namespace } else { "" }
}

/// The path and query of what a word asks for.
fn request_of(session: &Session, flags: &Get, named: &Named<'_>) -> String {
    let mut path = client::path(&named.kind, namespace_of(session, flags, &named.kind), &[]);
    let mut query: Vec<String> = Vec::new();
    if let Some(name) = named.name {
        query.push(format!("fieldSelector={}", encoded(&format!("metadata.name={name}"))));
    }
    for (key, value) in [("labelSelector", &flags.selector), ("fieldSelector", &flags.field_selector)] {
        query.extend(value.iter().map(|v| format!("{key}={}", encoded(v))));
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    path
}

async fn ask(session: &Session, path: &str, accept: &str) -> Result<Value> {
    let request = http::Request::get(path).header("accept", accept).body(Bytes::new()).context("making a request")?;
    let bytes = session.client.send(request).await?.bytes().await?;
    serde_json::from_slice(&bytes).context("reading the server's answer")
}

async fn tables(session: &Session, flags: &Get, named: &[Named<'_>], wide: bool) -> Result<()> {
    let several = named.iter().any(|n| n.kind.plural != named[0].kind.plural);
    let mut printed = 0;
    let mut revision = String::new();
    let mut failed = Vec::new();
    for one in named {
        let answer = ask(session, &request_of(session, flags, one), TABLE).await?;
        revision = answer["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_string();
        let rows = answer["rows"].as_array().map_or(0, Vec::len);
        if let (Some(name), 0) = (one.name, rows) {
            if flags.ignore_not_found {
                continue;
            }
            failed.push(api::Status::not_found(&one.kind.group, &one.kind.plural, name).into());
            continue;
        }
        if rows == 0 || flags.watch_only {
            continue;
        }
        if printed > 0 && several {
            output::line("")?;
        }
        let options = print_options(flags, wide, &one.kind, several);
        output::text(&table::print(&answer, &options, printed == 0 || several))?;
        printed += rows;
    }
    if !failed.is_empty() {
        return all_of(failed);
    }
    if flags.watch || flags.watch_only {
        return watch_table(session, flags, &named[0], wide, revision, printed == 0).await;
    }
    if printed == 0 && !flags.ignore_not_found {
        let place = namespace_of(session, flags, &named[0].kind);
        match place {
            "" => output::note("No resources found"),
            namespace => output::note(format_args!("No resources found in {namespace} namespace.")),
        }
    }
    Ok(())
}

fn print_options<'a>(flags: &Get, wide: bool, kind: &'a Resource, several: bool) -> table::Options<'a> {
    table::Options {
        wide,
        namespace: flags.all_namespaces && kind.namespaced,
        labels: flags.show_labels,
        headers: !flags.no_headers,
        prefix: several.then_some(kind),
    }
}

async fn watch_table(
    session: &Session,
    flags: &Get,
    named: &Named<'_>,
    wide: bool,
    revision: String,
    mut headers: bool,
) -> Result<()> {
    let path = request_of(session, flags, named);
    let joint = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{joint}watch=true&resourceVersion={revision}");
    let request = http::Request::get(path).header("accept", TABLE).body(Bytes::new()).context("making a request")?;
    let mut lines = crate::session::lines(session.client.send(request).await?)?;
    let mut columns = Value::Null;
    while let Some(line) = lines.next().await {
        let line = line.context("watching")?;
        let mut event: Value = serde_json::from_slice(&line).context("reading a watch event")?;
        let mut object = event["object"].take();
        if event["type"] == "ERROR" {
            return Err(failure(object["message"].as_str().unwrap_or("the watch ended").to_string()));
        }
        // Only the first event carries the columns.
        match object["columnDefinitions"].as_array() {
            Some(given) if !given.is_empty() => columns = object["columnDefinitions"].clone(),
            _ => object["columnDefinitions"] = columns.clone(),
        }
        output::text(&table::print(&object, &print_options(flags, wide, &named.kind, false), headers))?;
        headers = false;
    }
    Ok(())
}

async fn objects(session: &Session, flags: &Get, named: &[Named<'_>], output: &Output) -> Result<()> {
    if flags.watch || flags.watch_only {
        return watch_objects(session, flags, &named[0], output).await;
    }
    let single = named.len() == 1 && named[0].name.is_some();
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for one in named {
        let namespace = namespace_of(session, flags, &one.kind);
        match one.name {
            Some(name) => match session.client.get(&one.kind, namespace, name).await {
                Ok(object) => found.push((&one.kind, object)),
                Err(status) if status.reason == Reason::NotFound && flags.ignore_not_found => {}
                Err(status) => failed.push(status.into()),
            },
            None => {
                let options = ListOptions {
                    label_selector: flags.selector.clone().unwrap_or_default(),
                    field_selector: flags.field_selector.clone().unwrap_or_default(),
                    ..ListOptions::default()
                };
                let objects = session.client.list(&one.kind, namespace, &options).await?.objects;
                found.extend(objects.into_iter().map(|object| (&one.kind, object)));
            }
        }
    }
    if matches!(output, Output::Name) {
        for (kind, object) in &found {
            output::line(shown(kind, &object.meta().name))?;
        }
    } else if single {
        if let Some((_, object)) = found.first() {
            show(output, &value_of(object, flags))?;
        }
    } else if failed.is_empty() || !found.is_empty() {
        let items: Vec<Value> = found.iter().map(|(_, object)| value_of(object, flags)).collect();
        show(
            output,
            &json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}),
        )?;
    }
    all_of(failed)
}

/// Objects as they are, unless only changes are wanted, and their changes from then on.
async fn watch_objects(session: &Session, flags: &Get, named: &Named<'_>, output: &Output) -> Result<()> {
    let namespace = namespace_of(session, flags, &named.kind);
    let by_name = named.name.map(|name| format!("metadata.name={name}"));
    let options = ListOptions {
        label_selector: flags.selector.clone().unwrap_or_default(),
        field_selector: by_name.or(flags.field_selector.clone()).unwrap_or_default(),
        ..ListOptions::default()
    };
    let listed = session.client.list(&named.kind, namespace, &options).await?;
    if let (Some(name), true, false) = (named.name, listed.objects.is_empty(), flags.ignore_not_found) {
        return Err(api::Status::not_found(&named.kind.group, &named.kind.plural, name).into());
    }
    let mut is_first = true;
    let mut print = |object: &Object| {
        if matches!(output, Output::Yaml) && !std::mem::take(&mut is_first) {
            output::line("---")?;
        }
        match output {
            Output::Name => output::line(shown(&named.kind, &object.meta().name)),
            output => show(output, &value_of(object, flags)),
        }
    };
    if !flags.watch_only {
        listed.objects.iter().try_for_each(&mut print)?;
    }
    let ListOptions { label_selector, field_selector, .. } = options;
    let resource_version = listed.revision.to_string();
    let options = WatchOptions { label_selector, field_selector, resource_version, ..WatchOptions::default() };
    let mut watch = session.client.watch(&named.kind, namespace, &options).await?;
    while let Some(event) = watch.next().await {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => print(&object)?,
            WatchEvent::Error(status) => return Err(status.into()),
            WatchEvent::Bookmark { .. } => {}
        }
    }
    Ok(())
}

fn value_of(object: &Object, flags: &Get) -> Value {
    let mut value = object.value();
    if !flags.show_managed_fields
        && let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut)
    {
        meta.remove("managedFields");
    }
    value
}
