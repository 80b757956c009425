//! Which objects a list or watch is about: label and field selectors.

use api::Status;
use api::selector::{Fields, Labels};

use crate::rendition::{Rendition, Served};
use crate::verbs::Call;

/// What must hold of an object.
#[derive(Clone)]
pub struct Filter {
    served: Served,
    labels: Option<Labels>,
    fields: Option<Fields>,
    /// Only the object of this name: a watch of one object.
    name: String,
}

impl Filter {
    pub fn of(call: &Call<'_>) -> Result<Filter, Status> {
        let labels = match call.query.get("labelSelector") {
            "" => None,
            text => Some(Labels::parse(text)?).filter(|l| !l.is_empty()),
        };
        let fields = match call.query.get("fieldSelector") {
            "" => None,
            text => Some(Fields::parse(text)?).filter(|f| !f.is_empty()),
        };
        if let Some(fields) = &fields {
            fields.check(call.kind())?;
        }
        Ok(Filter { served: call.served, labels, fields, name: call.target.name.clone() })
    }

    /// Everything passes.
    pub fn is_open(&self) -> bool {
        self.labels.is_none() && self.fields.is_none() && self.name.is_empty()
    }

    pub fn passes(&self, rendition: &Rendition) -> bool {
        if self.is_open() {
            return true;
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
        let only_meta = |field: &str| match field {
            "metadata.name" => Some(meta.name.clone()),
            "metadata.namespace" => Some(meta.namespace.clone()),
            _ => None,
        };
        let tree = std::cell::OnceCell::new();
        fields.matches(|field| {
            only_meta(field).or_else(|| {
                let tree = tree.get_or_init(|| object.value());
                let selector = self.served.kind.field_selectors.iter().find(|s| s.name == field)?;
                Some((selector.value)(tree))
            })
        })
    }
}
