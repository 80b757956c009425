use http::Method;
use serde_json::{Value, json};

use crate::identity::Component;
use crate::tests::cluster;

#[tokio::test]
async fn a_priority_class_gives_the_number() {
    let c = cluster().await;
    c.account("default").await;
    let pod = |spec: Value| {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        pod
    };
    let path = "/api/v1/namespaces/default/pods";
    let (code, made) = c.post(path, pod(json!({"priorityClassName": "system-node-critical"}))).await;
    assert_eq!((code, &made["spec"]["priority"]), (201, &json!(2_000_001_000)), "{made}");
    let (code, status) = c.post(path, pod(json!({"priorityClassName": "none"}))).await;
    let text = "pods \"p\" is forbidden: no PriorityClass with name none was found";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, text));
    let (code, status) = c.post(path, pod(json!({"serviceAccountName": "x"}))).await;
    let text = "pods \"p\" is forbidden: error looking up service account default/x: serviceaccount \"x\" not found";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, text));
}

#[tokio::test]
async fn an_ingress_without_a_class_gets_the_newest_default() {
    let c = cluster().await;
    let classes = "/apis/networking.k8s.io/v1/ingressclasses";
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let make = async |name: &str, metadata: Value| {
        let mut object = json!({"metadata": metadata, "spec": {"defaultBackend": {"service": {"name": "s",
            "port": {"number": 80}}}}});
        object["metadata"]["name"] = name.into();
        let (code, made) = c.post(ingresses, object).await;
        assert_eq!(code, 201, "{made}");
        made["spec"]["ingressClassName"].clone()
    };
    let class = async |name: &str, default: &str| {
        let annotations = json!({"ingressclass.kubernetes.io/is-default-class": default});
        let class = json!({"metadata": {"name": name, "annotations": annotations}, "spec": {"controller": "a.io/b"}});
        assert_eq!(c.post(classes, class).await.0, 201);
    };
    class("a", "false").await;
    assert_eq!(make("one", json!({})).await, Value::Null);
    class("c", "true").await;
    class("b", "true").await;
    // Of one age: by name.
    assert_eq!(make("two", json!({})).await, "b");
    assert_eq!(make("three", json!({"annotations": {"kubernetes.io/ingress.class": "own"}})).await, Value::Null);
    let (_, status) = c.get(&format!("{ingresses}/two/status")).await;
    assert_eq!((&status["status"], &status["metadata"]["generation"]), (&json!({"loadBalancer": {}}), &json!(1)));
}

