//! Prints JSON trees as YAML, to the letter as kubectl and the API server print them.
//!
//! The library that reads YAML here quotes more than Go's does (addresses, say) and folds no lines, and who compares the
//! two would see it (tests/cluster/kubectl.rs). Upstream: sigs.k8s.io/yaml, goyaml.v2 encode.go and emitterc.go.

use serde_json::Value;

/// The whole document, with its last newline.
pub fn print(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, false, &mut text);
    text
}

/// One value at this indentation; `inline` where something stands before it on the line.
fn block(value: &Value, indent: usize, inline: bool, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (number, (key, value)) in map.iter().enumerate() {
                if !(inline && number == 0) {
                    pad(indent, text);
                }
                text.push_str(&key_text(key, indent));
                text.push(':');
                nested(value, indent, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                if !(inline && number == 0) {
                    pad(indent, text);
                }
                text.push_str("- ");
                block(item, indent + 2, true, text);
            }
        }
        leaf => {
            if !inline {
                pad(indent, text);
            }
            let leaf = folded(leaf_text(leaf, indent), indent, column(text));
            text.push_str(&leaf);
            text.push('\n');
        }
    }
}

/// What follows a key: on its line if it is a leaf, below it otherwise.
fn nested(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            block(value, indent + 2, false, text);
        }
        // Lists stand at the key's own indentation, as Go's YAML has them.
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(value, indent, false, text);
        }
        leaf => {
            text.push(' ');
            let leaf = folded(leaf_text(leaf, indent + 2), indent + 2, column(text));
            text.push_str(&leaf);
            text.push('\n');
        }
    }
}

fn pad(indent: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indent));
}

/// How much stands on the last line.
fn column(text: &str) -> usize {
    text.rsplit('\n').next().unwrap_or_default().chars().count()
}

/// A scalar of one line, which begins at a column: behind 80 it goes on below, in place of a single space.
fn folded(scalar: String, indent: usize, begins: usize) -> String {
    const WIDTH: usize = 80;
    if scalar.contains('\n') || begins + scalar.len() <= WIDTH {
        return scalar;
    }
    let chars: Vec<char> = scalar.chars().collect();
    // The first and the last of a text are never folded, nor is what stands between quotes alone.
    let edge = usize::from(scalar.starts_with(['\'', '"']));
    let (mut out, mut column) = (String::with_capacity(scalar.len() + 16), begins);
    for (at, c) in chars.iter().enumerate() {
        let single = *c == ' ' && at > edge && at + 1 + edge < chars.len();
        if single && column > WIDTH && chars[at - 1] != ' ' && chars[at + 1] != ' ' {
            out.push('\n');
            pad(indent, &mut out);
            column = indent;
        } else {
            out.push(*c);
            column += 1;
        }
    }
    out
}

fn leaf_text(value: &Value, indent: usize) -> String {
    match value {
        Value::Object(_) => "{}".into(),
        Value::Array(_) => "[]".into(),
        Value::String(text) => scalar(text, indent),
        other => other.to_string(),
    }
}

/// A key stands on one line.
fn key_text(key: &str, indent: usize) -> String {
    if key.contains('\n') { quoted(key) } else { scalar(key, indent) }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is printable")
}

