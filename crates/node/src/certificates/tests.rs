//! One certificate's life beside a small API: asked for, issued, refused, renewed, shown. Time stands still and jumps.

use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use kinds::certificates::x509;

use super::*;
use crate::tests::small_api::SmallApi;

const START: i64 = 1_800_000_000;
const YEAR: i64 = 365 * 24 * 3600;

/// An authority, for keys of others.
struct Authority(rcgen::Issuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        Authority(rcgen::Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap()))
    }

    /// Of the key, for these names, with a year to live from `from` on.
    fn issue(&self, key: &KeyPair, hosts: &[&str], purposes: &[rcgen::ExtendedKeyUsagePurpose], from: i64) -> String {
        let mut params = CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = purposes.to_vec();
        let at = |second: i64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(second.unsigned_abs());
        (params.not_before, params.not_after) = (at(from), at(from + YEAR));
        params.signed_by(key, &self.0).unwrap().pem()
    }
}

struct Stage {
    api: SmallApi,
    now: Arc<AtomicI64>,
    authority: Authority,
    key: KeyPair,
    /// What was taken.
    taken: Arc<Mutex<Vec<String>>>,
}

const SERVER: rcgen::ExtendedKeyUsagePurpose = rcgen::ExtendedKeyUsagePurpose::ServerAuth;
const CLIENT: rcgen::ExtendedKeyUsagePurpose = rcgen::ExtendedKeyUsagePurpose::ClientAuth;

/// Of the node n1 at 192.0.2.1.
fn stage() -> Stage {
    let api = SmallApi::default();
    let addresses = json!([{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "n1"}]);
    api.put(
        "nodes",
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
        "status": {"addresses": addresses}}),
    );
    Stage {
        api,
        now: Arc::new(AtomicI64::new(START)),
        authority: Authority::new(),
        key: KeyPair::generate().unwrap(),
        taken: Arc::default(),
    }
}

impl Stage {
    fn certificate(&self, purpose: Purpose, held: String) -> Certificate {
        let taken = self.taken.clone();
        Certificate {
            purpose,
            key: self.key.serialize_pem(),
            held,
            take: Box::new(move |pem| {
                taken.lock().unwrap().push(pem.to_owned());
                Ok(())
            }),
            bears: Box::new(|_| true),
            nameless: None,
        }
    }

    fn start(&self, own: Certificate) -> tokio::task::JoinHandle<()> {
        let time = self.now.clone();
        // No two looks at it are the same moment: events are named by it.
        let looks = AtomicI32::new(0);
        let clock: ::api::Clock = Arc::new(move || {
            Timestamp::new(time.load(Ordering::SeqCst), looks.fetch_add(1, Ordering::SeqCst)).unwrap()
        });
        let entropy: ::api::Entropy = Arc::new(|bytes| bytes.fill(0));
        let client = self.api.client();
        let recorder = Recorder::new(client.clone(), "kubelet", "n1", clock.clone(), entropy.clone());
        tokio::spawn(renew(Node { name: "n1".into(), client, recorder, clock, entropy }, own))
    }

