use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn attachment(source: Value) -> Value {
    json!({"metadata": {"name": "a", "resourceVersion": "1"}, "status": {"attached": false},
        "spec": {"attacher": "acme.io", "nodeName": "n", "source": source}})
}

fn judged(new: &Value, old: Option<&Value>) -> Vec<String> {
    told(&kind("volumeattachments").validate(new, old, &Context::default()))
}

#[test]
fn an_attachment_is_of_one_volume_on_one_node() {
    assert_eq!(judged(&attachment(json!({"persistentVolumeName": "v"})), None), [""; 0]);
    let csi = json!({"csi": {"driver": "acme.io", "volumeHandle": "h"}, "accessModes": ["ReadWriteOnce"]});
    assert_eq!(judged(&attachment(json!({"inlineVolumeSpec": csi})), None), [""; 0]);
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    assert_eq!(judged(&attachment(json!({})), None), [format!("spec.source: Required value: {ONE}")]);
    let both = attachment(json!({"persistentVolumeName": "v", "inlineVolumeSpec": csi}));
    assert_eq!(judged(&both, None), [format!("spec.source: Forbidden: {ONE}")]);
    let nobody = judged(&attachment(json!({"persistentVolumeName": ""})), None);
    let why = "spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName";
    assert_eq!((nobody.len(), nobody[0].as_str()), (2, why));
    let mut wrong = attachment(json!({"persistentVolumeName": "v"}));
    wrong["spec"]["nodeName"] = json!("");
    wrong["spec"]["attacher"] = json!(format!("{}_", "A".repeat(63)));
    wrong["status"] = json!({"attachError": {"message": "x".repeat(1025), "errorCode": -1},
        "attachmentMetadata": {"k": "x".repeat(256 * 1024)}});
    let complaints = judged(&wrong, None);
    assert!(complaints[0].starts_with("spec.nodeName: Invalid value: \"\": a lowercase RFC 1123 subdomain"));
    assert_eq!(complaints[1], "status.attachmentMetadata: Too long: may not be more than 262144 bytes");
    assert_eq!(complaints[2], "status.attachError.message: Too long: may not be more than 1024 bytes");
    assert_eq!(
        complaints[3],
        "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive"
    );
    assert!(complaints[4].ends_with(
        "_\": an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an \
         alphanumeric character (e.g. 'Example.com', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ), "{}", complaints[4]);
    assert_eq!(complaints[5..], ["spec.attacher: Too long: may not be more than 63 characters"]);
}

#[test]
fn an_inline_volume_is_a_drivers_and_says_no_more() {
    let inline = |spec: Value| judged(&attachment(json!({"inlineVolumeSpec": spec})), None);
    let wrong = json!({"hostPath": {"path": "/x"}, "claimRef": {"name": "c"}, "capacity": {"storage": "1"},
        "persistentVolumeReclaimPolicy": "Delete", "nodeAffinity": {}, "storageClassName": "c", "volumeMode": "Block"});
    let at = |field: &str, text: &str| format!("spec.source.inlineVolumeSpec.{field}: {text}");
    const INLINE: &str = "Forbidden: may not be specified in the context of inline volumes";
    assert_eq!(
        inline(wrong),
        [
            at("claimRef", INLINE),
            at("capacity", INLINE),
            at("csi", "Required value: has to be specified in the context of inline volumes"),
            at("accessModes", "Required value"),
            at("persistentVolumeReclaimPolicy", "Forbidden: may only be Retain in the context of inline volumes"),
            at("nodeAffinity", INLINE),
            at("storageClassName", INLINE),
            at(
                "volumeMode",
                "Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes"
            ),
        ]
    );
}

#[test]
fn what_is_attached_where_stays() {
    let (old, new) =
        (attachment(json!({"persistentVolumeName": "v"})), attachment(json!({"persistentVolumeName": "w"})));
    assert_eq!(judged(&new, Some(&old)), ["spec: Invalid value: null: field is immutable"]);
    assert_eq!(judged(&old, Some(&old)), [""; 0]);
}
