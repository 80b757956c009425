use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use kinds::certificates::x509::request as parsed;
use serde_json::Value;

use super::*;
use crate::sources::Sources;
use crate::tests::small_api::SmallApi;

const NOW: i64 = 1_790_000_000;
const REQUESTS: &str = "podcertificaterequests";

fn wanted() -> CertificateRequest {
    CertificateRequest {
        namespace: "shop".into(),
        pod_name: "p".into(),
        pod_uid: "u".into(),
        service_account: "default".into(),
        volume: "v".into(),
        index: 0,
        signer: "example.com/s".into(),
        key_type: "ECDSAP256".into(),
        seconds: Some(3600),
        annotations: [("a.io/b".to_string(), "c".to_string())].into(),
    }
}

struct Node {
    api: SmallApi,
    live: Live,
    time: Arc<AtomicI64>,
}

fn node() -> Node {
    let (api, time) = (SmallApi::default(), Arc::new(AtomicI64::new(NOW)));
    api.put("serviceaccounts", json!({"metadata": {"name": "default", "namespace": "shop", "uid": "account"}}));
    api.put("nodes", json!({"metadata": {"name": "n1", "uid": "node"}}));
    let clock = time.clone();
    let clock: api::Clock = Arc::new(move || Timestamp::from_second(clock.load(Ordering::SeqCst)).unwrap());
    let live = Live::new(api.client(), "n1", clock, Arc::new(|bytes| bytes.fill(0)));
    Node { api, live, time }
}

impl Node {
    fn requests(&self) -> Vec<Value> {
        self.api.all(REQUESTS)
    }

    /// The signer answers the request that waits.
    fn answer(&self, condition: &str, chain: &str, renew_at: i64) {
        let mut request = self.requests().into_iter().find(|one| one.get("status").is_none()).unwrap();
        let at = Timestamp::from_second(renew_at).unwrap().to_string();
        request["status"] = json!({"conditions": [{"type": condition, "status": "True", "reason": "R",
            "message": "no"}], "certificateChain": chain, "beginRefreshAt": at});
        self.api.put(REQUESTS, request);
    }
}

fn chain(text: &str) -> String {
    x509::written("CERTIFICATE", text.into())
}

#[tokio::test]
async fn a_pod_gets_the_key_that_was_made_here_and_what_its_signer_made_of_it() {
    let node = node();
    assert_eq!(node.live.certificate(&wanted()).await, Err(NOT_YET.into()));
    let [request] = &node.requests()[..] else { panic!("{:?}", node.requests()) };
    let (spec, owner) = (&request["spec"], &request["metadata"]["ownerReferences"][0]);
    assert_eq!((&owner["kind"], &owner["uid"]), (&json!("Pod"), &json!("u")));
    for (field, value) in [
        ("signerName", json!("example.com/s")),
        ("podName", json!("p")),
        ("podUID", json!("u")),
        ("serviceAccountName", json!("default")),
        ("serviceAccountUID", json!("account")),
        ("nodeName", json!("n1")),
        ("nodeUID", json!("node")),
        ("maxExpirationSeconds", json!(3600)),
        ("unverifiedUserAnnotations", json!({"a.io/b": "c"})),
    ] {
        assert_eq!(spec[field], value, "{field}");
    }
    let stub = STANDARD.decode(spec["stubPKCS10Request"].as_str().unwrap()).unwrap();
    // Nothing new is asked for while the signer thinks.
    assert_eq!(node.live.certificate(&wanted()).await, Err(NOT_YET.into()));
    node.answer("Issued", &format!("words\n{}", chain("one")), NOW + 1200);
    let first = node.live.certificate(&wanted()).await.unwrap();
    assert_eq!((first.chain.as_str(), node.requests().len()), (chain("one").as_str(), 1));
    // The key is that of the request, and it is in none of what was sent.
    let key = rcgen::KeyPair::from_pem(&first.key).unwrap();
    assert_eq!(
        parsed(&stub).unwrap().certification_request_info.subject_pki.raw,
        rcgen::PublicKeyData::subject_public_key_info(&key)
    );
    let der = pem::parse(&first.key).unwrap().into_contents();
    assert!(!stub.windows(32).any(|part| der[30..].starts_with(part)));
    assert_eq!(node.live.due("u"), Some(NOW + 1200));
    assert_eq!(node.live.due("other"), None);

    // Renewed in time; the old one does until the new one is there.
    node.time.store(NOW + 1199, Ordering::SeqCst);
    assert_eq!(node.live.certificate(&wanted()).await, Ok(first.clone()));
    assert_eq!(node.requests().len(), 1);
    node.time.store(NOW + 1200, Ordering::SeqCst);
    assert_eq!(node.live.certificate(&wanted()).await, Ok(first.clone()));
    assert_eq!((node.requests().len(), node.live.due("u")), (2, None));
    node.answer("Issued", &chain("two"), NOW + 2400);
    let second = node.live.certificate(&wanted()).await.unwrap();
    assert_eq!(second.chain, chain("two"));
    assert_ne!(second.key, first.key);
    assert_eq!(node.live.due("u"), Some(NOW + 2400));

    // Of a pod that is gone nothing is kept.
    node.live.leave("u");
    assert_eq!((node.live.due("u"), lock(&node.live.certificates).len()), (None, 0));
}

