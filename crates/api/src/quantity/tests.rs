use super::*;

#[test]
fn canonical_forms_are_gos() {
    let table = [
        ("0", "0"),
        ("0.0", "0"),
        ("m", "0"),
        (".", "0"),
        ("1", "1"),
        ("100m", "100m"),
        ("0.1", "100m"),
        (".5", "500m"),
        ("1.", "1"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1.5", "1500m"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("1024", "1024"),
        ("1Ki", "1Ki"),
        ("1024Ki", "1Mi"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("0.5Mi", "512Ki"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("1E", "1E"),
        ("12e-1", "1200e-3"),
        ("100e0", "100"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("-1", "-1"),
        ("-0.1", "-100m"),
        ("+5", "5"),
        ("1Ei", "1Ei"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854775807"),
        ("1000Ei", "9223372036854775807"),
        ("123456789012345678901234567890123456789012345", "9223372036854775807"),
    ];
    for (text, canonical) in table {
        assert_eq!(Quantity::parse(text).map(|q| q.to_string()), Ok(canonical.into()), "{text}");
    }
}

#[test]
fn what_is_no_quantity_is_told_in_upstreams_words() {
    let table = [
        ("", QuantityError::Form),
        ("a", QuantityError::Form),
        ("1 ", QuantityError::Form),
        ("1.2.3", QuantityError::Form),
        ("1Kx", QuantityError::Form),
        ("1K", QuantityError::Suffix),
        ("1mm", QuantityError::Suffix),
        ("1e", QuantityError::Suffix),
        ("--1", QuantityError::Suffix),
        ("Ki", QuantityError::Number),
    ];
    for (text, error) in table {
        assert_eq!(Quantity::parse(text).map(|q| q.to_string()), Err(error), "{text}");
    }
}

#[test]
fn values_round_up_and_amounts_compare_across_formats() {
    let q = |text: &str| Quantity::parse(text).unwrap();
    assert_eq!(q("1m").value(), 1);
    assert_eq!(q("1100m").value(), 2);
    assert_eq!(q("-1100m").value(), -1);
    assert_eq!(q("100u").milli_value(), 1);
    assert_eq!(q("2").milli_value(), 2000);
    assert_eq!(q("1Ki"), q("1024"));
    assert!(q("1k") < q("1Ki"));
    assert_eq!(q("1Gi").plus(q("512Mi")).to_string(), "1536Mi");
    assert_eq!(Quantity::ZERO.plus(q("1Ki")).to_string(), "1Ki");
    assert_eq!(q("1500u").round_up_milli().to_string(), "2m");
}
