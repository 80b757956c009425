//! What the files of one pod may take.

use std::sync::atomic::{AtomicU64, Ordering};

/// By whole pages, and one for the file itself: what a file in memory takes.
const PAGE: usize = 4096;

/// What the files of one pod may still take: who writes a pod's manifest writes how often each object
/// is repeated in it, and no pod's memory is charged for them.
pub(super) struct Room {
    limit: u64,
    left: AtomicU64,
}

impl Room {
    pub fn of(limit: u64) -> Room {
        Room { limit, left: AtomicU64::new(limit) }
    }

    pub fn take(&self, bytes: usize) -> Result<(), String> {
        let size = (bytes.next_multiple_of(PAGE) + PAGE) as u64;
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(size));
        taken.map(|_| ()).map_err(|_| {
            format!("the files of the pod's volumes take more than {} bytes (--pod-max-projected-bytes)", self.limit)
        })
    }
}
