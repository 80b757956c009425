//! `$(NAME)` in commands, arguments, environments and sub-paths.
//!
//! `$(NAME)` becomes the variable's value, `$$` one dollar that expands nothing, and a name that
//! nobody knows stays as it stands. Matches third_party/forked/golang/expansion upstream.

/// Expands a text; `look_up` knows the variables.
pub fn expand(text: &str, look_up: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        rest = match after.chars().next() {
            Some('$') => {
                expanded.push('$');
                &after[1..]
            }
            Some('(') => match after.find(')') {
                Some(end) => {
                    let name = &after[1..end];
                    match look_up(name) {
                        Some(value) => expanded.push_str(&value),
                        None => expanded.push_str(&rest[dollar..dollar + end + 2]),
                    }
                    &after[end + 1..]
                }
                None => {
                    expanded.push_str("$(");
                    &after[1..]
                }
            },
            _ => {
                expanded.push('$');
                after
            }
        };
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn names_are_replaced_dollars_escaped_and_unknown_ones_left() {
        let known = |name: &str| (name == "A").then(|| "x$(B)".to_string());
        for (text, wanted) in [
            ("$(A)-$(A)", "x$(B)-x$(B)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$x$(B)"),
            ("$(B)", "$(B)"),
            ("$(A", "$(A"),
            ("a$b$", "a$b$"),
            ("$()", "$()"),
            ("", ""),
        ] {
            assert_eq!(expand(text, known), wanted, "{text}");
        }
    }
}
