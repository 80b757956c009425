//! A text divided into its documents: YAML between lines of `---`, JSON objects back to back.
//!
//! One reader for manifests, request bodies and static pods. Every character that says something is in one
//! document: what is behind `---` on its line begins the next one. Upstream: apimachinery's YAMLOrJSONDecoder,
//! which refuses such a line.

use serde::de::IgnoredAny;

/// The documents of a text, but for those without content.
pub fn documents(text: &str) -> Vec<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let (mut begin, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        if let Some(after) = separator(line) {
            objects(&text[begin..at], &mut found);
            // A parser knows the line itself.
            begin = if says_nothing(after) { at + line.len() } else { at };
        }
        at += line.len();
    }
    objects(&text[begin..], &mut found);
    found
}

/// The only document of a text; what there is to read if it has none.
///
/// # Errors
/// When it has several: nobody would look at the others.
pub fn only(body: &[u8]) -> Result<&[u8], String> {
    // The parser says what is wrong with the rest.
    let Ok(text) = std::str::from_utf8(body) else { return Ok(body) };
    match documents(text)[..] {
        [] => Ok(body),
        [one] => Ok(one.as_bytes()),
        ref several => Err(format!("{} documents where one is expected", several.len())),
    }
}

/// What follows `---` on its line.
fn separator(line: &str) -> Option<&str> {
    line.strip_prefix("---").filter(|after| after.is_empty() || after.starts_with([' ', '\t', '\r', '\n']))
}

fn says_nothing(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// Takes the JSON objects at the start of a text one by one; the rest is one document.
fn objects<'t>(text: &'t str, found: &mut Vec<&'t str>) {
    let mut rest = text;
    while rest.trim_start().starts_with('{') {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        let Some(Ok(_)) = values.next() else { break };
        let (object, after) = rest.split_at(values.byte_offset());
        found.push(object);
        rest = after;
    }
    if !rest.lines().all(says_nothing) {
        found.push(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::{documents, only};

    #[test]
    fn every_document_is_found_and_nothing_is_dropped() {
        for (text, wanted) in [
            ("", &[][..]),
            ("# nothing\n---\n---\r\n \n", &[]),
            ("a: 1\n---", &["a: 1\n"]),
            ("a: 1\n---\n", &["a: 1\n"]),
            ("\u{feff}---\na: 1\n--- # two\nb: 2\n", &["a: 1\n", "b: 2\n"]),
            ("a: 1\r\n---\r\nb: 2\r\n", &["a: 1\r\n", "b: 2\r\n"]),
            ("a: 1\n--- {b: 2}\n---\tc\n", &["a: 1\n", "--- {b: 2}\n", "---\tc\n"]),
            ("--- {a: 1}", &["--- {a: 1}"]),
            // These are no separators, and whoever reads them says so.
            ("a: 1\n---b\n----\n", &["a: 1\n---b\n----\n"]),
            (" {\"a\": 1}{\"b\": \"}\"}\n{\"c\": 3} # end\n", &[" {\"a\": 1}", "{\"b\": \"}\"}", "\n{\"c\": 3}"]),
            ("{\"a\": 1}\n---\n{\"b\": 2}\n", &["{\"a\": 1}", "{\"b\": 2}"]),
            ("{a: 1}\n", &["{a: 1}\n"]),
            ("{\"a\": 1}, {\"b\": 2}", &["{\"a\": 1}", ", {\"b\": 2}"]),
            ("a: |\n  ---\n  {}\n", &["a: |\n  ---\n  {}\n"]),
        ] {
            assert_eq!(documents(text), wanted, "{text:?}");
        }
        assert_eq!(only(b"a: 1\n---\n"), Ok(&b"a: 1\n"[..]));
        assert_eq!(only(b"# nothing"), Ok(&b"# nothing"[..]));
        assert_eq!(only(b"a: 1\n--- {b: 2}\n"), Err("2 documents where one is expected".into()));
    }
}
