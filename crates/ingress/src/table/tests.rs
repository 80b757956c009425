use expect_test::{Expect, expect};

use super::*;

/// Rows `HOST EXACT|PREFIX|REST PATH NAME`, `-` is any host.
fn table(rows: &str) -> Table {
    let route = |row: &str| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let path = match words[1] {
            "exact" => Path::Exact(words[2].into()),
            "prefix" => Path::Prefix(words[2].into()),
            _ => Path::Rest,
        };
        let host = Host::of(words[0].trim_matches('-'));
        Route { host, path, to: Arc::new(Backend { name: words[3].into(), ..Backend::default() }) }
    };
    let rows = rows.lines().map(str::trim).filter(|row| !row.is_empty());
    Table::of(rows.map(route), [])
}

/// Who serves each of the requests.
fn check(rows: &str, requests: &[&str], expected: Expect) {
    let table = table(rows);
    let found = |request: &&str| {
        let (host, path) = request.split_at(request.find('/').unwrap());
        let name = table.find(host, path).map_or("404", |backend| &backend.name);
        format!("{request} {name}\n")
    };
    expected.assert_eq(&requests.iter().map(found).collect::<String>());
}

/// The examples of the Ingress API's documentation (concepts/services-networking/ingress, "Examples").
#[test]
fn paths_match_as_the_api_has_it() {
    let rows = "
        root prefix / P
        foo exact /foo E
        slash exact /foo/ E
        pfoo prefix /foo P
        pslash prefix /foo/ P
        part prefix /aaa/bb P
        whole prefix /aaa/bbb P
        wholes prefix /aaa/bbb/ P
        two prefix / A
        two prefix /aaa B
        three prefix / A
        three prefix /aaa B
        three prefix /aaa/bbb C
        one prefix /aaa A
        mixed prefix /foo P
        mixed exact /foo E";
    check(
        rows,
        &[
            "root/",
            "root/any/path",
            "foo/foo",
            "foo/bar",
            "foo/foo/",
            "slash/foo",
            "slash/foo/",
            "pfoo/foo",
            "pfoo/foo/",
            "pslash/foo",
            "pslash/foo/",
            "part/aaa/bbb",
            "whole/aaa/bbb",
            "wholes/aaa/bbb",
            "whole/aaa/bbb/",
            "whole/aaa/bbb/ccc",
            "whole/aaa/bbbxyz",
            "two/aaa/ccc",
            "two/ccc",
            "three/aaa/bbb/c",
            "one/ccc",
            "mixed/foo",
            "mixed/foo/",
            "one/AAA",
            "one//aaa",
            "one/aaa//b",
        ],
        expect![[r#"
            root/ P
            root/any/path P
            foo/foo E
            foo/bar 404
            foo/foo/ 404
            slash/foo 404
            slash/foo/ E
            pfoo/foo P
            pfoo/foo/ P
            pslash/foo P
            pslash/foo/ P
            part/aaa/bbb 404
            whole/aaa/bbb P
            wholes/aaa/bbb P
            whole/aaa/bbb/ P
            whole/aaa/bbb/ccc P
            whole/aaa/bbbxyz 404
            two/aaa/ccc B
            two/ccc A
            three/aaa/bbb/c C
            one/ccc 404
            mixed/foo E
            mixed/foo/ P
            one/AAA 404
            one//aaa 404
            one/aaa//b A
        "#]],
    );
}

#[test]
fn the_most_specific_host_is_first_and_a_wildcard_is_one_label() {
    let rows = "
        a.example.com prefix /x exact
        *.example.com prefix / wild
        *.example.com rest - wild-rest
        - prefix /any any
        - rest - any-rest
        b.other.com exact /only other
        b.other.com rest - other-rest";
    check(
        rows,
        &[
            "a.example.com/x",
            "a.example.com/y",
            "b.example.com/",
            "a.b.example.com/",
            "example.com/",
            ".example.com/",
            "a.b.example.com/any/1",
            "b.other.com/any",
            "b.other.com/z",
            "b.other.com/only",
            "unknown/z",
            "/any",
        ],
        expect![[r#"
            a.example.com/x exact
            a.example.com/y wild
            b.example.com/ wild
            a.b.example.com/ any-rest
            example.com/ any-rest
            .example.com/ any-rest
            a.b.example.com/any/1 any
            b.other.com/any any
            b.other.com/z other-rest
            b.other.com/only other
            unknown/z any-rest
            /any any
        "#]],
    );
}

#[test]
fn of_equals_the_first_counts() {
    let rows = "
        a prefix /x old
        a prefix /x/ new
        a exact /x old-exact
        a exact /x new-exact
        a rest - old-rest
        a rest - new-rest";
    check(
        rows,
        &["a/x/y", "a/x", "a/"],
        expect![[r#"
        a/x/y old
        a/x old-exact
        a/ old-rest
    "#]],
    );
}

/// Each of a path's elements would else be hashed with all before it.
#[test]
fn a_path_of_very_many_elements_costs_what_the_rules_have() {
    let table = table("a prefix /x/y deep");
    let long = "/x/y".to_string() + &"/z".repeat(30_000);
    assert_eq!(table.find("a", &long).map(|b| b.name.as_str()), Some("deep"));
    assert!(table.find("a", &"/".repeat(60_000)).is_none());
}

#[test]
fn turns_go_round_and_each_names_all() {
    let endpoints: Vec<SocketAddr> = (1..=3).map(|n| SocketAddr::from(([10, 0, 0, n], 80))).collect();
    let backend = Backend::new("a".into(), Protocol::Http1, endpoints, 2);
    let turns =
        || backend.turns().map(|a| a.to_string().split(['.', ':']).nth(3).unwrap().to_string()).collect::<String>();
    assert_eq!([turns(), turns(), turns(), turns()], ["312", "123", "231", "312"]);
    let nobody = Backend::default();
    assert_eq!(nobody.turns().count(), 0);
}
