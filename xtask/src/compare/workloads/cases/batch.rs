//! What is asked of Jobs and CronJobs.

use serde_json::{Value, json};

use super::{Act, Add, CRON_JOBS, Fate, JOBS, named, once, spec};

pub fn jobs(add: Add<'_>) {
    use Act::{Create, Delete, Patch, Play, Pods, Until};
    const IT: &str = "jobs";
    let job = |further: Value| named("web", json!({"template": once()}), further);
    let patch = |patch: Value| Patch(IT, "web", spec(patch));
    add(
        JOBS,
        "completions",
        vec![
            Create(IT, job(json!({"completions": 2}))),
            Pods(Fate::Ready, 1),
            Pods(Fate::Succeeded, 1),
            Pods(Fate::Ready, 1),
            Pods(Fate::Succeeded, 1),
            Delete(IT, "web", "Background"),
        ],
    );
    add(
        JOBS,
        "indexed",
        vec![
            Create(IT, job(json!({"completions": 4, "parallelism": 3, "completionMode": "Indexed"}))),
            Play,
            Pods(Fate::Succeeded, 2),
            Play,
            patch(json!({"parallelism": 1})),
            Play,
            Pods(Fate::Succeeded, 1),
            Play,
            Pods(Fate::Succeeded, 1),
            Play,
        ],
    );
    add(
        JOBS,
        "back-off",
        vec![
            Create(IT, job(json!({"backoffLimit": 1, "parallelism": 2, "completions": 2}))),
            Play,
            Pods(Fate::Failed(3), 1),
            Until("\"failed\":1"),
            Pods(Fate::Failed(3), 1),
            Play,
        ],
    );
    let rules = |rules: Value| job(json!({"backoffLimit": 0, "podFailurePolicy": {"rules": rules}}));
    let codes = json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}});
    let ignored = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    add(
        JOBS,
        "failure policy",
        vec![
            Create(IT, rules(json!([ignored, codes]))),
            Play,
            Pods(Fate::Disrupted, 1),
            Until("\"phase\":\"Pending\""),
            Play,
            Pods(Fate::Failed(42), 1),
            Play,
        ],
    );
    let per_index = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 0,
        "maxFailedIndexes": 1});
    add(
        JOBS,
        "per index",
        vec![
            Create(IT, job(per_index)),
            Play,
            Pods(Fate::Failed(1), 1),
            Pods(Fate::Succeeded, 1),
            Pods(Fate::Failed(1), 1),
            Play,
        ],
    );
    let success = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed",
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]}});
    add(JOBS, "success policy", vec![Create(IT, job(success)), Play, Pods(Fate::Succeeded, 1), Play]);
    add(
        JOBS,
        "suspended",
        vec![
            Create(IT, job(json!({"suspend": true}))),
            patch(json!({"suspend": false})),
            Play,
            patch(json!({"suspend": true})),
            Play,
            patch(json!({"suspend": false})),
            Play,
            Pods(Fate::Succeeded, 1),
        ],
    );
    add(
        JOBS,
        "deadline",
        vec![Create(IT, job(json!({"activeDeadlineSeconds": 15}))), Play, Until("DeadlineExceeded"), Play],
    );
    add(
        JOBS,
        "replaced when failed",
        vec![
            Create(IT, job(json!({"podReplacementPolicy": "Failed", "completions": 2, "parallelism": 2}))),
            Play,
            Pods(Fate::Deleted, 1),
            Pods(Fate::Failed(1), 1),
            Pods(Fate::Gone, 1),
            Pods(Fate::Ready, 1),
            Pods(Fate::Succeeded, 2),
        ],
    );
    add(
        JOBS,
        "replaced when deleted",
        vec![
            Create(IT, job(json!({"completions": 2, "parallelism": 2}))),
            Play,
            Pods(Fate::Deleted, 1),
            Play,
            patch(json!({"parallelism": 0})),
            Play,
        ],
    );
    add(JOBS, "of others", vec![Create(IT, job(json!({"managedBy": "example.com/other"}))), Play]);
    add(JOBS, "short", vec![Create(IT, job(json!({"ttlSecondsAfterFinished": 0}))), Play, Pods(Fate::Succeeded, 1)]);
}

pub fn cron(add: Add<'_>) {
    use Act::{Create, Patch, Play, Pods, Until};
    const IT: &str = "cronjobs";
    let object = |further: Value| {
        named("web", json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": once()}}}), further)
    };
    add(
        CRON_JOBS,
        "run",
        vec![
            Create(IT, object(json!({"timeZone": "Europe/Berlin"}))),
            Until("SuccessfulCreate"),
            Play,
            Patch(IT, "web", spec(json!({"suspend": true}))),
            Pods(Fate::Succeeded, 1),
        ],
    );
    add(
        CRON_JOBS,
        "never",
        vec![Create(IT, object(json!({"schedule": "0 0 31 2 *"}))), Patch(IT, "web", spec(json!({"suspend": true})))],
    );
}
