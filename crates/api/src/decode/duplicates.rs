//! Duplicate fields of JSON that has no schema of its own: the body of a patch.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::any::Key;
use super::path::{Path, ROOT, Step};
use super::walk::Walk;

/// A value whose duplicate fields are looked for, without a schema.
#[derive(Clone, Copy)]
pub struct Duplicates<'w, 'p> {
    walk: &'w Walk,
    path: &'p Path<'p>,
}

impl<'w> Duplicates<'w, '_> {
    pub fn at_root(walk: &'w Walk) -> Duplicates<'w, 'static> {
        Duplicates { walk, path: &ROOT }
    }
}

impl<'de> DeserializeSeed<'de> for Duplicates<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Duplicates<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut at = 0;
        loop {
            let path = self.path.then(Step::Index(at));
            if seq.next_element_seed(Duplicates { walk: self.walk, path: &path })?.is_none() {
                return Ok(());
            }
            at += 1;
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key_seed(Key)? {
            if seen.contains(&key) {
                self.walk.duplicate(self.path, &key);
            }
            let path = self.path.then(Step::Key(&key));
            map.next_value_seed(Duplicates { walk: self.walk, path: &path })?;
            seen.insert(key);
        }
        Ok(())
    }
}
