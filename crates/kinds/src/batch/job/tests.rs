use super::*;
use crate::tests::{kind, told};

fn lay(under: &mut Value, over: Value) {
    match over {
        Value::Object(fields) if under.is_object() => {
            fields.into_iter().for_each(|(key, value)| lay(&mut under[key.as_str()], value));
        }
        over => *under = over,
    }
}

fn job(spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "j", "namespace": "n", "uid": "u", "resourceVersion": "1"}, "spec": {
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    lay(&mut object["spec"], spec);
    object
}

fn write(object: Value, old: Option<&Value>, subresource: &str) -> (Value, Vec<String>) {
    let (row, mut object) = (kind("jobs"), object);
    let context = Context { subresource: subresource.into(), ..Context::default() };
    row.default(&mut object);
    row.prepare(&mut object, old, &context);
    let errors = told(&row.validate(&object, old, &context));
    (object, errors)
}

fn judged(spec: Value) -> Vec<String> {
    write(job(spec), None, "").1
}

fn changed(spec: Value, change: Value) -> Vec<String> {
    let (old, errors) = write(job(spec), None, "");
    assert_eq!(errors, [""; 0]);
    let mut new = old.clone();
    lay(&mut new["spec"], change);
    write(new, Some(&old), "").1
}

#[test]
fn a_job_selects_the_pods_that_it_makes() {
    let (job, errors) = write(job(json!({"scheduling": {}})), None, "");
    assert_eq!(errors, [""; 0]);
    let labels = json!({"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "j",
        "controller-uid": "u", "job-name": "j"});
    let spec = &job["spec"];
    assert_eq!(spec["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}));
    assert_eq!((&spec["template"]["metadata"]["labels"], &job["metadata"]["labels"]), (&labels, &labels));
    assert_eq!((&spec["completions"], &spec["parallelism"], &spec["backoffLimit"]), (&json!(1), &json!(1), &json!(6)));
    assert_eq!((&spec["completionMode"], &spec["suspend"]), (&json!("NonIndexed"), &json!(false)));
    assert_eq!((&spec["podReplacementPolicy"], spec.get("scheduling")), (&json!("TerminatingOrFailed"), None));
    assert!(kind("jobs").writes.orphans, "its pods stay where nobody says otherwise");
    let cells: Vec<Value> = kind("jobs").columns.iter().map(|column| column.of(&job, "")).collect();
    assert_eq!(cells[1..4], [json!("Running"), json!("0/1"), json!("")]);
    assert_eq!(cells[7], "batch.kubernetes.io/controller-uid=u");
}

#[test]
fn labels_that_were_forged_are_told() {
    let own =
        json!({"template": {"metadata": {"labels": {"job-name": "other"}}}, "selector": {"matchLabels": {"x": "y"}}});
    let labels = "{\"batch.kubernetes.io/controller-uid\":\"u\",\"batch.kubernetes.io/job-name\":\"j\",\
                  \"controller-uid\":\"u\",\"job-name\":\"other\"}";
    let selector = "{\"matchLabels\":{\"batch.kubernetes.io/controller-uid\":\"u\",\"x\":\"y\"}}";
    assert_eq!(
        judged(own),
        [
            format!("spec.template.metadata.labels[job-name]: Invalid value: {labels}: must be 'j'"),
            format!("spec.selector: Invalid value: {selector}: `selector` not auto-generated"),
            format!(
                "spec.template.metadata.labels: Invalid value: {labels}: `selector` does not match template `labels`"
            ),
        ]
    );
    let manual = json!({"manualSelector": true, "template": {"metadata": {"labels": {"x": "y"}}},
        "selector": {"matchLabels": {"x": "y"}}});
    assert_eq!(judged(manual), [""; 0]);
    assert_eq!(judged(json!({"manualSelector": true}))[0], "spec.selector: Required value");
}

#[test]
fn counts_and_modes_are_judged() {
    assert_eq!(
        judged(json!({"parallelism": -1, "maxFailedIndexes": 1, "managedBy": "x", "completionMode": "Odd",
            "podReplacementPolicy": "Odd"})),
        [
            "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.managedBy: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            "spec.completionMode: Unsupported value: \"Odd\": supported values: \"NonIndexed\", \"Indexed\"",
            "spec.podReplacementPolicy: Unsupported value: \"Odd\": supported values: \"Failed\", \
             \"TerminatingOrFailed\"",
        ]
    );
    assert_eq!(
        judged(json!({"backoffLimitPerIndex": 1, "template": {"spec": {"restartPolicy": "Always"}}})),
        [
            "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ]
    );
    assert_eq!(
        judged(json!({"completionMode": "Indexed", "parallelism": 100_001})),
        [
            "spec.completions: Required value: when completion mode is Indexed",
            "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is \
             Indexed",
        ]
    );
    assert_eq!(
        judged(json!({"completionMode": "Indexed", "parallelism": 10_001, "completions": 100_001,
            "backoffLimitPerIndex": 1})),
        [
            "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
            "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above \
             100000 and used with backoff limit per index",
        ]
    );
    let mut long = job(json!({"completionMode": "Indexed", "completions": 11}));
    long["metadata"]["name"] = json!("a".repeat(61));
    let errors = write(long, None, "").1;
    let host = format!("will not able to create pod with invalid DNS label: {}-10", "a".repeat(61));
    assert_eq!(errors, [format!("metadata.name: Invalid value: {:?}: {host}", "a".repeat(61))]);
}

#[test]
fn failure_policies_are_judged() {
    let with = |rules: Value| judged(json!({"podFailurePolicy": {"rules": rules}}));
    let good = json!([{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [1, 42]}}]);
    let (written, errors) = write(job(json!({"podFailurePolicy": {"rules": good}})), None, "");
    assert_eq!(errors, [""; 0]);
    let spec = &written["spec"];
    assert_eq!(spec["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["status"], "True");
    assert_eq!(spec["podReplacementPolicy"], "Failed");
    let at = "spec.podFailurePolicy.rules[0]";
    assert_eq!(
        with(json!([{}])),
        [
            format!("{at}.action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
            format!("{at}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"),
        ]
    );
    assert_eq!(
        with(json!([{"action": "FailIndex", "onPodConditions": [{"type": "a b", "status": "Odd"}],
            "onExitCodes": {"containerName": "d", "operator": "In", "values": [2, 0, 2]}}])),
        [
            format!("{at}.action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set"),
            format!(
                "{at}.onExitCodes.containerName: Invalid value: \"d\": must be one of the container or initContainer \
                 names in the pod template"
            ),
            format!("{at}.onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator"),
            format!("{at}.onExitCodes.values[2]: Duplicate value: 2"),
            format!("{at}.onExitCodes.values: Invalid value: [2,0,2]: must be ordered"),
            format!(
                "{at}.onPodConditions[0].type: Invalid value: \"a b\": name part must consist of alphanumeric characters, \
                 '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  \
                 or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ),
            format!(
                "{at}.onPodConditions[0].status: Unsupported value: \"Odd\": supported values: \"False\", \"True\", \
                 \"Unknown\""
            ),
            format!("{at}: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"),
        ]
    );
    let again = json!({"podFailurePolicy": {"rules": []}, "template": {"spec": {"restartPolicy": "OnFailure"}}});
    let line = "only \"Never\" is supported when podFailurePolicy is specified";
    assert_eq!(judged(again), [format!("spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": {line}")]);
}

#[test]
fn success_policies_are_judged() {
    let with = |rules: Value| {
        judged(json!({"completionMode": "Indexed", "completions": 5, "successPolicy": {"rules": rules}}))
    };
    assert_eq!(with(json!([{"succeededIndexes": "0,2-4", "succeededCount": 4}])), [""; 0]);
    assert_eq!(
        with(json!([])),
        ["spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is \
          specified"]
    );
    let at = "spec.successPolicy.rules[0]";
    assert_eq!(
        with(json!([{}])),
        [format!("{at}: Required value: at least one of succeededCount or succeededIndexes must be specified")]
    );
    assert_eq!(
        with(json!([{"succeededIndexes": "0-1", "succeededCount": 6}])),
        [
            format!(
                "{at}.succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)"
            ),
            format!(
                "{at}.succeededCount: Invalid value: 6: must be less than or equal to 2 (the number of indexes in the \
                 specified succeededIndexes field)"
            ),
        ]
    );
    for (indexes, why) in [
        (
            "1-2-3",
            "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
        ),
        ("x", "cannot convert string to integer for index: \"x\""),
        ("7", "too large index: \"7\""),
        ("2-1", "non-increasing order, previous: 2, current: 1"),
        ("2,1", "non-increasing order, previous: 2, current: 1"),
    ] {
        let line = format!("{at}.succeededIndexes: Invalid value: {indexes:?}: error parsing succeededIndexes: {why}");
        assert_eq!(with(json!([{"succeededIndexes": indexes}])), [line]);
    }
    assert_eq!(
        judged(json!({"successPolicy": {"rules": [{"succeededCount": 1}]}})),
        [
            "spec.successPolicy: Invalid value: {\"Rules\":[{\"SucceededIndexes\":null,\"SucceededCount\":1}]}: requires \
          indexed completion mode"
        ]
    );
}

#[test]
fn what_a_job_does_stays_and_where_it_does_it_may_change_before_it_begins() {
    let immutable = |field: &str, value: &str| format!("spec.{field}: Invalid value: {value}: field is immutable");
    assert_eq!(changed(json!({}), json!({"parallelism": 3, "suspend": true})), [""; 0]);
    assert_eq!(changed(json!({}), json!({"completions": 3})), [immutable("completions", "3")]);
    let indexed = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2});
    assert_eq!(changed(indexed.clone(), json!({"completions": 3, "parallelism": 3})), [""; 0]);
    assert_eq!(
        changed(indexed, json!({"completions": 3})),
        ["spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"]
    );
    assert_eq!(changed(json!({}), json!({"managedBy": "a.b/c"})), [immutable("managedBy", "\"a.b/c\"")]);
    let placed = json!({"template": {"spec": {"nodeSelector": {"a": "b"}, "affinity": {"nodeAffinity": {}},
        "tolerations": [{"operator": "Exists"}]}}});
    let image = json!({"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}});
    let small = json!({"template": {"spec": {"containers": [{"name": "c", "image": "i",
        "resources": {"limits": {"cpu": "1"}}}]}}});
    let refused = |told: Vec<String>, at: &str| {
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(&format!("{at}: Invalid value: {{")) && told[0].ends_with("field is immutable"));
    };
    for change in [&placed, &image, &small] {
        refused(changed(json!({}), change.clone()), "spec.template");
    }
    for change in [placed, small] {
        assert_eq!(changed(json!({"suspend": true}), change), [""; 0]);
    }
    refused(changed(json!({"suspend": true}), image), "spec.template.spec");
}

#[test]
fn a_status_says_what_agrees_and_unsays_nothing() {
    let (fresh, _) = write(job(json!({"completionMode": "Indexed", "completions": 3})), None, "");
    let judged = |old: Value, new: Value| {
        let (mut was, mut now) = (fresh.clone(), fresh.clone());
        was["status"] = old;
        now["status"] = new;
        write(now, Some(&was), "status").1
    };
    let conditions =
        |kinds: &[&str]| -> Value { kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect() };
    let ended = |kinds: &[&str]| {
        json!({"conditions": conditions(kinds), "startTime": "2026-01-01T00:00:01Z",
            "completionTime": "2026-01-01T00:00:02Z", "succeeded": 3, "completedIndexes": "0-2"})
    };
    let good = ended(&["SuccessCriteriaMet", "Complete"]);
    assert_eq!(judged(json!({}), good.clone()), [""; 0]);
    let line = |why: &str| format!("status.conditions: Invalid value: {why}");
    assert_eq!(
        judged(json!({}), ended(&["Complete", "Failed"])),
        [
            line("cannot set Complete=True and Failed=true conditions"),
            line("cannot set Failed=True condition without the FailureTarget=true condition"),
            line("cannot set Complete=True condition without the SuccessCriteriaMet=true condition"),
        ]
    );
    assert_eq!(
        judged(
            json!({}),
            json!({"conditions": conditions(&["SuccessCriteriaMet", "Complete"]), "active": 1,
            "terminating": 1, "uncountedTerminatedPods": {"failed": ["x"]}})
        ),
        [
            "status.completionTime: Required value: completionTime is required for Complete jobs",
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
            "status.startTime: Required value: startTime is required for finished job",
            "status.uncountedTerminatedPods: Invalid value: {\"Succeeded\":null,\"Failed\":[\"x\"]}: must be empty for \
             finished job",
            "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job",
        ]
    );
    assert_eq!(
        judged(
            json!({}),
            json!({"completionTime": "2026-01-01T00:00:00Z", "startTime": "2026-01-01T00:00:01Z",
            "ready": 2, "active": 1, "completedIndexes": "5", "failedIndexes": "1",
            "uncountedTerminatedPods": {"succeeded": ["a", ""], "failed": ["a"]}})
        ),
        [
            "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
            "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
            "status.completionTime: Invalid value: \"2026-01-01T00:00:00Z\": cannot set completionTime when there is no \
             Complete=True condition",
            "status.completionTime: Invalid value: \"2026-01-01T00:00:00Z\": must be equal to or after `startTime`",
            "status.completedIndexes: Invalid value: \"5\": error parsing completedIndexes: too large index: \"5\"",
            "status.failedIndexes: Invalid value: \"1\": cannot set non-null failedIndexes when backoffLimitPerIndex is \
             null",
            "status.ready: Invalid value: 2: cannot set more ready pods than active",
        ]
    );
    let later = json!({"conditions": conditions(&["SuccessCriteriaMet"]), "startTime": "2026-01-01T00:00:03Z",
        "completionTime": "2026-01-01T00:00:04Z", "completedIndexes": "0-2"});
    assert_eq!(
        judged(good.clone(), later),
        [
            "status.completionTime: Invalid value: \"2026-01-01T00:00:04Z\": cannot set completionTime when there is no \
             Complete=True condition"
                .to_string(),
            line("cannot disable the terminal Complete=True condition"),
            "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter".into(),
            "status.completionTime: Invalid value: \"2026-01-01T00:00:04Z\": field is immutable".into(),
            "status.startTime: Invalid value: \"2026-01-01T00:00:03Z\": field is immutable for unsuspended job once set"
                .into(),
        ]
    );
    assert_eq!(word(&json!({"status": good})), "Complete");
}

#[test]
fn labels_come_to_a_job_after_it_is_judged() {
    let mut named = job(json!({}));
    named["metadata"]["name"] = json!("-a");
    let (_, errors) = write(named, None, "");
    assert!(!errors.iter().any(|error| error.starts_with("metadata.labels")), "{errors:?}");
    // Two labels of the template say it, and it is told once.
    assert_eq!(errors.iter().filter(|error| error.starts_with("spec.template.labels")).count(), 1, "{errors:?}");
    let (old, _) = write(job(json!({})), None, "");
    let mut new = old.clone();
    new["metadata"].as_object_mut().unwrap().remove("labels");
    assert_eq!(write(new, Some(&old), "status").0["metadata"]["labels"], old["metadata"]["labels"]);
    let mut nameless = job(json!({}));
    nameless["metadata"].as_object_mut().unwrap().remove("name");
    let errors = write(nameless, None, "").1;
    assert_eq!(errors, ["metadata.name: Required value: name or generateName is required"]);
}
