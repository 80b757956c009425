//! A pod template's page, as a workload's history shows it (kubectl pkg/describe, DescribePodTemplate).

use api::{selector, tree};
use serde_json::Value;

use super::page::{Page, shown};
use super::pod;

/// The whole of it, in tabs.
pub fn template(template: &Value) -> String {
    let (meta, spec) = (&template["metadata"], &template["spec"]);
    let mut page = Page::default();
    page.head(0, "Pod Template");
    page.map(1, "Labels", &meta["labels"], "=");
    if tree::entries(meta, "annotations").next().is_some() {
        page.annotations(1, &meta["annotations"]);
    }
    if let Some(account) = spec["serviceAccountName"].as_str().filter(|name| !name.is_empty()) {
        page.field(1, "Service Account", account);
    }
    pod::write_template(&mut page, spec);
    spread(&mut page, tree::list(spec, "topologySpreadConstraints"));
    if let Some(class) = spec["priorityClassName"].as_str().filter(|name| !name.is_empty()) {
        page.field(1, "Priority Class Name", class);
    }
    page.map(1, "Node-Selectors", &spec["nodeSelector"], "=");
    let mut tolerations: Vec<&Value> = tree::list(spec, "tolerations").iter().collect();
    tolerations.sort_by_key(|toleration| tree::text(toleration, "key"));
    let tolerations: Vec<String> = tolerations.into_iter().map(pod::toleration).collect();
    page.field(1, "Tolerations", if tolerations.is_empty() { "<none>".into() } else { tolerations.join("\n") });
    page.tabbed()
}

/// How its pods are spread.
fn spread(page: &mut Page, constraints: &[Value]) {
    let mut constraints: Vec<&Value> = constraints.iter().collect();
    constraints.sort_by_key(|constraint| tree::text(constraint, "topologyKey"));
    let line = |constraint: &&Value| {
        let skew = constraint["maxSkew"].as_i64().unwrap_or(0);
        let selector = selector::line(&constraint["labelSelector"]).ok();
        let selector = selector.filter(|_| constraint["labelSelector"].is_object());
        format!(
            "{}:{} when max skew {skew} is exceeded{}",
            shown(&constraint["topologyKey"]),
            shown(&constraint["whenUnsatisfiable"]),
            selector.map_or(String::new(), |selector| format!(" for selector {selector}"))
        )
    };
    let lines: Vec<String> = constraints.iter().map(line).collect();
    if !lines.is_empty() {
        page.field(1, "Topology Spread Constraints", lines.join("\n"));
    }
}
