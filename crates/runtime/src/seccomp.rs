//! System-call filters: from `RuntimeDefault` or a profile in the OCI form to a BPF program.
//!
//! Own emitter, without libseccomp: a binary search over ranges of numbers per architecture, argument
//! checks where a rule has them. Matches runc: what is newer than every call that the profile knows
//! answers ENOSYS (so that C libraries fall back) where the default is an error, and an architecture
//! that the profile does not list is killed. Installing it is the caller's: after no_new_privs or
//! with CAP_SYS_ADMIN, and last before exec.

/// `RuntimeDefault`.
mod default;
/// From rules to instructions.
mod emit;
/// Rules, and the OCI JSON form of them.
mod profile;
/// The numbers (generated).
mod syscalls;

/// What a program answers, and the page that says so.
#[cfg(test)]
mod answers;
#[cfg(test)]
mod document;
#[cfg(test)]
mod tests;

use crate::engine::{Error, Result};
use crate::seccomp::profile::Profile;
use crate::spec::Seccomp;

/// The program for a container with these capabilities (names without `CAP_`); empty: no filter.
pub fn program(seccomp: &Seccomp, capabilities: &[String]) -> Result<Vec<libc::sock_filter>> {
    let profile = match seccomp {
        Seccomp::Unconfined => return Ok(Vec::new()),
        Seccomp::RuntimeDefault => default::profile(capabilities),
        Seccomp::Profile(json) => Profile::parse(json).map_err(Error::Failed)?,
    };
    emit::program(&profile).map_err(Error::Failed)
}

/// Flags for seccomp(2): what the profile asks for, else none (bits of `SECCOMP_FILTER_FLAG_*`).
pub fn flags(seccomp: &Seccomp) -> Result<u32> {
    match seccomp {
        Seccomp::Profile(json) => Ok(Profile::parse(json).map_err(Error::Failed)?.flags),
        _ => Ok(0),
    }
}
