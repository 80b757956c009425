//! Text that Go's encoding/json reads and a strict parser does not: it stands for U+FFFD there.
//!
//! JavaScript cuts an emoji in two and sends a lone surrogate (`\ud83d`); files have bytes that are no UTF-8.
//! Upstream: encoding/json decode.go unquoteBytes, which sigs.k8s.io/json keeps.

use std::borrow::Cow;

const REPLACEMENT: &str = "\u{fffd}";

/// The same JSON with a U+FFFD for each lone surrogate and each byte that is no UTF-8; borrowed if there is none.
pub fn replaced(body: &[u8]) -> Cow<'_, [u8]> {
    let surrogates = body.windows(3).any(|w| w[0] == b'\\' && w[1] == b'u' && matches!(w[2], b'd' | b'D'));
    if !surrogates && std::str::from_utf8(body).is_ok() {
        return Cow::Borrowed(body);
    }
    let mut out = Vec::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        // A backslash is ASCII: no escape goes over the border of a chunk.
        copy(chunk.valid(), &mut out);
        chunk.invalid().iter().for_each(|_| out.extend_from_slice(REPLACEMENT.as_bytes()));
    }
    Cow::Owned(out)
}

fn copy(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => 0,
            _ => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        match length {
            0 => out.extend_from_slice(REPLACEMENT.as_bytes()),
            _ => out.extend_from_slice(&escape.as_bytes()[..length]),
        }
        rest = &escape[if length == 0 { 6 } else { length }..];
    }
    out.extend_from_slice(rest.as_bytes());
}

/// The number of an escape `\u1234` at the text's start.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn what_is_no_text_becomes_the_replacement_and_nothing_else_changes() {
        for (from, to) in [
            (&br#"{"a": "x"}"#[..], r#"{"a": "x"}"#),
            (br#""\ud83d""#, "\"\u{fffd}\""),
            (br#""\ude00 \uD83D\u0041""#, "\"\u{fffd} \u{fffd}\\u0041\""),
            (br#""\ud83d\ud83d\ude00""#, "\"\u{fffd}\\ud83d\\ude00\""),
            (br#""\ud83d\ude00 \\ud83d \u00e9""#, r#""\ud83d\ude00 \\ud83d \u00e9""#),
            (br#""\ud83"#, r#""\ud83"#),
            (b"\"\\ud83d\xff\xfe\xc3\xa4\\", "\"\u{fffd}\u{fffd}\u{fffd}\u{e4}\\"),
        ] {
            assert_eq!(String::from_utf8_lossy(&replaced(from)), to);
        }
    }
}
