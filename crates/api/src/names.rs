//! The forms of names: DNS labels and subdomains, label keys and values, ports, variables, keys.
//!
//! Each rule answers with its complaints, none if the name is good. Matches apimachinery
//! pkg/api/validate/content and pkg/util/validation; the texts are matched on by clients.

/// The `spec.controller` of the IngressClasses that are ours.
pub const INGRESS_CONTROLLER: &str = "gousse.dev/ingress";
/// The label of a Node whose agent serves Ingresses. Only administrators set it: what begins so is refused to nodes
/// (plugin/pkg/admission/noderestriction).
pub const INGRESS_EDGE: &str = "node-restriction.kubernetes.io/gousse-ingress";

/// Lower case letters, digits, `-`; at most 63.
pub fn dns_label(value: &str) -> Vec<String> {
    let mut errors = too_many_characters(value, 63);
    if !is_label(value) {
        errors.push(if is_subdomain(value) {
            "must not contain dots".into()
        } else {
            form(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    errors
}

/// A label that begins with a letter (RFC 1035).
pub fn dns_1035_label(value: &str) -> Vec<String> {
    let mut errors = too_many_characters(value, 63);
    if !is_label(value) || value.starts_with(|c: char| c.is_ascii_digit()) {
        let text = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                    character, and end with an alphanumeric character";
        errors.push(form(text, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    errors
}

/// Labels joined by dots; at most 253.
pub fn dns_subdomain(value: &str) -> Vec<String> {
    let mut errors = too_many_characters(value, 253);
    errors.extend(subdomain_form(value));
    errors
}

/// The same with upper case, where upstream took that once; each name is another for it.
pub fn dns_subdomain_caseless(value: &str) -> Vec<String> {
    let mut errors = too_long(value, 253);
    if !is_subdomain(&value.to_ascii_lowercase()) {
        errors.push(form(
            "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with \
             an alphanumeric character",
            &format!("{LABEL}(\\.{LABEL})*"),
            &["Example.com"],
        ));
    }
    errors
}

/// `*.` and a DNS subdomain.
pub fn dns_wildcard(value: &str) -> Vec<String> {
    let mut errors = too_many_characters(value, 253);
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        errors.push(form(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist \
             of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{LABEL}(\\.{LABEL})*"),
            &["*.example.com"],
        ));
    }
    errors
}

/// Labels joined by dots that may begin with `_` and hold it: what a DNS search path may be.
pub fn dns_subdomain_with_underscore(value: &str) -> Vec<String> {
    let label = |part: &str| {
        let part = part.strip_prefix('_').unwrap_or(part);
        bounded(part, |b| b.is_ascii_lowercase() || b.is_ascii_digit(), |b| b == b'-' || b == b'_')
    };
    let mut errors = too_many_characters(value, 253);
    if !value.split('.').all(label) {
        const WITH: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
        errors.push(form(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and \
             must start and end with an alphanumeric character",
            &format!("{WITH}(\\.{WITH})*"),
            &["example.com"],
        ));
    }
    errors
}

/// `name` or `prefix/name`: keys of labels and annotations, resources, finalizers.
pub fn qualified(value: &str) -> Vec<String> {
    const TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                        alphanumeric character";
    const EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];
    let mut errors = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".into());
            } else {
                let complaints = too_long(prefix, 253).into_iter().chain(subdomain_form(prefix));
                errors.extend(complaints.map(|m| format!("prefix part {m}")));
            }
            name
        }
        _ => {
            let text = form(TEXT, LABEL_KEY, EXAMPLES);
            return vec![format!(
                "a valid label key {text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".into());
    } else {
        errors.extend(too_long(name, 63).into_iter().map(|m| format!("name part {m}")));
    }
    if !is_label_key(name) {
        errors.push(format!("name part {}", form(TEXT, LABEL_KEY, EXAMPLES)));
    }
    errors
}

pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = too_long(value, 63);
    if !value.is_empty() && !is_label_key(value) {
        errors.push(form(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            &format!("({LABEL_KEY})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// A named port: `http`, `dns-tcp`.
pub fn port_name(value: &str) -> Vec<String> {
    let mut errors = too_many_characters(value, 15);
    if !value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') || value.is_empty() {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        errors.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        errors.push("must not begin or end with a hyphen".into());
    }
    errors
}

pub fn port_number(port: i64) -> Vec<String> {
    within(port, 1, 65535)
}

pub fn within(number: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&number) {
        Vec::new()
    } else {
        vec![format!("must be between {low} and {high}, inclusive")]
    }
}

/// A name in C: letters, digits, `_`.
pub fn c_identifier(value: &str) -> Vec<String> {
    if is_c_identifier(value) {
        return Vec::new();
    }
    let text = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
                characters or '_'";
    vec![form(text, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

pub fn is_c_identifier(value: &str) -> bool {
    !value.starts_with(|c: char| c.is_ascii_digit())
        && !value.is_empty()
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A variable's name, as wide as upstream takes it since 1.34: printable ASCII but `=`.
pub fn env_name(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec!["environment variable name must be non-empty".into()];
    }
    if value.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".into()]
}

/// A key of a ConfigMap or Secret: it becomes a file's name.
pub fn config_key(value: &str) -> Vec<String> {
    let mut errors = too_many_characters(value, 253);
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        errors.push(form(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match value {
        "." => errors.push("must not be '.'".into()),
        ".." => errors.push("must not be '..'".into()),
        _ if value.starts_with("..") => errors.push("must not start with '..'".into()),
        _ => {}
    }
    errors
}

pub fn http_header(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![form(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// Why a condition is as it is: letters, digits, `_`, `,`, `:`.
pub fn condition_reason(value: &str) -> Vec<String> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_,:".contains(&b);
    let ends = value.starts_with(|c: char| c.is_ascii_alphabetic()) && !value.ends_with([',', ':']);
    if ends && value.bytes().all(inner) {
        return Vec::new();
    }
    let text = "a condition reason must start with alphabetic character, optionally followed by a string of \
                alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
    let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
    vec![form(text, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples)]
}

/// What may be one segment of a path.
pub fn path_segment(value: &str) -> Vec<String> {
    match value {
        "." | ".." => vec![format!("may not be '{value}'")],
        _ => ["/", "%"].iter().filter(|c| value.contains(**c)).map(|c| format!("may not contain '{c}'")).collect(),
    }
}

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// `text (e.g. 'a',  or 'b', regex used for validation is 're')`
pub fn form(text: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{text} (regex used for validation is '{regex}')");
    }
    let examples = examples.iter().map(|e| format!("'{e}', ")).collect::<Vec<_>>().join(" or ");
    format!("{text} (e.g. {examples}regex used for validation is '{regex}')")
}

fn subdomain_form(value: &str) -> Option<String> {
    let text = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                must start and end with an alphanumeric character";
    (!is_subdomain(value)).then(|| form(text, &format!("{LABEL}(\\.{LABEL})*"), &["example.com"]))
}

/// Upstream says "characters" in its older package and "bytes" in its newer one.
fn too_many_characters(value: &str, limit: usize) -> Vec<String> {
    if value.len() > limit { vec![format!("must be no more than {limit} characters")] } else { Vec::new() }
}

fn too_long(value: &str, limit: usize) -> Vec<String> {
    if value.len() > limit { vec![format!("must be no more than {limit} bytes")] } else { Vec::new() }
}

fn is_label(value: &str) -> bool {
    bounded(value, |b| b.is_ascii_lowercase() || b.is_ascii_digit(), |b| b == b'-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_label_key(value: &str) -> bool {
    bounded(value, |b| b.is_ascii_alphanumeric(), |b| b"-_.".contains(&b))
}

/// Not empty, `edge` at both ends, `edge` or `inner` between.
fn bounded(value: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = value.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => edge(*first) && edge(*last) && bytes.iter().all(|b| edge(*b) || inner(*b)),
        _ => false,
    }
}
