//! A small map of strings that takes no more room than its strings: the labels of every stored object.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Sorted by key; of a key that is there twice the last value counts, as in any JSON map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(Box<[(Box<str>, Box<str>)]>);

/// What a label selector looks at.
pub trait Labelled {
    fn value_of(&self, key: &str) -> Option<&str>;
}

impl Pairs {
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(found, _)| found.as_ref().cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// In the order of the keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

impl Labelled for Pairs {
    fn value_of(&self, key: &str) -> Option<&str> {
        self.get(key)
    }
}

impl Labelled for BTreeMap<String, String> {
    fn value_of(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labelled for Map<String, Value> {
    fn value_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

impl PartialEq<BTreeMap<String, String>> for Pairs {
    fn eq(&self, other: &BTreeMap<String, String>) -> bool {
        self.iter().eq(other.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }
}

impl From<&Pairs> for BTreeMap<String, String> {
    fn from(pairs: &Pairs) -> Self {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pairs, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs, M::Error> {
                let mut all = Vec::<(Box<str>, Box<str>)>::new();
                while let Some(pair) = map.next_entry()? {
                    all.push(pair);
                }
                // Canonical JSON is sorted already. Stable, so that the last of a key stays the last.
                all.sort_by(|a, b| a.0.cmp(&b.0));
                all.dedup_by(|later, kept| {
                    let same = later.0 == kept.0;
                    if same {
                        kept.1 = std::mem::take(&mut later.1);
                    }
                    same
                });
                Ok(Pairs(all.into()))
            }
        }
        from.deserialize_map(Read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Pairs;
    use std::collections::BTreeMap;

    #[test]
    fn it_is_the_map_that_json_makes() {
        for text in ["{}", r#"{"b":"1","a":"2"}"#, r#"{"a":"1","b":"2","a":"3","\u0061":"4"}"#] {
            let map: BTreeMap<String, String> = serde_json::from_str(text).unwrap();
            let pairs: Pairs = serde_json::from_str(text).unwrap();
            assert!(pairs == map, "{pairs:?} is not {map:?}");
            assert_eq!(BTreeMap::from(&pairs), map);
            assert!(map.iter().all(|(key, value)| pairs.get(key) == Some(value)) && pairs.get("c").is_none());
        }
        assert!(serde_json::from_str::<Pairs>(r#"{"a":1}"#).is_err());
    }
}
