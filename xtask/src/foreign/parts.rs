//! Upstream's kube-scheduler and kube-controller-manager, under the names that have their rights.
//!
//! Their certificates are signed with the authority of the cluster's data folder. The controllers take accounts of
//! kube-system, one each, by tokens that they ask the server for: each has the rights of its role alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use regex::Regex;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::conformance::cache::run;

/// Both, running.
pub struct Parts(Vec<Child>);

const NAMES: [&str; 2] = ["kube-scheduler", "kube-controller-manager"];

/// Errors and warnings of theirs that say nothing of a server: klog's line, and why it is meant.
const MEANT: &[(&str, &str)] = &[
    ("The manifest file is empty", "no audit is asked for"),
    ("Flexvolume plugin directory", "a folder of this machine"),
    ("is not as new as written version", "a controller waits for what it wrote itself, on a stock server too"),
    ("Operation cannot be fulfilled on", "two of them write one object, and the later tries again"),
    ("requestheader-client-ca-file", "nothing stands in front of our server, so nobody's headers count"),
    ("unexpected items still remain in namespace", "pods have their grace"),
    (r"range_allocator.*(may not change podCIDR|one CIDR for each IP family)", "its cache was behind its own write"),
    (r"pvc_protection_controller.*not found", "the claim is gone, which is what it works for"),
];

impl Parts {
    /// Starts both; their logs go to `out`.
    pub fn start(scheduler: &Path, manager: &Path, admin: &Path, home: &Path, out: &Path) -> Result<Parts> {
        let pki = admin.parent().context("the kubeconfig is in the data folder")?.join("pki");
        let server = client::kubeconfig::load(Some(admin), None)?.https.server;
        let mut children = Vec::new();
        for (name, program) in NAMES.into_iter().zip([scheduler, manager]) {
            let kubeconfig = kubeconfig(name, &server, &pki, home)?;
            let mut command = Command::new(program);
            command.arg("--kubeconfig").arg(&kubeconfig).args(["--bind-address", "127.0.0.1", "-v", "3"]);
            command.arg("--authentication-kubeconfig").arg(&kubeconfig);
            command.arg("--authorization-kubeconfig").arg(&kubeconfig);
            if name == NAMES[1] {
                let at = |file: &str| pki.join(file);
                command.args(["--use-service-account-credentials", "--allocate-node-cidrs"]);
                command.args(["--cluster-cidr", "10.244.0.0/16"]);
                command.args(["--kube-api-qps", "200", "--kube-api-burst", "400"]);
                command.arg("--root-ca-file").arg(at("ca.crt"));
                command.arg("--cluster-signing-cert-file").arg(at("ca.crt"));
                command.arg("--cluster-signing-key-file").arg(at("ca.key"));
                command.arg("--service-account-private-key-file").arg(at("sa.key"));
            }
            let log = File::create(out.join(format!("{name}.log")))?;
            command.current_dir(home).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
            children.push(command.spawn().with_context(|| format!("starting {name}"))?);
        }
        Ok(Parts(children))
    }

    pub async fn stop(mut self) {
        for child in &mut self.0 {
            let _ = child.kill().await;
        }
    }
}

/// Errors and warnings in their logs that are not meant, each message once; and kinds that a cache never had.
pub fn complaints(out: &Path) -> Result<Vec<String>> {
    let meant: Vec<Regex> = MEANT.iter().map(|(line, _)| Regex::new(line)).collect::<Result<_, _>>()?;
    let mut found: Vec<String> = Vec::new();
    for name in NAMES {
        let log = std::fs::read_to_string(out.join(format!("{name}.log")))?;
        let never = unsynced(&log).into_iter();
        found.extend(never.map(|(kind, count)| format!("{name}: {count} caches of {kind} were never filled")));
        for said in log.lines().filter_map(complaint) {
            let said = format!("{name}: {said}");
            if !found.contains(&said) && !meant.iter().any(|meant| meant.is_match(&said)) {
                found.push(said);
            }
        }
    }
    Ok(found)
}

