//! Renewal against one lease that is compared and set.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::*;
use crate::Reply;
use crate::script::{Asked, Script, ok, refused, silent};

/// One lease on a server that can be away.
#[derive(Default)]
struct Server {
    lease: Mutex<Option<Value>>,
    away: Mutex<bool>,
}

impl Server {
    fn answer(&self, asked: &Asked) -> Result<Reply, Status> {
        if *self.away.lock().unwrap() {
            return silent();
        }
        let mut lease = self.lease.lock().unwrap();
        let revision = |lease: &Value| lease["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
        match (asked.line.split(' ').next().unwrap(), lease.as_ref()) {
            ("GET", None) => return refused(Status::not_found("coordination.k8s.io", "leases", "x")),
            ("GET", Some(lease)) => return ok(lease.clone()),
            ("POST", None) => {}
            ("PUT", Some(now)) if revision(now) == revision(&asked.body) => {}
            _ => return refused(Status::conflict("coordination.k8s.io", "leases", "x", "somebody was faster")),
        }
        let mut fresh = asked.body.clone();
        let next = lease.as_ref().map_or(1, |lease| revision(lease) + 1);
        fresh["metadata"]["resourceVersion"] = json!(next.to_string());
        *lease = Some(fresh.clone());
        ok(fresh)
    }

    fn spec(&self) -> Value {
        self.lease.lock().unwrap().as_ref().map_or(Value::Null, |lease| lease["spec"].clone())
    }
}

fn client(server: &Arc<Server>) -> Client {
    let server = server.clone();
    Script::client(move |asked| server.answer(asked)).0
}

/// The wall clock follows tokio's paused one.
fn clock() -> Clock {
    let begin = Instant::now();
    Arc::new(move || Timestamp::from_second(1_700_000_000).unwrap() + begin.elapsed())
}

fn config(holder: &str) -> LeaseConfig {
    LeaseConfig {
        namespace: "kube-node-lease".into(),
        name: "x".into(),
        holder: holder.into(),
        duration: Duration::from_secs(40),
        period: Duration::from_secs(10),
        owners: vec![],
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_created_and_renewed_through_conflicts_and_silence() {
    let server = Arc::new(Server::default());
    let (client, clock) = (client(&server), clock());
    let task = tokio::spawn(async move { renew(&client, &clock, &config("n1")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let renewed = |spec: Value| spec["renewTime"].as_str().unwrap().to_string();
    assert_eq!(server.spec()["holderIdentity"], "n1");
    assert_eq!(server.spec()["leaseDurationSeconds"], 40);
    assert_eq!(renewed(server.spec()), "2023-11-14T22:13:20.000000Z");
    // Somebody else writes into it: the next renewal is a conflict first.
    server.lease.lock().unwrap().as_mut().unwrap()["metadata"]["resourceVersion"] = json!("7");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(renewed(server.spec()).as_str() >= "2023-11-14T22:13:30");
    *server.away.lock().unwrap() = true;
    tokio::time::sleep(Duration::from_secs(60)).await;
    *server.away.lock().unwrap() = false;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(renewed(server.spec()).as_str() >= "2023-11-14T22:14:31", "{}", server.spec());
    task.abort();
}
