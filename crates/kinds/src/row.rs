//! What rows of the kind table are made of: verbs, columns, subresources, and what they do by default.

use api::{FieldError, Resource, age, names, tree};
use serde_json::{Value, json};

pub use crate::kind::{
    Act, Cell, Column, Context, DeleteStrategy, FieldSelector, Hooks, Kind, Selected, Subresource, Told, Version,
    Writes,
};
use crate::kind::{Text, Upstream};
use crate::validate::meta;

pub const WRITE_BACK: &[&str] = &["get", "patch", "update"];
pub const CREATE: &[&str] = &["create"];
pub const GET: &[&str] = &["get"];
pub const CONNECT: &[&str] = &["create", "get"];
pub const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

/// A subresource that owns nothing yet.
pub const PART: Subresource = Subresource {
    name: "",
    act: Act::Part,
    body_kind: "",
    body_group_version: "",
    query: "",
    owns: &[],
    shares: &[],
    at_create: false,
    resets: &[&["status"]],
    verbs: WRITE_BACK,
};

pub const STATUS: Subresource = Subresource { name: "status", owns: &["status"], resets: &[&["spec"]], ..PART };

/// A status whose writes leave the metadata as it is, too.
pub const STATUS_ALONE: Subresource = Subresource { resets: &[&["metadata"], &["spec"]], ..STATUS };
pub const SCALE: Subresource = Subresource {
    name: "scale",
    act: Act::Scale,
    body_kind: "Scale",
    body_group_version: "autoscaling/v1",
    shares: &["spec"],
    resets: &[],
    ..PART
};

pub const NAME: Column = Column {
    name: Text::Borrowed("Name"),
    kind: Text::Borrowed("string"),
    format: Text::Borrowed("name"),
    priority: 0,
    description: Text::Borrowed("The name; unique within a namespace."),
    cell: Cell::Path(Text::Borrowed("metadata.name")),
};

pub const AGE: Column = computed("Age", "The time since the object was created.", |object, now| {
    json!(age::since(tree::text(object, "metadata.creationTimestamp"), now))
});

/// Instead of the age, where upstream has no printer of its own (rest.NewDefaultTableConvertor).
pub const CREATED: Column = Column {
    name: Text::Borrowed("Created At"),
    kind: Text::Borrowed("date"),
    format: Text::Borrowed(""),
    priority: 0,
    description: Text::Borrowed("When the object was created."),
    cell: Cell::Of(|object, _| match tree::text(object, "metadata.creationTimestamp") {
        // What was not created, Go's zero time: an event that carries no object.
        "" => json!("0001-01-01T00:00:00Z"),
        created => json!(created),
    }),
};

/// Judges the metadata, does nothing else.
pub const HOOKS: Hooks = Hooks {
    default: |_, _| {},
    prepare: |_, _, _, _| {},
    validate: |kind, object, old, _| metadata(kind, object, old),
    warnings: |_, _, _| Vec::new(),
    status_warnings: |_, _| Vec::new(),
    row_condition: |_| None,
};

/// As most kinds are.
pub const WRITES: Writes = Writes {
    named_as_asked: false,
    put_creates: false,
    conditional: false,
    returns_deleted: false,
    orphans: false,
    orphan_warning: "",
    ttl: None,
    resets: &[&["status"]],
    requester: "",
    only_renews: |_, _| false,
    leads_to_less: |_| false,
    tells_of: |_| None,
    awaits: |_| None,
};

impl Kind {
    /// A kind without behaviour, whose objects are in a namespace: every verb, name and age as columns,
    /// metadata judged. `api_version` is `v1` or `apps/v1`.
    pub fn namespaced(api_version: &str, kind: &str, plural: &str) -> Kind {
        Kind::of(Resource::namespaced(api_version, kind, plural))
    }

    /// Like `namespaced`, for what is in no namespace.
    pub fn cluster(api_version: &str, kind: &str, plural: &str) -> Kind {
        Kind::of(Resource::cluster(api_version, kind, plural))
    }

