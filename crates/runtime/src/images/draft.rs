//! A folder below the store's `tmp` that goes with all that is in it, unless it becomes something.

use std::io;
use std::path::{Path, PathBuf};

use crate::removal::{self, Mounts};

pub struct Draft {
    /// None: it has another name now.
    path: Option<PathBuf>,
}

impl Draft {
    /// Makes one of a name that begins so.
    pub fn make(parent: &Path, prefix: &str) -> io::Result<Draft> {
        let path = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?.keep();
        Ok(Draft { path: Some(path) })
    }

    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// It was moved: there is nothing left to remove.
    pub fn moved(mut self) {
        self.path = None;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(why) = removal::remove(&path, Mounts::Refused)
        {
            // The store's next opening tries again.
            tracing::warn!("{why}");
        }
    }
}
