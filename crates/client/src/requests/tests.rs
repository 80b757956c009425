//! How many writes of one client are under way.

use std::sync::atomic::{AtomicUsize, Ordering};

use api::resource::CONFIG_MAPS;
use futures::future::join_all;

use super::*;
use crate::transport::Boxed;
use crate::{Body, Transport};

/// Answers after a second each, and counts what it has under way: reads, writes, and the most writes there were.
#[derive(Default)]
struct Slow {
    reads: AtomicUsize,
    writes: AtomicUsize,
    most: AtomicUsize,
}

impl Transport for Arc<Slow> {
    fn call(&self, request: Request<Bytes>) -> Boxed<'_, Result<Reply, Status>> {
        Box::pin(async move {
            let count = if request.method().is_safe() { &self.reads } else { &self.writes };
            count.fetch_add(1, Ordering::SeqCst);
            self.most.fetch_max(self.writes.load(Ordering::SeqCst), Ordering::SeqCst);
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            count.fetch_sub(1, Ordering::SeqCst);
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
            let body = Body::Bytes(body.to_string().into());
            Ok(Reply { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body })
        })
    }
}

#[tokio::test(start_paused = true)]
async fn writes_beyond_a_clients_turns_wait_and_reads_do_not() {
    let slow = Arc::new(Slow::default());
    let client = Client::new(Arc::new(slow.clone())).writing(3);
    let other = client.clone().named("another name");
    let begun = tokio::time::Instant::now();
    let object = json!({});
    let writes = (0..7).map(|n| {
        let client = if n % 2 == 0 { &client } else { &other };
        client.create(&CONFIG_MAPS, "default", &object)
    });
    let reads = (0..7).map(|_| client.get(&CONFIG_MAPS, "default", "a"));
    let reads = async {
        join_all(reads).await.into_iter().for_each(|read| drop(read.unwrap()));
        begun.elapsed().as_secs()
    };
    let (written, read) = tokio::join!(join_all(writes), reads);
    assert!(written.iter().all(Result::is_ok));
    assert_eq!((slow.most.load(Ordering::SeqCst), begun.elapsed().as_secs(), read), (3, 3, 1));
}
