//! What is kept is bounded, and shared.

use std::sync::Arc;

use store::{Entry, Key, Revision};

use super::{KEPT_BYTES, Renditions};

fn entry(revision: u64, size: usize) -> Entry {
    let bytes = vec![b' '; size].into();
    Entry { key: Key::from("k"), revision: Revision(revision), created: Revision(1), bytes }
}

#[test]
fn what_is_kept_is_bounded_by_bytes() {
    let renditions = Renditions::new();
    let mut made = Vec::new();
    for revision in 1..200 {
        let rendition = renditions.of(&entry(revision, 900_000));
        assert!(Arc::ptr_eq(&rendition, &renditions.of(&rendition.entry)), "the newest one is shared");
        made.push((Arc::downgrade(&rendition), rendition.weight()));
    }
    let held = made.iter().filter(|(rendition, _)| rendition.strong_count() > 0);
    let held: Vec<usize> = held.map(|(_, weight)| *weight).collect();
    assert!((1..=KEPT_BYTES).contains(&held.iter().sum()), "{} are held", held.len());
    let bytes = renditions.bytes.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(bytes, held.iter().sum::<usize>());
    // Small ones take the place of all of them.
    for revision in 200..3000 {
        renditions.of(&entry(revision, 100));
    }
    assert!(made.iter().all(|(rendition, _)| rendition.strong_count() == 0));
}
