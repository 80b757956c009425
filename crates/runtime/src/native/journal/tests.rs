use super::*;

fn sandbox() -> Box<SandboxRecord> {
    Box::new(SandboxRecord { spec: SandboxSpec::default(), created_at: 5, ready: true, init: None })
}

#[test]
fn what_was_written_is_there_after_a_reopening_and_a_torn_line_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let id = SandboxId("a".repeat(64));
    let (mut journal, _) = Journal::open(folder.path()).unwrap();
    journal.write(&Entry::Sandbox(id.clone(), sandbox())).unwrap();
    journal.write(&Entry::SandboxLost(id.clone())).unwrap();
    let path = folder.path().join("journal");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let (mut journal, records) = Journal::open(folder.path()).unwrap();
    assert!(records.sandboxes[&id].ready);
    journal.write(&Entry::SandboxGone(id)).unwrap();
    let (_, records) = Journal::open(folder.path()).unwrap();
    assert!(records.sandboxes.is_empty(), "what comes after a torn line is read too");
}

#[test]
fn a_long_journal_is_rewritten_without_what_was_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, mut records) = Journal::open(folder.path()).unwrap();
    for number in 0..30_000 {
        let id = SandboxId(format!("{number:064}"));
        journal.write(&Entry::Sandbox(id.clone(), sandbox())).unwrap();
        journal.write(&Entry::SandboxGone(id)).unwrap();
    }
    let before = journal.size;
    let id = SandboxId("b".repeat(64));
    records.apply(Entry::Sandbox(id.clone(), sandbox()));
    assert!(journal.is_long());
    journal.rewrite(&records).unwrap();
    assert!(journal.size < before / 100);
    drop(journal);
    let (_, records) = Journal::open(folder.path()).unwrap();
    assert_eq!(records.sandboxes.keys().collect::<Vec<_>>(), [&id]);
}
