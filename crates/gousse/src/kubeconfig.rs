//! `kubeconfig`: the path of the administrator's credentials, or their merge into the user's own.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli;
use crate::instance::{Instance, write_private};
use kubectl::failure::{Context, Result, failure};
use kubectl::output;

pub fn run(flags: &cli::Kubeconfig) -> Result<()> {
    let instance = Instance::of(&flags.place)?;
    let own = instance.kubeconfig();
    if !own.exists() {
        return Err(failure(format!("{} is not there; `gousse up` or `gousse server` makes it", own.display())));
    }
    if flags.merge {
        let target = target()?;
        let context = merge(&own, &target)?;
        output::line(format_args!("context {context:?} added to {}", target.display()))?;
    } else {
        output::line(own.display())?;
    }
    Ok(())
}

/// The first file of $KUBECONFIG, else ~/.kube/config.
fn target() -> Result<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG");
    let first = listed.as_ref().and_then(|list| std::env::split_paths(list).find(|path| !path.as_os_str().is_empty()));
    first
        .or_else(|| std::env::home_dir().map(|home| home.join(".kube/config")))
        .ok_or_else(|| failure("neither $KUBECONFIG nor a home folder says where the kubeconfig is"))
}

fn read(path: &std::path::Path) -> Result<Value> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(json!({"apiVersion": "v1", "kind": "Config", "preferences": {}}))
        }
        read => {
            let bytes = read.context(format_args!("reading {}", path.display()))?;
            let value = api::decode::untyped(&bytes).context(format_args!("reading {}", path.display()))?;
            if value.is_object() { Ok(value) } else { Err(failure(format!("{} is no kubeconfig", path.display()))) }
        }
    }
}

/// Replaces the entries of the same names and makes the context current; the rest stays.
fn merge(own: &std::path::Path, target: &std::path::Path) -> Result<String> {
    let (ours, mut theirs) = (read(own)?, read(target)?);
    for list in ["clusters", "users", "contexts"] {
        let added = ours[list].as_array().cloned().unwrap_or_default();
        let mut all = theirs[list].as_array().cloned().unwrap_or_default();
        all.retain(|old| added.iter().all(|new| new["name"] != old["name"]));
        all.extend(added);
        theirs[list] = Value::Array(all);
    }
    theirs["current-context"] = ours["current-context"].clone();
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).context(format_args!("making {}", folder.display()))?;
    }
    write_private(target, kubectl::yaml::print(&theirs).as_bytes())?;
    Ok(ours["current-context"].as_str().unwrap_or_default().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_replaces_its_own_names_and_leaves_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let (own, target) = (folder.path().join("own"), folder.path().join("deep/config"));
        let entry = |name: &str, server: &str| json!({"name": name, "cluster": {"server": server}});
        let write = |path: &std::path::Path, clusters: Value| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = json!({"current-context": "gousse", "clusters": clusters}).to_string();
            std::fs::write(path, text).unwrap();
        };
        write(&own, json!([entry("gousse", "https://new")]));
        write(&target, json!([entry("gousse", "https://old"), entry("work", "https://work")]));
        assert_eq!(merge(&own, &target).unwrap(), "gousse");
        let merged = read(&target).unwrap();
        assert_eq!(merged["clusters"], json!([entry("work", "https://work"), entry("gousse", "https://new")]));
    }
}