#[tokio::test]
async fn a_claim_without_a_class_gets_the_newest_default_and_is_protected() {
    let c = cluster().await;
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let make = async |name: &str, metadata: Value, class: Option<&str>| {
        let mut object = json!({"metadata": metadata, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        object["metadata"]["name"] = name.into();
        if let Some(class) = class {
            object["spec"]["storageClassName"] = class.into();
        }
        let (code, made) = c.post(claims, object).await;
        assert_eq!((code, &made["metadata"]["finalizers"]), (201, &json!(["kubernetes.io/pvc-protection"])), "{made}");
        made["spec"]["storageClassName"].clone()
    };
    let class = async |name: &str, note: &str| {
        let metadata = json!({"name": name, "annotations": {format!("{note}.kubernetes.io/is-default-class"): "true"}});
        let class = json!({"metadata": metadata, "provisioner": "a.io/b"});
        assert_eq!(c.post("/apis/storage.k8s.io/v1/storageclasses", class).await.0, 201);
    };
    assert_eq!(make("one", json!({}), None).await, Value::Null);
    class("c", "storageclass").await;
    class("b", "storageclass.beta").await;
    assert_eq!(make("two", json!({}), None).await, "b", "of two of one second the first by name");
    assert_eq!(make("three", json!({}), Some("")).await, "");
    assert_eq!(make("four", json!({}), Some("x")).await, "x");
    let noted = json!({"annotations": {"volume.beta.kubernetes.io/storage-class": "y"}});
    assert_eq!(make("five", noted, None).await, Value::Null);
    // Once is enough.
    let mine = json!({"finalizers": ["a.b/c", "kubernetes.io/pvc-protection"]});
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let mut six = json!({"metadata": mine, "spec": spec});
    six["metadata"]["name"] = "six".into();
    assert_eq!(c.post(claims, six).await.1["metadata"]["finalizers"], mine["finalizers"]);
}

#[tokio::test]
async fn a_claim_grows_where_its_class_lets_it() {
    let c = cluster().await;
    for (name, grows) in [("fixed", false), ("grows", true)] {
        let class = json!({"metadata": {"name": name}, "provisioner": "a.io/b", "allowVolumeExpansion": grows});
        assert_eq!(c.post("/apis/storage.k8s.io/v1/storageclasses", class).await.0, 201);
    }
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let merge = "application/merge-patch+json";
    let grow = async |name: &str| {
        let larger = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        let (code, answer) = c.patch(&format!("{claims}/{name}"), merge, larger).await;
        (code, answer["message"].as_str().unwrap_or_default().to_string())
    };
    for name in ["fixed", "grows", "gone"] {
        let claim = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": name,
            "volumeName": "v", "resources": {"requests": {"storage": "1Gi"}}}});
        assert_eq!(c.post(claims, claim).await.0, 201);
        let (code, message) = grow(name).await;
        assert_eq!(code, 422, "the claim's own rules come first: {message}");
        let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
        assert_eq!(c.patch(&format!("{claims}/{name}/status"), merge, bound).await.0, 200);
    }
    assert_eq!(grow("grows").await.0, 200);
    for name in ["fixed", "gone"] {
        let why = format!(
            "persistentvolumeclaims \"{name}\" is forbidden: only dynamically provisioned pvc can be resized and the \
             storageclass that provisions the pvc must support resize"
        );
        assert_eq!(grow(name).await, (403, why));
    }
    let smaller = json!({"spec": {"resources": {"requests": {"storage": "1.5Gi"}}}});
    assert_eq!(c.patch(&format!("{claims}/grows"), merge, smaller).await.0, 200);
}

#[tokio::test]
async fn a_node_begins_tainted_and_writes_only_itself() {
    let c = cluster().await;
    let agent = c.server.internal(Component::Node("n1".into()));
    let node = json!({"metadata": {"name": "n1"}}).to_string();
    let response = c.raw(&agent, Method::POST, "/api/v1/nodes", "application/json", node).await;
    assert_eq!(response.status.as_u16(), 201);
    let (_, node) = c.get("/api/v1/nodes/n1").await;
    assert_eq!(node["spec"]["taints"], json!([{"effect": "NoSchedule", "key": "node.kubernetes.io/not-ready"}]));
    let patch = json!({"spec": {"taints": null}}).to_string();
    let media = "application/merge-patch+json";
    let response = c.raw(&agent, Method::PATCH, "/api/v1/nodes/n1", media, patch).await;
    assert_eq!(response.status.as_u16(), 403);
    let other = json!({"metadata": {"name": "n2"}});
    let response = c.raw(&agent, Method::POST, "/api/v1/nodes", "application/json", other.to_string()).await;
    assert_eq!(response.status.as_u16(), 403);
    c.post("/api/v1/nodes", other).await;
    let patch = json!({"status": {"phase": "Running"}}).to_string();
    let response = c.raw(&agent, Method::PATCH, "/api/v1/nodes/n2/status", media, patch).await;
    assert_eq!(response.status.as_u16(), 403);
}

