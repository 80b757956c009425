//! Objects and lists in every form, under every option, and watches that end at once.

use super::super::subjects::Subject;
use super::{Case, Step};

/// What a client may accept.
const FORMS: [&str; 22] = [
    "",
    "*/*",
    "application/*",
    "text/html",
    "application/xml",
    "nonsense",
    "application/yaml",
    "application/json;pretty=1",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
    "application/json;as=Table;v=v9;g=meta.k8s.io",
    "application/json;as=Nonsense;v=v1;g=meta.k8s.io",
    "application/json;as=Table;g=meta.k8s.io;v=v9,application/json",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io",
    "application/yaml;as=Table;v=v1;g=meta.k8s.io",
    "application/yaml;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/xml,application/json;q=0.1",
    "application/json;stream=watch",
    "application/cbor",
    "application/json;q=x",
];

/// Queries of lists.
const QUERIES: [&str; 52] = [
    "limit=1",
    "limit=0",
    "limit=-1",
    "limit=x",
    "limit=99999999999999999999",
    "continue=x",
    "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJ4In0",
    "continue=x&resourceVersion=1",
    "limit=1&resourceVersion=0",
    "limit=1&resourceVersion=1",
    "limit=1&resourceVersionMatch=Exact",
    "resourceVersion=0",
    "resourceVersion=1",
    "resourceVersion=x",
    "resourceVersion=-1",
    "resourceVersion=999999999",
    "resourceVersion=0&resourceVersionMatch=Exact",
    "resourceVersion=0&resourceVersionMatch=NotOlderThan",
    "resourceVersion=1&resourceVersionMatch=NotOlderThan",
    "resourceVersion=1&resourceVersionMatch=x",
    "resourceVersionMatch=NotOlderThan",
    "resourceVersionMatch=x",
    "resourceVersion=x&resourceVersionMatch=Exact",
    "labelSelector=case%3Dread",
    "labelSelector=case%3D%3Dread,other",
    "labelSelector=!case",
    "labelSelector=case+in+(read,else)",
    "labelSelector=case+notin+(read)",
    "labelSelector=case+in+()",
    "labelSelector=case+in+read",
    "labelSelector=%3D",
    "labelSelector=a+b",
    "labelSelector=case%3DNot+good!",
    "labelSelector=Not/good/key",
    "labelSelector=case%3E1",
    "labelSelector=case%3Ex",
    "labelSelector=,",
    "labelSelector=case,",
    "fieldSelector=metadata.name%3Dread-1",
    "fieldSelector=metadata.name!%3Dread-1&labelSelector=case%3Dread",
    "fieldSelector=metadata.name",
    "fieldSelector=nowhere%3Dx",
    "fieldSelector=metadata.namespace%3Dx",
    "fieldSelector=metadata.name%3Dread-1,metadata.name%3Dread-2",
    "fieldSelector=%3D",
    "fieldSelector=metadata.name%3D%5C",
    "fieldSelector=metadata.name+in+(x)",
    "sendInitialEvents=true",
    "sendInitialEvents=x",
    "timeoutSeconds=x",
    "allowWatchBookmarks=x",
    "pretty=true",
];

/// Queries of watches.
const WATCHES: [&str; 13] = [
    "resourceVersion=0",
    "resourceVersion=x",
    "resourceVersion=-1",
    "resourceVersionMatch=NotOlderThan",
    "resourceVersionMatch=Exact",
    "sendInitialEvents=true",
    "sendInitialEvents=true&resourceVersionMatch=Exact",
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
    "sendInitialEvents=false",
    "sendInitialEvents=false&resourceVersionMatch=NotOlderThan",
    "limit=1",
    "continue=x",
];

