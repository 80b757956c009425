//! `logs`: what containers wrote, as it is or as it comes.

use api::Object;
use api::resource::PODS;
use bytes::Bytes;
use clap::Args;
use client::{Body, ListOptions};
use futures::StreamExt;
use jiff::SignedDuration;

use wire::query::encoded;

use super::Run;
use crate::failure::{Context, Result, failure};
use crate::output;
use crate::session::{Login, Session};

/// Show what containers wrote
#[derive(Args, Default)]
pub struct Logs {
    /// `web`, `pod/web`, and a container after it
    pub target: Vec<String>,
    /// Which container
    #[arg(short, long)]
    pub container: Option<String>,
    /// Every container of the pod
    #[arg(long)]
    pub all_containers: bool,
    /// Go on as lines come
    #[arg(short, long)]
    pub follow: bool,
    /// Of the instance before the last restart
    #[arg(short, long)]
    pub previous: bool,
    /// Only the last lines; -1: all [default: all, with a selector the last 10]
    #[arg(long, allow_negative_numbers = true)]
    pub tail: Option<i64>,
    /// Only lines younger than this
    #[arg(long, allow_hyphen_values = true, value_parser = super::wait::signed_duration)]
    pub since: Option<SignedDuration>,
    /// Only lines after this RFC 3339 time
    #[arg(long, conflicts_with = "since")]
    pub since_time: Option<String>,
    /// Each line with its time
    #[arg(long)]
    pub timestamps: bool,
    /// At most so many bytes; 0: all
    #[arg(long, allow_negative_numbers = true)]
    pub limit_bytes: Option<i64>,
    /// Each line with its pod and container
    #[arg(long)]
    pub prefix: bool,
    /// Label selector instead of a name
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
}

impl Run for Logs {
    async fn run(self, login: Login) -> Result<()> {
        self.judge()?;
        let (session, flags) = (&login.session()?, self);
        let namespace = session.namespace.as_str();
        let (found, container): (Vec<Object>, Option<String>) = match (&flags.selector, &flags.target[..]) {
            (Some(selector), []) => {
                let options = ListOptions { label_selector: selector.clone(), ..ListOptions::default() };
                (session.client.list(&PODS, namespace, &options).await?.objects, flags.container.clone())
            }
            (None, [name]) | (None, [name, _]) => {
                let plain = match name.split_once('/') {
                    Some((kind, plain)) if session.kinds().await?.named(kind)?.qualified() == PODS.qualified() => plain,
                    Some((kind, _)) => return Err(failure(format!("logs of {kind:?} are not offered; name a pod"))),
                    None => name,
                };
                let object = session.client.get(&PODS, namespace, plain).await?;
                (vec![object], flags.container.clone().or(flags.target.get(1).cloned()))
            }
            _ => return Err(failure("expected 'logs POD [CONTAINER]' or 'logs -l SELECTOR'")),
        };
        let mut streams = Vec::new();
        for pod in &found {
            for container in containers(pod, &flags, container.as_deref())? {
                streams.push((pod.meta().name.clone(), container));
            }
        }
        if flags.follow {
            let work = streams.iter().map(|(pod, container)| show(session, &flags, pod, container));
            futures::future::try_join_all(work).await?;
        } else {
            for (pod, container) in &streams {
                show(session, &flags, pod, container).await?;
            }
        }
        Ok(())
    }
}

impl Logs {
    /// kubectl pkg/cmd/logs/logs.go, Validate
    fn judge(&self) -> Result<()> {
        if self.tail.is_some_and(|tail| tail < -1) {
            return Err(failure("--tail must be greater than or equal to -1"));
        }
        if self.since.is_some_and(|since| since.is_negative()) {
            return Err(failure("--since must be greater than 0"));
        }
        if self.limit_bytes.is_some_and(|limit| limit < 0) {
            return Err(failure("--limit-bytes must be greater than 0"));
        }
        Ok(())
    }
}

/// Which containers: the named one, all, or the pod's default.
fn containers(pod: &Object, flags: &Logs, named: Option<&str>) -> Result<Vec<String>> {
    let value = pod.value();
    let names = |list: &str| -> Vec<String> {
        let list = value["spec"][list].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|c| c["name"].as_str().map(String::from)).collect()
    };
    if flags.all_containers {
        return Ok([names("initContainers"), names("containers"), names("ephemeralContainers")].concat());
    }
    if let Some(name) = named {
        return Ok(vec![name.to_string()]);
    }
    let all = names("containers");
    let annotated = pod.annotation("kubectl.kubernetes.io/default-container");
    let first = annotated.or(all.first().cloned()).ok_or_else(|| failure("the pod has no containers"))?;
    if all.len() > 1 && flags.selector.is_none() {
        let others = [all, names("initContainers").iter().map(|n| format!("{n} (init)")).collect()].concat().join(", ");
        output::note(format_args!("Defaulted container {first:?} out of: {others}"));
    }
    Ok(vec![first])
}

async fn show(session: &Session, flags: &Logs, pod: &str, container: &str) -> Result<()> {
    let mut query = vec![format!("container={}", encoded(container))];
    query.extend(flags.follow.then(|| "follow=true".into()));
    query.extend(flags.previous.then(|| "previous=true".into()));
    query.extend(flags.timestamps.then(|| "timestamps=true".into()));
    // kubectl pkg/cmd/logs/logs.go, selectorTail
    let tail = flags.tail.unwrap_or(if flags.selector.is_some() { 10 } else { -1 });
    query.extend((tail >= 0).then(|| format!("tailLines={tail}")));
    let since = flags.since.filter(|since| !since.is_zero());
    query.extend(since.map(|since| format!("sinceSeconds={}", since.as_secs().max(1))));
    query.extend(flags.since_time.as_ref().map(|time| format!("sinceTime={}", encoded(time))));
    query.extend(flags.limit_bytes.filter(|limit| *limit > 0).map(|limit| format!("limitBytes={limit}")));
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/log?{}", session.namespace, query.join("&"));
    let request = http::Request::get(path).header("accept", "*/*").body(Bytes::new()).context("making a request")?;
    let reply = session.client.send(request).await?;
    if flags.prefix {
        let mut lines = crate::session::lines(reply)?;
        while let Some(line) = lines.next().await {
            let line = line.context("reading the log")?;
            let text = [format!("[pod/{pod}/{container}] ").as_bytes(), &line, b"\n"].concat();
            output::write(&text)?;
        }
        return Ok(());
    }
    match reply.body {
        Body::Bytes(bytes) => output::write(&bytes),
        Body::Stream(mut stream) => {
            while let Some(bytes) = stream.next().await {
                output::write(&bytes.context("reading the log")?)?;
            }
            Ok(())
        }
        Body::List { .. } | Body::Events(_) => Err(failure("the answer is no log")),
    }
}
