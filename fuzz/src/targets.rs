//! The targets, and the objects that they begin with.

/// Bodies, patches, selectors, quantities, protobuf.
mod bodies;
/// Heads of requests through the ingress.
mod ingress;
/// Paths, frames, configuration files, names.
mod lines;
/// Questions and answers of DNS.
mod names;
/// Layers and archives of images.
mod packed;
/// Whole requests, and what only some kinds hold.
mod server;

use crate::Target;

pub const TARGETS: &[Target] = &[
    bodies::JSON,
    bodies::YAML,
    bodies::PROTOBUF,
    bodies::STRATEGIC,
    bodies::DIFFERENCE,
    bodies::MERGE,
    bodies::JSON_PATCH,
    bodies::APPLY,
    bodies::SELECTOR,
    bodies::QUANTITY,
    lines::ROUTE,
    lines::SPDY,
    lines::KUBECONFIG,
    lines::RESOLV_CONF,
    lines::REFERENCE,
    lines::CREDENTIALS,
    lines::JSONPATH,
    server::REQUEST,
    server::CERTIFICATES,
    server::SCHEDULE,
    server::FIELDS,
    server::OPENAPI,
    server::WEBSOCKET,
    names::QUESTION,
    names::ANSWER,
    packed::LAYER,
    packed::ARCHIVE,
    ingress::INGRESS,
];

/// Objects of several kinds, canonical enough to be decoded strictly.
const OBJECTS: &[&str] = &[
    r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"default","labels":{"app":"web"},"annotations":{"a/b":"c"},"finalizers":["x/y"]},"spec":{"restartPolicy":"Always","terminationGracePeriodSeconds":30,"nodeSelector":{"disk":"ssd"},"tolerations":[{"key":"k","operator":"Exists","effect":"NoExecute","tolerationSeconds":5}],"initContainers":[{"name":"first","image":"toolbox","restartPolicy":"Always","args":["sleep","1"]}],"containers":[{"name":"c","image":"toolbox:1","command":["web"],"ports":[{"containerPort":80,"hostPort":8080,"protocol":"TCP","name":"http"}],"env":[{"name":"A","value":"$(B)"},{"name":"IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}}],"resources":{"limits":{"cpu":"1500m","memory":"1.5Gi"},"requests":{"cpu":"100m"}},"volumeMounts":[{"name":"data","mountPath":"/data","subPath":"x"}],"livenessProbe":{"httpGet":{"path":"/","port":"http"},"periodSeconds":3},"readinessProbe":{"exec":{"command":["true"]}},"securityContext":{"runAsUser":1000,"capabilities":{"add":["NET_ADMIN"],"drop":["ALL"]}},"lifecycle":{"preStop":{"sleep":{"seconds":2}}}}],"volumes":[{"name":"data","emptyDir":{"sizeLimit":"1Mi"}},{"name":"p","projected":{"defaultMode":420,"sources":[{"serviceAccountToken":{"path":"t","expirationSeconds":3607}},{"configMap":{"name":"m","items":[{"key":"k","path":"p"}]}}]}}]},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}],"containerStatuses":[{"name":"c","image":"i","imageID":"","ready":true,"restartCount":1,"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}]}}"#,
    r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","namespace":"default"},"spec":{"selector":{"app":"web"},"ports":[{"name":"http","port":80,"targetPort":"http","protocol":"TCP"},{"name":"dns","port":53,"targetPort":53,"protocol":"UDP"}],"clusterIP":"10.96.0.9","type":"ClusterIP"}}"#,
    r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m","namespace":"default"},"data":{"k":"v","multi":"a\nb"},"binaryData":{"b":"AAEC"},"immutable":true}"#,
    r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"},"spec":{"taints":[{"key":"k","value":"v","effect":"NoSchedule"}],"podCIDR":"10.1.0.0/24"},"status":{"capacity":{"cpu":"4","memory":"8Gi"},"addresses":[{"type":"InternalIP","address":"192.0.2.1"}]}}"#,
    r#"{"apiVersion":"v1","kind":"Event","metadata":{"name":"e","namespace":"default"},"involvedObject":{"kind":"Pod","name":"web"},"reason":"Started","message":"m","type":"Normal","count":2,"firstTimestamp":"2026-01-01T00:00:00Z","eventTime":null}"#,
    r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l","namespace":"default"},"spec":{"holderIdentity":"h","leaseDurationSeconds":40,"renewTime":"2026-01-01T00:00:00.000000Z"}}"#,
];

/// Their words, and those of patches.
const WORDS: &[&str] = &[
    "\"metadata\":",
    "\"spec\":",
    "\"status\":",
    "\"containers\":[",
    "\"name\":",
    "\"kind\":\"Pod\"",
    "\"env\":",
    "\"$patch\":\"delete\"",
    "\"$patch\":\"replace\"",
    "\"$patch\":\"merge\"",
    "\"$retainKeys\":[\"emptyDir\"]",
    "\"$setElementOrder/containers\":[{\"name\":\"c\"}]",
    "\"$deleteFromPrimitiveList/finalizers\":[\"x/y\"]",
    "null",
    "{}",
    "[]",
    "\"\\ud800\"",
    "\"managedFields\":[",
    "\"fieldsV1\":{\"f:metadata\":{}}",
    "\"creationTimestamp\":null",
    "\"1Gi\"",
    "\"2026-01-01T00:00:00Z\"",
    "\"ports\":",
    "\"volumes\":",
    "\"valueFrom\":",
    "\"op\":\"copy\"",
    "\"path\":\"/spec/containers/-\"",
    "\"from\":\"/spec\"",
    "&a",
    "*a",
    "<<:",
    "---\n",
    "- ",
    "|\n",
    ">-\n",
    "!!str ",
];

fn samples(objects: &[&str]) -> Vec<Vec<u8>> {
    objects.iter().map(|text| text.as_bytes().to_vec()).collect()
}
