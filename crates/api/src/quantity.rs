//! Quantities: `100m`, `1.5Gi`, `1e3`. Parsed exactly, printed canonically as Go prints them.
//!
//! Matches apimachinery pkg/api/resource: three formats, nothing finer than a nano (rounded away
//! from zero), nothing above 2^63−1 (capped). Counted in nanos, so that sums stay exact.

use std::cmp::Ordering;

use serde_json::Value;

/// How a quantity was written, which its sums and its canonical form keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `1Ki`, `1Mi`
    BinarySi,
    /// `1m`, `1k`, `1M`
    DecimalSi,
    /// `1e3`
    DecimalExponent,
}

/// An exact amount. Equality and order look at the amount only: `1Ki` equals `1024`.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is no quantity; the words are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Form,
    #[error("unable to parse numeric part of quantity")]
    Number,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANO: i128 = 1_000_000_000;
const MAX: i128 = i64::MAX as i128 * NANO;
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
            None => return Err(QuantityError::Form),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        if !suffix_has_form(suffix) {
            return Err(QuantityError::Form);
        }
        // Go's parser takes no digits at all for zero, whatever its message says: `m`, `-`.
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') {
            return Err(QuantityError::Form);
        }
        let (nanos, format) = match BINARY.iter().position(|b| *b == suffix) {
            Some(_) if number.is_empty() => return Err(QuantityError::Number),
            Some(power) => (binary(whole, fraction, 1 << (10 * (power + 1))), Format::BinarySi),
            None => {
                let (exponent, format) = decimal_exponent(suffix)?;
                (decimal(whole, fraction, exponent), format)
            }
        };
        let nanos = nanos.min(MAX);
        Ok(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// A string, or a bare number as YAML has it (`cpu: 1`).
    pub fn from_value(value: &Value) -> Result<Quantity, QuantityError> {
        match value {
            Value::String(text) => Quantity::parse(text),
            Value::Number(number) => Quantity::parse(&number.to_string()),
            _ => Err(QuantityError::Form),
        }
    }

    /// The amount of a value that was validated before; zero for what is no quantity.
    pub fn of(value: &Value) -> Quantity {
        Quantity::from_value(value).unwrap_or(Quantity::ZERO)
    }

    pub const fn from_units(units: i64, format: Format) -> Quantity {
        Quantity { nanos: units as i128 * NANO, format }
    }

    pub const fn from_milli(milli: i64) -> Quantity {
        Quantity { nanos: milli as i128 * (NANO / 1000), format: Format::DecimalSi }
    }

    pub fn format(self) -> Format {
        self.format
    }

    /// Whole units, rounded up.
    pub fn value(self) -> i64 {
        clamp(div_ceil(self.nanos, NANO))
    }

    /// Thousandths, rounded up.
    pub fn milli_value(self) -> i64 {
        clamp(div_ceil(self.nanos, NANO / 1000))
    }

    pub fn nanos(self) -> i128 {
        self.nanos
    }

    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is a whole number.
    pub fn is_integer(self) -> bool {
        self.nanos % NANO == 0
    }

    /// Rounded away from zero to thousandths: what resource lists keep.
    pub fn round_up_milli(self) -> Quantity {
        let step = NANO / 1000;
        let up = (self.nanos.abs() + step - 1) / step * step;
        Quantity { nanos: up * self.nanos.signum(), ..self }
    }

    /// The sum; a zero takes the other's format, as in Go.
    pub fn plus(self, other: Quantity) -> Quantity {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_add(other.nanos), format }
    }

    pub fn minus(self, other: Quantity) -> Quantity {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_sub(other.nanos), format }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Quantity, QuantityError> {
        Quantity::parse(text)
    }
}

/// The canonical form: no fraction, the largest suffix that keeps the number whole.
impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Binary suffixes are for whole numbers from 1024 on; below, Go falls back to decimal ones.
        let binary = self.format == Format::BinarySi && self.nanos.abs() >= 1024 * NANO && self.nanos % NANO == 0;
        if binary {
            let (mut number, mut power) = (self.nanos / NANO, 0);
            while number % 1024 == 0 && power < BINARY.len() {
                number /= 1024;
                power += 1;
            }
            return write!(f, "{number}{}", if power == 0 { "" } else { BINARY[power - 1] });
        }
        let (mut number, mut exponent) = (self.nanos, -9);
        while number % 1000 == 0 && exponent < 18 {
            number /= 1000;
            exponent += 3;
        }
        match self.format {
            Format::DecimalExponent if exponent == 0 => write!(f, "{number}"),
            Format::DecimalExponent => write!(f, "{number}e{exponent}"),
            _ => {
                let (suffix, _) = DECIMAL.iter().find(|(_, e)| *e == exponent).expect("every third exponent is listed");
                write!(f, "{number}{suffix}")
            }
        }
    }
}

/// `[eEinumkKMGTP]*[-+]?[0-9]*`
fn suffix_has_form(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    rest.bytes().all(|b| b.is_ascii_digit())
}

fn decimal_exponent(suffix: &str) -> Result<(i32, Format), QuantityError> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((*exponent, Format::DecimalSi));
    }
    let digits = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
    let exponent = digits.parse::<i32>().map_err(|_| QuantityError::Suffix)?;
    Ok((exponent, Format::DecimalExponent))
}

/// Nanos of `whole.fraction` × `unit`, rounded up; anything too large becomes the cap.
fn binary(whole: &str, fraction: &str, unit: i128) -> i128 {
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10i128.pow(fraction.len() as u32);
    let whole = number(whole).and_then(|n| n.checked_mul(unit)).and_then(|n| n.checked_mul(NANO));
    let part = number(fraction).unwrap_or(0) * unit;
    let part = part / scale * NANO + div_ceil(part % scale * NANO, scale);
    whole.and_then(|n| n.checked_add(part)).unwrap_or(MAX)
}

/// Nanos of `whole.fraction` × 10^`exponent`, rounded up; anything too large becomes the cap.
fn decimal(whole: &str, fraction: &str, exponent: i32) -> i128 {
    let fraction = &fraction[..fraction.len().min(24)];
    let Some(digits) = number(&format!("{whole}{fraction}")) else { return MAX };
    if digits == 0 {
        return 0;
    }
    let power = i64::from(exponent) + 9 - fraction.len() as i64;
    match u32::try_from(power.unsigned_abs()).ok().and_then(|p| 10i128.checked_pow(p)) {
        Some(factor) if power >= 0 => digits.checked_mul(factor).unwrap_or(MAX),
        Some(divisor) => div_ceil(digits, divisor),
        None if power >= 0 => MAX,
        None => 1,
    }
}

/// None when the digits do not fit; empty is zero.
fn number(digits: &str) -> Option<i128> {
    if digits.is_empty() { Some(0) } else { digits.parse().ok() }
}

fn div_ceil(number: i128, by: i128) -> i128 {
    let quotient = number.div_euclid(by);
    if number.rem_euclid(by) == 0 { quotient } else { quotient + 1 }
}

fn clamp(number: i128) -> i64 {
    number.clamp(i64::MIN as i128, i64::MAX as i128) as i64
}

#[cfg(test)]
mod tests;