    /// Waits for something to happen at the API; time goes on by itself.
    async fn until<T>(&self, what: impl Fn() -> Option<T>) -> T {
        let wait = async {
            loop {
                let changed = self.api.changed.notified();
                if let Some(found) = what() {
                    return found;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(400 * 24 * 3600), wait).await.unwrap()
    }

    /// The n-th request.
    async fn request(&self, number: usize) -> Value {
        self.until(|| {
            let mut all = self.api.all("certificatesigningrequests");
            all.sort_by_key(|one| tree::text(one, "metadata.uid").trim_start_matches("uid-").parse::<u64>().unwrap());
            all.into_iter().nth(number)
        })
        .await
    }

    fn answer(&self, mut request: Value, status: Value) {
        request["status"] = status;
        self.api.put("certificatesigningrequests", request);
    }

    fn issue(&self, request: Value, hosts: &[&str], purpose: rcgen::ExtendedKeyUsagePurpose) -> String {
        let pem = self.authority.issue(&self.key, hosts, &[purpose], self.now.load(Ordering::SeqCst));
        let status =
            json!({"conditions": [{"type": "Approved", "status": "True"}], "certificate": STANDARD.encode(&pem)});
        self.answer(request, status);
        pem
    }

    /// Until so many were taken; the last.
    async fn taken(&self, count: usize) -> String {
        let last = || {
            let taken = self.taken.lock().unwrap();
            (taken.len() == count).then(|| taken.last().unwrap().clone())
        };
        // Taking one is no write to the API.
        for _ in 0..1000 {
            if let Some(last) = last() {
                return last;
            }
            tokio::task::yield_now().await;
        }
        panic!("{} were taken, not {count}", self.taken.lock().unwrap().len())
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_asks_for_what_its_node_is_called_and_again_when_that_changes() {
    let stage = stage();
    // The first one, which the server made at the join, is for both purposes.
    let first = stage.authority.issue(&stage.key, &["n1", "192.0.2.1"], &[SERVER, CLIENT], START);
    let _keeps = stage.start(stage.certificate(Purpose::Serving, first));
    let request = stage.request(0).await;
    assert_eq!(request["spec"]["signerName"], "kubernetes.io/kubelet-serving");
    assert_eq!(request["spec"]["usages"], json!(["digital signature", "server auth"]));
    let pem = STANDARD.decode(tree::text(&request, "spec.request")).unwrap();
    let der = x509::request_of(&pem).unwrap();
    let asked = x509::request(&der).unwrap();
    assert_eq!(asked.certification_request_info.subject.to_string(), "O=system:nodes, CN=system:node:n1");
    x509::check_signature(&asked).unwrap();
    let issued = stage.issue(request, &["n1", "192.0.2.1"], SERVER);
    assert_eq!(stage.taken(1).await, issued);
    // It has another address.
    let mut node = stage.api.get("nodes", "", "n1").unwrap();
    node["status"]["addresses"].as_array_mut().unwrap().push(json!({"type": "InternalIP", "address": "2001:db8::1"}));
    stage.api.put("nodes", node);
    let request = stage.request(1).await;
    let issued = stage.issue(request, &["n1", "192.0.2.1", "2001:db8::1"], SERVER);
    assert_eq!(stage.taken(2).await, issued);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_in_the_last_third_of_its_life_and_no_sooner() {
    let stage = stage();
    let held = stage.authority.issue(&stage.key, &[], &[CLIENT], START);
    let _keeps = stage.start(stage.certificate(Purpose::Asking, held));
    let due = YEAR * 7 / 10;
    // The clock of the machine goes with that of the test but for the last hour.
    stage.now.store(START + due - 3600, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(2 * 24 * 3600)).await;
    assert_eq!(stage.api.all("certificatesigningrequests"), Vec::<Value>::new());
    stage.now.store(START + due + 60, Ordering::SeqCst);
    let request = stage.request(0).await;
    assert_eq!(request["spec"]["signerName"], "kubernetes.io/kube-apiserver-client-kubelet");
    assert_eq!(request["spec"]["usages"], json!(["digital signature", "client auth"]));
    let issued = stage.issue(request, &[], CLIENT);
    assert_eq!(stage.taken(1).await, issued);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_asked_for_again_after_longer_and_longer_pauses() {
    let stage = stage();
    let first = stage.authority.issue(&stage.key, &["n1"], &[SERVER, CLIENT], START);
    let _keeps = stage.start(stage.certificate(Purpose::Serving, first));
    let said = |kind: &str| json!({"conditions": [{"type": kind, "status": "True", "reason": "R", "message": "m"}]});
    let stranger = stage.authority.issue(&KeyPair::generate().unwrap(), &["n1", "192.0.2.1"], &[SERVER], START);
    let alien =
        json!({"conditions": [{"type": "Approved", "status": "True"}], "certificate": STANDARD.encode(stranger)});
    let mut pauses = Vec::new();
    for (number, status) in [said("Denied"), said("Failed"), alien].into_iter().enumerate() {
        let request = stage.request(number).await;
        stage.answer(request, status);
        let since = Instant::now();
        stage.request(number + 1).await;
        pauses.push(since.elapsed().as_secs());
    }
    // The one that waits goes, and the next one is issued.
    let request = stage.request(3).await;
    stage.api.delete("certificatesigningrequests", "", tree::text(&request, "metadata.name"));
    let since = Instant::now();
    let request = stage.request(3).await;
    pauses.push(since.elapsed().as_secs());
    assert_eq!(pauses, [2, 4, 8, 16]);
    assert_eq!(*stage.taken.lock().unwrap(), Vec::<String>::new());
    stage.issue(request, &["n1", "192.0.2.1"], SERVER);
    stage.taken(1).await;
    for why in [
        "was denied, reason: R, message: m",
        "was failed by its signer, reason: R, message: m",
        "what was issued is not ours",
        "is gone",
    ] {
        stage
            .until(|| {
                let all = stage.api.all("events");
                all.into_iter().find(|event| {
                    event["reason"] == "CertificateNotRenewed" && tree::text(event, "message").contains(why)
                })
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_decides_is_waited_for_and_told_of() {
    let stage = stage();
    let first = stage.authority.issue(&stage.key, &["n1"], &[SERVER, CLIENT], START);
    let _keeps = stage.start(stage.certificate(Purpose::Serving, first));
    let request = stage.request(0).await;
    let name = tree::text(&request, "metadata.name").to_owned();
    let told =
        stage.until(|| stage.api.all("events").into_iter().find(|e| e["reason"] == "CertificateNotApproved")).await;
    assert!(tree::text(&told, "message").ends_with(&format!("kubectl certificate approve {name}")), "{told}");
    tokio::time::advance(Duration::from_secs(12 * 3600)).await;
    assert_eq!(stage.api.all("certificatesigningrequests").len(), 1, "no other one beside it");
    stage.issue(request, &["n1", "192.0.2.1"], SERVER);
    stage.taken(1).await;
}

/// Beside a server whose clock is far behind, what was just issued is due at once.
#[tokio::test(start_paused = true)]
async fn what_is_due_as_soon_as_it_is_made_is_not_asked_for_without_a_pause() {
    let stage = stage();
    let held = stage.authority.issue(&stage.key, &[], &[CLIENT], START - 2 * YEAR);
    let _keeps = stage.start(stage.certificate(Purpose::Asking, held.clone()));
    for number in 0..3 {
        let request = stage.request(number).await;
        let issued = json!({"conditions": [{"type": "Approved"}], "certificate": STANDARD.encode(&held)});
        let since = Instant::now();
        stage.answer(request, issued);
        stage.request(number + 1).await;
        assert!(since.elapsed() >= REST, "{:?}", since.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_no_name_of_its_own_gets_one_without() {
    let stage = stage();
    let held = stage.authority.issue(&stage.key, &[], &[SERVER, CLIENT], START - YEAR);
    let fresh = stage.authority.issue(&stage.key, &[], &[SERVER, CLIENT], START);
    let mut own = stage.certificate(Purpose::Serving, held);
    own.bears = Box::new(|_| false);
    let given = fresh.clone();
    own.nameless = Some(Box::new(move || Box::pin(std::future::ready(Ok(given.clone())))));
    let _keeps = stage.start(own);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(stage.taken(1).await, fresh);
    assert_eq!(stage.api.all("certificatesigningrequests"), Vec::<Value>::new());
}

#[test]
fn the_moment_and_the_pauses_are_upstreams() {
    let facts = Facts { from: 1000, until: 2000, ..Facts::default() };
    assert_eq!([0.0, 0.5, 1.0].map(|part| renewal(&facts, part)), [1700, 1800, 1900]);
    let pauses = [1, 2, 3, 4, 5, 6, 40].map(|n| (pause(n, 0.0).as_secs(), pause(n, 1.0).as_millis()));
    let expected = [(2, 2200), (4, 4400), (8, 8800), (16, 17600), (32, 35200), (32, 35200), (32, 35200)];
    assert_eq!(pauses, expected);
}
