use super::*;
use crate::records;

fn pod(spec: Value, status: Value, metadata: Value) -> Value {
    json!({"metadata": metadata, "spec": spec, "status": status})
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn kind(plural: &str) -> &'static Kind {
    kinds::built_in().by_plural("", plural).unwrap()
}

const NOW: &str = "2026-01-01T00:00:00Z";

#[test]
fn a_running_pod_records_its_grace_and_may_only_shorten_it() {
    let spec = json!({"nodeName": "n", "terminationGracePeriodSeconds": 30});
    let mut running = pod(spec, json!({"phase": "Running"}), json!({"generation": 1}));
    let asked = |grace| Options { grace, ..Options::default() };
    assert_eq!(next(kind("pods"), &mut running, &asked(None), at(NOW)), Next::Mark { then_gone: false });
    assert_eq!(running["metadata"]["deletionTimestamp"], "2026-01-01T00:00:30Z");
    assert_eq!(running["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(running["metadata"]["generation"], 2);
    // A longer one is accepted and ignored, so is none.
    let before = running.clone();
    assert_eq!(next(kind("pods"), &mut running, &asked(Some(60)), at(NOW)), Next::Keep);
    assert_eq!(next(kind("pods"), &mut running, &asked(None), at(NOW)), Next::Keep);
    assert_eq!(running, before);
    assert_eq!(next(kind("pods"), &mut running, &asked(Some(5)), at(NOW)), Next::Mark { then_gone: false });
    assert_eq!(running["metadata"]["deletionTimestamp"], "2026-01-01T00:00:05Z");
    assert_eq!(running["metadata"]["generation"], 2);
    assert_eq!(running["spec"]["terminationGracePeriodSeconds"], 30);
    // The node's last word.
    assert_eq!(next(kind("pods"), &mut running, &asked(Some(0)), at(NOW)), Next::Mark { then_gone: true });
    assert_eq!(running["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(next(kind("pods"), &mut running, &asked(Some(0)), at(NOW)), Next::Go);
}

#[test]
fn grace_is_none_for_pods_that_run_nowhere_and_one_for_negative_ones() {
    for (spec, status, asked, want) in [
        (json!({"terminationGracePeriodSeconds": 30}), json!({}), Some(30), 0),
        (json!({"nodeName": "n"}), json!({"phase": "Succeeded"}), None, 0),
        (json!({"nodeName": "n"}), json!({"phase": "Failed"}), Some(9), 0),
        (json!({"nodeName": "n"}), json!({}), None, 30),
        (json!({"nodeName": "n"}), json!({}), Some(-7), 1),
        (json!({"nodeName": "n", "terminationGracePeriodSeconds": -3}), json!({}), None, 1),
        (json!({"nodeName": "n"}), json!({}), Some(0), 0),
    ] {
        let mut pod = pod(spec, status, json!({}));
        let options = Options { grace: asked, ..Options::default() };
        let next = next(kind("pods"), &mut pod, &options, at(NOW));
        assert_eq!(
            (next, &pod["metadata"]["deletionGracePeriodSeconds"]),
            (Next::Mark { then_gone: want == 0 }, &json!(want))
        );
    }
}

#[test]
fn finalizers_hold_any_object_and_only_once() {
    let mut map = json!({"metadata": {"finalizers": ["a/b"], "generation": 3}});
    assert_eq!(next(kind("configmaps"), &mut map, &Options::default(), at(NOW)), Next::Mark { then_gone: false });
    assert_eq!(map["metadata"]["deletionTimestamp"], NOW);
    assert_eq!(map["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(map["metadata"]["generation"], 4);
    assert_eq!(next(kind("configmaps"), &mut map, &Options::default(), at(NOW)), Next::Keep);
    assert!(!goes_with(kind("configmaps"), &map));
    map["metadata"]["finalizers"] = json!([]);
    assert!(goes_with(kind("configmaps"), &map));
    let mut held = pod(json!({"nodeName": "n"}), json!({}), json!({"finalizers": ["a/b"]}));
    let now = Options { grace: Some(0), ..Options::default() };
    assert_eq!(next(kind("pods"), &mut held, &now, at(NOW)), Next::Mark { then_gone: false });
}

#[test]
fn propagation_is_recorded_as_a_finalizer() {
    let mut map = json!({"metadata": {"finalizers": ["orphan", "a/b"]}});
    let with = |p| Options { propagation: Some(p), ..Options::default() };
    next(kind("configmaps"), &mut map, &with(Propagation::Foreground), at(NOW));
    assert_eq!(map["metadata"]["finalizers"], json!(["a/b", "foregroundDeletion"]));
    let mut plain = json!({"metadata": {"finalizers": ["orphan"]}});
    assert_eq!(next(kind("configmaps"), &mut plain, &with(Propagation::Background), at(NOW)), Next::Go);
    assert_eq!(plain["metadata"].get("finalizers"), None);
}

#[test]
fn a_namespace_ends_before_it_goes() {
    let mut space = json!({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    let options = Options::default();
    assert_eq!(next(kind("namespaces"), &mut space, &options, at(NOW)), Next::Mark { then_gone: false });
    assert_eq!(
        (&space["status"]["phase"], &space["metadata"]["deletionTimestamp"]),
        (&json!("Terminating"), &json!(NOW))
    );
    assert_eq!(next(kind("namespaces"), &mut space, &options, at(NOW)), Next::Keep);
    assert!(!goes_with(kind("namespaces"), &space));
    space["spec"]["finalizers"] = json!([]);
    assert!(goes_with(kind("namespaces"), &space));
}

#[tokio::test]
async fn what_its_node_removed_first_is_gone_and_what_somebody_changed_is_looked_at_again() {
    let options = store::Options::new(std::sync::Arc::new(|| std::time::Duration::from_secs(1)));
    let store = Store::open(store::Backend::Memory, options).unwrap();
    let key = records::key(kind("pods"), "default", "p");
    let object = |uid: &str| json!({"metadata": {"name": "p", "namespace": "default", "uid": uid}});
    let put = async |expect: Expect, uid: &str| {
        let write = write::put(kind("pods"), key.clone(), expect, &object(uid)).unwrap();
        write::first(store.write(vec![write]).await.unwrap())
    };
    let marked = put(Expect::Absent, "a").await;
    let changed = put(Expect::At(marked.revision), "a").await;
    assert!(go(&store, key.clone(), marked, &object("a")).await.unwrap().is_none());
    let removal = write::delete(key.clone(), Expect::At(changed.revision), &object("a"));
    store.write(vec![removal]).await.unwrap();
    let gone = go(&store, key.clone(), changed.clone(), &object("a")).await.unwrap();
    assert_eq!(gone.map(|entry| entry.revision), Some(changed.revision));
    // A new object of the same name is none of this deletion's.
    let other = put(Expect::Absent, "b").await;
    assert!(go(&store, key.clone(), changed, &object("a")).await.unwrap().is_some());
    assert_eq!(store.get(key.as_str()).map(|entry| entry.revision), Some(other.revision));
}

#[test]
fn dependents_of_an_older_kind_stay_unless_somebody_says_otherwise() {
    let unasked = Options::default();
    let mut controller = json!({"metadata": {}});
    let older = kind("replicationcontrollers");
    assert_eq!(next(older, &mut controller, &unasked, at(NOW)), Next::Mark { then_gone: false });
    assert_eq!(controller["metadata"]["finalizers"], json!(["orphan"]));
    let said = Options { propagation: Some(Propagation::Background), ..Options::default() };
    assert_eq!(next(older, &mut json!({"metadata": {}}), &said, at(NOW)), Next::Go);
    let mut waits = json!({"metadata": {"finalizers": ["foregroundDeletion"]}});
    assert_eq!(next(older, &mut waits, &unasked, at(NOW)), Next::Mark { then_gone: false });
    assert_eq!(waits["metadata"]["finalizers"], json!(["foregroundDeletion"]), "it was said before");
    assert_eq!(next(kind("configmaps"), &mut json!({"metadata": {}}), &unasked, at(NOW)), Next::Go);
}

#[test]
fn what_expires_is_nobodys_owner() {
    let mut event = json!({"metadata": {"finalizers": ["orphan"]}});
    let asked = Options { propagation: Some(Propagation::Foreground), ..Options::default() };
    assert_eq!(next(kind("events"), &mut event, &asked, at(NOW)), Next::Go);
}

#[tokio::test]
async fn a_refused_deletion_says_what_it_would_have_said() {
    let c = crate::tests::cluster().await;
    let job = json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "i"}]}}}});
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    assert_eq!(c.post(jobs, job).await.0, 201);
    let other = json!({"preconditions": {"uid": "x"}}).to_string();
    let json = "application/json";
    let refused = c.raw(&c.admin, http::Method::DELETE, &format!("{jobs}/j"), json, other).await;
    let said = refused.headers["warning"].to_str().unwrap().to_owned();
    assert!(refused.status == 409 && said.contains("child pods are preserved by default"), "{said}");
    let (code, status) = c.delete("/api/v1/namespaces/default", json!({"preconditions": {"uid": "x"}})).await;
    let message = status["message"].as_str().unwrap();
    assert_eq!((code, &status["details"]["kind"]), (409, &json!("namespaces")));
    assert!(message.contains("on namespaces \"default\": Precondition failed: UID in precondition: x, "), "{message}");
}
