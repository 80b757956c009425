//! What one row of the kind table says. Routes, discovery, OpenAPI, tables, store keys and ownership
//! all derive from it.
//!
//! A row begins as `Kind::namespaced` or `Kind::cluster` and names what differs (docs/adding-a-kind).
//! Hooks are pure functions over JSON trees and get the kind that they judge; the server calls them in
//! the order of a write: `default`, `prepare`, `validate`. Custom resources are rows like any other.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::time::Duration;

use api::resource::Names;
use api::selector::Fields;
use api::{FieldError, Resource, Status, tree};
use serde_json::Value;

/// Of the program in a built-in row, read at run time in one of a custom resource.
pub type Text = Cow<'static, str>;

/// One kind of the API; it is a resource and more.
pub struct Kind {
    /// In the version that is stored and preferred.
    pub resource: Resource,
    /// The row of the schema table: `io.k8s.api.core.v1.Pod`.
    pub schema: Text,
    pub subresources: Vec<Subresource>,
    pub columns: Vec<Column>,
    /// Field selectors beyond `metadata.name` and `metadata.namespace`.
    pub field_selectors: Vec<FieldSelector>,
    /// Other versions that are served, as pure conversions of the stored form.
    pub versions: Vec<Version>,
    pub hooks: Hooks,
    pub writes: Writes,
    pub delete: DeleteStrategy,
    /// A changed object's metadata is judged as a new one's too (ValidateXUpdate of upstream calls ValidateX): of the
    /// others, what names are made of has to be part of a path.
    pub judged_as_new: bool,
    /// What nobody does yet for objects of this kind; who makes one is told, and so is docs/compatibility:
    /// `no controller makes its pods yet`. Empty: all that upstream does.
    pub dormant: &'static str,
    /// Since when it is deprecated and what replaces it (upstream: APILifecycleDeprecated); whoever asks for it is
    /// told: `in v1.33+; use discovery.k8s.io/v1 EndpointSlice`. Empty: it is not.
    pub deprecated: &'static str,
    pub upstream: Upstream,
}

/// How a stock server keeps objects of a kind, which shows in what it tells of them
/// (kubeapiserver/default_storage_factory_builder.go). Empty: as any kind's.
#[derive(Clone, Copy, Default)]
pub struct Upstream {
    /// Its folder in etcd, if that is not the plural.
    pub folder: &'static str,
    /// An older version in which it is still stored: releases before could not read the newer one.
    pub version: &'static str,
    /// How a field is refused by which objects are not filtered: `field label "%" not supported for Job`.
    pub unselected: &'static str,
    /// Whether they are not even filtered by their namespace.
    pub anywhere: bool,
}

/// What a kind does at a write. Each is pure; `Context` carries what differs from request to request.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Defaults that the schema cannot express (upstream's zz_generated.defaults), and what decoding does
    /// beside. More than once.
    pub default: fn(&Kind, &mut Value),
    /// After defaulting and admission's changes, and after what others own was put back: what else a client
    /// may not set (a new object's status, the generation). `old` is None at create.
    pub prepare: fn(&Kind, &mut Value, Option<&Value>, &Context),
    /// All that is wrong, not the first. `old` is None at create.
    pub validate: fn(&Kind, &Value, Option<&Value>, &Context) -> Vec<FieldError>,
    /// `Warning` headers.
    pub warnings: fn(&Kind, &Value, Option<&Value>) -> Vec<String>,
    /// Those of a write to the status: of the new object alone.
    pub status_warnings: fn(&Kind, &Value) -> Vec<String>,
    /// A condition of the object's row in a Table, so that a client can grey it.
    pub row_condition: fn(&Value) -> Option<Value>,
}

/// How the generic verbs treat objects of a kind where they differ. Each is pure.
#[derive(Clone, Copy)]
pub struct Writes {
    /// What its name is made of is its name (upstream: a name generator that makes none).
    pub named_as_asked: bool,
    /// A PUT creates what is not there (upstream: AllowCreateOnUpdate).
    pub put_creates: bool,
    /// A PUT must name a revision (no AllowUnconditionalUpdate).
    pub conditional: bool,
    /// A DELETE answers with the object and not with a Status (ReturnDeletedObject).
    pub returns_deleted: bool,
    /// A DELETE that does not say what becomes of dependents leaves them (DefaultGarbageCollectionPolicy).
    pub orphans: bool,
    /// What such a DELETE is told. Empty: nothing.
    pub orphan_warning: &'static str,
    /// An object goes by itself so long after it was last written.
    pub ttl: Option<Duration>,
    /// What a write to the object leaves as it is, for its managers (upstream: GetResetFields).
    pub resets: Paths,
    /// The top-level field in which the server notes who made the object: `username`, `uid`, `groups`,
    /// `extra`. Empty: none.
    pub requester: &'static str,
    /// Whether the second version only renews the first: lost in a crash, it reads like a renewal that
    /// came late, so that it need not be durable at once.
    pub only_renews: fn(&Value, &Value) -> bool,
    /// Whether a version tells of the object's end, or of what must go on until then: it may use the
    /// room that is kept on a full disk.
    pub leads_to_less: fn(&Value) -> bool,
    /// The object that a new one tells of; of an end it tells on a full disk too.
    pub tells_of: fn(&Value) -> Option<Told<'_>>,
    /// What a new object needs and what comes with its namespace, a moment later: a resource and a name.
    pub awaits: fn(&Value) -> Option<(&'static str, &'static str)>,
}

