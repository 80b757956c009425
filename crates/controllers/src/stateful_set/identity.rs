//! Who a pod of a StatefulSet is: its name, its labels, its host, its claims. Pure.
//!
//! pkg/controller/statefulset/stateful_set_utils.go. The name says whose it is and which: `web-0`, and the claims that
//! are made of a template `data` for it are `data-web-0`.

use api::{Object, tree};
use serde_json::{Value, json};

use crate::workload::pods;
use crate::workload::revisions::REVISION_HASH;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// `web-12` is the 12 of `web`; None for what no StatefulSet names.
pub fn parse(pod: &str) -> Option<(&str, i64)> {
    let (parent, digits) = pod.rsplit_once('-')?;
    // Upstream takes `web-00` for a `web-0`, too; here names are one of each.
    let is_number = digits == "0" || !digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse::<i32>().ok()).flatten().map(|ordinal| (parent, i64::from(ordinal)))
}

/// Its ordinal, if it is one of that set's.
pub fn ordinal_in(set: &str, pod: &str) -> Option<i64> {
    parse(pod).filter(|(parent, _)| *parent == set).map(|(_, ordinal)| ordinal)
}

/// Which ordinals a set shall have.
pub fn range(set: &Value) -> std::ops::Range<i64> {
    let start = tree::int(set, "spec.ordinals.start").unwrap_or(0);
    start..start.saturating_add(replicas(set))
}

pub fn replicas(set: &Value) -> i64 {
    tree::int(set, "spec.replicas").unwrap_or(0).max(0)
}

/// `data-web-0`
pub fn claim_name(set: &Value, template: &Value, ordinal: i64) -> String {
    format!("{}-{}-{ordinal}", tree::text(template, "metadata.name"), tree::text(set, "metadata.name"))
}

/// The claims of the pod of that ordinal, beside the names of their templates.
pub fn claims(set: &Value, ordinal: i64) -> Vec<(String, Value)> {
    let own = tree::entries(set, "spec.selector.matchLabels");
    let own: Vec<(&String, &Value)> = own.collect();
    let of = |template: &Value| {
        let mut claim = template.clone();
        claim["apiVersion"] = "v1".into();
        claim["kind"] = "PersistentVolumeClaim".into();
        claim["metadata"]["name"] = claim_name(set, template, ordinal).into();
        claim["metadata"]["namespace"] = set["metadata"]["namespace"].clone();
        for (key, value) in &own {
            claim["metadata"]["labels"][key.as_str()] = (*value).clone();
        }
        (tree::text(template, "metadata.name").to_owned(), claim)
    };
    tree::list(set, "spec.volumeClaimTemplates").iter().map(of).collect()
}

/// A new pod of that ordinal, by that template of that revision.
pub fn pod(owner: &Object, set: &Value, template: &Value, revision: &str, ordinal: i64) -> Value {
    let mut pod = pods::of_template(owner, template);
    let name = format!("{}-{ordinal}", owner.meta().name);
    pod["metadata"]["name"] = name.as_str().into();
    identify(&mut pod, &owner.meta().namespace, &name, ordinal);
    pod["metadata"]["labels"][REVISION_HASH] = revision.into();
    pod["spec"]["hostname"] = name.into();
    match tree::text(set, "spec.serviceName") {
        "" => {
            if let Some(spec) = pod["spec"].as_object_mut() {
                spec.remove("subdomain");
            }
        }
        service => pod["spec"]["subdomain"] = service.into(),
    }
    store(&mut pod, &claims(set, ordinal));
    pod
}

/// A pod that is there as it should be, if it is not.
pub fn corrected(set: &Value, pod: &Value, ordinal: i64) -> Option<Value> {
    let name = tree::text(pod, "metadata.name").to_owned();
    let claims = claims(set, ordinal);
    let is_named = pod["metadata"]["labels"][POD_NAME] == name.as_str();
    let is_stored = claims.iter().all(|(volume, claim)| {
        let of = tree::list(pod, "spec.volumes").iter().find(|known| known["name"] == volume.as_str());
        of.is_some_and(|of| tree::text(of, "persistentVolumeClaim.claimName") == tree::text(claim, "metadata.name"))
    });
    if is_named && is_stored {
        return None;
    }
    let mut right = pod.clone();
    if !is_named {
        identify(&mut right, tree::text(set, "metadata.namespace"), &name, ordinal);
    }
    if !is_stored {
        store(&mut right, &claims);
    }
    Some(right)
}

fn identify(pod: &mut Value, namespace: &str, name: &str, ordinal: i64) {
    pod["metadata"]["namespace"] = namespace.into();
    pod["metadata"]["labels"][POD_NAME] = name.into();
    pod["metadata"]["labels"][POD_INDEX] = ordinal.to_string().into();
}

/// Its claims are its volumes, whatever else has their names.
fn store(pod: &mut Value, claims: &[(String, Value)]) {
    if claims.is_empty() {
        return;
    }
    let volume = |(name, claim): &(String, Value)| json!({"name": name, "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}});
    let mut volumes: Vec<Value> = claims.iter().map(volume).collect();
    let is_other = |volume: &&Value| claims.iter().all(|(name, _)| volume["name"] != name.as_str());
    volumes.extend(tree::list(pod, "spec.volumes").iter().filter(is_other).cloned());
    pod["spec"]["volumes"] = volumes.into();
}
