//! A large cluster: a server, and five thousand hollow nodes in a process beside it.
//!
//! Pods come from a hundred Deployments at once; when each of them is bound and runs is read from one watch. They
//! mount no token, as a token is a request of its own for each. What takes too long is given up, and counted as far
//! as it came.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use api::Resource;
use api::resource::{NAMESPACES, PODS};
use client::{Client, DeleteOptions, Https, HttpsConfig, ListOptions, kubeconfig};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::cluster::binary;
use super::idle::Cost;
use super::workloads::{deployment, deployments};
use super::{Figure, Plan};

/// Pods as a watch of them tells, read without being decoded.
mod told;

use told::Told;

const DEPLOYMENTS: usize = 100;
/// What is not done by then is given up.
const PATIENCE: Duration = Duration::from_secs(90);
/// Until all hollow nodes are ready, and until pods are gone.
const LONG: Duration = Duration::from_secs(180);

/// What the pods ask of their place: a stage, its goal of pods bound in a second, and the change to their spec.
struct Stage {
    bound: &'static str,
    running: &'static str,
    goals: [f64; 2],
    wants: fn(&str, &mut Value),
}

static STAGES: &[Stage] = &[
    Stage { bound: "place_per_s", running: "run_per_s", goals: [10_000.0, 3000.0], wants: |_, _| {} },
    Stage {
        bound: "place_apart_per_s",
        running: "run_apart_per_s",
        goals: [2000.0, 2000.0],
        wants: |app, spec| spec["affinity"]["podAntiAffinity"] = together(app, "kubernetes.io/hostname"),
    },
    Stage {
        bound: "place_spread_per_s",
        running: "run_spread_per_s",
        goals: [2000.0, 2000.0],
        wants: |app, spec| {
            spec["topologySpreadConstraints"] = json!([{"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
                "topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": {"app": app}}}]);
        },
    },
    Stage {
        bound: "place_together_per_s",
        running: "run_together_per_s",
        goals: [2000.0, 2000.0],
        wants: |app, spec| spec["affinity"]["podAffinity"] = together(app, "topology.kubernetes.io/zone"),
    },
];

