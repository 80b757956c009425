//! Rust's client: what programs on `kube` and its runtime do. `cargo xtask clients` builds and runs it.
//!
//! A line of its output is a step; 1 if one failed. It knows a kubeconfig and nothing else.

use anyhow::{Context, Result, bail, ensure};
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{
    Api, ApiResource, AttachParams, DeleteParams, DynamicObject, EvictParams, ListParams, LogParams, ObjectMeta, Patch,
    PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::GroupVersionKind;
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event as Finalizer, finalizer};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{Controller, WatchStreamExt, reflector, watcher};
use kube::{Client, Resource, ResourceExt, discovery};
use serde_json::json;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct World {
    client: Client,
    namespace: String,
}

impl World {
    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn run_pod(&self, name: &str, command: &[&str]) -> Result<()> {
        self.ready(pod(name, command)).await
    }

    async fn ready(&self, pod: Pod) -> Result<()> {
        self.pods().create(&PostParams::default(), &pod).await?;
        let ready = |pod: Option<&Pod>| {
            let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
        };
        await_condition(self.pods(), &pod.name_any(), ready).await?;
        Ok(())
    }
}

fn map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let labels = BTreeMap::from([("app".to_owned(), name.to_owned())]);
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    ConfigMap { metadata, data: Some(data.collect()), ..ConfigMap::default() }
}

fn pod(name: &str, command: &[&str]) -> Pod {
    let object = json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0,
                 "containers": [{"name": "c", "image": "toolbox", "command": command, "stdin": true}]},
    });
    serde_json::from_value(object).expect("a pod's fields")
}

fn refused<T>(code: u16, done: kube::Result<T>) -> Result<String> {
    match done {
        Err(kube::Error::Api(status)) if status.code == code => Ok(status.message.clone()),
        Err(other) => bail!("refused with {other:?}, not with {code}"),
        Ok(_) => bail!("not refused with {code}"),
    }
}

async fn objects(w: World) -> Result<()> {
    let maps = w.maps();
    let made = maps.create(&PostParams::default(), &map("m", &[("k", "1")])).await?;
    ensure!(maps.get("m").await? == made, "what is read is what was made");
    ensure!(maps.get_opt("nobody").await?.is_none(), "nobody is there");
    refused(409, maps.create(&PostParams::default(), &map("m", &[])).await)?;
    let mut next = made.clone();
    next.data = Some(BTreeMap::from([("k".to_owned(), "2".to_owned())]));
    maps.replace("m", &PostParams::default(), &next).await?;
    refused(409, maps.replace("m", &PostParams::default(), &next).await)?;
    let metadata = maps.get_metadata("m").await?;
    ensure!(metadata.metadata.uid == made.metadata.uid, "metadata alone");
    let pages = maps.list(&ListParams::default().limit(1)).await?;
    ensure!(pages.items.len() == 1 && pages.metadata.continue_.is_some(), "a page: {:?}", pages.metadata);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&dry, &map("dry", &[])).await?;
    ensure!(maps.get_opt("dry").await?.is_none(), "a dry run made it");
    ensure!(maps.delete("m", &DeleteParams::default()).await?.is_right(), "it is gone at once");
    Ok(())
}

async fn patches(w: World) -> Result<()> {
    let maps = w.maps();
    let apply = |manager| PatchParams::apply(manager);
    let typed = |data: &[(&str, &str)]| {
        let metadata = ObjectMeta { name: Some("applied".into()), ..ObjectMeta::default() };
        ConfigMap { metadata, ..map("applied", data) }
    };
    maps.patch("applied", &apply("alice"), &Patch::Apply(typed(&[("k", "a"), ("only", "a")]))).await?;
    let said = refused(409, maps.patch("applied", &apply("bob"), &Patch::Apply(typed(&[("k", "b")]))).await)?;
    ensure!(said.contains("conflict with \"alice\""), "{said}");
    let now = maps.patch("applied", &apply("bob").force(), &Patch::Apply(typed(&[("k", "b")]))).await?;
    ensure!(now.data.as_ref().is_some_and(|data| data.len() == 2), "{now:?}");
    let now = maps.patch("applied", &apply("alice"), &Patch::Apply(typed(&[]))).await?;
    ensure!(now.data.as_ref().is_some_and(|data| data.len() == 1), "{now:?}");
    let none = PatchParams::default();
    let now = maps.patch("applied", &none, &Patch::Merge(json!({"data": {"k": null, "m": "1"}}))).await?;
    ensure!(now.data.as_ref().is_some_and(|data| data.len() == 1 && data["m"] == "1"), "{now:?}");
    let now =
        maps.patch("applied", &none, &Patch::Strategic(json!({"metadata": {"finalizers": ["example.com/f"]}}))).await?;
    ensure!(now.finalizers() == ["example.com/f"], "{now:?}");
    let json = serde_json::from_value(json!([{"op": "remove", "path": "/metadata/finalizers"}]))?;
    let now = maps.patch("applied", &none, &Patch::Json::<()>(json)).await?;
    ensure!(now.finalizers().is_empty(), "{now:?}");
    Ok(())
}

