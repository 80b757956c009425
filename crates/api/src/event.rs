//! What a watch delivers: the events of `watch=true`, in order, once each.

use crate::{Object, Status};

/// One event of a watch. A `Bookmark` carries only a revision: everything up to it was delivered.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    Added(Object),
    Modified(Object),
    Deleted(Object),
    Bookmark { revision: u64, initial_events_end: bool },
    Error(Status),
}
