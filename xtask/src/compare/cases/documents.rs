//! Documents about the API: discovery and OpenAPI, in every form, under their hashes, kept by a client.

use std::collections::BTreeSet;

use api::proto::gnostic::{V2_ASKED, V2_TYPE, V3_ASKED, V3_TYPE};

use super::super::subjects::Subject;
use super::{Case, Step};

const AGGREGATED: &str = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Groups that have no kind which can be listed.
const REVIEWED: [&str; 2] = ["/apis/authentication.k8s.io/v1", "/apis/authorization.k8s.io/v1"];
const OTHERS: [&str; 5] = [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"];

pub fn cases(served: &[Subject]) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, steps: Vec<Step>| {
        cases.push(Case { kind: "outside".into(), name, steps });
    };
    let mut roots: BTreeSet<String> = served.iter().map(Subject::root).collect();
    roots.extend(REVIEWED.map(str::to_owned));
    let groups: BTreeSet<String> = roots
        .iter()
        .filter_map(|root| root.strip_prefix("/apis/")?.rsplit_once('/'))
        .map(|(group, _)| format!("/apis/{group}"))
        .collect();

    for path in ["/api", "/apis"] {
        for form in [
            String::new(),
            "*/*".into(),
            "application/json".into(),
            "application/yaml".into(),
            "application/vnd.kubernetes.protobuf".into(),
            "text/html".into(),
            format!("application/json{AGGREGATED}"),
            format!("application/json{AGGREGATED};profile=nopeer"),
            format!("application/yaml{AGGREGATED}"),
            format!("application/vnd.kubernetes.protobuf{AGGREGATED}"),
            format!("application/json{}", AGGREGATED.replace("v2", "v2beta1")),
            format!("application/json{},application/json", AGGREGATED.replace("v2", "v2beta1")),
            format!("application/json{AGGREGATED},application/json"),
            format!("application/json,application/json{AGGREGATED}"),
            format!("application/json;q=0.1,application/json{AGGREGATED}"),
        ] {
            add(format!("documents discovery {form}/{path}"), vec![Step::get(path).accept(&form)]);
        }
        let aggregated = || Step::get(path).accept(&format!("application/json{AGGREGATED}"));
        let held = |value: &str| aggregated().header("if-none-match", value);
        let steps =
            vec![aggregated(), held("{etag}"), held("W/{etag}"), held("\"x\""), held("\"x\", {etag}"), held("*")];
        add(format!("documents kept/{path}"), steps);
    }
    for path in roots.iter().chain(&groups) {
        for form in ["application/vnd.kubernetes.protobuf", "application/yaml", "*/*"] {
            add(format!("documents discovery {form}/{path}"), vec![Step::get(path).accept(form)]);
        }
        add(format!("documents discovery slash/{path}"), vec![Step::get(format!("{path}/"))]);
    }
    for form in
        ["", "*/*", "application/*", "application/json", "application/yaml", "text/html", V2_ASKED, V2_TYPE, V3_TYPE]
    {
        add(format!("documents openapi v2/{form}"), vec![Step::get("/openapi/v2").accept(form)]);
    }
    let v2 = |value: &str| Step::get("/openapi/v2").header("if-none-match", value);
    add("documents kept/openapi v2".into(), vec![v2("\"x\""), v2("{etag}"), v2("\"x\", {etag}"), v2("*")]);
    for path in ["/openapi/v3", "/openapi/v3/"] {
        add(format!("documents openapi index/{path}"), vec![Step::get(path)]);
    }
    let of = roots.iter().chain(&groups).map(|root| root.trim_start_matches('/').to_owned());
    for root in of.chain(OTHERS.map(str::to_owned)) {
        let path = format!("/openapi/v3/{root}");
        add(format!("documents openapi v3/{root}"), vec![Step::get(&path)]);
        add(format!("documents openapi v3 protobuf/{root}"), vec![Step::get(&path).accept(V3_ASKED)]);
    }
    let apps = "/openapi/v3/apis/apps/v1";
    for form in ["*/*", "application/*", "application/yaml", "text/html", V3_TYPE, V2_TYPE, "nonsense"] {
        add(format!("documents openapi v3 form/{form}"), vec![Step::get(apps).accept(form)]);
    }
    let moved = Step::get(format!("{apps}?hash=ABC"));
    let hashed = || Step::get("{location}");
    let steps = vec![moved, hashed(), hashed().header("if-none-match", "{etag}"), hashed().accept(V3_TYPE)];
    add("documents openapi v3 hashed/apps".into(), steps);
    cases
}
