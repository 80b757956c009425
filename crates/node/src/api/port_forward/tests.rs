use runtime::fake::{Fake, FakeConfig};
use tokio::io::AsyncReadExt;

use super::*;

fn ports(query: &str) -> Result<Vec<u16>, String> {
    ports_of(&Query::parse(query))
}

#[test]
fn ports_of_a_websocket_are_read_as_a_kubelet_reads_them() {
    assert_eq!(ports("port=80&port=81,65535"), Ok(vec![80, 81, 65535]));
    assert_eq!(ports("").unwrap_err(), "query parameter \"port\" is required");
    assert_eq!(ports("port=").unwrap_err(), "query parameter \"port\" cannot be empty");
    assert_eq!(ports("port=0").unwrap_err(), "port \"0\" must be > 0");
    assert!(ports("port=65536").is_err() && ports("port=x").is_err() && ports("port=-1").is_err());
    let many = |count: usize| format!("port={}", vec!["1"; count].join(","));
    assert_eq!(ports(&many(PORTS_MAX)).unwrap().len(), PORTS_MAX);
    assert!(ports(&many(PORTS_MAX + 1)).is_err());
}

/// A refused connection is told on its own stream; the session takes the next one.
#[tokio::test]
async fn a_refused_connection_does_not_end_the_session() {
    let (a, b) = tokio::io::duplex(1 << 16);
    let (preloaded, pull_time, start_time, fault) = Default::default();
    let clock = Arc::new(|| 0);
    let engine: Arc<dyn Engine> = Arc::new(Fake::new(FakeConfig { clock, preloaded, pull_time, start_time, fault }));
    let target = Target { engine, sandbox: SandboxId("s".into()), pod: "p_default".into(), uid: "u".into() };
    tokio::spawn(forward(Session::server(b), target));
    let session = Session::client(a);
    for id in ["1", "2"] {
        let open = async |kind: &str| {
            let headers = [("streamtype", kind), ("port", "80"), ("requestid", id)];
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
            session.opener().open(headers.into()).await.unwrap()
        };
        let (mut error, mut data) = (open("error").await, open("data").await);
        let mut why = String::new();
        error.read_to_string(&mut why).await.unwrap();
        assert!(why.starts_with("error forwarding port 80 to pod p_default, uid u: "), "{why}");
        assert_eq!(data.read(&mut [0]).await.unwrap(), 0);
    }
}
