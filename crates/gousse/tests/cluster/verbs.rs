//! Our own verbs where a transcript is not enough: streams both ways at once, and words kubectl takes.

use std::fs::File;

use crate::stage::{Instance, Stage, play};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: toolbox
    command: [sleep, inf]
---
";

#[test]
fn our_own_verbs_take_what_kubectl_takes() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        assert!(own.apply(POD).ok);
        own.must("wait --for=condition=Ready pod/web --timeout=60s");
        both_ways(stage, &own);
        up.kill();
        own.down(true);
    });
}

/// A command that writes as much as it reads, more than all buffers on the way hold.
fn both_ways(stage: &Stage, own: &Instance) {
    let bytes: Vec<u8> = (0..24 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (sent, got) = (stage.folder.join("sent"), stage.folder.join("got"));
    std::fs::write(&sent, &bytes).unwrap();
    let mut command = own.program("timeout", "60");
    command.arg(env!("CARGO_BIN_EXE_gousse")).args(["exec", "-i", "web", "--", "cat"]);
    command.stdin(File::open(&sent).unwrap()).stdout(File::create(&got).unwrap());
    let status = command.status().unwrap();
    assert!(status.success() && std::fs::read(&got).unwrap() == bytes, "{status}");
}