#[tokio::test]
async fn what_a_signer_refused_is_refused_for_good() {
    let node = node();
    for (index, (condition, word)) in [("Denied", "denied"), ("Failed", "failed")].into_iter().enumerate() {
        let wanted = CertificateRequest { index, ..wanted() };
        node.live.certificate(&wanted).await.unwrap_err();
        node.answer(condition, "", NOW);
        let why = format!("PodCertificateRequest was permanently {word}: reason=\"R\" message=\"no\"");
        for _ in 0..2 {
            assert_eq!(node.live.certificate(&wanted).await, Err(why.clone()));
        }
    }
    assert_eq!(node.requests().len(), 2);
}

#[tokio::test]
async fn a_request_that_somebody_deleted_is_made_anew() {
    let node = node();
    node.live.certificate(&wanted()).await.unwrap_err();
    let name = node.requests()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    node.api.delete(REQUESTS, "shop", &name);
    assert_eq!(node.live.certificate(&wanted()).await, Err(NOT_YET.into()));
    assert_ne!(node.requests()[0]["metadata"]["name"], json!(name));
}

#[tokio::test]
async fn a_renewal_that_fails_leaves_the_old_one_and_is_tried_again() {
    let node = node();
    node.live.certificate(&wanted()).await.unwrap_err();
    node.answer("Issued", &chain("one"), NOW + 5);
    let first = node.live.certificate(&wanted()).await;
    node.time.store(NOW + 5, Ordering::SeqCst);
    node.api.refuse("POST podcertificaterequests", 1);
    let tried = node.live.certificate(&wanted()).await;
    assert_eq!((&tried, node.live.due("u")), (&first, Some(NOW + 5 + RETRY)));
    node.time.store(NOW + 5 + RETRY, Ordering::SeqCst);
    assert_eq!(node.live.certificate(&wanted()).await, first);
    assert_eq!(node.requests().len(), 2);
}

#[tokio::test]
async fn an_answer_rings_at_the_pod_that_waits_and_at_no_other() {
    let node = node();
    let (mine, other) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let rung = Arc::new(tokio::sync::Notify::new());
    for (uid, count) in [("u", &mine), ("w", &other)] {
        let (count, rung) = (count.clone(), rung.clone());
        let ring = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            rung.notify_one();
        });
        node.live.follow(uid, "shop", &[Source::certificate_requests()], ring);
    }
    node.live.cache_of("", &Source::certificate_requests()).unwrap().synced().await;
    node.live.certificate(&wanted()).await.unwrap_err();
    rung.notified().await;
    let before = mine.load(Ordering::SeqCst);
    node.answer("Issued", &chain("one"), NOW + 60);
    while mine.load(Ordering::SeqCst) == before {
        rung.notified().await;
    }
    assert_eq!(other.load(Ordering::SeqCst), 0);
    // By then the watch knows it: nobody is asked.
    assert!(node.live.certificate(&wanted()).await.is_ok());
}

#[test]
fn an_answer_is_read_from_its_conditions() {
    let read = |status: Value| answer(&json!({ "status": status }));
    assert_eq!(read(json!({})), Answer::Nothing);
    let issued = json!([{"type": "Issued", "status": "True"}]);
    let renew_from = "2026-09-21T14:13:20Z".parse().unwrap();
    assert_eq!(
        read(json!({"conditions": issued, "beginRefreshAt": "2026-09-21T14:13:20Z", "certificateChain": "none"})),
        Answer::Issued { chain: String::new(), renew_from }
    );
}