    fn of(resource: Resource) -> Kind {
        let package = match resource.group.split('.').next().unwrap_or_default() {
            "" => "core",
            first => first,
        };
        Kind {
            schema: format!("io.k8s.api.{package}.{}.{}", resource.version, resource.kind).into(),
            resource,
            subresources: Vec::new(),
            columns: vec![NAME, AGE],
            field_selectors: Vec::new(),
            versions: Vec::new(),
            hooks: HOOKS,
            writes: WRITES,
            delete: DeleteStrategy::Immediate,
            judged_as_new: false,
            dormant: "",
            deprecated: "",
            upstream: Upstream::default(),
        }
    }
}

/// A column of strings that is always shown.
const fn column(name: &'static str, description: &'static str, cell: Cell) -> Column {
    Column {
        name: Text::Borrowed(name),
        kind: Text::Borrowed("string"),
        format: Text::Borrowed(""),
        priority: 0,
        description: Text::Borrowed(description),
        cell,
    }
}

/// A column with the string at a path.
pub const fn text(name: &'static str, description: &'static str, path: &'static str) -> Column {
    column(name, description, Cell::Path(Text::Borrowed(path)))
}

/// A column with the number at a path.
pub fn count(name: &'static str, description: &'static str, path: &'static str) -> Column {
    let cell = Cell::Count(Text::Borrowed(path));
    Column { kind: "integer".into(), ..column(name, description, cell) }
}

/// A column of strings that are made from the object and the time.
pub const fn computed(name: &'static str, description: &'static str, cell: fn(&Value, &str) -> Value) -> Column {
    column(name, description, Cell::Of(cell))
}

/// `text` or `computed`, shown with `-o wide` only.
pub const fn wide(column: Column) -> Column {
    let mut column = column;
    column.priority = 1;
    column
}

/// A selector whose name is its path.
pub const fn field(path: &'static str) -> FieldSelector {
    renamed(path, path)
}

/// A selector by another name than its path.
pub const fn renamed(name: &'static str, path: &'static str) -> FieldSelector {
    FieldSelector { name: Text::Borrowed(name), value: Selected::Path(Text::Borrowed(path)) }
}

/// A selector whose value is made from the object.
pub const fn made(name: &'static str, value: fn(&Value) -> String) -> FieldSelector {
    FieldSelector { name: Text::Borrowed(name), value: Selected::Of(value) }
}

/// A subresource that does something else than read and write a part.
pub const fn act(
    name: &'static str,
    act: Act,
    body_kind: &'static str,
    body_group_version: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { name, act, body_kind, body_group_version, verbs, ..PART }
}

/// HTTP, passed on; its query is a type of the core group: `PodProxyOptions`.
pub const fn proxy(options: &'static str) -> Subresource {
    act("proxy", Act::Proxy, options, "", PROXY)
}

/// The metadata of any kind whose names are DNS subdomains.
pub fn metadata(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    meta::object(kind, object, old, names::dns_subdomain, &mut errors);
    errors
}

/// Generation as most kinds count it: 1 at create, one more for each change of the spec.
pub fn count_generation(object: &mut Value, old: Option<&Value>) {
    let generation = match old {
        None => 1,
        Some(old) => {
            let before = tree::int(old, "metadata.generation").unwrap_or(0);
            before + i64::from(tree::at(object, "spec") != tree::at(old, "spec"))
        }
    };
    if let Some(metadata) = tree::child(object, "metadata") {
        metadata["generation"] = json!(generation);
    }
}

/// `a=b,c=d`, or `<none>`: labels and selectors as a column shows them.
pub fn labels_text(object: &Value, path: &str) -> String {
    let pairs: Vec<String> =
        tree::entries(object, path).map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// `a=b,c in (d,e),!f`, or `<none>`: a LabelSelector as a column shows it (metav1.FormatLabelSelector).
pub fn selector_text(selector: &Value) -> String {
    match api::selector::line(selector) {
        Err(_) => "<error>".into(),
        Ok(text) if text.is_empty() => "<none>".into(),
        Ok(text) => text,
    }
}
