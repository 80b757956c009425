//! The command line of a container, with `$(VAR)` expanded.
//!
//! Upstream: third_party/forked/golang/expansion; command and args override entrypoint and cmd as in
//! kubelet's and containerd's documentation.

use crate::view as core;
use runtime::Image;

use crate::expand::expand;

/// The final argv; empty where neither pod nor image names a command.
pub fn argv(c: &core::Container, image: &Image, env: &[(String, String)]) -> Vec<String> {
    let value = |name: &str| env.iter().rfind(|(n, _)| n == name).map(|(_, v)| v.clone());
    let command: Vec<String> = c.command.iter().flatten().map(|a| expand(a, value)).collect();
    let args: Vec<String> = c.args.iter().flatten().map(|a| expand(a, value)).collect();
    match (command.is_empty(), args.is_empty()) {
        (false, _) => command.into_iter().chain(args).collect(),
        (true, false) => image.entrypoint.iter().cloned().chain(args).collect(),
        (true, true) => image.entrypoint.iter().chain(&image.cmd).cloned().collect(),
    }
}

#[cfg(test)]
mod tests;