/// The object that another one is about.
pub struct Told<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
}

/// Paths of fields: `[["spec"], ["metadata", "labels"]]`.
pub type Paths = &'static [&'static [&'static str]];

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
    /// The family of the addresses that services have: `IPv4`; empty where services have none.
    pub service_family: &'static str,
}

/// A subresource as data: who serves it, and which fields it owns.
#[derive(Clone, Copy, Debug)]
pub struct Subresource {
    /// `status`
    pub name: &'static str,
    pub act: Act,
    /// Kind of the body, where it is another one (`Binding`, `Eviction`, `Scale`); empty: the object's own.
    pub body_kind: &'static str,
    /// `autoscaling/v1`, `policy/v1`; empty: the row's own.
    pub body_group_version: &'static str,
    /// The type whose fields are its query's parameters; empty: none.
    pub query: &'static str,
    /// Top-level fields that a write to it changes, and a write to the object does not: `["status"]`.
    pub owns: &'static [&'static str],
    /// Top-level fields that both may change.
    pub shares: &'static [&'static str],
    /// Whether a new object may bring what it owns; else that is dropped.
    pub at_create: bool,
    /// What a write to it leaves as it is, for its managers (upstream: GetResetFields).
    pub resets: Paths,
    pub verbs: &'static [&'static str],
}

/// What a request to a subresource does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Reads the object, or writes what the subresource owns of it.
    Part,
    /// Reads or writes how many pods there shall be, as a Scale.
    Scale,
    /// Sets a pod's node, once.
    Bind,
    /// A DELETE that asks the disruption budgets first.
    Evict,
    /// Makes a token.
    Token,
    /// Text, from the node.
    Log,
    /// Streams of a process, from the node.
    Exec,
    /// Streams of ports, from the node.
    PortForward,
    /// HTTP, passed on.
    Proxy,
}

/// A column of `kubectl get`, computed on the server.
#[derive(Clone)]
pub struct Column {
    pub name: Text,
    /// `string`, `integer`, `boolean`, `date`
    pub kind: Text,
    /// `name` for the name's column, else empty
    pub format: Text,
    /// 0 always, 1 with `-o wide`
    pub priority: i32,
    pub description: Text,
    pub cell: Cell,
}

#[derive(Clone)]
pub enum Cell {
    /// What stands at a dotted path; of strings the empty one, if nothing does.
    Path(Text),
    /// The number at a dotted path; zero, if none is there.
    Count(Text),
    /// The second argument is now (RFC 3339), for ages.
    Of(fn(&Value, &str) -> Value),
}

/// A field that a list or watch can be filtered by.
#[derive(Clone)]
pub struct FieldSelector {
    /// `spec.nodeName`
    pub name: Text,
    pub value: Selected,
}

#[derive(Clone)]
pub enum Selected {
    /// The text at a dotted path, empty if there is none.
    Path(Text),
    Of(fn(&Value) -> String),
}

/// A further served version of a kind.
pub struct Version {
    pub resource: Resource,
    pub schema: Text,
    /// From the stored form to this version and back, but for `apiVersion`.
    pub from_stored: fn(&mut Value),
    pub to_stored: fn(&mut Value),
}

/// How a DELETE works.
#[derive(Clone, Copy)]
pub enum DeleteStrategy {
    /// Gone at once, unless finalizers hold it.
    Immediate,
    /// Recorded grace first; gone when deleted with grace 0. The function says how many seconds the
    /// first deletion of an object gives, of those that were asked for.
    Graceful(fn(&Value, Option<i64>) -> i64),
    /// Terminating, emptied by its controller, then finalized.
    Emptied,
}

impl Kind {
    pub fn short(self, name: &str) -> Kind {
        self.named(|names| names.short_names.push(name.into()))
    }

    /// One of those that `all` stands for.
    pub fn in_all(self) -> Kind {
        self.in_category("all")
    }

    /// One of those that a word stands for.
    pub fn in_category(self, category: &str) -> Kind {
        self.named(|names| names.categories.push(category.into()))
    }

    /// A verb less.
    pub fn without(self, verb: &str) -> Kind {
        self.named(|names| names.verbs.retain(|known| known != verb))
    }

    /// Served before anybody acts on its objects: what is missing, in a sentence's second half.
    pub fn dormant(self, missing: &'static str) -> Kind {
        Kind { dormant: missing, ..self }
    }

