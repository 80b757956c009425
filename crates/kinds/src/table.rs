//! All rows, found by their names. Built-in kinds and custom resources stand in it alike.
//!
//! A table never changes: with one row more it is another table, which takes the place of the first. Who
//! serves a request holds the rows that it began with.

use std::collections::HashMap;
use std::sync::Arc;

use api::{Resource, Status};
use serde_json::Value;

use crate::Kind;
use crate::kind::Version;

/// Every kind that is served.
#[derive(Default)]
pub struct Kinds {
    rows: Vec<Arc<Kind>>,
    /// Rows by plural, which they share in several groups.
    by_plural: HashMap<String, Vec<usize>>,
}

/// A kind in the version that a request names. Clone is a reference count.
#[derive(Clone)]
pub struct Served {
    pub kind: Arc<Kind>,
    /// None: the stored version.
    version: Option<usize>,
}

impl Kinds {
    /// In the order in which discovery lists them.
    pub fn new(rows: impl IntoIterator<Item = Kind>) -> Kinds {
        Kinds::default().with(rows)
    }

    /// These and more.
    pub fn with(&self, more: impl IntoIterator<Item = Kind>) -> Kinds {
        let more = more.into_iter().map(|kind| Arc::new(kind.complete()));
        let rows: Vec<Arc<Kind>> = self.rows.iter().cloned().chain(more).collect();
        let mut by_plural = HashMap::<String, Vec<usize>>::new();
        for (index, kind) in rows.iter().enumerate() {
            by_plural.entry(kind.plural.clone()).or_default().push(index);
        }
        Kinds { rows, by_plural }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.rows.iter()
    }

    /// The row that serves a plural in a group and version.
    pub fn served(&self, group: &str, version: &str, plural: &str) -> Option<Served> {
        let rows = self.by_plural.get(plural)?.iter().map(|index| &self.rows[*index]);
        rows.flat_map(Served::all).find(|served| served.resource().is_of(group, version))
    }

    /// Every kind in every version, the stored one first.
    pub fn all_served(&self) -> impl Iterator<Item = Served> {
        self.rows.iter().flat_map(Served::all)
    }

    /// The row of a group and plural, whatever version is asked for.
    pub fn by_plural(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        let mut rows = self.by_plural.get(plural)?.iter().map(|index| &self.rows[*index]);
        rows.find(|kind| kind.resources().any(|resource| resource.group == group))
    }

    /// The row of an `apiVersion` and `kind`.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.rows.iter().find(|row| row.resources().any(|resource| resource.is(api_version, kind)))
    }
}

impl Kind {
    /// Its names in every version, the stored one first.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        [&self.resource].into_iter().chain(self.versions.iter().map(|version| &version.resource))
    }
}

impl Served {
    fn all(kind: &Arc<Kind>) -> impl Iterator<Item = Served> {
        let versions = [None].into_iter().chain((0..kind.versions.len()).map(Some));
        let kind = kind.clone();
        versions.map(move |version| Served { kind: kind.clone(), version })
    }

    /// None: the stored version.
    pub fn version(&self) -> Option<&Version> {
        self.version.map(|index| &self.kind.versions[index])
    }

    /// Which of the kind's further versions it is, if it is one.
    pub fn index(&self) -> Option<usize> {
        self.version
    }

    /// The names in this version.
    pub fn resource(&self) -> &Resource {
        self.version().map_or(&self.kind.resource, |version| &version.resource)
    }

    pub fn group(&self) -> &str {
        &self.resource().group
    }

    pub fn api_version(&self) -> String {
        self.resource().api_version()
    }

    /// The Go package of what it is converted to, as upstream's errors name it: `core`, `autoscaling`.
    pub fn package(&self) -> &str {
        match self.kind.group.split('.').next() {
            None | Some("") => "core",
            Some(first) => first,
        }
    }

    /// The row of the schema table.
    pub fn schema(&self) -> &str {
        self.version().map_or(&self.kind.schema, |version| &version.schema)
    }

    /// A stored object in this version.
    pub fn of_stored(&self, object: &mut Value) {
        if let Some(version) = self.version() {
            (version.from_stored)(object);
            object["apiVersion"] = self.api_version().into();
        }
    }

    /// An object of this version in the stored one.
    pub fn to_stored(&self, object: &mut Value) {
        if let Some(version) = self.version() {
            (version.to_stored)(object);
            object["apiVersion"] = self.kind.api_version().into();
        }
    }

    /// `pods "x" not found`
    pub fn not_found(&self, name: &str) -> Status {
        Status::not_found(self.group(), &self.kind.plural, name)
    }
}
