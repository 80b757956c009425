//! Whatever is done to the files of a store that is not open: it says so, and changes nothing.

use super::*;

/// A store of several segments, one of which was given up; closed.
async fn store_of_many(dir: &Path) -> BTreeMap<String, Bytes> {
    let store = open(dir).unwrap();
    for n in 0..300usize {
        store.write(vec![put(&format!("a/{}", n % 7), 300 + n % 900)]).await.unwrap();
    }
    store.write(vec![delete("a/3")]).await.unwrap();
    store.write(vec![put("b/1", 10)]).await.unwrap();
    all(&store)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = segments(dir);
    files.push(dir.join("store.mark"));
    files
}

/// Refuses, naming the file and the way out; or has everything. Says whether it refused.
fn told(dir: &Path, was: &BTreeMap<String, Bytes>, file: &Path, what: &str) -> bool {
    match open(dir) {
        Ok(store) => {
            assert_eq!(&all(&store), was, "{what}: opened in silence");
            false
        }
        Err(Error::Refused(why)) => {
            let named = why.contains(file.file_name().unwrap().to_str().unwrap());
            assert!(named, "{what}: no file is named: {why}");
            assert!(why.contains("--accept-loss") && why.contains("copy"), "{what}: no way out is named: {why}");
            true
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

fn bytes_of(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(dir).into_iter().map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

#[tokio::test]
async fn one_flipped_bit_in_any_byte_is_told_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let was = store_of_many(dir.path()).await;
    let mut copy = copied(dir.path());
    let mut refused = 0;
    for (path, bytes) in bytes_of(dir.path()) {
        // Every byte of what begins a segment and of the mark; elsewhere one in some, at every offset in time.
        for at in (0..bytes.len()).filter(|at| *at < 160 || *at % 23 == 0) {
            let name = path.strip_prefix(dir.path()).unwrap();
            let damaged = copy.path().join(name);
            let file = File::options().write(true).open(&damaged).unwrap();
            file.write_all_at(&[bytes[at] ^ (1 << (at % 8))], at as u64).unwrap();
            match told(copy.path(), &was, &damaged, &format!("{} at {at}", name.display())) {
                true => file.write_all_at(&bytes[at..=at], at as u64).unwrap(),
                false => copy = copied(dir.path()),
            }
            refused += 1;
        }
    }
    assert!(refused > 1000, "{refused}");
    assert_eq!(all(&open(copy.path()).unwrap()), was, "the refusals changed nothing");
}

#[tokio::test]
async fn a_file_of_any_other_length_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let was = store_of_many(dir.path()).await;
    for (path, bytes) in bytes_of(dir.path()) {
        let mut lengths: Vec<u64> = [0, 1, 31, 32, 511, 512, 4096].into();
        if path.extension().is_some_and(|e| e == "jnl") {
            lengths.extend(frames(&path));
            lengths.push(SEGMENT - 1);
        }
        for length in lengths.into_iter().filter(|length| *length < bytes.len() as u64) {
            let copy = copied(dir.path());
            let damaged = copy.path().join(path.strip_prefix(dir.path()).unwrap());
            File::options().write(true).open(&damaged).unwrap().set_len(length).unwrap();
            let what = format!("{} of length {length}", damaged.display());
            let refused = told(copy.path(), &was, &damaged, &what);
            assert!(refused || path.ends_with("store.mark"), "{what}");
        }
    }
}

/// What was written is zeros now, to the end of a batch: the file looks like a shorter one.
#[tokio::test]
async fn the_loss_of_the_last_writes_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let was = store_of_many(dir.path()).await;
    for segment in segments(dir.path()) {
        let frames = frames(&segment);
        for from in &frames[..frames.len() - 1] {
            let copy = copied(dir.path());
            let damaged = place(&copy, &segment);
            zero(&damaged, *from, frames[frames.len() - 1]);
            assert!(told(copy.path(), &was, &damaged, &format!("{} from {from}", damaged.display())));
        }
    }
}

#[tokio::test]
async fn a_missing_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let was = store_of_many(dir.path()).await;
    for path in files(dir.path()) {
        let copy = copied(dir.path());
        let missing = copy.path().join(path.strip_prefix(dir.path()).unwrap());
        std::fs::remove_file(&missing).unwrap();
        assert!(told(copy.path(), &was, &missing, &format!("{} is missing", missing.display())));
    }
    for emptied in [true, false] {
        let copy = copied(dir.path());
        std::fs::remove_dir_all(folder(copy.path())).unwrap();
        if emptied {
            std::fs::create_dir(folder(copy.path())).unwrap();
        }
        assert!(told(copy.path(), &was, &folder(copy.path()), "no store"));
    }
}

