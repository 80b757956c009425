//! Names for what a template says: the same of the same, another of another. Pure.
//!
//! Upstream's (pkg/controller.ComputeHash, apimachinery rand.SafeEncodeString): FNV-1a of 32 bits over Go's dump of the
//! template and the count of collisions, in letters of which no words are made. What was made under other names (by
//! Gousse before November 2026) is found by its template, not by this.

use serde_json::Value;

use super::dump;

/// No vowels, and nothing that looks like one.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template, where so many collisions were met.
pub fn of(template: &Value, collisions: Option<i64>) -> String {
    let mut bytes = dump::of(template).into_bytes();
    if let Some(collisions) = collisions {
        bytes.extend((collisions as u64).to_le_bytes());
    }
    letters(fnv(&bytes))
}

/// A number in safe letters.
pub fn letters(number: u32) -> String {
    number.to_string().bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

/// FNV-1a, 32 bits.
pub fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// FNV-1a, 128 bits.
pub fn fnv128(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hashes_are_gos_and_change_with_what_is_hashed() {
        // hash/fnv's own vectors.
        assert_eq!([fnv(b""), fnv(b"a"), fnv(b"abc")], [0x811c_9dc5, 0xe40c_292c, 0x1a47_e90b]);
        let wide = [0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964];
        assert_eq!([fnv128(b""), fnv128(b"a")], wide);
        // rand.SafeEncodeString("1234567890"): byte modulo 27.
        assert_eq!(letters(1_234_567_890), "56789bcdf4");
        let (one, other) = (json!({"spec": {"nodeName": "a"}}), json!({"spec": {"nodeName": "b"}}));
        assert_eq!(of(&one, None), of(&one.clone(), None));
        assert_ne!(of(&one, None), of(&other, None));
        assert_ne!(of(&one, None), of(&one, Some(0)));
        assert_ne!(of(&one, Some(0)), of(&one, Some(1)));
    }
}
