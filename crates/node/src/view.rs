//! What the node reads of objects and tells of pods, and no more.
//!
//! A field that stands here is read somewhere: the compiler warns of one that is not. Of what the node
//! does not read, the server refuses what would have to be honoured (`kinds`). Everything is decoded
//! once a revision; unknown fields are passed over. A test holds names and types against the schema table.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Types that are read: `field ["name in JSON"]: type`. Optional is what the API does not require.
macro_rules! read {
    ($($name:ident { $($field:ident $($json:literal)?: $type:ty,)* })*) => {
        $(
            #[derive(Clone, Debug, Default, Deserialize)]
            #[serde(rename_all = "camelCase")]
            pub struct $name {
                $(#[serde(default, $(rename = $json)?)] pub(crate) $field: $type,)*
            }
        )*
        fields!($($name { $($field $($json)?: $type,)* })*);
    };
}

/// Types that are told as well; what is absent is left out.
macro_rules! told {
    ($($name:ident { $($field:ident $($json:literal)?: $type:ty,)* })*) => {
        $(
            #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
            #[serde(rename_all = "camelCase")]
            pub struct $name {
                $(
                    #[serde(default, $(rename = $json,)? skip_serializing_if = "Absent::is_absent")]
                    pub(crate) $field: $type,
                )*
            }
            impl Absent for $name {}
        )*
        fields!($($name { $($field $($json)?: $type,)* })*);
    };
}

/// The same as data, for the test: type, and each field's name here, in JSON where that is another, and type.
macro_rules! fields {
    ($($name:ident { $($field:ident $($json:literal)?: $type:ty,)* })*) => {
        #[cfg(test)]
        pub(super) const FIELDS: &[super::tests::Fields] = &[
            $((stringify!($name), &[$((stringify!($field), &[$($json)?], stringify!($type)),)*]),)*
        ];
    };
}

mod container;
mod object;
mod pod;
mod status;
#[cfg(test)]
mod tests;
mod volume;

pub use container::*;
pub use object::*;
pub use pod::*;
pub use status::*;
pub use volume::*;

/// An amount as it is written: `100m`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Quantity(pub String);

/// A port: its number or its name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    Int(i32),
    String(String),
}

/// A point in time; told in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Time(pub jiff::Timestamp);

/// Bytes, base64 in JSON.
#[derive(Clone, Debug, Default)]
pub struct ByteString(pub Vec<u8>);

/// What may be left out of what is told.
trait Absent {
    fn is_absent(&self) -> bool {
        false
    }
}

impl<T> Absent for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl Absent for String {}
impl Absent for bool {}
impl Absent for i32 {}
impl Absent for i64 {}

impl Default for IntOrString {
    fn default() -> Self {
        IntOrString::Int(0)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0.strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

impl<'de> Deserialize<'de> for ByteString {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(from)?).map(ByteString).map_err(D::Error::custom)
    }
}