#[tokio::test]
async fn an_older_copy_of_a_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let mut copies = Vec::new();
    for n in 0..100usize {
        store.write(vec![put(&format!("a/{}", n % 7), 300)]).await.unwrap();
        if n % 3 == 0 && n < 90 {
            copies.push(copied(dir.path()));
        }
    }
    let was = all(&store);
    drop(store);
    let mut tried = 0;
    for old in copies {
        for segment in segments(old.path()) {
            let (copy, newer) = (copied(dir.path()), dir.path().join("store").join(segment.file_name().unwrap()));
            if !newer.exists() || std::fs::read(&segment).unwrap() == std::fs::read(&newer).unwrap() {
                continue;
            }
            let swapped = place(&copy, &segment);
            std::fs::copy(&segment, &swapped).unwrap();
            assert!(told(copy.path(), &was, &swapped, &format!("{} is older", swapped.display())));
            tried += 1;
        }
        // All of the folder, but for the mark.
        let copy = copied(dir.path());
        std::fs::remove_dir_all(folder(copy.path())).unwrap();
        std::fs::rename(folder(old.path()), folder(copy.path())).unwrap();
        assert!(told(copy.path(), &was, Path::new(".jnl"), "an older store"));
    }
    assert!(tried > 3, "{tried}");
}

/// A file of another store, of the same name and the same length.
#[tokio::test]
async fn a_file_of_another_store_is_told() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let was = store_of_many(dir.path()).await;
    store_of_many(other.path()).await;
    for segment in segments(dir.path()) {
        let copy = copied(dir.path());
        let swapped = place(&copy, &segment);
        std::fs::copy(folder(other.path()).join(segment.file_name().unwrap()), &swapped).unwrap();
        assert!(told(copy.path(), &was, &swapped, "another store's"));
    }
}

fn accepting(dir: &Path) -> Store {
    Store::open(Backend::Embedded { dir: folder(dir), accept_loss: true }, options()).unwrap()
}

#[tokio::test]
async fn going_on_keeps_what_can_be_read_and_puts_the_rest_aside() {
    let dir = tempfile::tempdir().unwrap();
    let was = store_of_many(dir.path()).await;
    let newest = segments(dir.path()).pop().unwrap();
    let frames = frames(&newest);
    // The last write of all: b/1.
    let at = frames[frames.len() - 2] + 60;
    let before = std::fs::read(&newest).unwrap();
    File::options().write(true).open(&newest).unwrap().write_all_at(&[0x55], at).unwrap();
    let damaged = std::fs::read(&newest).unwrap();
    assert_ne!(before, damaged);
    assert!(open(dir.path()).is_err());
    let store = accepting(dir.path());
    let rest: BTreeMap<String, Bytes> =
        was.iter().filter(|(key, _)| *key != "b/1").map(|(k, v)| (k.clone(), v.clone())).collect();
    assert_eq!(all(&store), rest);
    // No revision is given out again, the lost one neither.
    assert!(store.revision() >= Revision(302 + STRIDE));
    store.write(vec![put("c/1", 1)]).await.unwrap();
    let now = all(&store);
    drop(store);
    assert_eq!(all(&open(dir.path()).unwrap()), now, "once is enough");
    let aside = dir.path().join("store.damaged-1").join(newest.file_name().unwrap());
    assert_eq!(std::fs::read(aside).unwrap(), damaged);

    // Nothing left at all.
    std::fs::remove_dir_all(folder(dir.path())).unwrap();
    assert!(open(dir.path()).is_err());
    let store = accepting(dir.path());
    assert!(all(&store).is_empty() && store.revision() > Revision(302 + STRIDE));
}

/// Killed while it put the damaged store aside, at every step.
#[tokio::test]
async fn going_on_can_be_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let was = store_of_many(dir.path()).await;
    std::fs::remove_file(dir.path().join("store.mark")).unwrap();
    // A half-made new store stands beside the damaged one.
    let half = copied(dir.path());
    std::fs::create_dir(half.path().join("store.salvaged")).unwrap();
    std::fs::write(half.path().join("store.salvaged/0000000001.jnl"), b"half").unwrap();
    assert_eq!(all(&accepting(half.path())), was);
    // They have changed places, the mark is still the old one's or none.
    let done = copied(dir.path());
    drop(accepting(done.path()));
    std::fs::remove_file(done.path().join("store.mark")).unwrap();
    std::fs::rename(done.path().join("store.damaged-1"), done.path().join("store.salvaged")).unwrap();
    assert!(open(done.path()).is_err());
    assert_eq!(all(&accepting(done.path())), was);
}

/// A store is begun anew only where none was: a kill at its very beginning leaves an empty one.
#[tokio::test]
async fn a_store_that_was_killed_while_it_was_begun_opens() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let fresh = tempfile::tempdir().unwrap();
    let store = open(fresh.path()).unwrap();
    let mark = std::fs::read(fresh.path().join("store.mark")).unwrap();
    drop(store);
    // The mark is there, its journal is not yet.
    std::fs::remove_dir_all(folder(fresh.path())).unwrap();
    std::fs::create_dir(folder(fresh.path())).unwrap();
    lose_the_mark(fresh.path(), &mark);
    std::fs::write(folder(fresh.path()).join("next"), b"").unwrap();
    assert!(all(&open(fresh.path()).unwrap()).is_empty());
}
