//! The Go programs of a run, built from the module in `conformance/`.
//!
//! (Two of them stand in modules of their own, whose requirements would pull at ours.)
//! `e2e.test` is the suite, `ginkgo` runs it, `kubectl` is the stock client that it calls; the rest goes into images.
//! Law: sources come from the module cache as they were released; what is built is only ever kept in the build cache.

use super::cache::{Cache, Product, remove, run};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release whose suite this is; `conformance/go.mod` requires the same.
const RELEASE: &str = "1.37.2";

/// Where a program's source comes from.
pub enum Source {
    /// The test of our own module, compiled.
    Suite,
    /// A package that our module's go.mod knows.
    Package(&'static str),
    /// A package of a module that stands by itself: its requirements would push ours away from the release's.
    Module(&'static str, &'static str),
    /// A folder of our own module.
    Own(&'static str),
}

const PROGRAMS: &[(&str, Source)] = &[
    ("e2e.test", Source::Suite),
    ("ginkgo", Source::Package("github.com/onsi/ginkgo/v2/ginkgo")),
    ("kubectl", Source::Package("k8s.io/kubernetes/cmd/kubectl")),
    ("agnhost", Source::Package("k8s.io/kubernetes/test/images/agnhost")),
    ("nonewprivs", Source::Package("k8s.io/kubernetes/test/images/nonewprivs")),
    ("regression-issue-74839", Source::Package("k8s.io/kubernetes/test/images/regression-issue-74839")),
    ("sample-apiserver", Source::Module("k8s.io/sample-apiserver", "v0.29.2")),
    ("coredns", Source::Module("github.com/coredns/coredns", "v1.14.7")),
];

/// The built programs, and the folder of the release's own module (for the few data files that images carry).
pub struct Programs {
    built: Vec<(&'static str, Product)>,
    pub release: PathBuf,
}

impl Programs {
    pub fn get(&self, name: &str) -> &Product {
        let found = self.built.iter().find(|(built, _)| *built == name);
        &found.expect("every program asked for is a row of PROGRAMS").1
    }

    pub fn path(&self, name: &str) -> &Path {
        &self.get(name).path
    }
}

/// Builds what is missing: about ten minutes the first time on two cores, nothing the second time.
pub fn build(cache: &Cache, module: &Path) -> Result<Programs> {
    let mut built = Vec::new();
    for (name, source) in PROGRAMS {
        built.push((*name, program(cache, module, name, source)?));
    }
    let release =
        run(Command::new("go").args(["list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"]).current_dir(module))?;
    let release = PathBuf::from(String::from_utf8(release)?.trim());
    Ok(Programs { built, release })
}

/// The stock API server.
pub fn apiserver(cache: &Cache, module: &Path) -> Result<Product> {
    component(cache, module, "kube-apiserver")
}

/// A part of the release's own control plane. What only it requires is added to a copy of the module: the suite's own
/// requirements are the keys of what it is built from.
pub fn component(cache: &Cache, module: &Path, name: &str) -> Result<Product> {
    let package = format!("k8s.io/kubernetes/cmd/{name}");
    let version = String::from_utf8_lossy(&run(Command::new("go").arg("version"))?).into_owned();
    let [requirements, sums] = ["go.mod", "go.sum"].map(|name| fs::read_to_string(module.join(name)));
    let (requirements, sums) = (requirements?, sums?);
    cache.product(&format!("bin/{name}"), &[&version, RELEASE, &requirements, &sums, &package], |out| {
        let scratch = out.with_extension("module");
        remove(&scratch)?;
        fs::create_dir_all(&scratch)?;
        fs::write(scratch.join("go.mod"), &requirements)?;
        fs::write(scratch.join("go.sum"), &sums)?;
        go(&scratch, out, &["build", "-mod=mod"], &package)?;
        remove(&scratch)
    })
}

/// The store of the stock API server, of a version that tells its watches how far they are (Debian's does not).
pub fn etcd(cache: &Cache) -> Result<Product> {
    const PACKAGE: &str = "go.etcd.io/etcd/server/v3";
    const AT: &str = "v3.7.0";
    let version = String::from_utf8_lossy(&run(Command::new("go").arg("version"))?).into_owned();
    cache.product("bin/etcd", &[&version, PACKAGE, AT], |out| alone(out, PACKAGE, AT))
}

/// The release's kubectl.
pub fn kubectl(cache: &Cache, module: &Path) -> Result<Product> {
    let (name, source) = PROGRAMS.iter().find(|(name, _)| *name == "kubectl").context("kubectl is a row")?;
    program(cache, module, name, source)
}

/// One program, in the cache as `bin/<name>`.
pub fn program(cache: &Cache, module: &Path, name: &str, source: &Source) -> Result<Product> {
    let wanted = format!("bin/{name}");
    let version = String::from_utf8_lossy(&run(Command::new("go").arg("version"))?).into_owned();
    if let Source::Module(package, at) = source {
        return cache.product(&wanted, &[&version, package, at], |out| alone(out, package, at));
    }
    let sums = fs::read_to_string(module.join("go.sum"))?;
    let requirements = fs::read_to_string(module.join("go.mod"))?;
    let (verb, package, text): (&[&str], _, _) = match source {
        Source::Suite => (&["test", "-c"], ".", fs::read_to_string(module.join("e2e_test.go"))?),
        Source::Own(folder) => (&["build"], *folder, texts(&module.join(folder))?),
        Source::Package(package) | Source::Module(package, _) => (&["build"], *package, (*package).to_owned()),
    };
    cache.product(&wanted, &[&version, RELEASE, &requirements, &sums, &text], |out| go(module, out, verb, package))
}

/// All files of a folder, in order.
pub fn texts(folder: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.is_file());
    files.sort();
    let texts =
        files.iter().map(|file| fs::read_to_string(file).with_context(|| format!("reading {}", file.display())));
    Ok(texts.collect::<Result<Vec<_>>>()?.concat())
}

/// One `go build` or `go test -c`, static, stamped with the release as upstream stamps it.
fn go(module: &Path, out: &Path, verb: &[&str], package: &str) -> Result<()> {
    let minor = RELEASE.split('.').nth(1).context("a release has a minor version")?;
    let stamp = "-X k8s.io/component-base/version";
    let flags = format!(
        "-s -w {stamp}.gitVersion=v{RELEASE} {stamp}.gitMajor=1 {stamp}.gitMinor={minor} {stamp}.gitTreeState=clean"
    );
    let mut command = Command::new("go");
    command.args(verb).args(["-trimpath", "-ldflags", &flags, "-o"]).arg(out).arg(package);
    run(command.current_dir(module).env("CGO_ENABLED", "0")).map(drop)
}

/// Builds a package in a scratch module that requires nothing but it: `go install` refuses modules with replacements.
fn alone(out: &Path, package: &str, version: &str) -> Result<()> {
    let scratch = out.with_extension("module");
    remove(&scratch)?;
    fs::create_dir_all(&scratch)?;
    let go = |words: &[&str]| {
        let mut command = Command::new("go");
        run(command.args(words).current_dir(&scratch).env("CGO_ENABLED", "0").env("GOWORK", "off"))
    };
    go(&["mod", "init", "scratch"])?;
    go(&["get", &format!("{package}@{version}")])?;
    go(&["build", "-trimpath", "-ldflags", "-s -w", "-o", &out.to_string_lossy(), package])?;
    remove(&scratch)
}