#[tokio::test]
async fn a_nodes_mirror_pod_names_no_object_and_grants_none() {
    let c = cluster().await;
    let agent = c.server.internal(Component::Node("n1".into()));
    let (_, node) = c.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    let secret = json!({"metadata": {"name": "s"}});
    c.post("/api/v1/namespaces/kube-system/secrets", secret).await;
    c.post("/api/v1/namespaces/kube-system/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": node["metadata"]["uid"],
        "controller": true}]);
    let pod = |name: &str, with: Value| {
        let mut pod = json!({"metadata": {"name": name, "annotations": {"kubernetes.io/config.mirror": "x"},
                "ownerReferences": owner}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}});
        for (pointer, value) in with.as_object().unwrap() {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[key] = value.clone();
        }
        pod.to_string()
    };
    let pods = "/api/v1/namespaces/kube-system/pods";
    let env = json!([{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
    let volume = json!([{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]);
    let maps = json!([{"configMapRef": {"name": "m"}}]);
    let unowned = json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "other", "controller": true}]);
    for (with, what) in [
        (json!({"/spec/containers/0/env": env}), "can not create pods that reference secrets"),
        (json!({"/spec/imagePullSecrets": [{"name": "s"}]}), "can not create pods that reference secrets"),
        (json!({"/spec/volumes": volume}), "can not create pods that reference secrets"),
        (json!({"/spec/containers/0/envFrom": maps}), "can not create pods that reference configmaps"),
        (json!({"/metadata/ownerReferences/0/controller": false}), "with a controller owner reference set to itself"),
        (json!({"/metadata/ownerReferences": unowned}), "UID mismatch: expected other got"),
        (json!({"/metadata/ownerReferences": []}), "with an owner reference set to itself"),
        (json!({"/metadata/ownerReferences": [owner[0], unowned[0]]}), "with a single owner reference set to itself"),
        (json!({"/metadata/ownerReferences/0/blockOwnerDeletion": true}), "must not set blockOwnerDeletion"),
        (json!({"/metadata/finalizers": ["a/b"]}), "is not allowed to modify finalizers"),
        (json!({"/spec/serviceAccountName": "default"}), "a mirror pod may not reference service accounts"),
        (
            json!({"/spec/volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}),
            "can not create pods that reference persistentvolumeclaims",
        ),
        (json!({"/spec/nodeName": "n2"}), "can only create pods with spec.nodeName set to itself"),
        (json!({"/metadata/annotations": {}}), "can only create mirror pods"),
    ] {
        let (code, status) = c.call_as(&agent, Method::POST, pods, pod("p", with)).await;
        assert_eq!(code, 403, "{status}");
        assert!(status["message"].as_str().unwrap().contains(what), "{status}");
    }
    let (code, made) = c.call_as(&agent, Method::POST, pods, pod("p", json!({}))).await;
    assert_eq!(code, 201, "{made}");
    // One that an administrator made in its name opens nothing either.
    let with = json!({"/spec/containers/0/env": env});
    c.call_as(&c.admin, Method::POST, pods, pod("q", with)).await;
    let path = "/api/v1/namespaces/kube-system/secrets/s";
    assert_eq!(c.call_as(&agent, Method::GET, path, String::new()).await.0, 403);
}

/// One finalizer, and a pod, an event or its namespace was there for good.
#[tokio::test]
async fn a_node_keeps_nothing_from_being_deleted() {
    let c = cluster().await;
    c.account("default").await;
    let agent = c.server.internal(Component::Node("n1".into()));
    let (_, node) = c.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    let held = |name: &str| json!({"name": name, "namespace": "default", "finalizers": ["a/b"]});
    let involved = json!({"kind": "Pod", "name": "x", "namespace": "default"});
    let event = json!({"metadata": held("e"), "involvedObject": involved}).to_string();
    let (code, status) = c.call_as(&agent, Method::POST, "/api/v1/namespaces/default/events", event).await;
    assert_eq!(code, 403, "{status}");
    let lease = json!({"metadata": {"name": "n1", "finalizers": ["a/b"]}}).to_string();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    assert_eq!(c.call_as(&agent, Method::POST, leases, lease).await.0, 403);
    let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
    let pods = "/api/v1/namespaces/default/pods";
    for (name, finalizers) in [("free", json!([])), ("kept", json!(["batch.kubernetes.io/job-tracking"]))] {
        let (code, made) =
            c.post(pods, json!({"metadata": {"name": name, "finalizers": finalizers}, "spec": spec})).await;
        assert_eq!(code, 201, "{made}");
    }
    let patch = async |path: &str, body: Value| {
        let media = "application/merge-patch+json";
        c.raw(&agent, Method::PATCH, path, media, body.to_string()).await.status.as_u16()
    };
    let (free, kept) = (format!("{pods}/free/status"), format!("{pods}/kept/status"));
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": node["metadata"]["uid"]}]);
    for (path, metadata) in [
        (free.as_str(), json!({"finalizers": ["a/b"]})),
        (kept.as_str(), json!({"finalizers": null})),
        ("/api/v1/nodes/n1", json!({"finalizers": ["a/b"]})),
        ("/api/v1/nodes/n1/status", json!({"finalizers": ["a/b"]})),
    ] {
        assert_eq!(patch(path, json!({"metadata": metadata})).await, 403, "{path} {metadata}");
    }
    // To the status of a pod its owner is as it was (registry/core/pod/strategy.go).
    assert_eq!(patch(&free, json!({"metadata": {"ownerReferences": owner}})).await, 200);
    assert_eq!(c.get(&format!("{pods}/free")).await.1["metadata"].get("ownerReferences"), None);
    // What it says of its pods is taken, whatever holds them.
    assert_eq!(patch(&kept, json!({"status": {"phase": "Running"}})).await, 200);
    let (code, deleted) = c.call_as(&agent, Method::DELETE, &format!("{pods}/free"), String::new()).await;
    assert_eq!(code, 200, "{deleted}");
}

#[tokio::test]
async fn a_node_labels_and_owns_itself_only_as_it_may() {
    let c = cluster().await;
    let agent = c.server.internal(Component::Node("n1".into()));
    let node = |labels: Value| json!({"metadata": {"name": "n1", "labels": labels}}).to_string();
    let refused = node(json!({"node-role.kubernetes.io/control-plane": "", "kubernetes.io/hostname": "n1"}));
    let (code, status) = c.call_as(&agent, Method::POST, "/api/v1/nodes", refused).await;
    let text = "nodes \"n1\" is forbidden: node \"n1\" is not allowed to set the following labels: \
                node-role.kubernetes.io/control-plane";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, text));
    let allowed = node(json!({"kubernetes.io/hostname": "n1", "x.node.kubernetes.io/y": "1", "mine": "1"}));
    assert_eq!(c.call_as(&agent, Method::POST, "/api/v1/nodes", allowed).await.0, 201);
    let patch = |body: Value| {
        c.raw(&agent, Method::PATCH, "/api/v1/nodes/n1", "application/merge-patch+json", body.to_string())
    };
    assert_eq!(patch(json!({"metadata": {"labels": {"a.k8s.io/b": "1"}}})).await.status.as_u16(), 403);
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "n2", "uid": "u"}]);
    assert_eq!(patch(json!({"metadata": {"ownerReferences": owner}})).await.status.as_u16(), 403);
    assert_eq!(patch(json!({"metadata": {"labels": {"mine": "2"}}})).await.status.as_u16(), 200);
    // All of them, for the ways to their pods; one that is another's is not its to read, nor to write.
    for (method, path, code) in [
        (Method::GET, "/api/v1/nodes", 200),
        (Method::GET, "/api/v1/nodes/n2", 403),
        (Method::DELETE, "/api/v1/nodes/n2", 403),
    ] {
        assert_eq!(c.call_as(&agent, method, path, String::new()).await.0, code, "{path}");
    }
    let own = "/api/v1/nodes?fieldSelector=metadata.name%3Dn1";
    assert_eq!(c.call_as(&agent, Method::GET, own, String::new()).await.0, 200);
    let lease = json!({"metadata": {"name": "n2"}}).to_string();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    assert_eq!(c.call_as(&agent, Method::POST, leases, lease).await.0, 403);
}

