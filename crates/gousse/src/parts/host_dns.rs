//! `--host-dns`: this machine itself resolves the names of services.
//!
//! Where systemd-resolved runs it is told by a file of its own (gone after a reboot, like all of us); else an
//! entry stands at the head of /etc/resolv.conf, between marks with the instance's name. Both are taken out
//! when the instance ends, and by the next start or `down` after a crash. A link is not followed: whoever
//! owns what it leads to would write over us, or we over them.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use kubectl::failure::{Context, Result, failure};

/// Longer than any resolver's configuration.
const SIZE_MAX: u64 = 1 << 20;

/// Where a machine's resolver is told whom to ask.
pub struct Place {
    name: String,
    resolv_conf: PathBuf,
    /// Answers where systemd-resolved runs.
    socket: PathBuf,
    /// Of systemd-resolved, for what ends with the machine's run.
    folder: PathBuf,
}

impl Place {
    /// Of the instance of this name.
    pub fn of(name: &str) -> Place {
        Place {
            name: name.into(),
            resolv_conf: "/etc/resolv.conf".into(),
            socket: "/run/systemd/resolve/io.systemd.Resolve".into(),
            folder: "/run/systemd/resolved.conf.d".into(),
        }
    }

    /// Has the machine ask there for the names of a domain; what an earlier run left is replaced.
    pub fn enter(&self, server: SocketAddr, domain: &str) -> Result<()> {
        if UnixStream::connect(&self.socket).is_ok() {
            return self.enter_resolved(server, domain);
        }
        if server.port() != 53 {
            return Err(failure(format!(
                "--host-dns: the cluster's DNS listens at {server} since port 53 is another's there, and {} has no ports",
                self.resolv_conf.display()
            )));
        }
        self.change(|text| with(text, &self.name, server))
    }

    /// Whether it can be done at all, before anything is started.
    pub fn check(&self) -> Result<()> {
        match UnixStream::connect(&self.socket) {
            Ok(_) => Ok(()),
            Err(_) => self.change(str::to_owned),
        }
    }

    /// Takes out what any run of this instance put in. What is not there is no error.
    pub fn leave(&self) -> Result<()> {
        match std::fs::remove_file(self.own_file()) {
            Ok(()) => reload()?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(format_args!("removing {}", self.own_file().display())),
        }
        // Where it is a link we never put anything in.
        match std::fs::symlink_metadata(&self.resolv_conf) {
            Ok(meta) if meta.is_file() => self.change(|text| without(text, &self.name)),
            _ => Ok(()),
        }
    }

    fn own_file(&self) -> PathBuf {
        self.folder.join(format!("gousse-{}.conf", self.name))
    }

    fn enter_resolved(&self, server: SocketAddr, domain: &str) -> Result<()> {
        let (file, text) = (self.own_file(), drop_in(server, domain));
        let written = std::fs::create_dir_all(&self.folder).and_then(|()| replace(&file, text.as_bytes(), 0o644));
        written.context(format_args!("writing {} (--host-dns)", file.display()))?;
        reload().inspect_err(|_| {
            // What is not in force must not come into it later.
            let _ = std::fs::remove_file(&file);
        })
    }

    /// Changes resolv.conf, if there is something to change.
    fn change(&self, changed: impl Fn(&str) -> String) -> Result<()> {
        let path = &self.resolv_conf;
        let what = || format!("changing {} (--host-dns)", path.display());
        let mut file = match open(path) {
            Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => {
                let to = std::fs::read_link(path).unwrap_or_default();
                return Err(failure(format!(
                    "--host-dns: {} is a link to {}, which is another program's to write; have that one ask the \
                     cluster's DNS, or make it a file",
                    path.display(),
                    to.display()
                )));
            }
            opened => opened.context(what())?,
        };
        let meta = file.metadata().context(what())?;
        if !meta.is_file() || meta.size() > SIZE_MAX {
            return Err(failure(format!("--host-dns: {} is no resolver's configuration", path.display())));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).context(what())?;
        let changed = changed(&text);
        if changed == text {
            return Ok(());
        }
        match replace(path, changed.as_bytes(), meta.permissions().mode() & 0o777) {
            // Mounted by itself, as in a container: nothing can be put in its place.
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::EBUSY | nix::libc::EXDEV)) => {
                let mut options = File::options();
                options.write(true).truncate(true).custom_flags(nix::libc::O_NOFOLLOW);
                options.open(path).and_then(|mut file| file.write_all(changed.as_bytes())).context(what())
            }
            replaced => replaced.context(what()),
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    // Without waiting for whoever may write into a pipe of this name.
    File::options().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path)
}

