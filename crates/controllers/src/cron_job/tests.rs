use serde_json::json;

use super::decide::{Decision, decide, started, surplus};
use super::*;

/// A CronJob born at the turn of the year.
fn cron(spec: Value, status: Value) -> Object {
    let mut cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": "n", "uid": "c",
        "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"schedule": "*/10 * * * *", "concurrencyPolicy": "Allow",
            "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"completions": 1}}}, "status": status});
    for (field, value) in spec.as_object().unwrap() {
        cron["spec"][field] = value.clone();
    }
    Object::from_value(&cron).unwrap()
}

fn made(name: &str, status: Value) -> Made {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "n", "uid": name},
        "spec": {}, "status": status});
    let object = Object::from_value(&job).unwrap();
    Made { job: Job::of(&object).unwrap(), object }
}

fn look(owner: &Object, jobs: &[Made], now: &str) -> Decision {
    let none = HashSet::new();
    let active = tree::list(&owner.value(), "status.active").to_vec();
    let is_missing = |uid: &str| !jobs.iter().any(|made| made.object.meta().uid == uid);
    let missing = active.iter().map(|job| tree::text(job, "uid").to_owned()).filter(|uid| is_missing(uid)).collect();
    let now = now.parse().unwrap();
    let cron = owner.value();
    decide(&Look { cron: &cron, owner, jobs, gone: &none, missing: &missing, now, not_before: None })
}

fn told(decision: &Decision) -> Vec<&'static str> {
    decision.told.iter().map(|(_, reason, _)| *reason).collect()
}

/// The name of the Job that is made, or for how long it waits.
fn next(spec: Value, status: Value, now: &str) -> (String, Vec<&'static str>) {
    let decision = look(&cron(spec, status), &[], now);
    let told = told(&decision);
    let next = match decision.next {
        Next::Nothing => "nothing".into(),
        Next::Wait(pause) => format!("{pause:?}"),
        Next::Start { job, .. } => job["metadata"]["name"].as_str().unwrap().into(),
    };
    (next, told)
}

#[test]
fn jobs_are_made_when_they_are_due_and_named_by_it() {
    let minute = |at: &str| format!("c-{}", at.parse::<Timestamp>().unwrap().as_second() / 60);
    let none = || json!({});
    assert_eq!(next(none(), none(), "2026-01-01T00:09:30Z"), ("30.1s".into(), vec![]));
    assert_eq!(next(none(), none(), "2026-01-01T00:10:00.1Z"), (minute("2026-01-01T00:10:00Z"), vec![]));
    assert_eq!(next(none(), none(), "2026-01-01T00:49:00Z"), (minute("2026-01-01T00:40:00Z"), vec![]));
    let last = json!({"lastScheduleTime": "2026-01-01T00:40:00Z"});
    assert_eq!(next(none(), last, "2026-01-01T00:49:00Z"), ("60.1s".into(), vec![]));
    let many = vec!["TooManyMissedTimes"];
    assert_eq!(next(none(), none(), "2026-01-02T00:00:00Z"), (minute("2026-01-02T00:00:00Z"), many));
    let deadline = json!({"startingDeadlineSeconds": 300});
    let made = next(deadline.clone(), none(), "2026-01-02T00:00:00Z");
    assert_eq!(made, (minute("2026-01-02T00:00:00Z"), vec![]), "only what is not too late counts");
    assert_eq!(next(deadline, none(), "2026-01-02T00:07:00Z"), ("180.1s".into(), vec![]));
    assert_eq!(next(json!({"suspend": true}), none(), "2026-01-02T00:07:00Z"), ("nothing".into(), vec![]));
    let never = json!({"schedule": "0 0 31 2 *"});
    assert_eq!(next(never, none(), "2026-01-02T00:07:00Z"), ("nothing".into(), vec!["InvalidSchedule"]));
    let bad = json!({"schedule": "x"});
    assert_eq!(next(bad, none(), "2026-01-02T00:07:00Z"), ("nothing".into(), vec!["UnparseableSchedule"]));
    let mars = json!({"timeZone": "Mars"});
    assert_eq!(next(mars, none(), "2026-01-02T00:07:00Z"), ("nothing".into(), vec!["UnknownTimeZone"]));
}

#[test]
fn a_job_says_for_when_it_is_by_the_clock_of_its_zone() {
    for (zone, at) in [(json!(null), "2026-01-01T08:00:00Z"), (json!("Europe/Paris"), "2026-01-01T08:00:00+01:00")] {
        let owner = cron(json!({"schedule": "0 8 * * *", "timeZone": zone}), json!({}));
        let Next::Start { job, .. } = look(&owner, &[], "2026-01-01T08:00:05Z").next else { panic!() };
        assert_eq!(job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"], at);
        assert_eq!(job["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(job["metadata"]["ownerReferences"][0]["uid"], "c");
        assert_eq!(job["spec"], json!({"completions": 1}));
    }
}

#[test]
fn what_runs_is_waited_for_or_replaced_or_kept_company() {
    let now = "2026-01-01T00:20:00Z";
    let status = || {
        let mut status = json!({});
        started(&mut status, &made("one", json!({})).object, "2026-01-01T00:10:00Z".parse().unwrap());
        status
    };
    for (policy, outcome) in [("Allow", Some(false)), ("Forbid", None), ("Replace", Some(true))] {
        let owner = cron(json!({"concurrencyPolicy": policy}), status());
        let decision = look(&owner, &[made("one", json!({}))], now);
        let is_replaced = match decision.next {
            Next::Start { replaces, .. } => Some(replaces),
            _ => None,
        };
        assert_eq!(is_replaced, outcome, "{policy}");
    }
    let done =
        json!({"completionTime": "2026-01-01T00:15:00Z", "conditions": [{"type": "Complete", "status": "True"}]});
    let owner = cron(json!({"concurrencyPolicy": "Forbid"}), status());
    let decision = look(&owner, &[made("one", done)], now);
    assert_eq!(told(&decision), ["SawCompletedJob"]);
    assert_eq!(decision.status["lastSuccessfulTime"], "2026-01-01T00:15:00Z");
    assert!(matches!(decision.next, Next::Start { .. }));
    let decision = look(&owner, &[], now);
    assert_eq!(told(&decision), ["MissingJob"]);
    assert!(decision.status["active"].is_null());
}

#[test]
fn the_oldest_beyond_the_limits_go() {
    let done = |name: &str, kind: &str, start: &str| {
        made(name, json!({"startTime": start, "conditions": [{"type": kind, "status": "True"}]}))
    };
    let jobs = [
        done("b", "Complete", "2026-01-01T00:02:00Z"),
        done("a", "Complete", "2026-01-01T00:01:00Z"),
        done("c", "Failed", "2026-01-01T00:00:00Z"),
        made("d", json!({})),
    ];
    let of = |succeeded: Value, failed: Value| {
        let spec = json!({"successfulJobsHistoryLimit": succeeded, "failedJobsHistoryLimit": failed});
        let names =
            surplus(&cron(spec, json!({})).value(), &jobs).into_iter().map(|made| made.object.meta().name.clone());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of(json!(1), json!(1)), "a");
    assert_eq!(of(json!(0), json!(0)), "a b c");
    assert_eq!(of(json!(null), json!(null)), "");
}
