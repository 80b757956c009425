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

/// A journal of one sandbox, and what it says line by line.
fn sample(folder: &Path) -> (PathBuf, Vec<u8>) {
    let (mut journal, _) = Journal::open(folder).unwrap();
    journal.write(&Entry::Boot("b".into())).unwrap();
    for name in ["a", "b", "c"] {
        journal.write(&Entry::Sandbox(SandboxId(name.repeat(64)), sandbox())).unwrap();
    }
    let path = folder.join("journal");
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

#[test]
fn whatever_byte_is_damaged_is_found_and_costs_its_own_record_only() {
    let folder = tempfile::tempdir().unwrap();
    let (path, whole) = sample(folder.path());
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            std::fs::write(&path, &bytes).unwrap();
            let (journal, records) = Journal::open(folder.path()).unwrap();
            let torn = at == whole.len() - 1;
            assert_eq!(journal.damage.is_empty(), torn, "byte {at}, bit {bit}");
            // A newline between two records belongs to both, and a new one cuts none but its own.
            let left = 1 + records.sandboxes.len() - usize::from(records.boot.is_empty());
            assert!(left >= 2, "byte {at}, bit {bit}: {left} of 4");
            let length = std::fs::metadata(&path).unwrap().len() as usize;
            assert!(torn || length == whole.len(), "nothing is taken away");
        }
    }
}

#[test]
fn a_journal_cut_anywhere_says_what_it_said_until_there() {
    let folder = tempfile::tempdir().unwrap();
    let (path, whole) = sample(folder.path());
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let (journal, records) = Journal::open(folder.path()).unwrap();
        let lines = whole[..length].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!((records.sandboxes.len(), journal.damage.len()), (lines.saturating_sub(1), 0));
    }
}

#[test]
fn a_damaged_journal_is_kept_when_it_is_written_anew_and_one_of_an_older_version_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut bytes) = sample(folder.path());
    bytes[20] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    for number in 1..3 {
        let (mut journal, records) = Journal::open(folder.path()).unwrap();
        let complaint = journal.complaint().unwrap();
        assert!(complaint.contains("journal is damaged: the record at byte 0 cannot be read"), "{complaint}");
        journal.rewrite(&records).unwrap();
        assert_eq!(std::fs::read(path.with_extension(format!("damaged-{number}"))).unwrap(), bytes);
        assert!(journal.complaint().is_none());
        assert!(Journal::open(folder.path()).unwrap().0.complaint().is_none());
        std::fs::write(&path, &bytes).unwrap();
    }
    std::fs::write(&path, "{\"Boot\":\"old\"}\n").unwrap();
    let (journal, records) = Journal::open(folder.path()).unwrap();
    assert_eq!((records.boot.as_str(), journal.damage.len()), ("old", 0));
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
