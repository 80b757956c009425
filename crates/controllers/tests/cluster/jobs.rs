//! Jobs and CronJobs: pods are held until they count, and let go; a time makes one Job.

use api::resource::{CRON_JOBS, JOBS, PODS};
use client::ListOptions;

use super::*;

const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

fn job(name: &str, spec: Value) -> Value {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    for (field, value) in spec.as_object().unwrap() {
        job["spec"][field] = value.clone();
    }
    job
}

async fn with_account() -> Cluster {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    c.until("serviceaccounts", "n", "default", |account| account.is_some()).await;
    c
}

impl Cluster {
    async fn until_job(&self, name: &str, good: impl FnMut(Option<&Value>) -> bool) {
        self.until_of(&JOBS, "n", name, good).await;
    }

    async fn of_job(&self, name: &str) -> Vec<Object> {
        let options = ListOptions { label_selector: format!("job-name={name}"), ..ListOptions::default() };
        self.client.list(&PODS, "n", &options).await.unwrap().objects
    }

    async fn end(&self, pod: &Object, phase: &str) {
        let mut value = self.client.get(&PODS, "n", &pod.meta().name).await.unwrap().value();
        value["status"]["phase"] = json!(phase);
        self.client.update_sub(&PODS, "n", &pod.meta().name, "status", &value).await.unwrap();
    }
}

fn is_released(pod: Option<&Value>) -> bool {
    pod.is_none_or(|pod| !pod["metadata"]["finalizers"].to_string().contains(FINALIZER))
}

fn is_over(kind: &'static str) -> impl FnMut(Option<&Value>) -> bool {
    move |job| {
        let conditions = job.map(|job| api::tree::list(job, "status.conditions").to_vec()).unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == kind)
    }
}

#[tokio::test]
async fn a_job_is_complete_when_its_pods_have_succeeded_and_then_goes() {
    let c = with_account().await;
    c.client.create(&JOBS, "n", &job("j", json!({"parallelism": 2, "completions": 2}))).await.unwrap();
    c.until_job("j", |job| job.is_some_and(|job| job["status"]["active"] == 2)).await;
    let pods = c.of_job("j").await;
    assert!(pods.iter().all(|pod| pod.meta().finalizers == [FINALIZER]), "{pods:?}");
    // What ended is held until it counts, whoever deletes it.
    c.end(&pods[0], "Succeeded").await;
    c.client.delete(&PODS, "n", &pods[0].meta().name, &DeleteOptions::default()).await.unwrap();
    c.until("pods", "n", &pods[0].meta().name, |pod| pod.is_none()).await;
    c.until_job("j", |job| job.is_some_and(|job| job["status"]["succeeded"] == 1)).await;
    c.end(&pods[1], "Succeeded").await;
    c.until_job("j", is_over("Complete")).await;
    let value = c.client.get(&JOBS, "n", "j").await.unwrap().value();
    assert_eq!((&value["status"]["succeeded"], &value["status"]["ready"]), (&json!(2), &json!(0)), "{value}");
    c.until("pods", "n", &pods[1].meta().name, is_released).await;
    let patch = json!({"spec": {"ttlSecondsAfterFinished": 0}});
    c.client.patch(&JOBS, "n", "j", "", PatchKind::Merge, &patch).await.unwrap();
    c.until_job("j", |job| job.is_none()).await;
    c.until("pods", "n", &pods[1].meta().name, |pod| pod.is_none()).await;
}

