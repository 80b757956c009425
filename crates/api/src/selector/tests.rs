use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

#[test]
fn label_selectors_select_as_upstreams_do() {
    let have = labels(&[("app", "web"), ("tier", "front"), ("n", "5"), ("empty", "")]);
    let table = [
        ("", true),
        ("app=web", true),
        ("app==web,tier!=back", true),
        ("app in (web, db)", true),
        ("app notin (web)", false),
        ("app", true),
        ("!app", false),
        ("!none,app", true),
        ("none!=x", true),
        ("none notin (x)", true),
        ("empty=", true),
        ("empty in (,x)", true),
        ("empty in ()", true),
        ("n>4", true),
        ("n<5", false),
        ("  app = web , n > 1 ", true),
        ("in in (in)", false),
        ("app=in", false),
    ];
    for (text, expected) in table {
        assert_eq!(Labels::parse(text).map(|l| l.matches(&have)), Ok(expected), "{text}");
    }
}

#[test]
fn label_selector_errors_are_upstreams() {
    let table = [
        ("app=web,", "found '', expected: identifier after ','"),
        ("app web", "unable to parse requirement: found 'web', expected: in, notin, =, ==, !=, gt, lt"),
        ("app in web", "unable to parse requirement: found 'web' expected: '('"),
        ("app in (web", "unable to parse requirement: found '', expected: ',' or ')'"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        (
            "n>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value \
                 must be an integer",
        ),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
    ];
    for (text, message) in table {
        let error = Labels::parse(text).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (400, message), "{text}");
    }
    assert!(
        Labels::parse("-x=1")
            .unwrap_err()
            .message
            .starts_with("unable to parse requirement: <nil>: Invalid value: \"-x\": name part")
    );
}

#[test]
fn absent_label_selector_selects_nothing_and_empty_selects_all() {
    let have = labels(&[("app", "web")]);
    assert!(!Labels::from_label_selector(&Value::Null).unwrap().matches(&have));
    assert!(Labels::from_label_selector(&json!({})).unwrap().matches(&have));
    let selector =
        json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]});
    assert!(Labels::from_label_selector(&selector).unwrap().matches(&have));
    assert!(Labels::from_label_selector(&json!({"matchExpressions": [{"key": "x", "operator": "Like"}]})).is_err());
}

#[test]
fn field_selectors_split_and_unescape() {
    let fields = Fields::parse("metadata.name=a\\,b,status.phase!=Running,").unwrap();
    assert_eq!(fields.exact("metadata.name"), Some("a,b"));
    assert_eq!(Fields::parse("a").unwrap_err().message, "invalid selector: 'a'; can't understand 'a'");
    assert_eq!(Fields::parse("a=b=c").unwrap_err().message, "invalid field selector: unescaped character in value: 61");
}

#[test]
fn a_label_selector_is_one_line_in_the_order_of_its_keys() {
    let told = |selector: Value| line(&selector).map_err(|status| status.message);
    assert_eq!(told(Value::Null), Ok(String::new()));
    let all = json!({"matchLabels": {"b": "1", "d": ""}, "matchExpressions": [
        {"key": "c", "operator": "NotIn", "values": ["y", "x"]}, {"key": "a", "operator": "In", "values": ["z"]},
        {"key": "f", "operator": "DoesNotExist"}, {"key": "e", "operator": "Exists"}]});
    let text = told(all).unwrap();
    assert_eq!(text, "a in (z),b=1,c notin (x,y),d=,e,!f");
    assert!(Labels::parse(&text).is_ok(), "it can be asked for");
    assert!(told(json!({"matchExpressions": [{"key": "a", "operator": "Odd"}]})).is_err());
}
