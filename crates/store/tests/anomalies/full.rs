//! A disk without room: what leads to less goes on, and what it frees is used without a restart.

use super::*;

/// What runs on a small disk of its own.
type Story = fn(&Path) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>>;

/// On a small tmpfs of its own, in a mount namespace of its own.
fn on_a_small_disk(test: &str, story: Story) {
    let Some(dir) = std::env::var_os("STORE_TMPFS") else {
        let dir = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=64m tmpfs \"$STORE_TMPFS\" && exec \"$0\" \"$@\"";
        let status = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env("STORE_TMPFS", dir.path())
            .output();
        match status {
            Ok(output) if output.status.success() => {}
            Ok(output)
                if std::env::var_os("CI").is_none()
                    && String::from_utf8_lossy(&output.stderr).contains("not permitted") =>
            {
                let mut raw = std::io::stderr();
                writeln!(raw, "skipped {test}: it needs root").unwrap();
            }
            Ok(output) => panic!(
                "{}\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            other => panic!("{other:?}"),
        }
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(story(Path::new(&dir)));
}

fn open(mount: &Path) -> Store {
    let options = Options { reserve: 8 << 20, segment: 1 << 20, ..options() };
    Store::open(Backend::Embedded { dir: mount.join("store"), accept_loss: false }, options).unwrap()
}

/// Large entries, until there is no more room; how many.
async fn filled(store: &Store) -> usize {
    for n in 0.. {
        match store.write(vec![put(&format!("a/{n}"), 20_000)]).await {
            Ok(_) => {}
            Err(Error::Refused(why)) => {
                assert!(why.contains("disk is full"), "{why}");
                return n;
            }
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!("a disk has an end")
}

async fn is_full(store: &Store) {
    let Err(Error::Refused(why)) = store.write(vec![put("new/1", 10)]).await else { panic!("a full disk takes puts") };
    assert!(why.contains("disk is full"), "{why}");
}

/// Somebody else takes all that is left of the disk.
fn taken_by_others(mount: &Path) {
    let mut hog = File::options().create(true).append(true).open(mount.join("hog")).unwrap();
    while hog.write_all(&[1; 4096]).is_ok() {}
}

fn with_room(step: Step, given: Room) -> Step {
    match step {
        Step::Put { key, expect, value, ttl, sync, .. } => Step::Put { key, expect, value, ttl, sync, room: given },
        other => other,
    }
}

#[test]
fn a_full_disk_takes_what_leads_to_less() {
    on_a_small_disk("full::a_full_disk_takes_what_leads_to_less", |mount| {
        Box::pin(async move {
            let mut store = open(mount);
            let n = filled(&store).await;
            assert!(n > 1000, "{n}");
            for from in [0, 200] {
                taken_by_others(mount);
                is_full(&store).await;
                assert_eq!(store.list("a/", None, 0, None).unwrap().remaining, n - from / 2, "reads go on");
                // The mark of a deletion, and what is no longer than it was.
                for at in from..from + 100 {
                    store.write(vec![with_room(put(&format!("a/{at}"), 20_100), Room::Kept)]).await.unwrap();
                }
                store.write(vec![put("a/300", 19_000)]).await.unwrap();
                for at in from..from + 100 {
                    store.write(vec![delete(&format!("a/{at}"))]).await.unwrap();
                }
                let before = all(&store);
                drop(store);
                store = open(mount);
                assert_eq!(all(&store), before, "a restart on the full disk keeps everything");
            }
            std::fs::remove_file(mount.join("hog")).unwrap();
            store.write(vec![put("new/1", 1)]).await.unwrap();
        })
    });
}

/// Deletions and heartbeats on a full disk go on for ever: each makes garbage, which is regained.
#[test]
fn what_does_not_grow_never_ends_the_reserve() {
    on_a_small_disk("full::what_does_not_grow_never_ends_the_reserve", |mount| {
        Box::pin(async move {
            let store = open(mount);
            filled(&store).await;
            taken_by_others(mount);
            // Five times what is kept.
            for n in 0..2_000 {
                store.write(vec![put(&format!("a/{}", n % 5), 20_000)]).await.unwrap();
            }
            is_full(&store).await;
            for n in 0..5 {
                store.write(vec![delete(&format!("a/{n}"))]).await.unwrap();
            }
        })
    });
}

/// What grows without end uses up what is kept for it, but not what is kept for deletions.
#[test]
fn deletions_are_taken_to_the_last() {
    on_a_small_disk("full::deletions_are_taken_to_the_last", |mount| {
        Box::pin(async move {
            let store = open(mount);
            let n = filled(&store).await;
            taken_by_others(mount);
            let mut grown = 0;
            while store.write(vec![with_room(put(&format!("b/{grown}"), 20_000), Room::Kept)]).await.is_ok() {
                grown += 1;
            }
            assert!(grown > 50, "{grown}");
            for at in 0..n {
                store.write(vec![delete(&format!("a/{at}"))]).await.unwrap();
            }
            assert_eq!(all(&store).len(), grown);
        })
    });
}

/// Nobody restarts it and nobody makes the disk larger: what was deleted is there again.
#[test]
fn freed_room_is_used_without_a_restart() {
    on_a_small_disk("full::freed_room_is_used_without_a_restart", |mount| {
        Box::pin(async move {
            let store = open(mount);
            let n = filled(&store).await;
            // Every second one: no part of the journal is without something that is needed.
            for at in (0..n).step_by(2) {
                store.write(vec![delete(&format!("a/{at}"))]).await.unwrap();
            }
            let mut again = 0;
            while store.write(vec![put(&format!("b/{again}"), 20_000)]).await.is_ok() {
                again += 1;
            }
            assert!(again > n / 3, "{again} of {n}");
            let was = all(&store);
            drop(store);
            let store = open(mount);
            assert_eq!(all(&store), was);
            for key in was.keys() {
                store.write(vec![delete(key)]).await.unwrap();
            }
            assert!(filled(&store).await > n * 9 / 10);
        })
    });
}

/// The disk holds about twice what the store does, however much is written; and that is all of it.
#[tokio::test]
async fn the_journal_is_bounded_and_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = super::open(dir.path()).unwrap();
    let mut model: BTreeMap<String, usize> = BTreeMap::new();
    let mut seed = 7u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for n in 0..6000 {
        let key = format!("k/{}", random(200));
        match random(4) {
            0 if model.contains_key(&key) => {
                store.write(vec![delete(&key)]).await.unwrap();
                model.remove(&key);
            }
            _ => {
                let size = random(1500) as usize;
                store.write(vec![put(&key, size)]).await.unwrap();
                model.insert(key, size);
            }
        }
        if n % 1000 == 999 {
            let was = all(&store);
            let live: usize = was.values().map(|value| value.len() + 100).sum();
            let disk = segments(dir.path()).len() as u64 * SEGMENT;
            assert!(disk <= 3 * live as u64 + 10 * SEGMENT, "{disk} bytes for {live}");
            drop(store);
            store = super::open(dir.path()).unwrap();
            assert_eq!(all(&store), was);
            assert_eq!(was.len(), model.len());
        }
    }
}
