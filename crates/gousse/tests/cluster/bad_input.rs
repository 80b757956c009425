//! Bad input of every kind: a clear error for who sent it, and the rest goes on.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use serde_json::json;

use crate::stage::{GUARD, Output, Stage, play, tar};

#[test]
fn join_tokens_end_and_stay_out_of_sight() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        let token = own.must("token create --ttl 90m");
        let parts: Vec<&str> = token.trim().split('.').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [64, 6, 16], "{token}");
        let path = format!("get secret -n kube-system bootstrap-token-{} -o jsonpath={{.data.expiration}}", parts[1]);
        assert!(!own.must(&path).is_empty());
        // Nobody may join who does not ask for it: `up` alone makes none.
        let names = own.must("get secrets -n kube-system -o name");
        assert_eq!(names.matches("bootstrap-token-").count(), 1, "{names}");
        let shown = own.gousse(&format!("agent --server https://127.0.0.1:1 --token {}", token.trim()));
        assert!(!shown.ok && shown.err.contains("--token-file FILE"), "{shown:?}");
        assert!(!shown.err.contains(parts[2]) && !shown.out.contains(parts[2]), "{shown:?}");
        let endless = own.gousse("token create --ttl 0s");
        assert!(!endless.ok && endless.err.contains("--ttl is not positive"), "{endless:?}");
        own.down(true);
        assert!(up.end().ok);
    });
}

#[test]
fn bad_requests_are_refused_clearly_and_the_rest_goes_on() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let mut up = own.up(&[]);
        let address = up.seen.split("https://").nth(1).unwrap().trim().to_string();
        let goes_on = || assert_eq!(own.must("get namespace default -o name"), "namespace/default\n");

        let broken = own.apply("{a: [");
        assert!(!broken.ok && broken.err.contains("STDIN"), "{broken:?}");
        let wrong = own.apply("{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: 7}}");
        assert!(!wrong.ok && wrong.err.contains("containers"), "{wrong:?}");
        let unknown = own.apply(
            "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: a, image: b, imgae: c}]}}",
        );
        assert!(!unknown.ok && unknown.err.contains("imgae"), "{unknown:?}");
        goes_on();

        // Held open while the others speak; the server gives it up in the end.
        let mut half = TcpStream::connect(&address).unwrap();
        half.write_all(&[0x16, 3, 1, 2, 0]).unwrap();
        goes_on();

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let maps = "/api/v1/namespaces/default/configmaps";
            let big = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"},
                "data": {"k": "x".repeat(100 << 20)}});
            let refused = own.client().call(http::Method::POST, maps, &[], Some(("application/json", &big))).await;
            let refused = refused.err().expect("100 MB are too much");
            assert_eq!(refused.code, 413, "{refused}");

            // One watch reads nothing, one reads everything: 24 MB of events.
            let (deaf, hearing, writer) = (own.client(), own.client(), own.client());
            let watch = |client: client::Client| async move {
                client.call(http::Method::GET, maps, &[("watch", "true")], None).await.unwrap()
            };
            let _unread = watch(deaf).await;
            let client::Body::Stream(mut events) = watch(hearing).await.body else { panic!("no stream") };
            let writing = async {
                for number in 0..300 {
                    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
                        "metadata": {"name": format!("m-{number}")}, "data": {"k": "x".repeat(80 << 10)}});
                    writer.call(http::Method::POST, maps, &[], Some(("application/json", &map))).await.unwrap();
                }
            };
            let reading = async {
                let mut seen = Vec::new();
                while !seen.ends_with(b"\"m-299\"") {
                    let bytes = futures::StreamExt::next(&mut events).await.unwrap().unwrap();
                    let last = String::from_utf8_lossy(&bytes).contains("\"m-299\"");
                    seen = if last { b"\"m-299\"".to_vec() } else { Vec::new() };
                }
            };
            tokio::time::timeout(GUARD, futures::future::join(writing, reading)).await.expect("events arrive");
        });
        goes_on();
        half.set_read_timeout(Some(GUARD)).unwrap();
        let mut answer = Vec::new();
        half.read_to_end(&mut answer).expect("the server gives half a handshake up");

        own.down(true);
        up.seen.clear();
        assert!(up.end().ok);
    });
}

#[test]
fn a_hostile_image_is_refused_and_writes_nothing() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        let folder = stage.folder.join("image");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("evil"), "evil").unwrap();
        for (name, expression) in [("outside", "s,^evil,../../../../evil,"), ("good", "s,^evil,fine,")] {
            tar(&folder, &["-cPf", "layer.tar", "--transform", expression, "evil"]);
            for (tag, digest) in [("right", None), ("wrong", Some("0".repeat(64)))] {
                let done = own.load_layer(&folder, &format!("{name}:{tag}"), digest.as_deref(), json!({}));
                assert_eq!(done.ok, (name, tag) == ("good", "right"), "{name}:{tag}: {done:?}");
                assert!(done.ok || done.err.starts_with("error: "), "{done:?}");
            }
        }
        let listed = own.command("image ls").output_now();
        assert!(listed.out.contains("good") && !listed.out.contains("outside"), "{listed:?}");
        let removed = own.command("image rm").args(["nothing:1", "good:right"]).output_now();
        assert!(!removed.ok && removed.err.contains("no image \"nothing:1\" is here"), "{removed:?}");
        assert_eq!(removed.out, "Removed: good:right\n", "what is there goes all the same");
        let evil = Command::new("find").arg(&own.data).args(["-name", "evil"]).output_now();
        assert_eq!(evil.out, "", "written outside of the image's root");
        own.down(true);
        assert!(up.end().ok);
    });
}
