//! Changes in folders, for any number of waiters through one inotify descriptor.
//!
//! A user may have 128 inotify instances by default, and every follower of a log would take one.
//! A waiter learns only that something changed and looks for itself.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Clone is a reference count; the last one ends the task.
#[derive(Clone)]
pub struct Notices(Arc<Inner>);

struct Inner {
    fd: Arc<AsyncFd<OwnedFd>>,
    /// By watch descriptor.
    folders: Arc<Mutex<Folders>>,
    task: tokio::task::AbortHandle,
}

type Folders = HashMap<i32, watch::Sender<u64>>;

/// One folder's changes, from now on.
pub struct Notice {
    notices: Notices,
    descriptor: i32,
    changed: watch::Receiver<u64>,
}

impl Notices {
    pub fn open() -> io::Result<Notices> {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        // The successor is unsafe for types that may lie about their descriptor; an OwnedFd does not.
        #[allow(deprecated)]
        let fd = Arc::new(AsyncFd::new(fd)?);
        let folders: Arc<Mutex<Folders>> = Arc::default();
        let task = tokio::spawn(hear(fd.clone(), folders.clone())).abort_handle();
        Ok(Notices(Arc::new(Inner { fd, folders, task })))
    }

    /// Files of the folder are written, made or renamed.
    pub fn of(&self, folder: &Path) -> io::Result<Notice> {
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        let mut folders = lock(&self.0.folders);
        // The same folder gets the same descriptor again.
        let descriptor = inotify::add_watch(self.0.fd.get_ref(), folder, flags)?;
        let sender = folders.entry(descriptor).or_insert_with(|| watch::Sender::new(0));
        let changed = sender.subscribe();
        Ok(Notice { notices: self.clone(), descriptor, changed })
    }
}

impl Notice {
    /// Returns after a change since the last call, or since `of`.
    pub async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // The folder is gone: nothing will change there any more.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        let mut folders = lock(&self.notices.0.folders);
        // This one's receiver is still counted.
        if folders.get(&self.descriptor).is_some_and(|sender| sender.receiver_count() <= 1) {
            folders.remove(&self.descriptor);
            // Refused where the folder is gone: then so is the watch.
            let _ = inotify::remove_watch(self.notices.0.fd.get_ref(), self.descriptor);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn hear(fd: Arc<AsyncFd<OwnedFd>>, folders: Arc<Mutex<Folders>>) {
    let mut space = [MaybeUninit::uninit(); 4096];
    loop {
        let Ok(mut ready) = fd.readable().await else { return };
        let mut events = inotify::Reader::new(fd.get_ref(), &mut space);
        let folders = lock(&folders);
        while let Ok(event) = events.next() {
            if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                folders.values().for_each(|sender| sender.send_modify(|n| *n += 1));
            } else if let Some(sender) = folders.get(&event.wd()) {
                sender.send_modify(|n| *n += 1);
            }
        }
        ready.clear_ready();
    }
}

fn lock(folders: &Mutex<Folders>) -> MutexGuard<'_, Folders> {
    folders.lock().unwrap_or_else(PoisonError::into_inner)
}