#[tokio::test]
async fn pods_change_hands_and_are_let_go_with_their_job() {
    let c = with_account().await;
    c.client.create(&JOBS, "n", &job("j", json!({"parallelism": 2, "completions": 2}))).await.unwrap();
    c.until_job("j", |job| job.is_some_and(|job| job["status"]["active"] == 2)).await;
    let pods = c.of_job("j").await;
    let name = &pods[0].meta().name;
    // Nobody's: adopted again.
    let patch = json!({"metadata": {"ownerReferences": null}});
    c.client.patch(&PODS, "n", name, "", PatchKind::Merge, &patch).await.unwrap();
    let is_own = |pod: Option<&Value>| pod.is_some_and(|pod| pod["metadata"]["ownerReferences"][0]["kind"] == "Job");
    c.until("pods", "n", name, |pod| is_own(pod) && !is_released(pod)).await;
    // Another's: let go, finalizer and all.
    let patch = json!({"metadata": {"labels": null}});
    c.client.patch(&PODS, "n", name, "", PatchKind::Merge, &patch).await.unwrap();
    c.until("pods", "n", name, |pod| !is_own(pod) && is_released(pod)).await;
    c.until_job("j", |job| job.is_some_and(|job| job["status"]["active"] == 2)).await;
    // Those that a Job leaves behind are held for nobody.
    let orphaning = DeleteOptions { propagation_policy: "Orphan".into(), ..DeleteOptions::default() };
    c.client.delete(&JOBS, "n", "j", &orphaning).await.unwrap();
    c.until_job("j", |job| job.is_none()).await;
    for pod in c.client.list(&PODS, "n", &ListOptions::default()).await.unwrap().objects {
        c.until("pods", "n", &pod.meta().name, |pod| pod.is_some() && !is_own(pod) && is_released(pod)).await;
    }
}

#[tokio::test]
async fn what_is_suspended_or_somebody_elses_has_no_pods() {
    let c = with_account().await;
    c.client.create(&JOBS, "n", &job("theirs", json!({"managedBy": "example.com/them"}))).await.unwrap();
    c.client.create(&JOBS, "n", &job("j", json!({"suspend": true}))).await.unwrap();
    c.until_job("j", is_over("Suspended")).await;
    assert!(c.of_job("j").await.is_empty());
    let patch = json!({"spec": {"suspend": false}});
    c.client.patch(&JOBS, "n", "j", "", PatchKind::Merge, &patch).await.unwrap();
    c.until_job("j", |job| job.is_some_and(|job| job["status"]["active"] == 1)).await;
    assert!(c.of_job("theirs").await.is_empty());
    let theirs = c.client.get(&JOBS, "n", "theirs").await.unwrap().value();
    assert!(theirs["status"].as_object().is_none_or(|status| status.is_empty()), "{theirs}");
}

#[tokio::test]
async fn a_time_makes_one_job() {
    let c = with_account().await;
    let template = job("x", json!({}))["spec"].clone();
    let cron = json!({"metadata": {"name": "c"}, "spec": {"schedule": "0 * * * *", "suspend": true,
        "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": template}}});
    let cron = c.client.create(&CRON_JOBS, "n", &cron).await.unwrap();
    // As if it had last run two hours ago.
    let mut value = cron.value();
    let born: jiff::Timestamp = cron.meta().creation_timestamp.as_deref().unwrap().parse().unwrap();
    let hour = |ago: i64| jiff::Timestamp::from_second((born.as_second() / 3600 - ago) * 3600).unwrap();
    value["status"]["lastScheduleTime"] = json!(hour(2).to_string());
    c.client.update_sub(&CRON_JOBS, "n", "c", "status", &value).await.unwrap();
    let patch = json!({"spec": {"suspend": false}});
    c.client.patch(&CRON_JOBS, "n", "c", "", PatchKind::Merge, &patch).await.unwrap();
    let at = hour(0).to_string();
    c.until_of(&CRON_JOBS, "n", "c", |cron| cron.is_some_and(|cron| cron["status"]["lastScheduleTime"] == *at)).await;
    let name = format!("c-{}", hour(0).as_second() / 60);
    let jobs = c.client.list(&JOBS, "n", &ListOptions::default()).await.unwrap().objects;
    assert_eq!(jobs.iter().map(|job| job.meta().name.as_str()).collect::<Vec<_>>(), [name.as_str()]);
    c.until_job(&name, |job| job.is_some_and(|job| job["status"]["active"] == 1)).await;
    c.end(&c.of_job(&name).await[0], "Succeeded").await;
    let is_done = |cron: Option<&Value>| {
        cron.is_some_and(|cron| cron["status"]["active"].is_null() && !cron["status"]["lastSuccessfulTime"].is_null())
    };
    c.until_of(&CRON_JOBS, "n", "c", is_done).await;
    // No history is kept.
    let patch = json!({"spec": {"successfulJobsHistoryLimit": 0}});
    c.client.patch(&CRON_JOBS, "n", "c", "", PatchKind::Merge, &patch).await.unwrap();
    c.until_job(&name, |job| job.is_none()).await;
}
