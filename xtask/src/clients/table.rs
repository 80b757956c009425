//! The clients, one row each: what each needs, how it is built or installed, how it is run.
//!
//! To add one: a row here, and what it does as a program or script in `xtask/clients` that prints a line per step.

use super::Run;
use crate::conformance::cache::{Cache, Product, run};
use crate::conformance::programs::{self, Source};
use crate::needs::Need;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A client of the table.
pub struct Client {
    pub name: &'static str,
    pub needs: &'static [Need],
    /// Builds or installs it into the cache.
    pub build: fn(&Cache, &Path) -> Result<Product>,
    /// How it is run: once, but for kubectl, of which a machine may have several.
    pub runs: fn(&Path) -> Vec<Run>,
}

const GO: Need = ("go", "golang-go", "builds clients (Go 1.26 or later; https://go.dev/dl where Debian's is older)");

/// What every run needs: the cluster is waited for with kubectl.
pub const KUBECTL_NEEDS: &[Need] = &[GO, ("timeout", "coreutils", "ends a client that hangs")];

const HELM: Source = Source::Module("helm.sh/helm/v4/cmd/helm", "v4.3.2");
const PYTHON: &str = "kubernetes==37.0.2";
const JAVASCRIPT: &str = "@kubernetes/client-node@1.4.0";

pub const CLIENTS: &[Client] = &[
    Client {
        name: "client-go",
        needs: &[GO],
        build: |cache, workspace| module(cache, workspace, "clients", &Source::Own("./clients")),
        runs: |built| vec![Run::of("client-go", &[built])],
    },
    Client {
        name: "kubectl",
        needs: &[("bash", "bash", "runs the script of verbs")],
        build: |cache, workspace| programs::kubectl(cache, &workspace.join("conformance")),
        runs: |built| kubectls(built).iter().map(|(name, path)| script(name, "kubectl.sh", path)).collect(),
    },
    Client {
        name: "helm",
        needs: &[GO, ("bash", "bash", "runs the script of verbs")],
        build: |cache, workspace| module(cache, workspace, "helm", &HELM),
        runs: |built| vec![script("helm", "helm.sh", built)],
    },
    Client {
        name: "python",
        needs: &[("python3", "python3", "runs Python's client"), ("pip3", "python3-pip", "installs it")],
        build: |cache, _| {
            let installs = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PYTHON, "--target"];
            cache.product("clients/python", &[PYTHON], |out| {
                run(Command::new("python3").args(installs).arg(out)).map(drop)
            })
        },
        runs: |built| {
            let words = [Path::new("python3"), &folder().join("client.py")];
            vec![Run::of("python", &words).with("PYTHONPATH", built).with("PYTHONUNBUFFERED", "1")]
        },
    },
    Client {
        name: "javascript",
        needs: &[("node", "nodejs", "runs JavaScript's client"), ("npm", "npm", "installs it")],
        build: |cache, _| {
            cache.product("clients/javascript", &[JAVASCRIPT], |out| {
                let words = ["install", "--no-audit", "--no-fund", "--no-save", JAVASCRIPT, "--prefix"];
                run(Command::new("npm").args(words).arg(out)).map(drop)
            })
        },
        runs: |built| {
            let words = [Path::new("node"), &folder().join("client.js")];
            vec![Run::of("javascript", &words).with("NODE_PATH", built.join("node_modules"))]
        },
    },
    Client {
        name: "kube",
        needs: &[("cc", "gcc", "compiles what Rust's client is made of")],
        build: kube,
        runs: |built| vec![Run::of("kube", &[built])],
    },
];

fn module(cache: &Cache, workspace: &Path, name: &str, source: &Source) -> Result<Product> {
    programs::program(cache, &workspace.join("conformance"), name, source)
}

/// The crate stands outside of the workspace, with a lock file of its own, and keeps its target in the cache.
fn kube(cache: &Cache, _: &Path) -> Result<Product> {
    let from = folder().join("kube");
    let sources = [programs::texts(&from)?, programs::texts(&from.join("src"))?];
    let version = String::from_utf8_lossy(&run(Command::new("rustc").arg("-V"))?).into_owned();
    cache.product("clients/kube", &[&version, &sources[0], &sources[1]], |out| {
        let target = out.with_file_name("kube-target");
        let mut command = crate::cargo::cargo();
        command.args(["build", "--locked", "--quiet", "--manifest-path"]).arg(from.join("Cargo.toml"));
        // Cargo's settings are those of the folder it is called in: not the workspace's.
        run(command.arg("--target-dir").arg(&target).current_dir("/"))?;
        std::fs::copy(target.join("debug/clients-kube"), out).context("keeping the program").map(drop)
    })
}

/// A script of `xtask/clients` that runs the program `built` and checks what it says.
fn script(name: &str, file: &str, built: &Path) -> Run {
    Run::of(name, &[Path::new("bash"), &folder().join(file)]).with("CLIENT", built)
}

/// Scripts, charts and sources of the clients.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// The release's own, the machine's, and those of other ages on the PATH (`kubectl.1.30`) or named by $KUBECTLS.
fn kubectls(built: &Path) -> Vec<(String, PathBuf)> {
    let mut found = vec![("kubectl".to_owned(), built.to_owned())];
    let named = std::env::var_os("KUBECTLS").unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs: Vec<PathBuf> = std::env::split_paths(&named).collect();
    for folder in std::env::split_paths(&path) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut entries: Vec<_> = entries.map(|entry| entry.path()).collect();
        entries.sort();
        let is = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name == "kubectl" || name.strip_prefix("kubectl.1.").is_some_and(|minor| minor.parse::<u32>().is_ok())
        };
        programs.extend(entries.into_iter().filter(is));
    }
    for program in programs {
        let Ok(version) = version(&program) else { continue };
        let name = format!("kubectl-{version}");
        if !found.iter().any(|(known, _)| *known == name) {
            found.push((name, program));
        }
    }
    found
}

fn version(kubectl: &Path) -> Result<String> {
    let said = run(Command::new(kubectl).args(["version", "--client", "-o", "json"]))?;
    let said: serde_json::Value = serde_json::from_slice(&said)?;
    match said["clientVersion"]["gitVersion"].as_str() {
        Some(version) => Ok(version.trim_start_matches('v').to_owned()),
        None => bail!("{} tells no version", kubectl.display()),
    }
}
