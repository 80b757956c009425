use super::*;

#[test]
fn the_committed_table_is_what_the_upstream_facts_say() {
    let Some(upstream) = upstream() else {
        eprintln!("skipped: no ../shared/upstream beside the repository");
        return;
    };
    let made = table(&upstream, &root().join(GO)).unwrap();
    let committed = fs::read_to_string(root().join(TABLE)).unwrap();
    let differs = made.lines().zip(committed.lines()).find(|(a, b)| a != b);
    assert!(made == committed, "run `cargo xtask schema`: first difference {differs:?}");
}