/// With the range of another node it would give its pods the addresses of that node's.
#[tokio::test]
async fn a_node_gives_itself_no_range() {
    let c = cluster().await;
    let agent = c.server.internal(Component::Node("n1".into()));
    let ranges = [
        json!({"podCIDR": "10.244.7.0/24"}),
        json!({"podCIDRs": ["10.244.7.0/24"]}),
        json!({"podCIDR": "10.244.7.0/24", "podCIDRs": ["10.244.7.0/24"]}),
    ];
    // Agents of former versions bring one; to a Node that is there they must hear so.
    for (spec, expected) in ranges.iter().zip([201, 409, 409]) {
        let node = json!({"metadata": {"name": "n1"}, "spec": spec}).to_string();
        let (code, answer) = c.call_as(&agent, Method::POST, "/api/v1/nodes", node).await;
        assert_eq!((code, &answer["spec"]["podCIDRs"]), (expected, &Value::Null), "{answer}");
    }
    let range = async || c.get("/api/v1/nodes/n1").await.1["spec"]["podCIDRs"].clone();
    // The list alone is no change where there is a range: the one of `podCIDR` counts.
    let attack = async |given: bool| {
        for spec in &ranges {
            let merge = json!({"spec": spec}).to_string();
            let whole = {
                let (_, mut node) = c.get("/api/v1/nodes/n1").await;
                for (field, value) in spec.as_object().unwrap() {
                    node["spec"][field] = value.clone();
                }
                node.to_string()
            };
            let kind = "application/merge-patch+json";
            let patched = c.raw(&agent, Method::PATCH, "/api/v1/nodes/n1", kind, merge.clone()).await;
            assert!(patched.status.as_u16() == 403 || *spec == ranges[1] && given, "{merge}");
            let put = c.raw(&agent, Method::PUT, "/api/v1/nodes/n1", "application/json", whole.clone()).await;
            assert!(put.status.as_u16() == 403 || *spec == ranges[1] && given, "{whole}");
            let mut applied = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
            applied["spec"] = spec.clone();
            let path = "/api/v1/nodes/n1?fieldManager=m&force=true";
            let applied = c.raw(&agent, Method::PATCH, path, "application/apply-patch+yaml", applied.to_string()).await;
            assert!(applied.status.as_u16() == 403 || *spec == ranges[1] && given, "{spec}");
            // Through its status it may write, but no range.
            c.raw(&agent, Method::PATCH, "/api/v1/nodes/n1/status", kind, merge).await;
            c.raw(&agent, Method::PUT, "/api/v1/nodes/n1/status", "application/json", whole).await;
        }
    };
    attack(false).await;
    assert_eq!(range().await, Value::Null);
    // Nor another one than it was given.
    let admin = c.server.internal(Component::Admin);
    let given = json!({"spec": {"podCIDR": "10.244.3.0/24"}}).to_string();
    let patched = c.raw(&admin, Method::PATCH, "/api/v1/nodes/n1", "application/merge-patch+json", given).await;
    assert_eq!(patched.status.as_u16(), 200);
    attack(true).await;
    assert_eq!(range().await, json!(["10.244.3.0/24"]));
}

