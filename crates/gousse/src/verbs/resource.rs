//! What a user writes for objects: `pod/web`, `pods web db`, `po,svc`, a kind in any of its names.

use api::{KINDS, Kind};

use crate::failure::{Result, failure};

/// One kind and, if given, one name.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    pub kind: &'static Kind,
    pub name: Option<&'a str>,
}

/// The row of plural, singular, kind or short name; `pods.v1.` and `deployments.apps` too.
pub fn kind_of(word: &str) -> Result<&'static Kind> {
    let lower = word.to_lowercase();
    let (plain, group) = lower.split_once('.').map_or((lower.as_str(), None), |(plain, group)| (plain, Some(group)));
    let fits = |kind: &Kind| {
        let named = kind.plural == plain
            || kind.singular == plain
            || kind.kind.to_lowercase() == plain
            || kind.short_names.contains(&plain);
        let in_group = match group {
            None => true,
            Some(group) => group == kind.group || group == format!("{}.{}", kind.version, kind.group),
        };
        named && in_group
    };
    KINDS.iter().copied().find(|kind| fits(kind)).ok_or_else(|| {
        failure(
            format!("error: the server doesn't have a resource type {word:?}")
                .trim_start_matches("error: ")
                .to_string(),
        )
    })
}

/// `all` and lists of kinds.
pub fn kinds_of(words: &str) -> Result<Vec<&'static Kind>> {
    let mut kinds = Vec::new();
    for word in words.split(',') {
        match word {
            "all" => kinds.extend(KINDS.iter().copied().filter(|k| k.categories.contains(&"all"))),
            word => kinds.push(kind_of(word)?),
        }
    }
    Ok(kinds)
}

/// `pod/web svc/db`, `pods web db`, `pods`.
pub fn parse(words: &[String]) -> Result<Vec<Named<'_>>> {
    let mut named = Vec::new();
    match words {
        [] => return Err(failure("You must specify the type of resource, e.g. `gousse get pods`")),
        words if words.iter().all(|word| word.contains('/')) => {
            for word in words {
                let (kind, name) = word.split_once('/').unwrap_or((word, ""));
                if name.is_empty() {
                    return Err(failure(format!(
                        "{word:?}: arguments in resource/name form may not have an empty name"
                    )));
                }
                named.push(Named { kind: kind_of(kind)?, name: Some(name) });
            }
        }
        [kinds, names @ ..] => {
            if let Some(slash) = words.iter().find(|word| word.contains('/')) {
                return Err(failure(format!(
                    "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. '{slash}')"
                )));
            }
            for kind in kinds_of(kinds)? {
                match names {
                    [] => named.push(Named { kind, name: None }),
                    names => named.extend(names.iter().map(|name| Named { kind, name: Some(name) })),
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

/// Files say themselves what they hold (builder.go, visitByPaths).
pub fn refused_beside_files(word: &str) -> &'static str {
    match word.contains('/') {
        true => "resource/name arguments cannot be provided when a path is specified",
        false => "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
    }
}

/// `pod/web`, with the group of kinds that have one: `deployment.apps/web`.
pub fn shown(kind: &Kind, name: &str) -> String {
    match kind.group {
        "" => format!("{}/{name}", kind.singular),
        group => format!("{}.{group}/{name}", kind.singular),
    }
}

/// The row of a manifest.
pub fn kind_in(object: &serde_json::Value) -> Result<&'static Kind> {
    let field = |name: &str| object.get(name).and_then(|v| v.as_str()).unwrap_or_default();
    let (version, kind) = (field("apiVersion"), field("kind"));
    api::kind::by_kind(version, kind).ok_or_else(|| {
        failure(format!(
            "no matches for kind {kind:?} in version {version:?}; `gousse api-resources` lists what there is"
        ))
    })
}
