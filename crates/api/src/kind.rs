//! What one row of the kind table says. Routes, discovery, OpenAPI, tables, CLI names, store keys
//! and ownership all derive from it.
//!
//! Adding a kind is one file in `kinds/` and one line in `KINDS` (docs/adding-a-kind). The hooks
//! are pure functions over JSON trees; the server calls them in the order of a write: `prepare`,
//! `default`, `validate`.

use serde_json::Value;

use crate::FieldError;

pub use crate::kinds::KINDS;

/// One kind of the API.
pub struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    /// The version that is stored and preferred.
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// The row of the schema table: `io.k8s.api.core.v1.Pod`.
    pub schema: &'static str,
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    pub columns: &'static [Column],
    /// Field selectors beyond `metadata.name` and `metadata.namespace`.
    pub field_selectors: &'static [FieldSelector],
    /// Other versions that are served, as pure conversions of the stored form.
    pub versions: &'static [Version],
    pub hooks: Hooks,
    pub delete: DeleteStrategy,
}

/// What a kind does at a write. Each is pure; `Context` carries what differs from request to request.
pub struct Hooks {
    /// Before defaulting: what a client may not set is put back (status at create and update, spec at
    /// a status write, generation). `old` is None at create.
    pub prepare: fn(&mut Value, Option<&Value>, &Context),
    /// Defaults that the schema cannot express (upstream's zz_generated.defaults).
    pub default: fn(&mut Value),
    /// All that is wrong, not the first. `old` is None at create.
    pub validate: fn(&Value, Option<&Value>, &Context) -> Vec<FieldError>,
    /// `Warning` headers.
    pub warnings: fn(&Value, Option<&Value>) -> Vec<String>,
}

/// What a hook may know about the request.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// RFC 3339, whole seconds: the time of the request, injected.
    pub now: String,
    /// Empty for the object itself: `status`, `resize`, `ephemeralcontainers`, …
    pub subresource: String,
    /// The `apiVersion` that the client spoke, where rules depend on it; empty: the stored form's.
    pub api_version: String,
    pub allow_privileged: bool,
}

/// A subresource as data: which field paths it owns.
pub struct Subresource {
    /// `status`
    pub name: &'static str,
    /// Kind of the body, where it is another one (`Binding`, `Eviction`, `Scale`); empty: the object's own.
    pub body_kind: &'static str,
    /// `autoscaling/v1`, `policy/v1`; empty: the row's own.
    pub body_group_version: &'static str,
    /// Top-level fields that a write to it changes, and a write to the object does not: `["status"]`.
    pub owns: &'static [&'static str],
    pub verbs: &'static [&'static str],
}

/// A column of `kubectl get`, computed on the server.
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `date`
    pub kind: &'static str,
    /// `name` for the name's column, else empty
    pub format: &'static str,
    /// 0 always, 1 with `-o wide`
    pub priority: i32,
    pub description: &'static str,
    /// The cell; `now` (RFC 3339) for ages.
    pub cell: fn(&Value, now: &str) -> Value,
}

/// A field that a list or watch can be filtered by.
pub struct FieldSelector {
    /// `spec.nodeName`
    pub name: &'static str,
    pub value: fn(&Value) -> String,
}

/// A further served version of a kind.
pub struct Version {
    pub group: &'static str,
    pub version: &'static str,
    pub schema: &'static str,
    /// From the stored form to this version and back.
    pub from_stored: fn(&mut Value),
    pub to_stored: fn(&mut Value),
}

/// How a DELETE works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteStrategy {
    /// Gone at once, unless finalizers hold it.
    Immediate,
    /// A pod: recorded grace first (docs of pod deletion); gone when deleted with grace 0.
    Graceful,
    /// A namespace: Terminating, emptied, then finalized.
    Namespace,
}

impl Kind {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// The row of a group and plural, whatever version is asked for.
pub fn by_plural(group: &str, plural: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .copied()
        .find(|k| k.plural == plural && (k.group == group || k.versions.iter().any(|v| v.group == group)))
}

/// The row of an `apiVersion` and `kind`.
pub fn by_kind(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    KINDS.iter().copied().find(|k| {
        let here = k.group == group && k.version == version;
        k.kind == kind && (here || k.versions.iter().any(|v| v.group == group && v.version == version))
    })
}