#[tokio::test]
async fn an_eviction_marks_only_the_pod_it_may_evict() {
    let c = cluster().await;
    c.account("default").await;
    let made = c.pod("a").await;
    let eviction = |preconditions: Value| {
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"},
            "deleteOptions": {"preconditions": preconditions, "gracePeriodSeconds": 5}})
    };
    let path = "/api/v1/namespaces/default/pods/a/eviction";
    let marks = async || {
        let (_, pod) = c.get("/api/v1/namespaces/default/pods/a").await;
        pod["status"]["conditions"].as_array().into_iter().flatten().any(|one| one["type"] == "DisruptionTarget")
    };
    let agent = c.server.internal(Component::Node("n1".into()));
    let (code, status) = c.call_as(&agent, Method::POST, path, eviction(json!({})).to_string()).await;
    let text = "pods \"a\" is forbidden: node n1 can only evict pods with spec.nodeName set to itself";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, text));
    assert_eq!(c.post(path, eviction(json!({"uid": "other"}))).await.0, 409);
    assert!(!marks().await);
    // A revision that holds goes on holding, though the mark is a new one.
    let revision = made["metadata"]["resourceVersion"].clone();
    assert_eq!(c.post(path, eviction(json!({"resourceVersion": revision}))).await.0, 201);
}

