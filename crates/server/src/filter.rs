//! Which objects a list or watch is about: label and field selectors.

use api::Status;
use api::selector::{Fields, Labels};
use kinds::Served;
use store::Wanted;

use wire::query::Query;

use crate::records;
use crate::rendition::Rendition;

/// Fields by which the store itself tells watches apart.
mod triggers;

/// What must hold of an object.
#[derive(Clone)]
pub struct Filter {
    served: Served,
    labels: Option<Labels>,
    fields: Option<Fields>,
    /// Only the object of this name: a watch of one object.
    name: String,
    /// What the fields demand, where it is found in the bytes.
    wanted: Option<Wanted>,
}

impl Filter {
    /// As a query asks; `name` is that of the path.
    pub fn of(served: &Served, name: &str, query: &Query) -> Result<Filter, Status> {
        let labels = match query.get("labelSelector") {
            "" => None,
            text => Some(Labels::parse(text)?).filter(|l| !l.is_empty()),
        };
        let fields = match query.get("fieldSelector") {
            "" => None,
            text => Some(Fields::parse(text)?).filter(|f| !f.is_empty()),
        };
        if let Some(fields) = &fields {
            served.kind.check(fields)?;
        }
        let mut filter = Filter { served: served.clone(), labels, fields, name: name.into(), wanted: None };
        filter.wanted = triggers::wanted(&filter);
        Ok(filter)
    }

    /// What passes has this, before a change or after.
    pub fn wanted(&self) -> Option<&Wanted> {
        self.wanted.as_ref()
    }

    /// Everything passes.
    pub fn is_open(&self) -> bool {
        self.labels.is_none() && self.fields.is_none() && self.name.is_empty()
    }

    pub fn passes(&self, rendition: &Rendition) -> bool {
        if self.is_open() {
            return true;
        }
        let found = |wanted: &Wanted| (wanted.sieve.of)(&rendition.entry.bytes);
        if self.wanted.as_ref().is_some_and(|wanted| found(wanted).as_deref() != Some(&*wanted.value)) {
            return false;
        }
        let Some(object) = rendition.object() else { return false };
        let meta = object.meta();
        if !self.name.is_empty() && meta.name != self.name {
            return false;
        }
        if self.labels.as_ref().is_some_and(|labels| !labels.matches(&meta.labels)) {
            return false;
        }
        let Some(fields) = &self.fields else { return true };
        fields.matches(|field| match field {
            "metadata.name" => Some(meta.name.clone()),
            "metadata.namespace" => Some(meta.namespace.clone()),
            other if self.wanted.as_ref().is_some_and(|wanted| wanted.sieve.name == other) => {
                self.wanted.as_ref().map(|wanted| wanted.value.to_string())
            }
            other => rendition.field(&self.served.kind, other).map(String::from),
        })
    }

    /// The keys among which all that passes lies: those of one object where its name is demanded.
    pub fn prefix(&self, namespace: &str) -> String {
        let kind = &self.served.kind;
        let demanded = self.fields.as_ref().and_then(|f| f.exact("metadata.name"));
        match demanded.or(Some(self.name.as_str()).filter(|n| !n.is_empty())) {
            Some(name) if !kind.namespaced || !namespace.is_empty() => {
                records::key(kind, namespace, name).0.to_string()
            }
            _ => records::prefix(kind, namespace),
        }
    }
}
