//! Field selectors that thousands ask with, each for another value: found in the bytes.
//!
//! A watch that demands one is told by the store of nothing else (pkg/registry/core/pod/strategy.go
//! NodeNameTriggerFunc): so a change of a pod costs its node, and not all of them.

use std::borrow::Cow;

use serde::Deserialize;
use store::{Sieve, Wanted};

use super::Filter;

/// A kind's key in the store (`pods`), and a field of it.
static TRIGGERS: &[(&str, Sieve)] = &[("pods", Sieve { name: "spec.nodeName", of: node_name })];

/// What a filter demands of such a field; never the empty value, which most objects may have.
pub fn wanted(filter: &Filter) -> Option<Wanted> {
    let fields = filter.fields.as_ref()?;
    let kind = filter.served.kind.qualified();
    TRIGGERS.iter().filter(|(of, _)| *of == kind).find_map(|(_, sieve)| {
        let value = fields.exact(sieve.name).filter(|value| !value.is_empty())?;
        Some(Wanted { sieve: *sieve, value: value.into() })
    })
}

#[derive(Deserialize)]
struct Pod<'a> {
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
}

#[derive(Deserialize)]
struct Spec<'a> {
    #[serde(borrow, rename = "nodeName")]
    node_name: Option<Cow<'a, str>>,
}

fn node_name(pod: &[u8]) -> Option<String> {
    Some(serde_json::from_slice::<Pod<'_>>(pod).ok()?.spec?.node_name?.into_owned())
}

#[cfg(test)]
mod tests;