/// A field selector over all namespaces read every secret of a name that one of the node's pods names.
#[tokio::test]
async fn a_node_lists_no_object_of_a_namespace_that_it_has_no_pod_in() {
    let c = cluster().await;
    c.account("default").await;
    c.post("/api/v1/namespaces", json!({"metadata": {"name": "other"}})).await;
    for namespace in ["default", "other"] {
        for kind in ["secrets", "configmaps"] {
            c.post(&format!("/api/v1/namespaces/{namespace}/{kind}"), json!({"metadata": {"name": "x"}})).await;
        }
    }
    let volumes = json!([{"name": "a", "secret": {"secretName": "x"}}, {"name": "b", "configMap": {"name": "x"}}]);
    let pod = |node: &str, name: &str| {
        json!({"metadata": {"name": name}, "spec": {"nodeName": node, "volumes": volumes,
            "containers": [{"name": "c", "image": "i"}]}})
    };
    for (node, name) in [("n1", "mine"), ("n2", "theirs")] {
        assert_eq!(c.post("/api/v1/namespaces/default/pods", pod(node, name)).await.0, 201);
    }
    let agent = c.server.internal(Component::Node("n1".into()));
    let get = async |path: &str| c.call_as(&agent, Method::GET, path, String::new()).await.0;
    for selector in ["metadata.name=x", "metadata.name%3D%3Dx", "metadata.name=x,metadata.namespace!=y"] {
        for kind in ["secrets", "configmaps"] {
            for watch in ["", "&watch=true"] {
                let query = format!("fieldSelector={selector}{watch}");
                assert_eq!(get(&format!("/api/v1/{kind}?{query}")).await, 403, "{kind} {query}");
                assert_eq!(get(&format!("/api/v1/namespaces/other/{kind}?{query}")).await, 403, "{kind} {query}");
                assert_eq!(get(&format!("/api/v1/namespaces/default/{kind}?{query}")).await, 200, "{kind} {query}");
            }
        }
    }
    for (path, code) in [
        ("/api/v1/pods?fieldSelector=metadata.name%3Dtheirs", 403),
        ("/api/v1/pods?fieldSelector=metadata.name%3Dmine", 403),
        ("/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Dtheirs", 403),
        ("/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Dmine", 200),
        ("/api/v1/namespaces/default/pods/theirs", 403),
        ("/api/v1/namespaces/default/pods/mine", 200),
        ("/api/v1/watch/namespaces/default/pods/theirs", 403),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", 200),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", 403),
    ] {
        assert_eq!(get(path).await, code, "{path}");
    }
    // What policies are made of is read while there are policies, and nothing else is.
    let all = "/api/v1/pods";
    let others = [
        "/api/v1/namespaces/default/pods",
        "/api/v1/namespaces/default/pods/theirs",
        "/api/v1/secrets",
        "/api/v1/pods/x",
    ];
    assert_eq!(get(all).await, 403);
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"},
        "spec": {"podSelector": {}}});
    let policies = "/apis/networking.k8s.io/v1/namespaces/other/networkpolicies";
    assert_eq!(c.post(policies, policy).await.0, 201);
    assert_eq!(get(all).await, 200);
    for path in others {
        assert!(matches!(get(path).await, 403 | 404), "{path}");
    }
    // A selector names what is read, never what is written.
    let collection = "/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Dmine";
    assert_eq!(c.call_as(&agent, Method::DELETE, collection, String::new()).await.0, 403);
}

