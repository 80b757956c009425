//! Scalars with a form of their own: quantities, times, durations, bytes.
//!
//! Each function takes the text of the request and gives the canonical text, or upstream's words for
//! what is wrong with it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimeParser;

use crate::quantity::Quantity;

/// apimachinery api/resource: any of the accepted notations, canonical as `Quantity` prints it.
pub fn quantity(text: &str) -> Result<String, String> {
    Quantity::parse(text.trim()).map(|quantity| quantity.to_string()).map_err(|why| why.to_string())
}

/// meta/v1 Time: UTC, whole seconds.
pub fn time(text: &str) -> Result<String, String> {
    timestamp(text, "2006-01-02T15:04:05Z07:00").map(crate::seconds)
}

/// meta/v1 MicroTime: UTC, microseconds, of which none may be missing.
pub fn micro_time(text: &str) -> Result<String, String> {
    const LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";
    const SECONDS: usize = "2006-01-02T15:04:05".len();
    const MICROS: usize = ".000000".len();
    let time = timestamp(text, LAYOUT)?;
    let rest = text.get(SECONDS..).unwrap_or_default();
    let digits = rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let unread =
        |rest: &str, wanted: &str| format!("parsing time {text:?} as {LAYOUT:?}: cannot parse {rest:?} as {wanted:?}");
    match 1 + digits {
        MICROS => Ok(time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()),
        fewer if fewer < MICROS => Err(unread(rest, ".000000")),
        _ => Err(unread(&rest[MICROS..], "Z07:00")),
    }
}

fn timestamp(text: &str, layout: &str) -> Result<Timestamp, String> {
    static PARSER: DateTimeParser = DateTimeParser::new();
    let shaped = text.len() >= 20 && text.as_bytes()[10] == b'T' && !text.contains('[');
    PARSER
        .parse_timestamp(text)
        .ok()
        .filter(|_| shaped)
        .ok_or_else(|| format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""))
}

/// Go's base64: line breaks are skipped, everything else is strict.
pub fn bytes(text: &str) -> Result<String, String> {
    let clean: Cow<str> = if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], "").into() } else { text.into() };
    match STANDARD.decode(clean.as_bytes()) {
        Ok(_) => Ok(clean.into_owned()),
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", clean.len() / 4 * 4)),
    }
}
