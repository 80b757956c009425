//! Parameters of a request and parts of its path, as they stand in a URL.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The query of a request (application/x-www-form-urlencoded): names may repeat, order is kept.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: &str) -> Query {
        Query(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The first value of a name; empty if it is absent.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// `true`, `1` and their like; as upstream, a bare name or an unknown word is true (apimachinery
    /// conversion Convert_Slice_string_To_bool).
    pub fn flag(&self, name: &str) -> bool {
        let present = self.0.iter().find(|(n, _)| n == name);
        present.is_some_and(|(_, value)| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }
}

/// A part of a path without its `%41`; what is not UTF-8 then stays as it stands.
pub fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8().unwrap_or(Cow::Borrowed(text))
}

/// The same, with a mark in place of what is not UTF-8: for judging, not for use.
pub fn decoded_lossy(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// A text as a value of a query or a part of a path.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_may_repeat() {
        let query = Query::parse("command=sh&command=-c&command=echo%20a%2Bb+c&tty=1&x=%zz&bare&no=0");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "echo a+b c"]);
        assert!(query.flag("tty") && query.flag("bare") && !query.flag("no") && !query.flag("input"));
        assert_eq!(query.get("x"), "%zz");
    }

    #[test]
    fn parts_of_a_path_go_round() {
        assert_eq!((decoded("a%2fb+c").as_ref(), decoded("%ff").as_ref()), ("a/b+c", "%ff"));
        assert_eq!(encoded("a/b c~ä"), "a%2Fb%20c~%C3%A4");
    }
}
