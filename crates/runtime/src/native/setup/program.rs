//! Finds the program in the container's own PATH and becomes it.

use std::ffi::CString;
use std::io::ErrorKind;
use std::path::Path;

use super::{Result, c_string, plain};
use crate::native::sys;

/// Where to look when the environment does not say (opencontainers/runc, init).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command line ready for the kernel: nothing is left to fail but the execve.
pub struct Program {
    name: String,
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    pub fn new(argv: &[String], env: &[(String, String)], terminal: bool) -> Result<Program> {
        let name = argv.first().ok_or("no command specified")?.clone();
        let path = env.iter().rev().find(|(key, _)| key == "PATH").map_or(PATH, |(_, value)| value);
        let candidates = if name.contains('/') {
            vec![c_string(&name, "the command")?]
        } else {
            let folder = |folder| if str::is_empty(folder) { "." } else { folder };
            let candidates = path.split(':').map(|f| c_string(Path::new(folder(f)).join(&name), "PATH"));
            candidates.collect::<Result<_>>()?
        };
        let mut pairs: Vec<CString> = env
            .iter()
            .map(|(key, value)| c_string(format!("{key}={value}"), format!("environment variable {key}")))
            .collect::<Result<_>>()?;
        if terminal && !env.iter().any(|(key, _)| key == "TERM") {
            pairs.push(c"TERM=xterm".to_owned());
        }
        let argv = argv.iter().map(|word| c_string(word, "an argument")).collect::<Result<_>>()?;
        Ok(Program { name, candidates, argv, env: pairs })
    }

    /// Returns only with the reason why not, in runc's words.
    pub fn run(&self) -> String {
        let searched = !self.name.contains('/');
        let mut denied = false;
        for candidate in &self.candidates {
            let error = sys::execve(candidate, &self.argv, &self.env);
            let text = candidate.to_string_lossy();
            // As the program's own user by now, and only looked at.
            let exists = rustix::fs::stat(candidate.as_c_str());
            match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory if exists.is_err() => {
                    if !searched {
                        return format!("exec: {:?}: stat {text}: {}", self.name, plain(&error));
                    }
                }
                ErrorKind::PermissionDenied if searched => denied = true,
                ErrorKind::PermissionDenied if exists.is_ok_and(|stat| is_folder(&stat)) => {
                    return format!("exec: {:?}: is a directory: permission denied", self.name);
                }
                ErrorKind::PermissionDenied => return format!("exec: {:?}: permission denied", self.name),
                _ => return format!("exec {text}: {}", plain(&error)),
            }
        }
        if denied {
            return format!("exec: {:?}: permission denied", self.name);
        }
        format!("exec: {:?}: executable file not found in $PATH", self.name)
    }
}

fn is_folder(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
}
