//! The images of a run: the workspace's own toolbox, whatever program is judged.
//!
//! One is loaded from an archive; the others, with a layer of their own each, are pulled from a registry of the run's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::chance::Chance;
use crate::conformance::cache::run;
use crate::conformance::layout::{self, Layer, PLAIN};

/// What pods run; loaded.
pub const PUPPET: &str = "chaos.test/puppet:1";
/// Images that only the registry has: `chaos.test/pulled-0:1` and so on.
pub const PULLED: u64 = 6;
/// Of each pulled image's own layer: long enough under way to be interrupted.
const LAYER: usize = 12 << 20;

pub struct Images {
    /// What the registry serves.
    pub layout: PathBuf,
    /// What is loaded.
    pub archive: PathBuf,
}

pub fn pulled(number: u64) -> String {
    format!("chaos.test/pulled-{number}:1")
}

/// Packs them into `folder`.
pub fn pack(folder: &Path) -> Result<Images> {
    let toolbox = build()?;
    let (base, loaded, served) = (folder.join("base.tar"), folder.join("loaded"), folder.join("served"));
    let mut tar = tar::Builder::new(File::create(&base)?);
    for name in ["bin", "etc", "tmp", "diary"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(if name == "tmp" { 0o1777 } else { 0o755 });
        tar.append_data(&mut header, name, std::io::empty())?;
    }
    let program = fs::read(&toolbox).with_context(|| format!("reading {}", toolbox.display()))?;
    file(&mut tar, "bin/toolbox", &program)?;
    for applet in ["puppet", "sh", "true"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{applet}"), "toolbox")?;
    }
    tar.finish()?;
    drop(tar);
    let layer = Layer::pack("base", &base, &loaded)?;
    layout::write(&loaded, &[(PUPPET, PLAIN, vec![&layer])])?;
    let archive = folder.join("puppet.tar");
    run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&loaded).arg("."))?;
    let base = Layer::pack("base", &base, &served)?;
    let mut own = Vec::new();
    for number in 0..PULLED {
        let path = folder.join(format!("own-{number}.tar"));
        let mut tar = tar::Builder::new(File::create(&path)?);
        file(&mut tar, "ballast", Chance::new(number, 0, "ballast").noise(LAYER).as_bytes())?;
        tar.finish()?;
        drop(tar);
        own.push((pulled(number), Layer::pack("own", &path, &served)?));
    }
    let rows: Vec<_> = own.iter().map(|(name, layer)| (name.as_str(), PLAIN, vec![&base, layer])).collect();
    layout::write(&served, &rows)?;
    Ok(Images { layout: served, archive })
}

fn file(tar: &mut tar::Builder<File>, name: &str, content: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(0o755);
    Ok(tar.append_data(&mut header, name, content)?)
}

/// The toolbox, small and static, as it is carried inside the binary.
fn build() -> Result<PathBuf> {
    let mut command = crate::cargo::cargo();
    command.args(["build", "--quiet", "--package", "toolbox", "--profile", "toolbox", "--message-format=json"]);
    let messages = String::from_utf8(run(command.stderr(Stdio::inherit()))?)?;
    let mut programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    programs.next_back().context("cargo names no toolbox")
}