pub fn cases(subject: &Subject) -> Vec<Case> {
    let path = subject.path();
    let mut cases = Vec::new();
    let mut made = Case::new(subject, "read/prepare");
    for name in ["read-1", "read-2", "read-3"] {
        let mut object = subject.named(name);
        object["metadata"]["labels"] = serde_json::json!({"case": "read"});
        made.quietly(Step::new("POST", &path).body(object.to_string()));
    }
    cases.push(made);
    let own = "labelSelector=case%3Dread";
    let one = |name: String, step: Step| Case::one(subject, name, step);
    for form in FORMS {
        cases.push(one(format!("read form/{form}"), Step::get(format!("{path}/read-1")).accept(form)));
        cases.push(one(format!("list form/{form}"), Step::get(format!("{path}?{own}")).accept(form)));
        cases.push(one(format!("read form of a refusal/{form}"), Step::get(format!("{path}/missing")).accept(form)));
    }
    for include in ["None", "Metadata", "Object", "x"] {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let step = Step::get(format!("{path}?{own}&includeObject={include}")).accept(table);
        cases.push(one(format!("list form/Table {include}"), step));
    }
    for query in QUERIES {
        let own = if query.contains("abelSelector") || query.contains("metadata.name%3Dread") { "" } else { own };
        cases.push(one(format!("list options/{query}"), Step::get(format!("{path}?{query}&{own}"))));
    }
    for query in [
        "pretty=true",
        "resourceVersion=0",
        "resourceVersion=x",
        "resourceVersion=1",
        "resourceVersion=999999999",
        "dryRun=All",
        "exact=true",
        "watch=true&timeoutSeconds=1&resourceVersion=0",
    ] {
        cases.push(one(format!("read options/{query}"), Step::get(format!("{path}/read-1?{query}"))));
    }
    let mut pages = Case::new(subject, "list pages/whole");
    pages.then(Step::get(format!("{path}?limit=2&{own}")));
    pages.then(Step::get(format!("{path}?limit=2&continue={{continue}}&{own}")));
    pages.then(Step::get(format!("{path}?limit=2&continue={{continue}}&resourceVersion=1&{own}")));
    pages.then(Step::get(format!("{path}?limit=2&continue={{continue}}&resourceVersionMatch=Exact&{own}")));
    cases.push(pages);
    if subject.can("watch") {
        for query in WATCHES {
            // What is listed first is not in an order.
            let step =
                Step::get(format!("{path}?watch=true&timeoutSeconds=1&{query}&fieldSelector=metadata.name%3Dread-1"));
            cases.push(one(format!("watch options/{query}"), step));
        }
        for form in &FORMS[..18] {
            let step =
                Step::get(format!("{path}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dread-1")).accept(form);
            cases.push(one(format!("watch form/{form}"), step));
        }
    }
    for method in ["HEAD", "OPTIONS", "PUT", "TRACE"] {
        cases.push(one(format!("read method/{method}"), Step::new(method, &path)));
        cases.push(one(format!("read method/{method} of one"), Step::new(method, format!("{path}/read-1"))));
    }
    for name in ["missing", "Not%20good", "a%2Fb", "%00", "..", "read-1/"] {
        cases.push(one(format!("read name/{name}"), Step::get(format!("{path}/{name}"))));
    }
    if subject.namespaced {
        let all = format!("{}/{}?{own}", subject.root(), subject.plural);
        cases.push(one("list everywhere/".into(), Step::get(all)));
        let missing = path.replace(&subject.namespace(), "missing");
        cases.push(one("list namespace/missing".into(), Step::get(&missing)));
        cases.push(one("read namespace/missing".into(), Step::get(format!("{missing}/x"))));
        cases.push(one(
            "read namespace/none".into(),
            Step::get(format!("{}/{}/read-1", subject.root(), subject.plural)),
        ));
    } else {
        let inside = format!("{}/namespaces/default/{}", subject.root(), subject.plural);
        cases.push(one("list namespace/one".into(), Step::get(&inside)));
        cases.push(one("read namespace/one".into(), Step::get(format!("{inside}/read-1"))));
    }
    for (what, root) in
        [("version", subject.root().replace(&subject.version, "v9")), ("group", "/apis/else.example.com/v1".into())]
    {
        cases.push(one(format!("list nowhere/{what}"), Step::get(format!("{root}/{}", subject.plural))));
    }
    cases
}
