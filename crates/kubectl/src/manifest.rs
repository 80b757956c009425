//! Manifests: YAML or JSON documents from files, folders or standard input, in order.
//!
//! Documents without content are passed over, a `List` is taken apart. An error names the file and the
//! document.

use std::io::Read;
use std::path::{Path, PathBuf};

use api::Resource;
use serde_json::Value;

use crate::failure::{Context, Result, failure};
use crate::flags::truth;

/// One object as its author wrote it.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file, for errors.
    pub file: String,
    pub object: Value,
}

/// Where objects go that say nothing of a namespace.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub namespace: &'a str,
    /// It was asked for by name: an object that says another is refused.
    pub is_demanded: bool,
}

impl Manifest {
    /// A text of the object's metadata; "" where there is none.
    pub fn meta(&self, field: &str) -> &str {
        self.object["metadata"][field].as_str().unwrap_or_default()
    }

    /// The namespace that it goes to, "" for kinds that have none (cli-runtime visitor.go, RequireNamespace).
    pub fn namespace<'a>(&'a self, kind: &Resource, place: Place<'a>) -> Result<&'a str> {
        let (own, wanted) = (self.meta("namespace"), place.namespace);
        match own {
            _ if !kind.namespaced => Ok(""),
            "" => Ok(wanted),
            own if place.is_demanded && own != wanted => Err(failure(format!(
                "the namespace from the provided object {own:?} does not match the namespace {wanted:?}. You must pass '--namespace={own}' to perform this operation."
            ))),
            own => Ok(own),
        }
    }
}

/// Reads all of them, which may be none. A folder means its .yaml, .yml and .json files (below it too, if `recursive`).
pub fn read(paths: &[PathBuf], recursive: bool) -> Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
            parse("STDIN", &text, &mut manifests)?;
        } else if path.is_dir() {
            for file in files_of(path, recursive)? {
                read_file(&file, &mut manifests)?;
            }
        } else {
            read_file(path, &mut manifests)?;
        }
    }
    Ok(manifests)
}

fn files_of(folder: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).context(format_args!("reading {}", folder.display()))? {
        let path = entry.context(format_args!("reading {}", folder.display()))?.path();
        let is_manifest = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if path.is_dir() && recursive {
            files.extend(files_of(&path, true)?);
        } else if path.is_file() && is_manifest {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path, manifests: &mut Vec<Manifest>) -> Result<()> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(failure(format!("the path {:?} does not exist", path.display().to_string())));
        }
        read => read.context(format_args!("reading {}", path.display()))?,
    };
    parse(&path.display().to_string(), &text, manifests)
}

/// The documents of one text.
pub fn parse(file: &str, text: &str, manifests: &mut Vec<Manifest>) -> Result<()> {
    for (number, document) in api::decode::documents(text).into_iter().enumerate() {
        let wrong = |why: String| failure(format!("error parsing {file}: document {}: {why}", number + 1));
        let value = api::decode::untyped(document.as_bytes()).map_err(|e| wrong(e.to_string()))?;
        take(file, value, manifests).map_err(wrong)?;
    }
    Ok(())
}

fn take(file: &str, value: Value, manifests: &mut Vec<Manifest>) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    if field("kind").is_empty() {
        return Err("Object 'Kind' is missing; a manifest needs kind, apiVersion and metadata".into());
    }
    if field("apiVersion").is_empty() {
        return Err("Object 'apiVersion' is missing; for a Pod it is v1".into());
    }
    match value.get("items") {
        Some(Value::Array(items)) if field("kind").ends_with("List") => {
            items.iter().try_for_each(|item| take(file, item.clone(), manifests))
        }
        _ => {
            manifests.push(Manifest { file: file.to_string(), object: value });
            Ok(())
        }
    }
}

/// What `--validate` says, as the server takes it (kubectl pkg/cmd/util/helpers.go, GetValidationDirective).
pub fn validation(text: &str) -> Result<&'static str> {
    match text {
        "warn" => Ok("Warn"),
        "strict" => Ok("Strict"),
        "ignore" => Ok("Ignore"),
        text => match truth(text) {
            Ok(true) => Ok("Strict"),
            Ok(false) => Ok("Ignore"),
            Err(_) => Err(failure(format!(
                "invalid - validate option {text:?}; must be one of: strict (or true), warn, ignore (or false)"
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_divided_lists_taken_apart_and_errors_name_the_place() {
        let mut found = Vec::new();
        let text = "# only a comment\n---\nkind: Pod\napiVersion: v1\nmetadata: {name: a}\n--- # two\n\
                    kind: List\napiVersion: v1\nitems:\n- {kind: Pod, apiVersion: v1, metadata: {name: b}}\n---\n";
        parse("x.yaml", text, &mut found).unwrap();
        let names: Vec<_> = found.iter().map(|m| m.object["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b"]);
        let mut more = Vec::new();
        let text = r#"{"kind":"Pod","apiVersion":"v1"}{"kind":"Pod","apiVersion":"v1"}
--- {kind: Pod, apiVersion: v1}
---"#;
        parse("x.json", text, &mut more).unwrap();
        assert_eq!(more.len(), 3);
        let error = parse("x.yaml", "--- junk\n", &mut more).unwrap_err().to_string();
        assert!(error.starts_with("error parsing x.yaml: document 1: Object 'Kind' is missing"), "{error}");
        let error = parse("x.yaml", "apiVersion: v1\n", &mut found).unwrap_err().to_string();
        assert!(error.starts_with("error parsing x.yaml: document 1: Object 'Kind' is missing"), "{error}");
        assert!(parse("x.yaml", "a: [", &mut found).is_err());
    }
}
