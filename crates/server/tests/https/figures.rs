//! What is used, asked of nodes that are played by a few lines of TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A node that says for its container, and for one that runs elsewhere, half a processor and 20 MiB; its own clock goes
/// on by 15 seconds with each question. Counts the questions.
async fn node(r: &Running, name: &'static str) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let certificate = wire::tls::Presented::new(&r.server.node_pair(name, vec!["127.0.0.1".into()]).unwrap()).unwrap();
    let tls = wire::tls::server(certificate, Some(r.server.authority()), &[]).unwrap();
    let status = json!({"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}});
    r.create("/api/v1/nodes", json!({"metadata": {"name": name}, "status": status})).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(tokio_rustls::TlsAcceptor::from(tls.clone()).accept(stream).await.unwrap());
            loop {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if stream.read_line(&mut head).await.unwrap() == 0 {
                        break;
                    }
                }
                if head.is_empty() {
                    break;
                }
                assert!(head.starts_with("GET /metrics/resource HTTP/1.1\r\n"), "{head}");
                let looks = count.fetch_add(1, Ordering::SeqCst);
                let body = said(looks);
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    });
    asked
}

fn said(looks: usize) -> String {
    let (at, cpu) = (1_790_000_000_000 + looks * 15_000, 100.0 + looks as f64 * 7.5);
    let of = |pod: &str| {
        let labels = format!("{{container=\"c\",namespace=\"default\",pod=\"{pod}\"}}");
        format!(
            "container_cpu_usage_seconds_total{labels} {cpu} {at}\n\
             container_memory_working_set_bytes{labels} 20971520 {at}\n\
             container_start_time_seconds{labels} 1780000000 {at}\n"
        )
    };
    format!(
        "# HELP node_cpu_usage_seconds_total [STABLE]\nnode_cpu_usage_seconds_total {} {at}\n\
         node_memory_working_set_bytes 4194304 {at}\n{}{}",
        cpu * 2.0,
        of("own"),
        of("other")
    )
}

async fn pod(r: &Running, name: &str, node: &str) {
    let spec = json!({"nodeName": node, "containers": [{"name": "c", "image": "i"}]});
    let metadata = json!({"name": name, "labels": {"app": name}});
    let mut pod = r.create("/api/v1/namespaces/default/pods", json!({"metadata": metadata, "spec": spec})).await;
    pod["status"] = json!({"phase": "Running"});
    let request = Request::put(format!("/api/v1/namespaces/default/pods/{name}/status"));
    let (code, _) = r.ask(Some(&r.admin()), request, pod.to_string().into()).await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn a_node_is_asked_when_somebody_asks_and_speaks_for_its_own_pods() {
    let r = running().await;
    let asked = node(&r, "n1").await;
    // Nobody listens there.
    let status = json!({"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}});
    r.create("/api/v1/nodes", json!({"metadata": {"name": "n2"}, "status": status})).await;
    r.create("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    pod(&r, "own", "n1").await;
    pod(&r, "other", "n2").await;
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nobody asked");

    let get = async |path: &str| {
        let (code, body) =
            r.ask(Some(&r.admin()), Request::get(format!("/apis/metrics.k8s.io/v1beta1{path}")), vec![]).await;
        (code.as_u16(), serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (code, list) = get("/namespaces/default/pods").await;
    assert_eq!(code, 200, "{list}");
    assert_eq!(list["kind"], "PodMetricsList");
    let [one] = &list["items"].as_array().unwrap()[..] else { panic!("{list}") };
    assert_eq!((&one["metadata"]["name"], &one["metadata"]["labels"]), (&json!("own"), &json!({"app": "own"})));
    assert_eq!((&one["window"], &one["timestamp"]), (&json!("15s"), &json!("2026-09-21T14:13:35Z")));
    let usage = json!({"cpu": "500m", "memory": "20Mi"});
    assert_eq!(one["containers"], json!([{"name": "c", "usage": usage}]));

    let (code, node) = get("/nodes/n1").await;
    assert_eq!((code, &node["usage"]), (200, &json!({"cpu": "1", "memory": "4Mi"})));
    assert_eq!(get("/nodes").await.1["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(get("/pods?labelSelector=app%3Down").await.1["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(get("/pods?labelSelector=app%3Dother").await.1["items"], json!([]));
    assert_eq!(get("/pods?fieldSelector=metadata.name%3Dother").await.1["items"], json!([]));
    for (path, message) in [
        ("/namespaces/default/pods/other", "podmetrics.metrics.k8s.io \"default/other\" not found"),
        ("/namespaces/default/pods/nobody", "pods \"nobody\" not found"),
        ("/nodes/n2", "nodemetrics.metrics.k8s.io \"n2\" not found"),
        ("/nodes/n3", "nodes \"n3\" not found"),
    ] {
        let (code, status) = get(path).await;
        assert_eq!((code, &status["message"]), (404, &json!(message)));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2, "a window has two ends, and is kept");

    let table = Request::get("/apis/metrics.k8s.io/v1beta1/namespaces/default/pods")
        .header("accept", "application/json;as=Table;g=meta.k8s.io;v=v1");
    let (_, table) = r.ask(Some(&r.admin()), table, vec![]).await;
    let table: Value = serde_json::from_slice(&table).unwrap();
    assert_eq!(table["rows"][0]["cells"], json!(["own", "500m", "20Mi", "15s"]));
    let protobuf = Request::get("/apis/metrics.k8s.io/v1beta1/namespaces/default/pods")
        .header("accept", "application/vnd.kubernetes.protobuf");
    let (code, body) = r.ask(Some(&r.admin()), protobuf, vec![]).await;
    assert_eq!((code.as_u16(), &body[..4]), (200, &b"k8s\0"[..]));
    let (code, _) = r.ask(None, Request::get("/apis/metrics.k8s.io/v1beta1/nodes"), vec![]).await;
    assert_eq!(code, 403);
    let watch = Request::get("/apis/metrics.k8s.io/v1beta1/nodes?watch=true");
    assert_eq!(r.ask(Some(&r.admin()), watch, vec![]).await.0, 405);
}

/// Each question waited for its ten seconds again, if the one before had not waited for all of its own.
#[tokio::test]
async fn who_does_not_wait_for_a_node_that_hangs_does_not_leave_that_to_the_next() {
    let r = running().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // A node of this process, which may live on its loopback.
    let _certificate = r.node_pair("n1");
    claims(&r, "127.0.0.1", listener.local_addr().unwrap().port()).await;
    let (admin, nodes) = (r.admin(), || Request::get("/apis/metrics.k8s.io/v1beta1/nodes"));
    let hung = {
        let mut first = std::pin::pin!(r.ask(Some(&admin), nodes(), vec![]));
        tokio::select! {
            _ = &mut first => panic!("answered"),
            hung = listener.accept() => hung.unwrap(),
        }
    };
    let begun = tokio::time::Instant::now();
    let (code, list) = r.ask(Some(&admin), nodes(), vec![]).await;
    assert_eq!((code.as_u16(), &serde_json::from_slice::<Value>(&list).unwrap()["items"]), (200, &json!([])));
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(hung);
}
