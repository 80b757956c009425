//! What the schema says about patching a field: replaced or merged, by which key, keeping what.

use crate::schema::{Field, Of, Type};

/// The schema at one place of the tree.
#[derive(Clone, Copy)]
pub enum Meta {
    Type(&'static Type),
    /// A map: all its values are of one kind.
    Map(&'static Of),
    /// Scalars, and what the schema does not know.
    Opaque,
}

/// How one field is patched.
pub struct Strategy {
    /// The schema of the object, or of the list's items.
    pub below: Meta,
    /// Lists are merged, not replaced.
    pub merge: bool,
    /// Objects are replaced, not merged.
    pub replace: bool,
    /// Only the fields named in `$retainKeys` survive.
    pub retain_keys: bool,
    /// Empty for lists of scalars.
    pub merge_key: &'static str,
}

impl Meta {
    fn of(of: &'static Of) -> Meta {
        match of {
            Of::Type(link) => Meta::Type(link.get()),
            Of::List(of) => Meta::of(of),
            Of::Map(of) => Meta::Map(of),
            _ => Meta::Opaque,
        }
    }

    pub fn field(self, name: &str) -> Strategy {
        let plain = |below| Strategy { below, merge: false, replace: false, retain_keys: false, merge_key: "" };
        match self {
            Meta::Map(of) => plain(Meta::of(of)),
            Meta::Opaque => plain(Meta::Opaque),
            Meta::Type(of) => match of.field(name) {
                Some(field) => of_field(field),
                None => plain(Meta::Opaque),
            },
        }
    }
}

fn of_field(field: &'static Field) -> Strategy {
    Strategy {
        below: Meta::of(&field.of),
        merge: field.merge,
        replace: field.replace,
        retain_keys: field.retain_keys,
        merge_key: field.merge_key,
    }
}