fn together(app: &str, key: &str) -> Value {
    json!({"requiredDuringSchedulingIgnoredDuringExecution":
        [{"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}]})
}

const OTHERS: [&str; 3] = ["hollow_ready_s", "hollow_node_kb", "cron1000_s"];

pub async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let stages: Vec<&Stage> =
        STAGES.iter().filter(|stage| plan.wants(stage.bound) || plan.wants(stage.running)).collect();
    if stages.is_empty() && !OTHERS.iter().any(|name| plan.wants(name)) {
        return Ok(Vec::new());
    }
    let nodes = if plan.quick { 200 } else { 5000 };
    let large = Large::start(nodes).await?;
    let measured = all(plan, &stages, &large).await;
    large.stop().await?;
    measured
}

async fn all(plan: &Plan, stages: &[&Stage], large: &Large) -> Result<Vec<Figure>> {
    let mut figures = vec![
        Figure::below("hollow_ready_s", "s", 15.0, vec![large.ready]),
        Figure::below("hollow_node_kb", "KB", 150.0, vec![large.hollow_pss()? as f64 / 1e3 / large.nodes as f64]),
    ];
    for stage in stages {
        figures.extend(pods(plan, large, stage).await?);
    }
    // A minute must come for it.
    if plan.wants("cron1000_s") && !(plan.quick && plan.only.is_empty()) {
        figures.push(cron_jobs(plan, large).await?);
    }
    Ok(figures)
}

/// A running `gousse server` and `gousse hollow`.
struct Large {
    folder: tempfile::TempDir,
    server: Child,
    hollow: Child,
    https: HttpsConfig,
    client: Client,
    nodes: usize,
    /// Seconds until all of them were.
    ready: f64,
}

impl Large {
    async fn start(nodes: usize) -> Result<Large> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let mut server = Command::new(binary()?);
        server.args(["server", "--name", "bench-large", "--listen", "127.0.0.1:0", "--cluster-cidr", "10.0.0.0/8"]);
        server.arg("--data-dir").arg(at("data")).arg("--run-dir").arg(at("run"));
        let server = begin(server, "is ready", LONG).await?;
        let config = at("data").join("admin.kubeconfig");
        let https = kubeconfig::load(Some(&config), None)?.https;
        let client = Client::new(Arc::new(Https::new(https.clone())?)).named("bench");
        let begun = Instant::now();
        let mut hollow = Command::new(binary()?);
        hollow.args(["hollow", "--nodes", &nodes.to_string(), "--kubeconfig"]).arg(&config);
        let hollow = begin(hollow, "are ready", LONG).await?;
        let ready = begun.elapsed().as_secs_f64();
        Ok(Large { folder, server, hollow, https, client, nodes, ready })
    }

    /// Bytes of the hollow nodes' process.
    fn hollow_pss(&self) -> Result<u64> {
        let pid = self.hollow.id().context("the hollow nodes are gone")?;
        Ok(Cost::of_processes(&[i32::try_from(pid)?])?.pss)
    }

    /// Both ended, their folder gone.
    async fn stop(self) -> Result<()> {
        for mut child in [self.hollow, self.server] {
            let Some(pid) = child.id() else { bail!("a process of the large cluster ended by itself") };
            Command::new("kill").arg(pid.to_string()).status().await?;
            tokio::time::timeout(LONG, child.wait()).await.context("a process does not end")??;
        }
        self.folder.close().map_err(Into::into)
    }
}

/// Starts it, and waits for the line that says so.
async fn begin(mut command: Command, ready: &str, patience: Duration) -> Result<Child> {
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
    let told = async {
        loop {
            match lines.next_line().await? {
                Some(line) if line.contains(ready) => return Ok(()),
                Some(_) => {}
                None => bail!("it ended before it was ready"),
            }
        }
    };
    tokio::time::timeout(patience, told).await.context("it is not ready in time")??;
    // What else it says is read, or it would stand still on a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(child)
}

async fn namespace(large: &Large, name: &str) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    large.client.create(&NAMESPACES, "", &object).await?;
    // Pods are refused before it has its account.
    let path = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
    while large.client.call(Method::GET, &path, &[], None).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Ends what controls the namespace's pods, and waits until these are gone.
async fn end(large: &Large, namespace: &str, kinds: &[Resource], told: &mut Told) -> Result<()> {
    for kind in kinds {
        let path = client::path(kind, namespace, &[]);
        let options = DeleteOptions { propagation_policy: "Background".into(), ..DeleteOptions::default() };
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions",
            "propagationPolicy": options.propagation_policy});
        large.client.call(Method::DELETE, &path, &[], Some(("application/json", &body))).await?;
    }
    let left = large.client.list(&PODS, namespace, &ListOptions { limit: 1, ..ListOptions::default() }).await?;
    if left.objects.is_empty() {
        return Ok(());
    }
    let begun = Instant::now();
    let gone = tokio::time::timeout(LONG, told.until(|told| told.is_empty())).await;
    gone.with_context(|| format!("pods of {namespace} do not go"))??;
    println!("  the pods of {namespace} are gone after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Pods of a hundred Deployments: the first one posted → all bound, all Running.
async fn pods(plan: &Plan, large: &Large, stage: &Stage) -> Result<Vec<Figure>> {
    let each = if plan.quick { 10 } else { 100 };
    let (all, space) = (each * DEPLOYMENTS, stage.bound.trim_end_matches("_per_s").replace('_', "-"));
    namespace(large, &space).await?;
    let bodies: Vec<Value> = (0..DEPLOYMENTS)
        .map(|number| {
            let name = format!("app-{number}");
            deployment(&name, each, &["sleep", "1h"], |spec| {
                spec["automountServiceAccountToken"] = json!(false);
                spec["containers"][0]["resources"]["requests"] = json!({"cpu": "10m", "memory": "16Mi"});
                (stage.wants)(&name, spec);
            })
        })
        .collect();
    let mut told = Told::of(&large.client, Https::new(large.https.clone())?, &space).await?;
    let (kind, before) = (deployments(), large.ticks()?);
    let begun = Instant::now();
    let posts = bodies.iter().map(|body| large.client.create(&kind, &space, body));
    let posted = async { futures::future::try_join_all(posts).await.map_err(anyhow::Error::from) };
    let (mut bound, mut made) = (None, None);
    let counted = told.until(|told| {
        if told.made() == all && made.is_none() {
            made = Some(Instant::now());
        }
        if told.bound() == all && bound.is_none() {
            bound = Some(Instant::now());
        }
        told.running() == all
    });
    let (posted, counted) = tokio::join!(posted, tokio::time::timeout(PATIENCE, counted));
    posted?;
    let ended = Instant::now();
    if let Ok(counted) = counted {
        counted?;
    }
    let seconds = |at: Option<Instant>| (at.unwrap_or(ended) - begun).as_secs_f64();
    let (bound, running) = (told.bound() as f64 / seconds(bound), told.running() as f64 / seconds(None));
    let (after, all) = (large.ticks()?, all as f64);
    println!(
        "  {space}: {} pods made in {:.2} s, {} run after {:.2} s; CPU: server {:.2} s, hollow nodes {:.2} s",
        told.made(),
        seconds(made),
        told.running(),
        seconds(None),
        (after[0] - before[0]) as f64 / 100.0,
        (after[1] - before[1]) as f64 / 100.0,
    );
    if told.running() < all as usize {
        println!("  {space}: given up after {} s", PATIENCE.as_secs());
    }
    end(large, &space, &[kind], &mut told).await?;
    Ok(vec![
        Figure::above(stage.bound, "1/s", stage.goals[0], vec![bound]),
        Figure::above(stage.running, "1/s", stage.goals[1], vec![running]),
    ])
}

impl Large {
    /// Hundredths of a second: of the server, of the hollow nodes.
    fn ticks(&self) -> Result<[u64; 2]> {
        let of = |child: &Child| -> Result<u64> {
            let pid = child.id().context("a process of the large cluster ended by itself")?;
            Ok(Cost::of_processes(&[i32::try_from(pid)?])?.ticks)
        };
        Ok([of(&self.server)?, of(&self.hollow)?])
    }
}

/// CronJobs that are due in one minute: its begin → a pod of each runs.
async fn cron_jobs(plan: &Plan, large: &Large) -> Result<Figure> {
    let all = if plan.quick { 100 } else { 1000 };
    let space = "cron";
    namespace(large, space).await?;
    let mut told = Told::of(&large.client, Https::new(large.https.clone())?, space).await?;
    let kind = Resource::namespaced("batch/v1", "CronJob", "cronjobs");
    // Far enough ahead for all of them to be written before.
    let due = (super::pods::now() / 1_000_000_000 / 60 + 1) * 60;
    let due = if due - super::pods::now() / 1_000_000_000 < 30 { due + 60 } else { due };
    let schedule = format!("{} {} * * *", due / 60 % 60, due / 3600 % 24);
    let bodies: Vec<Value> = (0..all).map(|number| cron_job(number, &schedule)).collect();
    let posts = bodies.iter().map(|body| large.client.create(&kind, space, body));
    futures::future::try_join_all(posts).await?;
    anyhow::ensure!(super::pods::now() / 1_000_000_000 < due, "writing {all} CronJobs took until they were due");
    let counted = tokio::time::timeout(PATIENCE + Duration::from_secs(90), told.until(|told| told.running() == all));
    let counted = counted.await;
    let seconds = super::pods::now() as f64 / 1e9 - due as f64;
    match counted {
        Ok(counted) => counted?,
        Err(_) => println!("  cron: given up with {} of {all}", told.running()),
    }
    end(large, space, &[kind, Resource::namespaced("batch/v1", "Job", "jobs")], &mut told).await?;
    Ok(Figure::below("cron1000_s", "s", 2.0, vec![seconds]))
}

fn cron_job(number: usize, schedule: &str) -> Value {
    let pod = json!({"restartPolicy": "Never", "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "toolbox", "command": ["sleep", "1h"]}]});
    json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": format!("cron-{number}")},
        "spec": {"schedule": schedule, "timeZone": "Etc/UTC",
            "jobTemplate": {"spec": {"template": {"spec": pod}}}}})
}
