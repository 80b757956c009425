//! Network namespaces, pinned to files so that they outlive whoever made them.
//!
//! A thread unshares, pins its new namespace by a bind mount and goes back to the host's. The
//! socket that it opened meanwhile stays in the new namespace: that is how links inside are set up.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::route::Route;
use crate::spec::{Error, failed};

pub(crate) struct Namespaces {
    folder: PathBuf,
    host: File,
}

const OWN: &str = "/proc/thread-self/ns/net";

impl Namespaces {
    /// The calling thread's namespace becomes the host's.
    pub fn open(run_dir: &Path) -> Result<Namespaces, Error> {
        let folder = run_dir.join("netns");
        fs::create_dir_all(&folder).map_err(failed(format_args!("making {}", folder.display())))?;
        let host = File::open(OWN).map_err(failed(format_args!("opening {OWN}")))?;
        Ok(Namespaces { folder, host })
    }

    pub fn path(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// Makes and pins a namespace; returns a route socket inside it. A pin of that name that an
    /// earlier run left half made is replaced.
    pub fn make(&self, id: &str) -> Result<Route, Error> {
        self.remove(id)?;
        let path = self.path(id);
        File::create(&path).map_err(failed(format_args!("making {}", path.display())))?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| Error::Failed(format!("a new network namespace: {e}")))?;
        let made = mount(Some(OWN), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|e| Error::Failed(format!("pinning a network namespace to {}: {e}", path.display())))
            .and_then(|()| Route::open());
        // Without the way back every later request would act in the wrong namespace.
        setns(&self.host, CloneFlags::CLONE_NEWNET).expect("the host's namespace is open and stays enterable");
        made
    }

    /// A route socket inside a pinned namespace; None if there is none.
    pub fn enter(&self, id: &str) -> Result<Option<Route>, Error> {
        let path = self.path(id);
        let Ok(file) = File::open(&path) else { return Ok(None) };
        // A plain file is a pin that was never mounted, or whose mount went with its mount namespace.
        if setns(&file, CloneFlags::CLONE_NEWNET).is_err() {
            return Ok(None);
        }
        let socket = Route::open();
        setns(&self.host, CloneFlags::CLONE_NEWNET).expect("the host's namespace is open and stays enterable");
        socket.map(Some)
    }

    /// Unpins; the kernel ends the namespace, and the link in it, once nobody is inside.
    pub fn remove(&self, id: &str) -> Result<(), Error> {
        let path = self.path(id);
        // EINVAL: not mounted. ENOENT: not there.
        while umount2(&path, MntFlags::MNT_DETACH).is_ok() {}
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed(format_args!("removing {}", path.display()))(error))
            }
            _ => Ok(()),
        }
    }

    /// The ids of all pins.
    pub fn all(&self) -> Result<Vec<String>, Error> {
        let folder = fs::read_dir(&self.folder).map_err(failed(format_args!("reading {}", self.folder.display())))?;
        Ok(folder.flatten().filter_map(|file| file.file_name().into_string().ok()).collect())
    }
}