/// Kinds of which more caches were begun than filled, and how many more (client-go tools/cache/reflector.go).
fn unsynced(log: &str) -> BTreeMap<&str, i64> {
    let mut open = BTreeMap::new();
    for (said, change) in [("] \"Starting reflector\" ", 1), ("] \"Caches populated\" ", -1)] {
        let lines = log.lines().filter_map(|line| line.split_once(said)?.1.strip_prefix("type=\""));
        for kind in lines.filter_map(|rest| rest.split('"').next()) {
            *open.entry(kind).or_default() += change;
        }
    }
    open.retain(|_, count| *count > 0);
    open
}

/// klog's `E1129 17:40:56.123456  12 file.go:12] message`: the file and what follows.
fn complaint(line: &str) -> Option<&str> {
    let head = line.strip_prefix(['E', 'W', 'F'])?;
    let is_date = head.len() > 5 && head.is_char_boundary(4) && head[..4].bytes().all(|byte| byte.is_ascii_digit());
    let (before, message) = head.split_once("] ")?;
    let file = before.rsplit(' ').next()?;
    let at = line.len() - message.len() - 2 - file.len();
    is_date.then(|| &line[at..])
}

/// A kubeconfig of the user `system:NAME`, with a certificate for it.
fn kubeconfig(name: &str, server: &str, pki: &Path, home: &Path) -> Result<std::path::PathBuf> {
    let at = |kind: &str| home.join(format!("{name}.{kind}"));
    let openssl = |words: &[&std::ffi::OsStr]| run(std::process::Command::new("openssl").args(words)).map(drop);
    let (key, request, certificate, usage) = (at("key"), at("csr"), at("crt"), at("usage"));
    let subject = format!("/CN=system:{name}");
    let mut words: Vec<&std::ffi::OsStr> =
        ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"].map(AsRef::as_ref).to_vec();
    words.extend(["-subj".as_ref(), subject.as_ref(), "-keyout".as_ref(), key.as_os_str()]);
    words.extend(["-out".as_ref(), request.as_os_str()]);
    openssl(&words)?;
    std::fs::write(&usage, "extendedKeyUsage=clientAuth\n")?;
    let (authority, secret) = (pki.join("ca.crt"), pki.join("ca.key"));
    let mut words: Vec<&std::ffi::OsStr> =
        ["x509", "-req", "-days", "2", "-set_serial", "7"].map(AsRef::as_ref).to_vec();
    words.extend(["-in".as_ref(), request.as_os_str(), "-CA".as_ref(), authority.as_os_str()]);
    words.extend(["-CAkey".as_ref(), secret.as_os_str(), "-extfile".as_ref(), usage.as_os_str()]);
    words.extend(["-out".as_ref(), certificate.as_os_str()]);
    openssl(&words)?;
    let file = at("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "own",
        "clusters": [{"name": "own", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "own", "user": {"client-certificate": certificate, "client-key": key}}],
        "contexts": [{"name": "own", "context": {"cluster": "own", "user": "own"}}],
    });
    std::fs::write(&file, text.to_string())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_warnings_are_complaints() {
        let of = |text| complaint(text);
        assert_eq!(
            of(r#"E1129 17:40:56.123456      12 a.go:12] "Unhandled" err="x] y""#),
            Some(r#"a.go:12] "Unhandled" err="x] y""#)
        );
        assert_eq!(of("W1129 17:40:56.123456      12 b.go:1] no"), Some("b.go:1] no"));
        assert_eq!(of("I1129 17:40:56.123456      12 a.go:12] fine"), None);
        assert_eq!(of("Error: unknown flag"), None);
        assert_eq!(of("W112"), None);
    }

    #[test]
    fn a_cache_that_was_never_filled_is_named() {
        let line =
            |said: &str, kind: &str| format!("I1129 1:2:3 9 reflector.go:5] \"{said}\" type=\"{kind}\" x=\"y\"\n");
        let mut log = line("Starting reflector", "*v1.Pod") + &line("Starting reflector", "*v1.Node");
        log += &line("Starting reflector", "*v1.Pod");
        log += &(line("Caches populated", "*v1.Pod") + &line("Caches populated", "*v1.Pod"));
        assert_eq!(unsynced(&log), BTreeMap::from([("*v1.Node", 1)]));
    }
}
