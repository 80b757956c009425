use super::*;
use crate::tests::world::exited;

fn container(code: i32, policy: &str, file: &str, log: &str) -> (tempfile::TempDir, Container) {
    let folder = tempfile::tempdir().unwrap();
    let message = folder.path().join("message");
    std::fs::write(&message, file).unwrap();
    let mut c = exited("c", 0, code);
    c.spec.annotations.insert(NOTE_MESSAGE_PATH.into(), message.to_string_lossy().into_owned());
    c.spec.annotations.insert(NOTE_MESSAGE_POLICY.into(), policy.into());
    let path = folder.path().join("0.log");
    std::fs::write(&path, log).unwrap();
    c.spec.log = Some(runtime::LogFile { path, size_max: 0, files_max: 0 });
    (folder, c)
}

const LOG: &str =
    "2023-01-01T00:00:00Z stdout F one\n2023-01-01T00:00:01Z stderr P tw\n2023-01-01T00:00:02Z stderr F o\n";

#[test]
fn file_speaks_first_and_the_log_only_after_a_failure() {
    for (code, policy, file, expected) in [
        (1, "File", "said", "said"),
        (1, "File", "", ""),
        (1, "FallbackToLogsOnError", "", "one\ntwo\n"),
        (1, "FallbackToLogsOnError", "said", "said"),
        (0, "FallbackToLogsOnError", "", ""),
    ] {
        let (_folder, c) = container(code, policy, file, LOG);
        assert_eq!(termination_message(&c, 1), expected, "{code} {policy}");
    }
}

#[test]
fn messages_are_cut_by_container_and_by_pod() {
    let (_folder, c) = container(1, "File", &"x".repeat(5000), "");
    assert_eq!(termination_message(&c, 1).len(), 4096);
    assert_eq!(termination_message(&c, 6).len(), 2048);
    let long = "2023-01-01T00:00:00Z stdout F ".to_owned() + &"y".repeat(3000) + "\n";
    let (_folder, c) = container(1, "FallbackToLogsOnError", "", &long);
    assert_eq!(termination_message(&c, 1).len(), 2048);
    assert_eq!(termination_message(&c, 12).len(), 1024);
}
