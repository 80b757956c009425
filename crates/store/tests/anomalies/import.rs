//! The store of an earlier version is read once; it stays until it is read whole.

use super::*;

/// As the earlier version wrote it, with fjall: see src/import.rs.
fn write_old(dir: &Path, entries: &[(&str, &[u8], u64)]) {
    let db = fjall::Database::builder(folder(dir).join("entries")).open().unwrap();
    let keyspace = db.keyspace("entries", fjall::KeyspaceCreateOptions::default).unwrap();
    for (key, bytes, revision) in entries {
        let mut value = vec![1];
        value.extend(1u32.to_be_bytes());
        for number in [1, *revision, 0] {
            value.extend(number.to_be_bytes());
        }
        value.extend(*bytes);
        let mut batch = db.batch().durability(Some(fjall::PersistMode::SyncData));
        batch.insert(&keyspace, *key, value);
        batch.insert(&keyspace, "\0revision", revision.to_be_bytes());
        batch.commit().unwrap();
    }
}

#[tokio::test]
async fn an_earlier_store_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    write_old(dir.path(), &[("a/1", b"x7y", 7), ("a/2", b"x8y", 8), ("b/1", b"x9y", 9)]);
    let store = open(dir.path()).unwrap();
    let was = all(&store);
    assert_eq!(was.keys().collect::<Vec<_>>(), ["a/1", "a/2", "b/1"]);
    assert_eq!((was["a/2"].as_ref(), store.get("a/2").unwrap().revision), (&b"x8y"[..], Revision(8)));
    assert_eq!(store.revision(), Revision(9 + STRIDE));
    store.write(vec![put("c/1", 1)]).await.unwrap();
    let now = all(&store);
    drop(store);
    assert_eq!(all(&open(dir.path()).unwrap()), now);
    assert!(folder(dir.path()).join("entries.imported").exists());
    // Put back, it is not taken for the newer one.
    std::fs::rename(folder(dir.path()).join("entries.imported"), folder(dir.path()).join("entries")).unwrap();
    let Err(Error::Refused(why)) = open(dir.path()) else { panic!("the newer store is overwritten") };
    assert!(why.contains("move one of them away"), "{why}");
}

#[tokio::test]
async fn an_import_that_was_interrupted_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    write_old(dir.path(), &[("a/1", b"x7y", 7)]);
    let half = tempfile::tempdir().unwrap();
    let store = open(half.path()).unwrap();
    let mark = std::fs::read(half.path().join("store.mark")).unwrap();
    store.write(vec![put("half/1", 1)]).await.unwrap();
    drop(store);
    for segment in segments(half.path()) {
        std::fs::copy(&segment, folder(dir.path()).join(segment.file_name().unwrap())).unwrap();
    }
    lose_the_mark(dir.path(), &mark);
    let store = open(dir.path()).unwrap();
    assert_eq!(all(&store).keys().collect::<Vec<_>>(), ["a/1"]);
}

#[tokio::test]
async fn a_damaged_earlier_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_old(dir.path(), &[("a/1", b"x7y", 7), ("a/2", &[b'z'; 3000], 8), ("a/3", b"x9y", 9)]);
    let journal = folder(dir.path()).join("entries/0.jnl");
    let bytes = std::fs::read(&journal).unwrap();
    let at = bytes.windows(8).position(|window| window == b"zzzzzzzz").unwrap();
    // A tag, at which the engine would cut.
    let start = bytes[..at].windows(4).rposition(|window| window == b"FJL\x03").unwrap() + 4;
    File::options().write(true).open(&journal).unwrap().write_all_at(&[0x77], start as u64).unwrap();
    let before = std::fs::read(&journal).unwrap();
    for attempt in ["first", "second"] {
        let Err(Error::Refused(why)) = open(dir.path()) else { panic!("opened at the {attempt} attempt") };
        assert!(why.contains("0.jnl"), "{why}");
    }
    assert_eq!(std::fs::read(&journal).unwrap(), before);
}
