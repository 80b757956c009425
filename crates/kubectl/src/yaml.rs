//! Prints JSON trees as YAML, in the block style that kubectl prints.

use serde_json::Value;

/// The whole document, with its last newline. Lists stand at their key's own indentation and lines are whole,
/// as Go's YAML has them.
pub fn print(value: &Value) -> String {
    let options = serde_saphyr::ser_options! { compact_list_indent: true, folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options).expect("a JSON tree is printable")
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
            colon: "a: b"
            dash: -c
            float: "1e3"
            ip: "10.244.0.2"
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
            star: "*"
            time: "2026-11-24T06:00:00Z"
            uid: 49323468-5c97-4519-afe0-4aa55fa2712e
        "#]]
        .assert_eq(&text);
        assert_eq!(api::decode::untyped(text.as_bytes()).unwrap(), value);
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
            &long,
        ];
        for text in texts {
            let value = json!({"a": text, "list": [text, {"b": text}], text: {"c": [[text]]}});
            let printed = print(&value);
            assert_eq!(api::decode::untyped(printed.as_bytes()).unwrap(), value, "{text:?} as\n{printed}");
        }
        let value = json!({"n": [0, -1, 1.5, 1e300, u64::MAX, i64::MIN, null, true], "s": {"": {}}, "e": [[], [[]]]});
        assert_eq!(api::decode::untyped(print(&value).as_bytes()).unwrap(), value);
    }
}
