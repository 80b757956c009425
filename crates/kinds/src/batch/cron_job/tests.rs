use super::*;
use crate::tests::{kind, told};

fn cron(spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "c", "namespace": "n", "resourceVersion": "1"}, "spec": {
        "schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}}}});
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object
}

fn write(object: Value, old: Option<&Value>) -> (Value, Vec<String>) {
    let (row, mut object) = (kind("cronjobs"), object);
    row.default(&mut object);
    row.prepare(&mut object, old, &Context::default());
    let errors = told(&row.validate(&object, old, &Context::default()));
    (object, errors)
}

fn judged(spec: Value) -> Vec<String> {
    write(cron(spec), None).1
}

#[test]
fn a_cron_job_is_completed_its_jobs_are_not() {
    let (cron, errors) = write(cron(json!({})), None);
    assert_eq!(errors, [""; 0]);
    let spec = &cron["spec"];
    assert_eq!((&spec["concurrencyPolicy"], &spec["suspend"]), (&json!("Allow"), &json!(false)));
    assert_eq!((&spec["successfulJobsHistoryLimit"], &spec["failedJobsHistoryLimit"]), (&json!(3), &json!(1)));
    let job = &spec["jobTemplate"]["spec"];
    assert_eq!((job.get("completions"), &job["template"]["spec"]["dnsPolicy"]), (None, &json!("ClusterFirst")));
    let cells: Vec<Value> = kind("cronjobs").columns.iter().map(|column| column.of(&cron, "")).collect();
    assert_eq!(cells[1..6], [json!("* * * * *"), json!("<none>"), json!("False"), json!(0), json!("<none>")]);
}

#[test]
fn schedules_are_those_of_the_library_that_upstream_uses() {
    for good in [
        "*/5 * * * ?",
        "0 0 1,15 JAN-mar/2 Sun",
        "@every 1h30m",
        "@hourly",
        "5/3 * * * *",
        ",,, * * * *",
        "@every -1.5s",
    ] {
        assert_eq!(schedule::check(good), Ok(()), "{good}");
    }
    for (bad, why) in [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
        ("* * * L *", "failed to parse int from L: strconv.Atoi: parsing \"L\": invalid syntax"),
        ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
        (
            "99999999999999999999 * * * *",
            "failed to parse int from 99999999999999999999: strconv.Atoi: parsing \"99999999999999999999\": value out of \
             range",
        ),
        ("@reboot", "unrecognized descriptor: @reboot"),
        ("@every x", "failed to parse duration x: time: invalid duration \"x\""),
        ("@every 5", "failed to parse duration 5: time: missing unit in duration \"5\""),
        ("@every 5d", "failed to parse duration 5d: time: unknown unit \"d\" in duration \"5d\""),
        ("@every 1.2.3s", "failed to parse duration 1.2.3s: time: missing unit in duration \"1.2.3s\""),
        ("TZ=Mars * * * * *", "provided bad location Mars: unknown time zone Mars"),
        ("TZ=UTC", "invalid schedule format: runtime error: slice bounds out of range [:-1]"),
    ] {
        assert_eq!(schedule::check(bad), Err(why.to_string()), "{bad}");
    }
}

#[test]
fn a_zone_is_named_in_its_own_field() {
    let zone = |name: &str| judged(json!({"timeZone": name}));
    assert_eq!(zone("Europe/Zurich"), [""; 0]);
    assert_eq!(zone("Etc/UTC"), [""; 0]);
    assert_eq!(zone("UTC"), [""; 0]);
    let unknown = |name: &str| vec![format!("spec.timeZone: Invalid value: {name:?}: unknown time zone {name}")];
    for name in ["europe/zurich", "Europe/../Zurich", "Europe/Atlantis", "-a", "a b", "a//b"] {
        assert_eq!(zone(name), unknown(name));
    }
    assert_eq!(zone(""), ["spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"]);
    let explicit = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
    assert_eq!(zone("Local"), [format!("spec.timeZone: Invalid value: \"Local\": {explicit}")]);
    assert_eq!(zone("LOCAL").len(), 2);
    let within = "TZ=Europe/Zurich * * * * *";
    let line = format!(
        "spec.schedule: Invalid value: {within:?}: cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
    );
    assert_eq!(judged(json!({"schedule": within})), [line]);
    // As it was let in once.
    let mut old = write(cron(json!({})), None).0;
    old["spec"]["schedule"] = json!(within);
    let mut new = old.clone();
    new["spec"]["suspend"] = json!(true);
    assert_eq!(write(new.clone(), Some(&old)).1, [""; 0]);
    assert!(
        kind("cronjobs").warnings(&new, Some(&old))[0].starts_with("cannot use TZ or CRON_TZ in spec.spec.schedule")
    );
    new["spec"]["timeZone"] = json!("UTC");
    let both = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
    assert_eq!(write(new, Some(&old)).1, [format!("spec.schedule: Invalid value: {within:?}: {both}")]);
}

#[test]
fn cron_jobs_and_what_they_make_are_judged() {
    assert_eq!(
        judged(json!({"schedule": "", "concurrencyPolicy": "Odd", "startingDeadlineSeconds": -1,
            "successfulJobsHistoryLimit": -1, "failedJobsHistoryLimit": -1, "jobTemplate": {"spec": {
                "selector": {"matchLabels": {"a": "b"}}, "manualSelector": true, "template": {"spec": {"containers": [
                    {"name": "c", "image": "i"}]}}}}})),
        [
            "spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.concurrencyPolicy: Unsupported value: \"Odd\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
            "spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            "spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be \
             auto-generated",
            "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
            "spec.successfulJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
            "spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
            "spec.schedule: Required value",
        ]
    );
    let mut long = cron(json!({}));
    long["metadata"]["name"] = json!("a".repeat(53));
    assert_eq!(
        write(long, None).1,
        [format!("metadata.name: Invalid value: {:?}: must be no more than 52 characters", "a".repeat(53))]
    );
    assert!(kind("cronjobs").warnings(&cron(json!({})), None).is_empty());
}
