//! Widget: a thing with a size.

use crate::row::*;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS],
        columns: vec![NAME, text("Size", "How large it is.", "spec.size"), AGE],
        field_selectors: vec![field("spec.size")],
        ..Kind::namespaced("example.com/v1", "Widget", "widgets").short("wd")
    }
}