/// Whole or not at all.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let draft = path.with_extension("gousse-new");
    let written = (|| {
        let _ = std::fs::remove_file(&draft);
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(bytes)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        std::fs::rename(&draft, path)
    })();
    written.inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    })
}

fn marks(name: &str) -> [String; 2] {
    [format!("# begin: gousse {name} (`gousse down` takes this out)\n"), format!("# end: gousse {name}\n")]
}

/// With the entry at the head: resolvers ask in this order.
fn with(text: &str, name: &str, server: SocketAddr) -> String {
    let [begin, end] = marks(name);
    format!("{begin}nameserver {}\n{end}{}", server.ip(), without(text, name))
}

/// Without any entry of this instance. A mark alone, as somebody's editor may leave it, is a comment.
fn without(text: &str, name: &str) -> String {
    let [begin, end] = marks(name);
    let mut rest = text.to_string();
    while let Some(from) = rest.find(&begin)
        && let Some(length) = rest[from..].find(&end)
    {
        rest.replace_range(from..from + length + end.len(), "");
    }
    rest
}

/// Names of the domain are asked for at this server (resolved.conf(5): a routing domain).
fn drop_in(server: SocketAddr, domain: &str) -> String {
    format!("# gousse\n[Resolve]\nDNS={server}\nDomains=~{domain}\n")
}

fn reload() -> Result<()> {
    let told = Command::new("systemctl").args(["try-reload-or-restart", "systemd-resolved.service"]).output();
    let told = told.context("--host-dns: having systemd-resolved read its configuration")?;
    if told.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&told.stderr);
    Err(failure(format!("--host-dns: systemd-resolved does not read its configuration: {}", why.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "10.244.0.1:53";

    fn place(folder: &Path) -> Place {
        Place {
            name: "default".into(),
            resolv_conf: folder.join("resolv.conf"),
            socket: folder.join("socket"),
            folder: folder.join("resolved.conf.d"),
        }
    }

    #[test]
    fn the_entry_stands_at_the_head_once_and_goes_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let own = "# of the machine\nnameserver 192.0.2.53\nsearch example.org\n";
        std::fs::write(&place.resolv_conf, own).unwrap();
        std::fs::set_permissions(&place.resolv_conf, std::fs::Permissions::from_mode(0o640)).unwrap();
        let text = || std::fs::read_to_string(&place.resolv_conf).unwrap();
        for _ in 0..2 {
            place.enter(SERVER.parse().unwrap(), "cluster.local").unwrap();
            let expected = "# begin: gousse default (`gousse down` takes this out)\nnameserver 10.244.0.1\n# end: gousse default\n";
            assert_eq!(text(), format!("{expected}{own}"));
        }
        let other = Place { name: "other".into(), ..self::place(folder.path()) };
        other.enter("10.245.0.1:53".parse().unwrap(), "cluster.local").unwrap();
        place.leave().unwrap();
        assert!(text().contains("10.245.0.1") && !text().contains("10.244.0.1"), "{}", text());
        other.leave().unwrap();
        place.leave().unwrap();
        assert_eq!(text(), own);
        assert_eq!(std::fs::metadata(&place.resolv_conf).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a draft is left");
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (place, real) = (place(folder.path()), folder.path().join("real"));
        std::fs::write(&real, "nameserver 192.0.2.53\n").unwrap();
        std::os::unix::fs::symlink(&real, &place.resolv_conf).unwrap();
        let error = place.enter(SERVER.parse().unwrap(), "cluster.local").unwrap_err().printed();
        assert!(error.contains("is a link to") && error.contains("real"), "{error}");
        place.leave().unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "nameserver 192.0.2.53\n");
    }

    #[test]
    fn another_port_than_that_of_dns_and_what_is_no_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let enter = |server: &str| place.enter(server.parse().unwrap(), "cluster.local").map_err(|e| e.printed());
        assert!(enter(SERVER).is_err_and(|error| error.contains("resolv.conf")), "there is none");
        std::fs::create_dir(&place.resolv_conf).unwrap();
        assert!(enter(SERVER).is_err());
        assert!(enter("10.244.0.1:10053").is_err_and(|error| error.contains("10.244.0.1:10053")));
        place.leave().unwrap();
    }

    #[test]
    fn half_of_an_entry_is_a_comment() {
        let [begin, end] = marks("a");
        assert_eq!(without(&format!("{begin}nameserver 192.0.2.1\n"), "a"), format!("{begin}nameserver 192.0.2.1\n"));
        assert_eq!(without(&format!("{end}x\n{begin}y\n{end}z\n"), "a"), format!("{end}x\nz\n"));
        assert_eq!(drop_in(SERVER.parse().unwrap(), "c.l"), "# gousse\n[Resolve]\nDNS=10.244.0.1:53\nDomains=~c.l\n");
    }
}