async fn discovered(w: World) -> Result<()> {
    let found = discovery::Discovery::new(w.client.clone()).run().await?;
    let kinds: Vec<String> =
        found.groups().flat_map(|group| group.recommended_resources()).map(|(r, _)| r.plural).collect();
    for plural in ["pods", "configmaps", "leases", "ingresses"] {
        ensure!(kinds.iter().any(|kind| kind == plural), "{plural} of {kinds:?}");
    }
    let aggregated = discovery::Discovery::new(w.client.clone()).run_aggregated().await?;
    ensure!(aggregated.groups().count() == found.groups().count(), "aggregated discovery");
    let (resource, _) =
        discovery::oneshot::pinned_kind(&w.client, &GroupVersionKind::gvk("", "v1", "ConfigMap")).await?;
    let maps: Api<DynamicObject> = Api::namespaced_with(w.client.clone(), &w.namespace, &resource);
    let object = DynamicObject::new("dynamic", &resource).data(json!({"data": {"k": "v"}}));
    maps.create(&PostParams::default(), &object).await?;
    ensure!(maps.get("dynamic").await?.data["data"]["k"] == "v", "a dynamic object");
    ensure!(w.client.apiserver_version().await?.minor == "37", "the version");
    let _: ApiResource = resource;
    Ok(())
}

/// Changes follow what was there, and a watch that ends goes on from its last revision.
async fn watching(w: World) -> Result<()> {
    let maps = w.maps();
    maps.create(&PostParams::default(), &map("before", &[])).await?;
    let params = WatchParams::default().labels("app=before").timeout(3);
    let events: Vec<_> = maps.watch(&params, "0").await?.try_collect().await?;
    ensure!(matches!(&events[0], WatchEvent::Added(map) if map.name_any() == "before"), "{events:?}");
    ensure!(matches!(events.last(), Some(WatchEvent::Bookmark(_))), "{events:?}");
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        // A second is shorter than what follows: the watch ends in between.
        let config = config.labels("app in (before,later)").timeout(1);
        let (reader, writer) = reflector::store();
        let stream = watcher(maps.clone(), config).reflect(writer).default_backoff();
        let mut stream = std::pin::pin!(stream);
        let mut phase = 0;
        while let Some(event) = stream.try_next().await? {
            match (phase, event) {
                (0, watcher::Event::InitDone) => {
                    ensure!(reader.state().len() == 1, "what was there: {:?}", reader.state());
                    maps.create(&PostParams::default(), &map("later", &[])).await?;
                    phase = 1;
                }
                (1, watcher::Event::Apply(map)) if map.name_any() == "later" => {
                    maps.delete("later", &DeleteParams::default()).await?;
                    phase = 2;
                }
                (2, watcher::Event::Delete(map)) if map.name_any() == "later" => break,
                _ => {}
            }
        }
        ensure!(reader.get(&ObjectRef::new("before").within(&w.namespace)).is_some(), "the store knows it");
    }
    Ok(())
}

