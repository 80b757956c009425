use super::*;

fn template() -> Value {
    let args = ["a<b&&c>d\u{2028}\u{1}\u{8}\u{7f}é"];
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i", "args": args}]}})
}

fn object(value: &Value) -> Object {
    Object::from_value(value).unwrap()
}

fn owner(name: &str) -> Object {
    object(&json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name, "namespace": "n",
        "uid": "u", "annotations": {"note": "x"}}}))
}

fn revision(name: &str, number: i64, at: &str) -> Object {
    object(&json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
        "metadata": {"name": name, "namespace": "n", "creationTimestamp": at}}))
}

fn names<'a>(revisions: impl IntoIterator<Item = &'a Object>) -> Vec<&'a str> {
    revisions.into_iter().map(|revision| revision.meta().name.as_str()).collect()
}

/// What Go's encoding/json, hash/fnv.New32 and rand.SafeEncodeString make of it.
#[test]
fn names_are_those_of_a_stock_cluster() {
    let data = data(&template());
    let text = "{\"spec\":{\"template\":{\"$patch\":\"replace\",\"metadata\":{\"labels\":{\"app\":\"web\"}},\"spec\":\
        {\"containers\":[{\"args\":[\"a\\u003cb\\u0026\\u0026c\\u003ed\\u2028\\u0001\\b\u{7f}é\"],\"image\":\"i\",\
        \"name\":\"c\"}]}}}}";
    assert_eq!(as_go_writes(&data), text);
    let hashes = [None, Some(0), Some(3)].map(|collisions| hash(&data, collisions));
    assert_eq!(hashes, ["6dff97c4df", "796478949f", "796478949b"]);
    assert_eq!(name("web", "796478949f"), "web-796478949f");
    assert_eq!(name(&"w".repeat(250), "x"), format!("{}-x", "w".repeat(223)));
}

#[test]
fn a_revision_says_whose_it_is_and_keeps_the_template() {
    let made = object(&of(&owner("web"), &template(), HASH, "x", 3));
    let value = made.value();
    assert_eq!(value["metadata"]["name"], "web-x");
    assert_eq!(value["metadata"]["labels"], json!({"app": "web", HASH: "x"}));
    assert_eq!(value["metadata"]["annotations"], json!({"note": "x"}));
    assert_eq!(made.meta().controller().unwrap().uid, "u");
    assert_eq!(number(&made), 3);
    assert!(keeps(&made, &data(&template())));
    let mut other = template();
    other["spec"]["containers"][0]["image"] = "other".into();
    assert!(!keeps(&made, &data(&other)));
}

#[test]
fn the_next_number_is_one_more_than_the_highest() {
    let (first, second) = (revision("a", 1, ""), revision("b", 7, ""));
    assert_eq!(next([&second, &first]), 8);
    assert_eq!(next([]), 1);
}

#[test]
fn the_oldest_that_nobody_uses_go_first() {
    let mut all = vec![
        revision("d", 3, "2026-01-01T00:00:00Z"),
        revision("c", 2, "2026-01-02T00:00:00Z"),
        revision("b", 2, "2026-01-01T00:00:00Z"),
        revision("a", 2, "2026-01-02T00:00:00Z"),
        revision("e", 1, "2026-01-03T00:00:00Z"),
    ];
    sort(&mut all);
    assert_eq!(names(&all), ["e", "b", "a", "c", "d"]);
    let none = |_: &Object| false;
    assert_eq!(names(surplus(&all, 3, none)), ["e", "b"]);
    assert_eq!(names(surplus(&all, 3, |revision| revision.meta().name == "e")), ["b", "a"]);
    assert!(surplus(&all, 10, none).is_empty());
    assert_eq!(surplus(&all, 0, |revision| number(revision) == 2).len(), 2);
}
