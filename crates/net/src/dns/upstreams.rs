//! The resolvers of this machine: read from its resolv.conf, and followed as that changes.
//!
//! Before a loopback stub (systemd-resolved's 127.0.0.53) its own file has the real ones. What would
//! lead back to us is left out and said.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// A file longer than this is no resolv.conf (kubelet/network/dns, maxResolvConfLength).
const FILE_MAX: usize = 10 << 20;
const PORT: u16 = 53;

/// Whom to ask, in this order.
pub type Upstreams = Arc<[SocketAddr]>;

/// Where a machine says who its resolvers are.
#[derive(Clone, Debug)]
pub struct Files {
    pub resolv_conf: PathBuf,
    /// systemd-resolved's, with the servers before which its stub stands.
    pub resolved: PathBuf,
}

impl Default for Files {
    fn default() -> Files {
        Files { resolv_conf: "/etc/resolv.conf".into(), resolved: "/run/systemd/resolve/resolv.conf".into() }
    }
}

impl Files {
    /// The resolvers now; without `own`, which are our own addresses.
    pub fn read(&self, own: &BTreeSet<IpAddr>) -> Upstreams {
        let plain = servers(&text(&self.resolv_conf));
        let is_stub = !plain.is_empty() && plain.iter().all(IpAddr::is_loopback);
        let real = if is_stub { servers(&text(&self.resolved)) } else { Vec::new() };
        let all = if real.is_empty() { plain } else { real };
        let (ours, others): (Vec<IpAddr>, Vec<IpAddr>) = all.into_iter().partition(|address| own.contains(address));
        if !ours.is_empty() {
            tracing::warn!(?ours, "{}: a resolver that is ourselves is not asked", self.resolv_conf.display());
        }
        others.into_iter().map(|address| SocketAddr::new(address, PORT)).collect()
    }

    /// Keeps `upstreams` at what the files say, until nobody wants to know.
    pub async fn follow(self, own: watch::Receiver<BTreeSet<IpAddr>>, upstreams: watch::Sender<Upstreams>) {
        let mut own = own;
        loop {
            // Watched before it is read: what changes meanwhile is seen after it.
            let mut notices = self.watch();
            let current = self.read(&own.borrow_and_update());
            upstreams.send_if_modified(|known| {
                let changed = *known != current;
                if changed {
                    tracing::info!(resolvers = ?current, "names outside the cluster are asked for there");
                    *known = current;
                }
                changed
            });
            tokio::select! {
                () = notices.changed() => {}
                () = upstreams.closed() => return,
                changed = own.changed() => if changed.is_err() { return },
            }
        }
    }

    fn watch(&self) -> Notices {
        let mut notices = Notices::open();
        for path in [&self.resolv_conf, &self.resolved] {
            notices.add(path);
            // A link leads elsewhere: that is followed too.
            if let Ok(real) = path.canonicalize().as_ref()
                && real != path
            {
                notices.add(real);
            }
        }
        notices
    }
}

/// Lines `nameserver ADDRESS`; a zone after the address is only for link-local ones, which are not asked.
fn servers(text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver")
            && let Some(Ok(address)) = words.next().map(str::parse)
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

fn text(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) if bytes.len() <= FILE_MAX => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(_) => {
            tracing::warn!("{} is too long for a resolver's configuration", path.display());
            String::new()
        }
        Err(error) => {
            tracing::debug!(%error, "{} is not read", path.display());
            String::new()
        }
    }
}

/// The kernel's notices of some files, replaced or written in place.
struct Notices {
    inotify: Option<AsyncFd<Descriptor>>,
    names: BTreeSet<OsString>,
}

/// What tokio can wait on.
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Notices {
    fn open() -> Notices {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC);
        // The successor is unsafe for types that may lie about their descriptor; this one does not.
        #[allow(deprecated)]
        let inotify = inotify.map_err(std::io::Error::from).and_then(|inotify| AsyncFd::new(Descriptor(inotify)));
        let inotify = inotify.inspect_err(|error| tracing::warn!(%error, "the machine's resolvers are not followed"));
        Notices { inotify: inotify.ok(), names: BTreeSet::new() }
    }

    /// The file, and its folder: a folder that is not there yet is not followed.
    fn add(&mut self, path: &Path) {
        let (Some(inotify), Some(folder), Some(name)) = (&self.inotify, path.parent(), path.file_name()) else {
            return;
        };
        let written = AddWatchFlags::IN_CLOSE_WRITE;
        let in_folder = written | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE;
        for (path, flags) in [(folder, in_folder), (path, written | AddWatchFlags::IN_MODIFY)] {
            if let Err(error) = inotify.get_ref().0.add_watch(path, flags) {
                tracing::debug!(%error, "{} is not followed", path.display());
            }
        }
        self.names.insert(name.to_os_string());
    }

    /// Returns when one of the files may have changed.
    async fn changed(&mut self) {
        let Some(inotify) = &self.inotify else { return std::future::pending().await };
        loop {
            let Ok(mut ready) = inotify.readable().await else { return std::future::pending().await };
            match ready.get_inner().0.read_events() {
                // Of the file itself there is no name.
                Ok(events) => {
                    let ours = |name: &Option<OsString>| name.as_ref().is_none_or(|name| self.names.contains(name));
                    if events.iter().any(|event| ours(&event.name)) {
                        return;
                    }
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(_) => return std::future::pending().await,
            }
        }
    }
}
