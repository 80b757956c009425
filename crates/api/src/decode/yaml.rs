//! YAML as the JSON that it stands for, as sigs.k8s.io/yaml converts it.
//!
//! A key may be any scalar; it becomes the string that JSON would have. A key that is there twice is
//! told with its line; the last one counts.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// Any YAML; what is there twice is told: `line 5: key "name" already set in map`.
#[derive(Clone, Copy)]
pub struct Yaml<'w> {
    pub duplicates: &'w RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Yaml<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Yaml<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // Go prints a whole float without a point: `replicas: 1.0` is an integer.
        if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
            return Ok((value as i64).into());
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number is not finite"))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut tree = Map::new();
        while let Some(key) = map.next_key::<Spanned<Key>>()? {
            let value = map.next_value_seed(self)?;
            let (line, Key(key)) = (key.referenced.line(), key.value);
            if tree.contains_key(&key) {
                self.duplicates.borrow_mut().push(format!("line {line}: key {key:?} already set in map"));
            }
            tree.insert(key, value);
        }
        Ok(Value::Object(tree))
    }
}

/// Any scalar, as the string that JSON has for a key.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        struct Scalar;
        impl Visitor<'_> for Scalar {
            type Value = String;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
                Ok(key.into())
            }
            fn visit_bool<E: Error>(self, key: bool) -> Result<String, E> {
                Ok(key.to_string())
            }
            fn visit_i64<E: Error>(self, key: i64) -> Result<String, E> {
                Ok(key.to_string())
            }
            fn visit_u64<E: Error>(self, key: u64) -> Result<String, E> {
                Ok(key.to_string())
            }
            fn visit_f64<E: Error>(self, key: f64) -> Result<String, E> {
                Ok(key.to_string())
            }
            fn visit_unit<E: Error>(self) -> Result<String, E> {
                Ok("null".into())
            }
        }
        deserializer.deserialize_any(Scalar).map(Key)
    }
}
