use super::*;

#[test]
fn challenges_are_read_with_commas_inside_quotes() {
    let found = parameters("Bearer realm=\"https://a/token\",service=\"a b\", scope=\"repository:x:pull,push\",n=1");
    let expected = [("realm", "https://a/token"), ("service", "a b"), ("scope", "repository:x:pull,push"), ("n", "1")];
    assert_eq!(found, expected.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect());
}

#[test]
fn forms_are_escaped_and_empty_values_left_out() {
    assert_eq!(form(&[("a", "x/y z"), ("b", ""), ("c", "é")]), "a=x%2Fy%20z&c=%C3%A9");
}
