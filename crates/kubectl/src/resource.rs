//! What a user writes for objects: `pod/web`, `pods web db`, `po,svc`, a kind in any of its names.

use api::Resource;

use crate::discovery::Kinds;
use crate::failure::{Result, failure};

/// One kind and, if given, one name.
#[derive(Clone)]
pub struct Named<'a> {
    pub kind: Resource,
    pub name: Option<&'a str>,
}

/// `pod/web svc/db`, `pods web db`, `pods`.
pub fn parse<'a>(kinds: &Kinds, words: &'a [String]) -> Result<Vec<Named<'a>>> {
    let mut named = Vec::new();
    match words {
        [] => return Err(failure("You must specify the type of resource, e.g. `gousse get pods`")),
        words if words.iter().all(|word| word.contains('/')) => {
            for word in words {
                let (kind, name) = word.split_once('/').unwrap_or((word, ""));
                if name.contains('/') {
                    return Err(failure("arguments in resource/name form may not have more than one slash"));
                }
                if kind.is_empty() || name.is_empty() {
                    return Err(failure("arguments in resource/name form must have a single resource and name"));
                }
                named.push(Named { kind: kinds.named(kind)?, name: Some(name) });
            }
        }
        [listed, names @ ..] => {
            if let Some(slash) = words.iter().find(|word| word.contains('/')) {
                return Err(failure(format!(
                    "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. '{slash}')"
                )));
            }
            for kind in kinds.listed(listed)? {
                match names {
                    [] => named.push(Named { kind, name: None }),
                    names => named.extend(names.iter().map(|name| Named { kind: kind.clone(), name: Some(name) })),
                }
            }
        }
    }
    Ok(named)
}

/// What a selector chooses has no name (cli-runtime, builder.go, visitBySelector).
pub fn unnamed(words: &[String], named: &[Named<'_>]) -> Result<()> {
    match named.iter().any(|one| one.name.is_some()) {
        false => Ok(()),
        true if words.iter().any(|word| word.contains('/')) => {
            Err(failure("selectors and the all flag cannot be used when passing resource/name arguments"))
        }
        true => Err(failure("name cannot be provided when a selector is specified")),
    }
}

/// A name is one of a namespace (builder.go, visitByName).
pub fn in_one_namespace(all: bool, named: &[Named<'_>]) -> Result<()> {
    match named.iter().any(|one| all && one.name.is_some() && one.kind.namespaced) {
        false => Ok(()),
        true => Err(failure("a resource cannot be retrieved by name across all namespaces")),
    }
}

/// Files say themselves what they hold (builder.go, visitByPaths).
pub fn refused_beside_files(word: &str) -> &'static str {
    match word.contains('/') {
        true => "resource/name arguments cannot be provided when a path is specified",
        false => "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
    }
}

/// `pod/web`, with the group of kinds that have one: `deployment.apps/web`.
pub fn shown(kind: &Resource, name: &str) -> String {
    match kind.group.as_str() {
        "" => format!("{}/{name}", kind.singular),
        group => format!("{}.{group}/{name}", kind.singular),
    }
}
