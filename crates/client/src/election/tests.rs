//! Two candidates for one lease, on paused time, with wall clocks an hour apart.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::*;
use crate::script::{Asked, Script, ok, refused, silent, watch};

/// One lease that is compared and set, and who watches it.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    watches: Vec<UnboundedSender<Value>>,
}

impl Server {
    fn answer(&mut self, asked: &Asked) -> Result<crate::Reply, Status> {
        let revision = |lease: &Value| lease["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
        let now = self.lease.as_ref().map_or(1, revision);
        let class = match (asked.line.split(' ').next().unwrap(), &self.lease) {
            ("GET", _) if asked.line.contains("watch=true") => {
                let (lines, reply) = watch();
                self.watches.push(lines);
                return reply;
            }
            ("GET", lease) if asked.line.contains('?') => {
                return ok(json!({"metadata": {"resourceVersion": now.to_string()}, "items": Vec::from_iter(lease)}));
            }
            ("GET", Some(lease)) => return ok(lease.clone()),
            ("POST", None) => "ADDED",
            ("PUT", Some(_)) if now == revision(&asked.body) => "MODIFIED",
            _ => return refused(Status::conflict("coordination.k8s.io", "leases", "x", "somebody was faster")),
        };
        let mut fresh = asked.body.clone();
        fresh["metadata"]["resourceVersion"] = json!((now + 1).to_string());
        fresh["metadata"]["uid"] = json!("u");
        self.watches.retain(|lines| lines.send(json!({"type": class, "object": fresh})).is_ok());
        self.lease = Some(fresh.clone());
        ok(fresh)
    }
}

struct Candidate {
    client: Client,
    clock: Clock,
    config: LeaseConfig,
    asked: Arc<Mutex<Vec<Asked>>>,
    is_away: Arc<Mutex<bool>>,
}

fn candidate(server: &Arc<Mutex<Server>>, holder: &str, ahead: Duration) -> Arc<Candidate> {
    let (server, is_away) = (server.clone(), Arc::new(Mutex::new(false)));
    let away = is_away.clone();
    let (client, asked) = Script::client(move |asked| match *away.lock().unwrap() {
        true => silent(),
        false => server.lock().unwrap().answer(asked),
    });
    let begin = Instant::now();
    let clock: Clock = Arc::new(move || Timestamp::from_second(1_700_000_000).unwrap() + ahead + begin.elapsed());
    let config = LeaseConfig {
        namespace: "kube-system".into(),
        name: "x".into(),
        holder: holder.into(),
        duration: Duration::from_secs(15),
        period: Duration::from_secs(2),
        owners: vec![],
    };
    Arc::new(Candidate { client, clock, config, asked, is_away })
}

/// Who leads, told as it changes: `+a`, `-a`.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<(String, Instant)>>>, Arc<AtomicUsize>);

struct Leads(Diary, String);

impl Diary {
    fn begin(&self, who: &str) -> Leads {
        assert_eq!(self.1.fetch_add(1, Ordering::SeqCst), 0, "two lead");
        self.0.lock().unwrap().push((format!("+{who}"), Instant::now()));
        Leads(self.clone(), who.into())
    }

    fn told(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(what, _)| what.clone()).collect()
    }

    fn when(&self, entry: usize) -> Instant {
        self.0.lock().unwrap()[entry].1
    }
}

impl Drop for Leads {
    fn drop(&mut self) {
        self.0.1.fetch_sub(1, Ordering::SeqCst);
        self.0.0.lock().unwrap().push((format!("-{}", self.1), Instant::now()));
    }
}

/// Candidates until its work is told to end, or it loses.
fn run(who: &Arc<Candidate>, diary: &Diary) -> (tokio::task::JoinHandle<Result<(), Lost>>, oneshot::Sender<()>) {
    let (who, diary, (end, ended)) = (who.clone(), diary.clone(), oneshot::channel::<()>());
    let task = tokio::spawn(async move {
        let work = async {
            let _leads = diary.begin(&who.config.holder);
            // Without a sender it goes on.
            if ended.await.is_err() {
                std::future::pending().await
            }
        };
        lead(&who.client, &who.clock, &who.config, work).await
    });
    (task, end)
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn one_leads_until_it_is_silent_and_the_next_begins_after_it_has_stopped() {
    let (server, diary) = (Arc::new(Mutex::new(Server::default())), Diary::default());
    let a = candidate(&server, "a", Duration::ZERO);
    let b = candidate(&server, "b", Duration::from_secs(3600));
    let (leading, _going) = run(&a, &diary);
    seconds(1).await;
    let (waiting, end_b) = run(&b, &diary);
    seconds(600).await;
    assert_eq!(diary.told(), ["+a"]);
    assert_eq!(b.asked.lock().unwrap().len(), 2, "a list and a watch: who waits makes no requests");
    let renewed = server.lock().unwrap().lease.clone().unwrap()["spec"].clone();
    assert_eq!(renewed["leaseTransitions"], Value::Null);
    *a.is_away.lock().unwrap() = true;
    let silent_since = Instant::now();
    seconds(30).await;
    assert_eq!(leading.await.unwrap(), Err(Lost));
    assert_eq!(diary.told(), ["+a", "-a", "+b"]);
    assert!(diary.when(1) - silent_since <= Duration::from_secs(10), "stopped within two thirds");
    assert!(diary.when(2) - silent_since >= Duration::from_secs(13), "the whole of what was last seen");
    let spec = server.lock().unwrap().lease.clone().unwrap()["spec"].clone();
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!("b"), &json!(1)));
    // The first comes back, and is next once the second has let go.
    *a.is_away.lock().unwrap() = false;
    let (_again, _going) = run(&a, &diary);
    seconds(60).await;
    assert_eq!(diary.told().last().unwrap(), "+b");
    let ended = Instant::now();
    end_b.send(()).unwrap();
    assert_eq!(waiting.await.unwrap(), Ok(()));
    seconds(1).await;
    assert_eq!(diary.told()[3..], ["-b", "+a"]);
    assert!(diary.when(4) - ended < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_took_ends_the_work() {
    let (server, diary) = (Arc::new(Mutex::new(Server::default())), Diary::default());
    let a = candidate(&server, "a", Duration::ZERO);
    let (leading, _going) = run(&a, &diary);
    seconds(5).await;
    {
        let mut server = server.lock().unwrap();
        let lease = server.lease.as_mut().unwrap();
        lease["spec"]["holderIdentity"] = json!("z");
        lease["metadata"]["resourceVersion"] = json!("99");
    }
    let taken = Instant::now();
    assert_eq!(leading.await.unwrap(), Err(Lost));
    assert!(taken.elapsed() <= Duration::from_secs(2), "at its next renewal");
}
