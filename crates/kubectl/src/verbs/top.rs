//! `top`: what nodes or pods use now.
//!
//! kubectl pkg/cmd/top, pkg/metricsutil: the same columns and orders.

use std::cmp::Reverse;
use std::collections::HashSet;

use api::quantity::Quantity;
use api::resource::{NODES, PODS};
use api::{Object, Resource, tree};
use clap::{Args, ValueEnum};
use client::ListOptions;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Run;
use crate::failure::{Result, failure};
use crate::session::Login;
use crate::{output, table};

/// Show what nodes or pods use
#[derive(Args)]
pub struct Top {
    pub what: What,
    pub name: Option<String>,
    /// Label selector
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Field selector of pods
    #[arg(long)]
    pub field_selector: Option<String>,
    /// Pods of every namespace
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Each container of the pods
    #[arg(long)]
    pub containers: bool,
    /// The most of it first: `cpu`, `memory`
    #[arg(long)]
    pub sort_by: Option<String>,
    /// What all of the pods use together
    #[arg(long)]
    pub sum: bool,
    #[arg(long)]
    pub no_headers: bool,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
pub enum What {
    #[value(aliases = ["node", "no"])]
    Nodes,
    #[value(aliases = ["pod", "po"])]
    Pods,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Name,
    Cpu,
    Memory,
}

/// A pod that is no older may have no figures yet (metricsCreationDelay).
const NEW: SignedDuration = SignedDuration::from_mins(2);

const VERSION: &str = "metrics.k8s.io/v1beta1";

impl Run for Top {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        let by = flags.order()?;
        let kind = match flags.what {
            What::Nodes => Resource::cluster(VERSION, "NodeMetrics", "nodes"),
            What::Pods => Resource::namespaced(VERSION, "PodMetrics", "pods"),
        };
        let everywhere = flags.all_namespaces || flags.what == What::Nodes;
        let namespace = if everywhere { "" } else { session.namespace.as_str() };
        let options = ListOptions { label_selector: flags.selector.clone().unwrap_or_default(), ..Default::default() };
        let mut metrics: Vec<Value> = match &flags.name {
            Some(name) => vec![session.client.get(&kind, namespace, name).await?.value()],
            None => session.client.list(&kind, namespace, &options).await?.objects.iter().map(Object::value).collect(),
        };
        let chosen =
            ListOptions { field_selector: flags.field_selector.clone().unwrap_or_default(), ..options.clone() };
        if !metrics.is_empty() && flags.field_selector.is_some() {
            // Figures have no such fields: the pods tell whose are meant.
            let pods = session.client.list(&PODS, namespace, &chosen).await?.objects;
            let own = |pod: &Object| (pod.meta().namespace.clone(), pod.meta().name.clone());
            let meant: HashSet<(String, String)> = pods.iter().map(own).collect();
            let text = |one: &Value, field: &str| tree::text(one, field).to_owned();
            metrics.retain(|one| meant.contains(&(text(one, "metadata.namespace"), text(one, "metadata.name"))));
        }
        if metrics.is_empty() && flags.what == What::Pods {
            let pods = session.client.list(&PODS, namespace, &chosen).await?.objects;
            unknown(&pods, (session.clock)())?;
            match namespace {
                "" => output::note("No resources found"),
                namespace => output::note(format_args!("No resources found in {namespace} namespace.")),
            }
            return Ok(());
        }
        if metrics.is_empty() {
            return Err(failure("metrics not available yet"));
        }
        let rows = match flags.what {
            What::Pods => pods(&flags, by, metrics),
            What::Nodes => {
                let nodes = match &flags.name {
                    Some(name) => vec![session.client.get(&NODES, "", name).await?],
                    None => session.client.list(&NODES, "", &options).await?.objects,
                };
                nodes_of(&flags, by, metrics, &nodes.iter().map(Object::value).collect::<Vec<_>>())
            }
        };
        output::text(&table::aligned(&rows))
    }
}

impl Top {
    /// Its order, if its flags make sense (top_pod.go, Validate).
    fn order(&self) -> Result<By> {
        for (given, flag) in [(self.field_selector.is_some(), "field-selector"), (self.sum, "sum")] {
            if given && self.what == What::Nodes {
                return Err(failure(format!("unknown flag: --{flag}")));
            }
        }
        if self.name.is_some() && (self.selector.is_some() || self.field_selector.is_some()) {
            return Err(failure("only one of NAME or selector can be provided"));
        }
        match self.sort_by.as_deref() {
            None | Some("") => Ok(By::Name),
            Some("cpu") => Ok(By::Cpu),
            Some("memory") => Ok(By::Memory),
            Some(_) => Err(failure("--sort-by accepts only cpu or memory")),
        }
    }
}

