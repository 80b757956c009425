//! PodNodeSelector: the pods of a namespace go where an annotation of the namespace says.
//!
//! plugin/pkg/admission/podnodeselector, without its configuration file: no selector of the whole cluster, no lists
//! of what namespaces may say.

use std::collections::BTreeMap;

use api::Status;
use serde_json::{Value, json};

use super::{Ask, Findings, Operation, Plugin};

pub const PLUGIN: Plugin =
    Plugin { name: "PodNodeSelector", operations: &[Operation::Create], mutate, validate, by_default: false };

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";

fn mutate(ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
    if !ask.creates("pods") {
        return Ok(());
    }
    let wanted = wanted(ask, findings)?;
    judge(ask, object, &wanted)?;
    for (key, value) in wanted {
        if object["spec"]["nodeSelector"][&key].is_null() {
            object["spec"]["nodeSelector"][&key] = json!(value);
        }
    }
    Ok(())
}

fn validate(ask: &Ask<'_>, object: &Value, findings: &mut Findings) -> Result<(), Status> {
    match ask.creates("pods") {
        true => judge(ask, object, &wanted(ask, findings)?),
        false => Ok(()),
    }
}

fn judge(ask: &Ask<'_>, pod: &Value, wanted: &BTreeMap<String, String>) -> Result<(), Status> {
    let selector = &pod["spec"]["nodeSelector"];
    match wanted.iter().any(|(key, value)| selector[key].as_str().is_some_and(|own| own != value)) {
        true => Err(ask.forbidden(pod, "pod node label selector conflicts with its namespace node label selector")),
        false => Ok(()),
    }
}

/// What the namespace says.
fn wanted(ask: &Ask<'_>, findings: &mut Findings) -> Result<BTreeMap<String, String>, Status> {
    let entry = ask.snapshot().namespace(ask.namespace);
    let entry = entry.ok_or_else(|| Status::not_found("", "namespaces", ask.namespace))?;
    let namespace: Value = serde_json::from_slice(&entry.bytes).map_err(|why| Status::internal(why.to_string()))?;
    findings.claim(&entry);
    read(namespace["metadata"]["annotations"][ANNOTATION].as_str().unwrap_or_default()).map_err(Status::internal)
}

/// `a=b, c=d` (apimachinery labels.ConvertSelectorToLabelsMap).
fn read(selector: &str) -> Result<BTreeMap<String, String>, String> {
    let pairs = selector.split(',').filter(|_| !selector.is_empty());
    let read = pairs.map(|pair| match pair.split('=').collect::<Vec<_>>()[..] {
        [key, value] => {
            let (key, value) = (key.trim(), value.trim());
            let mut wrong = api::names::qualified(key);
            wrong.extend(api::names::label_value(value));
            match wrong.is_empty() {
                true => Ok((key.to_owned(), value.to_owned())),
                false => Err(format!("invalid selector: [{pair}]: {}", wrong.join("; "))),
            }
        }
        _ => Err(format!("invalid selector: [{pair}]")),
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_labels() {
        let pairs = |all: &[(&str, &str)]| all.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(read(""), Ok(BTreeMap::new()));
        assert_eq!(read("a=b, example.com/c = d"), Ok(pairs(&[("a", "b"), ("example.com/c", "d")])));
        assert_eq!(read("a="), Ok(pairs(&[("a", "")])));
        for wrong in ["a", "a=b=c", "a!=b", "a=b,", "-=b", "a=b c"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