/// Plain where nothing else could be read into it, a literal block for lines, quoted otherwise.
fn scalar(text: &str, indent: usize) -> String {
    let is_block = text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control())
        && !text.lines().any(|line| line.ends_with(' '));
    if is_block {
        let trailing = text.len() - text.trim_end_matches('\n').len();
        let mark = match trailing {
            0 => "|-",
            1 => "|",
            _ => "|+",
        };
        let body = text.trim_end_matches('\n');
        let padding = " ".repeat(indent.max(2));
        let lines = body.lines().map(|line| if line.is_empty() { "\n".into() } else { format!("\n{padding}{line}") });
        let mut block = format!("{mark}{}", lines.collect::<String>());
        block.extend(std::iter::repeat_n('\n', trailing.saturating_sub(1)));
        return block;
    }
    if text.chars().any(|c| c.is_control()) {
        return quoted(text);
    }
    if text.starts_with('\u{feff}') {
        return format!("\"\\uFEFF{}", &quoted(&text['\u{feff}'.len_utf8()..])[1..]);
    }
    if is_plain(text) {
        text.to_string()
    } else if is_ambiguous(text) {
        // What would be read as something else stands in double quotes, what no plain word can be in
        // single ones (go-yaml's encode.go and emitter).
        format!("\"{text}\"")
    } else if text.contains('\'') && !text.contains('"') && !text.contains('\\') {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// A null, a bool, a number or a time, were it not quoted.
fn is_ambiguous(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let reserved =
        ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan", ".inf", "-.inf", "<<"];
    reserved.contains(&lower.as_str()) || looks_numeric(text)
}

fn is_plain(text: &str) -> bool {
    if is_ambiguous(text) || text == "=" || text != text.trim() {
        return false;
    }
    let first = text.chars().next().unwrap_or(' ');
    if "-?:,[]{}#&*!|>'\"%@`".contains(first) {
        let dash_word = (first == '-' || first == '?' || first == ':') && text.len() > 1 && !text[1..].starts_with(' ');
        if !dash_word {
            return false;
        }
    }
    !text.contains(": ") && !text.contains(" #") && !text.ends_with(':')
}

/// Numbers, times and sexagesimals of YAML 1.1 must be quoted to stay strings.
fn looks_numeric(text: &str) -> bool {
    let starts = text.trim_start_matches(['-', '+', '.']).starts_with(|c: char| c.is_ascii_digit());
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit() || c == '_');
    let plain = text.trim_start_matches(['-', '+']);
    let lower = plain.to_ascii_lowercase();
    let radix = |prefix: &str, base: u32| {
        lower
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c == '_' || c.is_digit(base)))
    };
    let is_float = || {
        plain.chars().all(|c| c.is_ascii_digit() || "._eE+-".contains(c))
            && plain.replace('_', "").parse::<f64>().is_ok()
    };
    let is_time = || text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::Date>().is_ok();
    let is_sexagesimal = || plain.contains(':') && plain.split(':').all(digits);
    starts
        && (digits(plain)
            || radix("0x", 16)
            || radix("0o", 8)
            || radix("0b", 2)
            || is_float()
            || is_sexagesimal()
            || is_time())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::print;

    #[test]
    fn yaml_is_printed_as_kubectl_does_and_reads_back() {
        let value = json!({"a": {"list": [1, {"x": "y", "z": []}, [true]], "empty": {}}, "lines": "one\ntwo\n",
            "no-end": "one\n\ntwo", "number": "0644", "bool": "true", "time": "2026-11-24T06:00:00Z", "colon": "a: b",
            "dash": "-c", "quote": "it's", "star": "*", "uid": "49323468-5c97-4519-afe0-4aa55fa2712e", "float": "1e3", "ip": "10.244.0.2", "null": null, "blank": "", "plain": "some text, here"});
        let text = print(&value);
        expect![[r#"
            a:
              empty: {}
              list:
              - 1
              - x: "y"
                z: []
              - - true
            blank: ""
            bool: "true"
            colon: 'a: b'
            dash: -c
            float: "1e3"
            ip: 10.244.0.2
            lines: |
              one
              two
            no-end: |-
              one

              two
            "null": null
            number: "0644"
            plain: some text, here
            quote: it's
            star: '*'
            time: "2026-11-24T06:00:00Z"
            uid: 49323468-5c97-4519-afe0-4aa55fa2712e
        "#]]
        .assert_eq(&text);
        assert_eq!(crate::decode::untyped(text.as_bytes()).unwrap(), value);
    }

    #[test]
    fn long_lines_are_folded_as_a_stock_server_folds_them() {
        let message = "only the following media types are accepted: application/json;stream=watch, \
                       application/vnd.kubernetes.protobuf;stream=watch";
        let value = json!({"message": message, "list": [{"x": message.replace(": ", " ")}], "one": "x".repeat(100)});
        expect![[r#"
            list:
            - x: only the following media types are accepted application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch
            message: 'only the following media types are accepted: application/json;stream=watch,
              application/vnd.kubernetes.protobuf;stream=watch'
            one: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
        "#]]
        .assert_eq(&print(&value));
        assert_eq!(api_untyped(&print(&value)), value);
    }

    fn api_untyped(text: &str) -> serde_json::Value {
        crate::decode::untyped(text.as_bytes()).unwrap()
    }

    #[test]
    fn every_text_reads_back_as_it_was() {
        let long = "word ".repeat(200) + "\n" + &"x".repeat(300);
        let texts = [
            "",
            " ",
            "\n",
            "\n\n",
            " a",
            "a ",
            "a\n",
            "a\n\n",
            "a \nb",
            "\ta",
            "a\tb",
            "a\n b\n",
            " a\nb",
            "\na",
            "a\r\nb",
            "\r",
            "\u{85}",
            "\u{2028}x",
            "\u{feff}x",
            "\u{1b}[2J",
            "\0",
            "é\n\u{1f980}",
            "- x",
            "-",
            "---",
            "...",
            "? x",
            "x:",
            "x: y",
            "a #b",
            "#c",
            "&a",
            "*a",
            "!t",
            "%d",
            "@a",
            "`a",
            "{",
            "}",
            "[",
            "]",
            ",",
            "|",
            ">",
            "'",
            "\"",
            "it's \"so\"",
            "\\",
            "null",
            "~",
            "Null",
            "true",
            "yes",
            "Off",
            "y",
            "0644",
            "0o7",
            "0x1F",
            "1_000",
            "1e3",
            ".5",
            "+1",
            "-1",
            "1:30",
            "190:20:30",
            ".inf",
            "-.INF",
            ".nan",
            "<<",
            "=",
            "2026-11-24",
            "2026-11-24T06:00:00Z",
            "::1",
            "10.0.0.1",
        ];
        for text in texts {
            let value = json!({"a": text, "list": [text, {"b": text}], text: {"c": [[text]]}});
            let printed = print(&value);
            assert_eq!(crate::decode::untyped(printed.as_bytes()).unwrap(), value, "{text:?} as\n{printed}");
        }
        let value = json!({"n": [0, -1, 1.5, 1e300, u64::MAX, i64::MIN, null, true], "s": {"": {}}, "e": [[], [[]]], "long": long});
        assert_eq!(crate::decode::untyped(print(&value).as_bytes()).unwrap(), value);
    }
}
