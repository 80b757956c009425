//! The kinds that a server serves, from its discovery: built in, or brought by its users.

use api::Resource;
use client::{Client, Resources};

use crate::failure::{Result, failure};
use crate::manifest::Manifest;

/// All of them, in the server's order: the core group first, of each group the preferred version first.
#[derive(Clone, Debug)]
pub struct Kinds(Resources);

impl Kinds {
    /// Asks the server.
    pub async fn of(client: &Client) -> Result<Kinds> {
        Ok(Kinds(Resources::ask(client).await?))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.0.iter()
    }

    /// Of each group the version that the server prefers.
    pub fn preferred(&self) -> impl Iterator<Item = &Resource> {
        let first = |group: &str| self.iter().find(|resource| resource.group == group).map(|first| &first.version);
        self.iter().filter(move |resource| first(&resource.group) == Some(&resource.version))
    }

    /// The first of plural, singular, kind or short name; `pods.v1.` and `deployments.apps` too.
    pub fn named(&self, word: &str) -> Result<Resource> {
        let lower = word.to_lowercase();
        let (plain, group) =
            lower.split_once('.').map_or((lower.as_str(), None), |(plain, group)| (plain, Some(group)));
        let fits = |resource: &Resource| {
            let named = resource.plural == plain
                || resource.singular == plain
                || resource.kind.to_lowercase() == plain
                || resource.short_names.iter().any(|short| short == plain);
            let in_group = match group {
                None => true,
                Some(group) => group == resource.group || group == format!("{}.{}", resource.version, resource.group),
            };
            named && in_group
        };
        let found = self.iter().find(|resource| fits(resource)).cloned();
        found.ok_or_else(|| failure(format!("the server doesn't have a resource type {word:?}")))
    }

    /// `all`, lists of kinds.
    pub fn listed(&self, words: &str) -> Result<Vec<Resource>> {
        let mut found = Vec::new();
        for word in words.split(',') {
            match word {
                "all" => {
                    let in_all = |resource: &&Resource| resource.categories.iter().any(|category| category == "all");
                    found.extend(self.preferred().filter(in_all).cloned());
                }
                word => found.push(self.named(word)?),
            }
        }
        Ok(found)
    }

    /// What a manifest's `apiVersion` and `kind` say.
    pub fn of_manifest(&self, manifest: &Manifest) -> Result<Resource> {
        let field = |name: &str| manifest.object[name].as_str().unwrap_or_default();
        let (version, kind) = (field("apiVersion"), field("kind"));
        let found = self.iter().find(|resource| resource.kind == kind && resource.api_version() == version).cloned();
        found.ok_or_else(|| {
            failure(format!(
                "resource mapping not found for name: {:?} namespace: {:?} from {:?}: no matches for kind {kind:?} in version {version:?}\nensure CRDs are installed first",
                manifest.meta("name"), manifest.meta("namespace"), manifest.file
            ))
        })
    }
}