#[derive(Debug)]
struct Wrong(String);

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// Each map labelled `plan` becomes a pod that it owns; the pod's phase comes back as an annotation; a finalizer ends it.
async fn controller(w: World) -> Result<()> {
    let (told, mut hear) = mpsc::unbounded_channel::<String>();
    let context = Arc::new((w.clone(), told));
    let reconcile = |plan: Arc<ConfigMap>, context: Arc<(World, mpsc::UnboundedSender<String>)>| async move {
        let (w, told) = &*context;
        let act = |event| async move {
            match event {
                Finalizer::Apply(plan) => applied(w, &plan, told).await.map_err(|error| Wrong(format!("{error:#}"))),
                Finalizer::Cleanup(plan) => {
                    let _ = told.send(format!("ended {}", plan.name_any()));
                    Ok(Action::await_change())
                }
            }
        };
        finalizer(&w.maps(), "example.com/plan", plan, act).await
    };
    let plans = watcher::Config::default().labels("app=plan");
    let run = Controller::new(w.maps(), plans)
        .owns(w.pods(), watcher::Config::default())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), context)
        .for_each(|_| async {});
    let run = tokio::spawn(run);
    let mut plan = map("plan", &[("command", "true")]);
    w.maps().create(&PostParams::default(), &plan).await?;
    wait_for(&mut hear, "phase Succeeded").await?;
    w.pods().delete("plan", &DeleteParams::default()).await?;
    wait_for(&mut hear, "made plan").await?;
    wait_for(&mut hear, "phase Succeeded").await?;
    plan = w.maps().get("plan").await?;
    ensure!(plan.finalizers() == ["example.com/plan"], "{plan:?}");
    w.maps().delete("plan", &DeleteParams::foreground()).await?;
    wait_for(&mut hear, "ended plan").await?;
    await_condition(w.maps(), "plan", conditions::is_deleted(plan.uid().as_deref().unwrap_or_default())).await?;
    run.abort();
    Ok(())
}

async fn applied(w: &World, plan: &ConfigMap, told: &mpsc::UnboundedSender<String>) -> Result<Action> {
    let owner: OwnerReference = plan.controller_owner_ref(&()).context("an owner")?;
    let name = plan.name_any();
    let Some(pod) = w.pods().get_opt(&name).await? else {
        let mut made = pod(&name, &["true"]);
        made.metadata.owner_references = Some(vec![owner]);
        made.spec.as_mut().context("a spec")?.restart_policy = Some("Never".into());
        w.pods().create(&PostParams::default(), &made).await?;
        let _ = told.send(format!("made {name}"));
        return Ok(Action::await_change());
    };
    let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
    let body =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": {"phase": phase}}});
    w.maps().patch(&name, &PatchParams::apply("controller").force(), &Patch::Apply(body)).await?;
    let _ = told.send(format!("phase {phase}"));
    Ok(Action::await_change())
}

async fn wait_for(hear: &mut mpsc::UnboundedReceiver<String>, what: &str) -> Result<()> {
    let heard = async {
        while hear.recv().await.with_context(|| format!("ended before {what}"))? != what {}
        Ok(())
    };
    tokio::time::timeout(LIMIT / 3, heard).await.with_context(|| format!("waited in vain for {what}"))?
}

async fn sessions(w: World) -> Result<()> {
    w.run_pod("web", &["sh", "-c", "echo begun; while read line; do echo \"<$line>\"; done"]).await?;
    let pods = w.pods();
    let params = AttachParams::default().stdin(true);
    let mut one = pods.exec("web", ["sh", "-c", "cat; echo err >&2; exit 3"], &params).await?;
    let (mut stdin, mut stdout, mut stderr) =
        (one.stdin().context("stdin")?, one.stdout().context("stdout")?, one.stderr().context("stderr")?);
    let status = one.take_status().context("a status")?;
    let input = "0123456789abcde\n".repeat(10_000);
    let sent = input.clone();
    tokio::spawn(async move {
        stdin.write_all(sent.as_bytes()).await?;
        stdin.shutdown().await
    });
    let (mut out, mut err) = (vec![0; input.len()], String::new());
    stdout.read_exact(&mut out).await?;
    ensure!(out == input.as_bytes(), "what cat said");
    stderr.read_to_string(&mut err).await?;
    let status = status.await.context("a status came")?;
    ensure!(err == "err\n" && status.reason.as_deref() == Some("NonZeroExitCode"), "{err:?} {status:?}");
    one.join().await?;
    let mut one = pods.attach("web", &AttachParams::default().stdin(true).stderr(false)).await?;
    one.stdin().context("stdin")?.write_all(b"attached\n").await?;
    let lines = pods.log_stream("web", &LogParams { follow: true, ..LogParams::default() }).await?.lines();
    let lines: Vec<String> = lines.take(2).try_collect().await?;
    ensure!(lines == ["begun", "<attached>"], "{lines:?}");
    one.abort();
    refused(400, pods.logs("web", &LogParams { container: Some("other".into()), ..LogParams::default() }).await)?;
    Ok(())
}