    /// Served, but something else took its place: a sentence's second half.
    pub fn deprecated(self, how: &'static str) -> Kind {
        Kind { deprecated: how, ..self }
    }

    /// A stock server keeps it in a folder of another name.
    pub fn kept_in(self, folder: &'static str) -> Kind {
        Kind { upstream: Upstream { folder, ..self.upstream }, ..self }
    }

    /// A stock server still stores it in an older version.
    pub fn kept_as(self, version: &'static str) -> Kind {
        Kind { upstream: Upstream { version, ..self.upstream }, ..self }
    }

    /// A changed object's metadata is judged as a new one's too.
    pub(crate) fn judged_as_new(self) -> Kind {
        Kind { judged_as_new: true, ..self }
    }

    /// Its objects are not filtered by their namespace.
    pub fn found_anywhere(self) -> Kind {
        Kind { upstream: Upstream { anywhere: true, ..self.upstream }, ..self }
    }

    /// A stock server refuses a field by which its objects are not filtered in these words; `%` is the field.
    pub fn unselected(self, words: &'static str) -> Kind {
        Kind { upstream: Upstream { unselected: words, ..self.upstream }, ..self }
    }

    fn named(self, change: impl FnOnce(&mut Names)) -> Kind {
        Kind { resource: self.resource.with(change), ..self }
    }

    /// The resource learns the subresources that the row names.
    pub(crate) fn complete(self) -> Kind {
        let subresources = self.subresources.iter().map(|s| s.name.to_string()).collect();
        self.named(|names| names.subresources = subresources)
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// The schema's defaults, then the row's.
    pub fn default(&self, object: &mut Value) {
        api::schema::default(&self.schema, object);
        (self.hooks.default)(self, object);
    }

    /// All that is wrong, each once (apiserver pkg/registry/rest, which takes out what its declared rules say again).
    /// `old` is None at create.
    pub fn validate(&self, object: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
        let mut errors = (self.hooks.validate)(self, object, old, context);
        let mut seen = BTreeSet::new();
        errors.retain(|e| seen.insert((e.class as u8, e.field.clone(), e.value.clone(), e.detail.clone())));
        errors
    }

    /// `Warning` headers of a write to the object. `old` is None at create.
    pub fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = (self.hooks.warnings)(self, object, old);
        if old.is_none() && !self.dormant.is_empty() {
            warnings.push(format!("{} is stored, but {}", self.kind, self.dormant));
        }
        warnings
    }

    /// What a write to the object or a subresource leaves as it is, for its managers.
    pub fn resets(&self, subresource: &str) -> Paths {
        self.subresource(subresource).map_or(self.writes.resets, |subresource| subresource.resets)
    }

    /// A 400 if objects cannot be filtered by one of the fields.
    pub fn check(&self, fields: &Fields) -> Result<(), Status> {
        let known = |name: &str| {
            name == "metadata.name"
                || (name == "metadata.namespace"
                    && !self.upstream.anywhere
                    && (self.namespaced || self.field_selectors.is_empty()))
                || self.field_selectors.iter().any(|f| f.name == name)
        };
        // A term that says nothing is none (apimachinery fields.ParseSelector).
        let Some(term) = fields.terms.iter().find(|term| !term.field.is_empty() && !known(&term.field)) else {
            return Ok(());
        };
        Err(Status::bad_request(match self.field_selectors.is_empty() {
            // runtime/conversion.go DefaultMetaV1FieldSelectorConversion
            true => format!(
                "{:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                term.field
            ),
            false if !self.upstream.unselected.is_empty() => self.upstream.unselected.replace('%', &term.field),
            false => format!("field label not supported: {}", term.field),
        }))
    }

    /// Whether an object of this kind is selected.
    pub fn selects(&self, fields: &Fields, object: &Value) -> bool {
        fields.matches(|name| match name {
            "metadata.name" | "metadata.namespace" => Some(tree::text(object, name).into()),
            _ => self.field_selectors.iter().find(|f| f.name == name).map(|f| f.of(object)),
        })
    }
}

impl Deref for Kind {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        &self.resource
    }
}

impl Column {
    /// The cell of an object; `now` is RFC 3339.
    pub fn of(&self, object: &Value, now: &str) -> Value {
        match &self.cell {
            Cell::Path(path) if self.kind == "string" => tree::text(object, path).into(),
            Cell::Path(path) => tree::at(object, path).clone(),
            Cell::Count(path) => tree::int(object, path).unwrap_or(0).into(),
            Cell::Of(cell) => cell(object, now),
        }
    }
}

impl FieldSelector {
    /// The field's value in an object.
    pub fn of(&self, object: &Value) -> String {
        match &self.value {
            Selected::Path(path) => match tree::at(object, path) {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
            Selected::Of(value) => value(object),
        }
    }
}