/// Of pods that are there and have no figures, what kubectl says (verifyEmptyMetrics). Pure.
fn unknown(pods: &[Object], now: Timestamp) -> Result<()> {
    for pod in pods {
        let meta = pod.meta();
        let created = meta.creation_timestamp.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
        let age = created.map(|created| now.duration_since(created)).filter(|age| *age > NEW);
        if let Some(age) = age {
            let age = api::proto::duration(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
            let (namespace, name) = (&meta.namespace, &meta.name);
            return Err(failure(format!("Metrics not available for pod {namespace}/{name}, age: {age}")));
        }
    }
    if pods.is_empty() { Ok(()) } else { Err(failure("metrics not available yet")) }
}

/// Billionths, of processors and of bytes.
#[derive(Clone, Copy, Default)]
struct Used {
    cpu: i128,
    memory: i128,
}

impl Used {
    fn of(amounts: &Value) -> Used {
        let of = |name: &str| Quantity::of(&amounts[name]).nanos();
        Used { cpu: of("cpu"), memory: of("memory") }
    }

    fn of_pod(pod: &Value) -> Used {
        Used::sum(tree::list(pod, "containers").iter().map(|container| Used::of(&container["usage"])))
    }

    fn sum(all: impl Iterator<Item = Used>) -> Used {
        all.fold(Used::default(), |sum, one| Used { cpu: sum.cpu + one.cpu, memory: sum.memory + one.memory })
    }

    /// `12m`, rounded up, and `34Mi`, rounded down.
    fn shown(self) -> [String; 2] {
        [format!("{}m", (self.cpu + 999_999) / 1_000_000), format!("{}Mi", self.memory / 1_000_000_000 / (1 << 20))]
    }

    /// The most first, or in an order of names.
    fn rank(self, by: By, name: String) -> (Reverse<i128>, String) {
        match by {
            By::Name => (Reverse(0), name),
            By::Cpu => (Reverse(self.cpu), name),
            By::Memory => (Reverse(self.memory), name),
        }
    }
}

/// Pods, or the containers of each; at last, if it is asked for, what they use together. Pure.
fn pods(flags: &Top, by: By, mut metrics: Vec<Value>) -> Vec<Vec<String>> {
    let name = |pod: &Value| tree::text(pod, "metadata.name").to_owned();
    let namespace = |pod: &Value| tree::text(pod, "metadata.namespace").to_owned();
    metrics.sort_by_cached_key(|pod| {
        let place = if flags.all_namespaces { format!("{}\0{}", namespace(pod), name(pod)) } else { name(pod) };
        Used::of_pod(pod).rank(by, place)
    });
    let mut rows = Vec::new();
    let head = [(flags.all_namespaces, "NAMESPACE"), (flags.containers, "POD"), (true, "NAME")];
    let mut add = |pod: &Value, cells: Vec<String>| {
        let mut row = if flags.all_namespaces { vec![namespace(pod)] } else { Vec::new() };
        row.extend(cells);
        rows.push(row);
    };
    for pod in &metrics {
        if !flags.containers {
            add(pod, [vec![name(pod)], Used::of_pod(pod).shown().to_vec()].concat());
            continue;
        }
        let mut containers = tree::list(pod, "containers").to_vec();
        let name_of = |one: &Value| tree::text(one, "name").to_owned();
        containers.sort_by_cached_key(|one| Used::of(&one["usage"]).rank(by, name_of(one)));
        for one in &containers {
            add(pod, [vec![name(pod), name_of(one)], Used::of(&one["usage"]).shown().to_vec()].concat());
        }
    }
    if flags.sum {
        let before = 1 + [flags.all_namespaces, flags.containers].into_iter().filter(|shown| *shown).count();
        // Without heads upstream counts the first columns alone (metrics_printer.go, PrintPodMetrics).
        let before = vec![String::new(); if flags.no_headers { 1 } else { before }];
        rows.push([before.clone(), vec!["_".repeat(8); 2]].concat());
        rows.push([before, Used::sum(metrics.iter().map(Used::of_pod)).shown().to_vec()].concat());
    }
    let head = head.into_iter().filter_map(|(shown, name)| shown.then_some(name));
    headed(flags, head.chain(["CPU(cores)", "MEMORY(bytes)"]).collect(), rows)
}

/// Nodes, with the part of what pods can have there; last those of which nothing is known. Pure.
fn nodes_of(flags: &Top, by: By, mut metrics: Vec<Value>, nodes: &[Value]) -> Vec<Vec<String>> {
    let name = |of: &Value| tree::text(of, "metadata.name").to_owned();
    metrics.sort_by_cached_key(|node| Used::of(&node["usage"]).rank(by, name(node)));
    let part = |used: i128, of: i128| if of == 0 { "0%".into() } else { format!("{}%", used * 100 / of) };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for node in &metrics {
        let used = Used::of(&node["usage"]);
        let [cpu, memory] = used.shown();
        let room = nodes.iter().find(|one| name(one) == name(node)).map(|one| Used::of(&one["status"]["allocatable"]));
        rows.push(match room {
            Some(room) => vec![name(node), cpu, part(used.cpu, room.cpu), memory, part(used.memory, room.memory)],
            None => vec![name(node), cpu, memory],
        });
    }
    let unknown = nodes.iter().filter(|node| !metrics.iter().any(|known| name(known) == name(node)));
    let unknown = unknown.map(|node| [vec![name(node)], vec!["<unknown>".to_owned(); 4]].concat());
    rows.extend(unknown);
    headed(flags, vec!["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"], rows)
}

fn headed(flags: &Top, head: Vec<&str>, mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    if !flags.no_headers {
        rows.insert(0, head.into_iter().map(String::from).collect());
    }
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `pods -A --sum`
    fn flags(words: &str) -> Top {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            top: Top,
        }
        let words = ["top"].into_iter().chain(words.split_whitespace());
        <Line as clap::Parser>::try_parse_from(words).unwrap().top
    }

    fn shown(words: &str, metrics: &[Value]) -> String {
        let flags = flags(words);
        table::aligned(&pods(&flags, flags.order().unwrap(), metrics.to_vec()))
    }

    fn pod(name: &str, containers: &[(&str, &str, &str)]) -> Value {
        let containers =
            containers.iter().map(|(name, cpu, memory)| json!({"name": name, "usage": {"cpu": cpu, "memory": memory}}));
        json!({"metadata": {"name": name, "namespace": "n"}, "containers": containers.collect::<Vec<_>>()})
    }

    #[test]
    fn pods_are_sorted_by_what_they_use_and_split_into_containers() {
        let all = vec![pod("a", &[("x", "1500000n", "3Mi"), ("y", "1m", "4Mi")]), pod("b", &[("x", "1", "1Mi")])];
        assert_eq!(
            shown("pods", &all),
            "NAME   CPU(cores)   MEMORY(bytes)\na      3m           7Mi\nb      1000m        1Mi\n"
        );
        assert_eq!(shown("pods -A --no-headers --sort-by cpu", &all), "n   b   1000m   1Mi\nn   a   3m      7Mi\n");
        assert_eq!(
            shown("pods --containers --sort-by memory", &all),
            "POD   NAME   CPU(cores)   MEMORY(bytes)\na     y      1m           4Mi\na     x      2m           3Mi\n\
             b     x      1000m        1Mi\n"
        );
    }

    #[test]
    fn a_sum_stands_under_its_columns() {
        let all = [pod("a", &[("x", "1m", "3Mi"), ("y", "1m", "4Mi")]), pod("b", &[("x", "1", "1Mi")])];
        assert_eq!(
            shown("pods --sum", &all),
            "NAME   CPU(cores)   MEMORY(bytes)\na      2m           7Mi\nb      1000m        1Mi\n       \
             ________     ________\n       1002m        8Mi\n"
        );
        assert_eq!(
            shown("pods --sum -A --containers", &all[1..]),
            "NAMESPACE   POD   NAME   CPU(cores)   MEMORY(bytes)\nn           b     x      1000m        1Mi\n\
             \x20                        ________     ________\n\x20                        1000m        1Mi\n"
        );
    }

    #[test]
    fn flags_that_make_no_sense_are_refused_in_kubectls_words() {
        for (words, why) in [
            ("pods --sort-by age", "--sort-by accepts only cpu or memory"),
            ("pods web -l a=b", "only one of NAME or selector can be provided"),
            ("pods web --field-selector a=b", "only one of NAME or selector can be provided"),
            ("nodes --sum", "unknown flag: --sum"),
        ] {
            assert_eq!(flags(words).order().err().map(|failure| failure.message).as_deref(), Some(why), "{words}");
        }
    }

    #[test]
    fn pods_without_figures_are_not_told_as_none() {
        let pod = |name: &str, created: &str| {
            let metadata = json!({"name": name, "namespace": "n", "creationTimestamp": created});
            Object::from_value(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})).unwrap()
        };
        let check = |pods: &[Object], want: Option<&str>| {
            let told = unknown(pods, "2026-11-29T19:53:00Z".parse().unwrap()).err().map(|why| why.message);
            assert_eq!(told.as_deref(), want);
        };
        let young = pod("a", "2026-11-29T19:51:00Z");
        check(&[], None);
        check(std::slice::from_ref(&young), Some("metrics not available yet"));
        let old = pod("b", "2026-11-29T19:50:30Z");
        check(&[young, old], Some("Metrics not available for pod n/b, age: 2m30s"));
    }

    #[test]
    fn nodes_show_the_part_of_what_pods_can_have() {
        let node =
            |name: &str| json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}}});
        let metrics = vec![json!({"metadata": {"name": "a"}, "usage": {"cpu": "250m", "memory": "1Gi"}})];
        assert_eq!(
            table::aligned(&nodes_of(&flags("nodes"), By::Name, metrics, &[node("a"), node("b")])),
            "NAME   CPU(cores)   CPU(%)      MEMORY(bytes)   MEMORY(%)\na      250m         12%         1024Mi          25%\n\
             b      <unknown>    <unknown>   <unknown>       <unknown>\n"
        );
    }
}
