//! The objects that a verb works on, by words, files or a selector, as the server has them.
//!
//! What cli-runtime's builder does for kubectl's verbs (pkg/resource/builder.go): what is found is worked
//! on although something else is not.

use std::path::PathBuf;

use api::{Object, Resource};
use clap::Args;
use client::ListOptions;
use serde_json::Value;

use crate::discovery::Kinds;
use crate::failure::{Failure, Result, failure};
use crate::manifest::{self, Manifest, Place};
use crate::resource::{self, Named};
use crate::session::Session;

/// Words, or files.
#[derive(Args, Clone, Debug, Default)]
pub struct Given {
    /// `deployment/web`, `deployments web db`
    pub resources: Vec<String>,
    /// Files, folders or `-`
    #[arg(short, long = "filename")]
    pub filename: Vec<PathBuf>,
    /// Folders below folders too
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// Words, files, a selector.
#[derive(Args, Clone, Debug, Default)]
pub struct Selection {
    #[command(flatten)]
    pub given: Given,
    /// Label selector
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
}

/// What `label` and `annotate` choose by as well.
#[derive(Args, Clone, Debug, Default)]
pub struct Wider {
    /// Field selector
    #[arg(long)]
    pub field_selector: Option<String>,
    /// Of every namespace
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

/// What a kind without a name means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Nameless {
    /// All of the kind in the namespace.
    All,
    /// Nothing: a name, a selector or `--all` must be given.
    Refused,
}

/// One object, as the server has it.
#[derive(Clone)]
pub struct Found {
    pub kind: Resource,
    /// "" for kinds that have none.
    pub namespace: String,
    pub object: Object,
}

/// An object by its name, not asked for yet.
pub struct Target {
    pub kind: Resource,
    /// "" for kinds that have none.
    pub namespace: String,
    pub name: String,
}

/// What was found, and why something was not.
#[derive(Default)]
pub struct Objects {
    pub found: Vec<Found>,
    pub failed: Vec<Failure>,
}

/// kubectl's words where a kind stands alone.
pub const NAMELESS: &str = "resource(s) were provided, but no name was specified";

impl Found {
    pub fn name(&self) -> &str {
        &self.object.meta().name
    }

    /// Asks for it by name.
    async fn of(session: &Session, kind: Resource, namespace: String, name: &str) -> Result<Found> {
        let object = session.client.get(&kind, &namespace, name).await?;
        Ok(Found { kind, namespace, object })
    }
}

impl Selection {
    /// Whether nothing was named at all.
    pub fn is_empty(&self) -> bool {
        self.given.resources.is_empty() && self.given.filename.is_empty()
    }

    /// Asks the server for all of them.
    ///
    /// # Errors
    /// Only for what makes no sense as a whole; an object that is not there is in `failed`.
    pub async fn objects(&self, session: &Session, nameless: Nameless) -> Result<Objects> {
        self.objects_of(session, nameless, &Wider::default()).await
    }

    /// The same by fields too, and over namespaces.
    pub async fn objects_of(&self, session: &Session, nameless: Nameless, wider: &Wider) -> Result<Objects> {
        if self.given.filename.is_empty() {
            self.by_words(session, nameless, wider).await
        } else if wider.field_selector.is_some() && self.given.resources.is_empty() {
            Err(failure("a field selector cannot be used when a path is specified"))
        } else {
            self.by_files(session).await
        }
    }

    async fn by_words(&self, session: &Session, nameless: Nameless, wider: &Wider) -> Result<Objects> {
        let named = resource::parse(session.kinds().await?, &self.given.resources)?;
        let is_selected = self.selector.is_some() || wider.field_selector.is_some();
        if is_selected {
            resource::unnamed(&self.given.resources, &named)?;
        }
        resource::in_one_namespace(wider.all_namespaces, &named)?;
        let mut objects = Objects::default();
        for Named { kind, name } in named {
            let is_one = kind.namespaced && !wider.all_namespaces;
            let namespace = if is_one { session.namespace.clone() } else { String::new() };
            match name {
                Some(name) => objects.take(Found::of(session, kind, namespace, name).await),
                None if is_selected || nameless == Nameless::All => {
                    let label_selector = self.selector.clone().unwrap_or_default();
                    let field_selector = wider.field_selector.clone().unwrap_or_default();
                    let options = ListOptions { label_selector, field_selector, ..ListOptions::default() };
                    match session.client.list(&kind, &namespace, &options).await {
                        Ok(list) => objects.found.extend(list.objects.into_iter().map(|object| {
                            let namespace = object.meta().namespace.clone();
                            Found { kind: kind.clone(), namespace, object }
                        })),
                        Err(status) => objects.failed.push(status.into()),
                    }
                }
                None => return Err(failure(NAMELESS)),
            }
        }
        Ok(objects)
    }

    async fn by_files(&self, session: &Session) -> Result<Objects> {
        let mut objects = Objects::default();
        for named in self.in_files(session).await? {
            objects.take(match named {
                Ok(Target { kind, namespace, name }) => Found::of(session, kind, namespace, &name).await,
                Err(why) => Err(why),
            });
        }
        Ok(objects)
    }

    /// What the files name, as far as the label selector fits what they say, without asking for it.
    ///
    /// # Errors
    /// For words beside the files and files that cannot be read; what one document names wrongly stands in its place.
    pub async fn in_files(&self, session: &Session) -> Result<Vec<Result<Target>>> {
        if let Some(word) = self.given.resources.first() {
            return Err(failure(resource::refused_beside_files(word)));
        }
        let selector = self.selector.as_deref().map(api::selector::Labels::parse).transpose()?;
        let mut named = Vec::new();
        for manifest in manifest::read(&self.given.filename, self.given.recursive)? {
            let labels = manifest.object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
            if selector.as_ref().is_none_or(|selector| selector.matches(&labels)) {
                named.push(Target::of(&manifest, session.kinds().await?, session.place()));
            }
        }
        Ok(named)
    }
}

impl Target {
    fn of(manifest: &Manifest, kinds: &Kinds, place: Place<'_>) -> Result<Target> {
        let (kind, name) = (kinds.of_manifest(manifest)?, manifest.meta("name").to_string());
        // An empty name would mean all of the kind.
        if name.is_empty() {
            return Err(failure(format!("{}: resource name may not be empty", manifest.file)));
        }
        let namespace = manifest.namespace(&kind, place)?.to_string();
        Ok(Target { kind, namespace, name })
    }
}

impl Objects {
    fn take(&mut self, found: Result<Found>) {
        match found {
            Ok(found) => self.found.push(found),
            Err(why) => self.failed.push(why),
        }
    }
}

/// The objects of files as they stand there: of a kind is known what its file says.
///
/// # Errors
/// For files that cannot be read.
pub fn local(given: &Given) -> Result<Objects> {
    let mut objects = Objects::default();
    for manifest in manifest::read(&given.filename, given.recursive)? {
        let kind = manifest.object["kind"].as_str().unwrap_or_default();
        let version = manifest.object["apiVersion"].as_str().unwrap_or_default();
        let kind = Resource::namespaced(version, kind, &kind.to_lowercase());
        let namespace = manifest.meta("namespace").to_string();
        let read = Object::from_value(&manifest.object).map_err(|why| failure(format!("{}: {why}", manifest.file)));
        objects.take(read.map(|object| Found { kind, namespace, object }));
    }
    Ok(objects)
}

/// An object without what the server keeps books with.
pub fn unmanaged(object: &Object) -> Value {
    let mut value = object.value();
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    value
}