async fn port_forward(w: World) -> Result<()> {
    let mut echo = pod("echo", &["serve-echo", "--tcp", "7000"]);
    let probe = json!({"tcpSocket": {"port": 7000}, "periodSeconds": 1});
    echo.spec.as_mut().context("a spec")?.containers[0].readiness_probe = Some(serde_json::from_value(probe)?);
    w.ready(echo).await?;
    let mut forward = w.pods().portforward("echo", &[7000, 7001]).await?;
    let mut stream = forward.take_stream(7000).context("a stream")?;
    for round in 0..5 {
        let text = round.to_string().repeat(50_000);
        let mut back = vec![0; text.len()];
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let (sent, got) = tokio::join!(write.write_all(text.as_bytes()), read.read_exact(&mut back));
        sent?;
        got?;
        ensure!(back == text.as_bytes(), "the echo is another");
    }
    let error = forward.take_error(7001).context("an error")?.await;
    ensure!(error.as_deref().is_some_and(|said| said.contains("refused")), "{error:?}");
    forward.abort();
    Ok(())
}

async fn leases(w: World) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(w.client.clone(), &w.namespace);
    let lease = |holder: &str| Lease {
        metadata: ObjectMeta { name: Some("lease".into()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(10),
            ..LeaseSpec::default()
        }),
    };
    let apply = |manager: &str| PatchParams::apply(manager);
    leases.patch("lease", &apply("one"), &Patch::Apply(lease("one"))).await?;
    refused(409, leases.patch("lease", &apply("two"), &Patch::Apply(lease("two"))).await)?;
    let mut held = leases.get("lease").await?;
    held.spec.as_mut().context("a spec")?.renew_time =
        Some(serde_json::from_value(json!("2026-01-02T03:04:05.678901Z"))?);
    let held = leases.replace("lease", &PostParams::default(), &held).await?;
    let back = serde_json::to_value(&held)?;
    ensure!(back["spec"]["renewTime"] == "2026-01-02T03:04:05.678901Z", "{back}");
    Ok(())
}

async fn ends(w: World) -> Result<()> {
    w.run_pod("evicted", &["sleep", "inf"]).await?;
    let uid = w.pods().get("evicted").await?.uid().context("a UID")?;
    w.pods().evict("evicted", &EvictParams::default()).await?;
    await_condition(w.pods(), "evicted", conditions::is_deleted(&uid)).await?;
    w.maps().create(&PostParams::default(), &map("many", &[])).await?;
    w.maps().delete_collection(&DeleteParams::background(), &ListParams::default().labels("app=many")).await?;
    ensure!(w.maps().get_opt("many").await?.is_none(), "it is there after a collection was deleted");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::try_default().await?;
    let spaces: Api<Namespace> = Api::all(client.clone());
    let space = Namespace {
        metadata: ObjectMeta { generate_name: Some("kube-".into()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    let namespace = spaces.create(&PostParams::default(), &space).await?.name_any();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    await_condition(accounts, "default", |account: Option<&ServiceAccount>| account.is_some()).await?;
    let w = World { client, namespace };
    let mut passed = true;
    passed &= step("create, replace, list, dry run", objects(w.clone())).await;
    passed &= step("patches of each type, apply with a conflict", patches(w.clone())).await;
    passed &= step("discovery and dynamic objects", discovered(w.clone())).await;
    passed &= step("watch, watcher and reflector, with lists and streamed", watching(w.clone())).await;
    passed &= step("controller with owned pods and a finalizer", controller(w.clone())).await;
    passed &= step("exec, attach, logs", sessions(w.clone())).await;
    passed &= step("port-forward", port_forward(w.clone())).await;
    passed &= step("leases", leases(w.clone())).await;
    passed &= step("eviction and deletecollection", ends(w.clone())).await;
    spaces.delete(&w.namespace, &DeleteParams::default()).await?;
    if !passed {
        std::process::exit(1);
    }
    Ok(())
}

async fn step(name: &str, run: impl Future<Output = Result<()>> + Send + 'static) -> bool {
    let said = match tokio::time::timeout(LIMIT, tokio::spawn(run)).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(format!("{error:#}")),
        Ok(Err(panicked)) => Some(panicked.to_string()),
        Err(_) => Some("too late".into()),
    };
    match &said {
        None => println!("ok {name}"),
        Some(why) => println!("FAILED {name}: {why}"),
    }
    said.is_none()
}
