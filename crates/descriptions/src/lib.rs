//! What the types and fields of the Kubernetes API mean, in upstream's words. X never knows Y: it knows nothing but texts.
//!
//! They are packed when this crate is built (`build.rs`), and unpacked when somebody asks.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::Read;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/texts.zz"));

/// All texts, by type (`io.k8s.api.core.v1.Pod`) and field (`spec`), the field empty for the type itself.
pub struct Descriptions(HashMap<(String, String), String>);

impl Descriptions {
    pub fn unpack() -> Descriptions {
        let mut texts = String::new();
        let read = flate2::read::ZlibDecoder::new(PACKED).read_to_string(&mut texts);
        read.expect("what the build packed is whole");
        let line = |line: &str| {
            let mut cells = line.splitn(3, '\t');
            let key = (cells.next()?.to_owned(), cells.next()?.to_owned());
            Some((key, plain(cells.next()?)))
        };
        Descriptions(texts.lines().filter_map(line).collect())
    }

    pub fn of_type(&self, name: &str) -> Option<&str> {
        self.of_field(name, "")
    }

    pub fn of_field(&self, of: &str, field: &str) -> Option<&str> {
        self.0.get(&(of.to_owned(), field.to_owned())).map(String::as_str)
    }
}

/// A line's text as it was before it became one line.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' if letters.next() == Some('n') => '\n',
            other => other,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_types_have_their_texts() {
        let texts = Descriptions::unpack();
        let image = texts.of_field("io.k8s.api.core.v1.Container", "image").unwrap();
        assert!(image.starts_with("Container image name."), "{image}");
        assert!(texts.of_type("io.k8s.api.apps.v1.Deployment").is_some_and(|text| !text.is_empty()));
        assert!(texts.of_field("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "labels").is_some());
        assert!(texts.0.values().any(|text| text.contains('\n')), "lines are kept");
        assert_eq!(texts.of_field("io.k8s.api.core.v1.Container", "colour"), None);
    }

    #[test]
    fn lines_end_and_backslashes_stay() {
        assert_eq!(plain(r"a\nb \\n c"), "a\nb \\n c");
    }
}
