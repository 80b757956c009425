//! Where an instance lives on this machine, and whether it runs.
//!
//! A running instance holds a lock on `<run_dir>/lock` and has written its process id into it; the
//! kernel lets the lock go when the process ends, however it ends.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use runtime::removal::Mounts;

use crate::cli::Place;
use crate::instance::folders::{DATA, RUN, Trusted, canonical};
use kubectl::failure::{Context, Result, failure};

/// What they must be like.
mod folders;

/// The folders of one instance.
#[derive(Clone, Debug)]
pub struct Instance {
    pub name: String,
    pub data_dir: PathBuf,
    pub run_dir: PathBuf,
}

/// Proof that this process is the instance, as long as it lives.
pub struct Held {
    _lock: Flock<File>,
}

impl Instance {
    pub fn of(place: &Place) -> Result<Instance> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if place.name.is_empty() || place.name.len() > 32 || !place.name.chars().all(plain) {
            return Err(failure(format!(
                "--name {:?}: a name has 1 to 32 lower-case letters, digits and dashes",
                place.name
            )));
        }
        let suffix = match place.name.as_str() {
            "default" => String::new(),
            name => format!("-{name}"),
        };
        let folder = |given: &Option<PathBuf>, root: &str| -> Result<PathBuf> {
            let path = given.clone().unwrap_or_else(|| PathBuf::from(format!("{root}/gousse{suffix}")));
            canonical(&path)
        };
        Ok(Instance {
            name: place.name.clone(),
            data_dir: folder(&place.data_dir, "/var/lib")?,
            run_dir: folder(&place.run_dir, "/run")?,
        })
    }

    /// Makes the folders, or takes them over where nobody else could write or can replace them: 0700.
    pub fn take_folders(&self) -> Result<()> {
        let trusted = Trusted::now();
        folders::take(&self.data_dir, &DATA, &trusted)?;
        folders::take(&self.run_dir, &RUN, &trusted)
    }

    /// Takes the folders and the lock; an error says who has it.
    pub fn hold(&self) -> Result<Held> {
        self.take_folders()?;
        self.lock()
    }

    /// The same to end it: folders that an earlier version took and this one would not are warned about.
    pub fn take_folders_to_end(&self) -> Result<()> {
        let trusted = Trusted::now();
        folders::take_to_end(&self.data_dir, &DATA, &trusted)?;
        folders::take_to_end(&self.run_dir, &RUN, &trusted)
    }

    /// Refuses to have a data folder removed in which no instance ever lived.
    pub fn require_removable_data(&self) -> Result<()> {
        folders::require_removable(&self.data_dir, &DATA)
    }

    /// What is still mounted there keeps its contents.
    pub fn remove_run_folder(&self) -> Result<()> {
        folders::remove(&self.run_dir, &RUN, Mounts::Detached)
    }

    /// What is mounted there by an administrator is an error that names it.
    pub fn remove_data_folder(&self) -> Result<()> {
        folders::remove(&self.data_dir, &DATA, Mounts::Refused)
    }

    /// The lock alone.
    pub fn lock(&self) -> Result<Held> {
        // Containers read some of what is made, and nobody writes to it: not for the caller's shell to say.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let path = self.lock_file();
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .context(format_args!("opening {}", path.display()))?;
        let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, _)| {
            let who = self.process().map_or(String::new(), |pid| format!(" (process {pid})"));
            failure(format!(
                "instance {:?} runs already{who}; `gousse down` ends it, `--name` starts another",
                self.name
            ))
        })?;
        let written =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(&mut *lock, "{}", std::process::id()));
        written.context(format_args!("writing {}", path.display()))?;
        Ok(Held { _lock: lock })
    }

    /// The process that holds the lock, if one does.
    pub fn process(&self) -> Option<i32> {
        let mut file = File::open(self.lock_file()).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => None,
            Err(_) => text.trim().parse().ok(),
        }
    }

    /// The administrator's credentials, 0600.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("admin.kubeconfig")
    }

    /// Where the node takes image commands from.
    pub fn image_socket(&self) -> PathBuf {
        self.run_dir.join("images.sock")
    }

    /// Where `--detach` writes what would have gone to the terminal.
    pub fn log(&self) -> PathBuf {
        self.data_dir.join("gousse.log")
    }

    fn lock_file(&self) -> PathBuf {
        self.run_dir.join("lock")
    }
}

/// Writes a file that only its owner may read, whole or not at all; one that is so already stays, for
/// the sake of a full disk.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let is_private = |path: &Path| {
        fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o777 == 0o600)
    };
    if is_private(path) && fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let draft = path.with_extension("draft");
    let write = || {
        let _ = fs::remove_file(&draft);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().context(format_args!("writing {}", path.display()))
}