#[tokio::test]
async fn a_resize_beyond_the_pods_node_is_refused() {
    let c = cluster().await;
    c.account("default").await;
    let node = |name: &str, os: &str| {
        json!({"metadata": {"name": name, "labels": {"kubernetes.io/os": os}},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"}}})
    };
    c.post("/api/v1/nodes", node("n", "linux")).await;
    c.post("/api/v1/nodes", node("w", "windows")).await;
    let resize = async |pod: &str, resources: Value| {
        let path = format!("/api/v1/namespaces/default/pods/{pod}/resize");
        let patch = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        c.patch(&path, "application/strategic-merge-patch+json", patch).await
    };
    for (name, node) in [("p", "n"), ("q", "w"), ("r", "none"), ("s", "")] {
        let pod = json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [
            {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "1Mi"}}}]}});
        let (code, made) = c.post("/api/v1/namespaces/default/pods", pod).await;
        assert_eq!(code, 201, "{made}");
    }
    let more = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}});
    let refused = |why: &str, pod: &str| format!("pods \"{pod}\" is forbidden: {why}");
    let lacks = "node didn't have enough allocatable resources: ";
    for (pod, resources, why) in [
        ("p", more("900", "1Mi"), format!("{lacks}cpu, requested: 900000, allocatable: 2000")),
        ("p", more("1", "2Gi"), format!("{lacks}memory, requested: 2147483648, allocatable: 1073741824")),
        (
            "p",
            more("3", "2Gi"),
            format!(
                "{lacks}cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824"
            ),
        ),
        ("q", more("2", "1Mi"), "pod resize is only supported on linux nodes, node \"w\" is \"windows\"".into()),
        ("r", more("2", "1Mi"), "node \"none\" not found".into()),
    ] {
        let (code, status) = resize(pod, resources).await;
        assert_eq!((code, status["message"].as_str().unwrap()), (403, refused(&why, pod).as_str()));
    }
    let (_, status) = resize("p", more("900", "1Mi")).await;
    assert_eq!(status["details"]["causes"], json!([{"reason": "NodeCapacity"}]));
    // What is invalid is told first.
    let (code, status) = resize("p", json!({"requests": {"cpu": "900"}, "limits": {"cpu": "1"}})).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{status}");
    // All that the node has, what does not change, and what has no node yet.
    for (pod, resources) in [("p", more("2", "1Gi")), ("r", more("1", "1Mi")), ("s", more("900", "1Mi"))] {
        let (code, status) = resize(pod, resources).await;
        assert_eq!(code, 200, "{pod}: {status}");
    }
}

#[test]
fn the_example_of_the_guide_is_a_step_of_the_table() {
    let guide = include_str!("../../../../docs/adding-an-admission-step.md");
    assert!(guide.contains(&format!("```rust\n{}```", include_str!("taint.rs"))));
    assert!(include_str!("../admission.rs").contains("    Row::BuiltIn(taint::PLUGIN),\n"));
}

/// As Kubernetes has it: evictions, bindings and tokens are created, too. What is there may be deleted.
#[tokio::test]
async fn nothing_is_made_of_what_is_in_an_ending_namespace() {
    let c = cluster().await;
    c.post("/api/v1/namespaces", json!({"metadata": {"name": "x"}})).await;
    c.account("x").await;
    c.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    let pods = "/api/v1/namespaces/x/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(c.post(pods, pod).await.0, 201);
    assert_eq!(c.delete("/api/v1/namespaces/x", Value::Null).await.0, 200);
    let named = json!({"name": "p"});
    for (path, body) in [
        (format!("{pods}/p/eviction"), json!({"metadata": named})),
        (format!("{pods}/p/binding"), json!({"metadata": named, "target": {"name": "n1"}})),
        ("/api/v1/namespaces/x/serviceaccounts/default/token".to_string(), json!({})),
    ] {
        let (code, status) = c.post(&path, body).await;
        assert_eq!(
            (code, &status["details"]["causes"][0]["reason"]),
            (403, &json!("NamespaceTerminating")),
            "{status}"
        );
    }
    assert_eq!(c.delete(&format!("{pods}/p"), Value::Null).await.0, 200);
}

/// What the kind itself says of it comes first.
#[tokio::test]
async fn a_second_default_class_is_refused_once_it_is_valid() {
    let c = cluster().await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let class = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value, "globalDefault": true});
    assert_eq!(c.post(classes, class("a", 1)).await.0, 201);
    let (code, status) = c.post(classes, class("b", 2_000_000_001)).await;
    assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{status}");
    let (code, status) = c.post(classes, class("b", 2)).await;
    let why = "priorityclasses.scheduling.k8s.io \"b\" is forbidden: PriorityClass a is already marked as default. Only \
               one default can exist";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, why));
}
