use super::list::{self, Test};
use super::options::Options;
use super::suite::{Outcome, outcomes};
use super::{cache, verdict};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn flags_take_their_values_joined_or_apart() {
    let apart = Options::parse(&words("--stage S3 --focus Pods --procs 4 --quick")).unwrap();
    assert_eq!(apart, Options::parse(&words("--stage=S3 --focus=Pods --procs=4 --quick")).unwrap());
    assert_eq!((apart.stage.as_deref(), apart.procs, apart.nodes), (Some("S3"), 4, 1));
    for wrong in ["--procs 0", "--procs many", "--nodes 0", "--stage", "--skip this"] {
        assert!(Options::parse(&words(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn the_list_has_each_of_the_462_tests_once_and_its_stages_are_known() {
    let mut names: Vec<&str> = list::tests().iter().map(|test| test.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 462);
    assert!(names.iter().all(|name| name.contains("[Conformance]")));
    assert_eq!(list::select(list::tests(), Some("S3"), None).unwrap().len(), 124);
    assert_eq!(list::select(list::tests(), None, None).unwrap().len(), 462);
    assert!(list::select(list::tests(), Some("S10"), None).is_err());
    assert!(list::select(list::tests(), Some("S3"), Some("no such test")).is_err());
}

/// Looks at what the last build of the suite printed; where there was none, it says so.
#[test]
fn the_built_suite_has_exactly_the_tests_of_the_list() {
    let printed = cache::folder().unwrap().join("tests.txt");
    match std::fs::read_to_string(&printed) {
        Ok(printed) => list::compare(&printed).unwrap(),
        Err(_) => {
            let skipped =
                "skipped: the_built_suite_has_exactly_the_tests_of_the_list (cargo xtask conformance --build-only)";
            writeln!(std::io::stderr(), "{skipped}").unwrap();
        }
    }
}

#[test]
fn a_list_that_differs_is_told_by_name() {
    for (list, other, new) in [
        (list::tests(), list::beyond(), "[sig-x] new [Conformance]"),
        (list::beyond(), list::tests(), "[sig-node] new"),
    ] {
        let all = list.iter().skip(1).chain(&other).map(|test| format!("    a_file.go:1: {}\n", test.name));
        let all: String = all.collect();
        let error = list::compare(&format!("{all}    b.go:2: {new}\n")).unwrap_err().to_string();
        assert!(error.contains(list[0].name) && error.contains(new), "{error}");
        let ours = format!("{all}    a_file.go:1: {}\n", list[0].name);
        let others = "[sig-node] a [Feature:X]\n [sig-storage] b [Driver: nfs]\n [sig-network] c";
        list::compare(&format!("{ours}    b.go:2: {}\n", others.replace("\n ", "\n    b.go:2: "))).unwrap();
    }
}

#[test]
fn only_passed_is_passed_and_a_failure_keeps_its_message_and_place() {
    let spec = |name: &str, state: &str, seconds: f64, message: &str| {
        json!({
            "LeafNodeType": "It", "ContainerHierarchyTexts": ["[sig-x] Pods", ""], "LeafNodeText": name, "State": state,
            "RunTime": seconds * 1e9,
            "Failure": { "Message": message, "Location": {
                "FileName": "k8s.io/kubernetes@v1.37.2/test/e2e/node/pods.go", "LineNumber": 7 } },
        })
    };
    let begun = |name: &str| json!({ "Begun": spec(name, "", 0.0, "") });
    let ended = |name, state, seconds, message| json!({ "Ended": spec(name, state, seconds, message) });
    let diary = [
        begun("run"),
        ended("run", "passed", 1.5, ""),
        begun("stop"),
        ended("stop", "failed", 2.0, "Timed out after 300s.\n  pod is Pending"),
        begun("skip"),
        ended("skip", "skipped", 0.1, "needs two nodes"),
        json!({ "Ended": { "LeafNodeType": "ReportAfterSuite", "State": "passed" } }),
        begun("panic"),
    ];
    let diary: String = diary.iter().map(|line| format!("{line}\n")).collect();
    let told = outcomes(&format!("{diary}{{\"Beg")).unwrap();
    assert_eq!(told.len(), 4);
    assert_eq!(told["[sig-x] Pods run"], Outcome { failure: None, seconds: 1.5, reached: true });
    let why = |name: &str| told[name].failure.as_deref();
    assert_eq!(
        why("[sig-x] Pods stop"),
        Some("failed: Timed out after 300s. pod is Pending (test/e2e/node/pods.go:7)")
    );
    assert!(why("[sig-x] Pods skip").is_some());
    assert!(why("[sig-x] Pods panic").unwrap().starts_with("took its process down"));
}

#[test]
fn of_an_object_in_a_message_only_what_its_status_says_is_kept() {
    let message = "Timed out after 300s.\nGot instead:\n    <*v1.Pod | 0x4bd>: \n  metadata:\n    name: foo\n  status:\n\
        message: 'containers with unready status: [c]'\n    reason: ContainersNotReady\n    reason: ContainerCreating\n\
        reason: ContainerCreating\n    message: 'no such\n      image'\n    hostIP: 10.0.0.1";
    let brief = super::suite::brief(message);
    assert_eq!(brief, "Timed out after 300s. Got instead: its status says: ContainerCreating; no such image");
}

#[test]
fn the_document_keeps_rows_that_a_run_did_not_touch() {
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("docs/conformance.md");
    let all = list::tests();
    let reason = "failed: Expected <int>: 1 | to equal *2* & more";
    let first = outcome(&[(all[0], None, 1.25), (all[1], Some(reason), 61.0)]);
    verdict::record(&document, &first).unwrap();
    verdict::record(&document, &outcome(&[(all[2], None, 7.0)])).unwrap();

    let rows = verdict::read(&document);
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[all[1].name].verdict, reason);
    assert_eq!(verdict::quick(&rows, &all, 5.0), vec![all[0]]);
    let text = std::fs::read_to_string(&document).unwrap();
    assert!(text.contains("| all | 2 | 462 |"), "{text}");
    let beyond = list::beyond();
    verdict::record(&document, &outcome(&[(beyond[0], None, 1.0)])).unwrap();
    let text = std::fs::read_to_string(&document).unwrap();
    assert!(text.contains("| all | 2 | 462 |") && text.contains(&format!("| all | 1 | {} |", beyond.len())), "{text}");
    assert!(verdict::read(&document).contains_key(beyond[0].name));
}

#[test]
fn a_run_passes_only_with_every_selected_test() {
    let all = list::tests();
    assert!(verdict::print(&all[..1], &outcome(&[(all[0], None, 1.0)])));
    assert!(!verdict::print(&all[..2], &outcome(&[(all[0], None, 1.0)])));
    assert!(!verdict::print(&all[..1], &outcome(&[(all[0], Some("failed: x"), 1.0)])));
}

fn outcome(rows: &[(Test, Option<&str>, f64)]) -> BTreeMap<&'static str, Outcome> {
    let told =
        |failure: &Option<&str>, seconds| Outcome { failure: failure.map(str::to_owned), seconds, reached: true };
    rows.iter().map(|(test, failure, seconds)| (test.name, told(failure, *seconds))).collect()
}
