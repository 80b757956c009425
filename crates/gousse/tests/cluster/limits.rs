//! Pods are held to what they may use: local storage, bandwidth; and the node keeps room for itself.

use crate::stage::{Stage, play};

#[test]
fn pods_that_break_a_limit_of_storage_are_evicted_and_the_others_stay() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let mut up = own.up(&[stage.file("pods.yaml", STORERS).to_str().unwrap()]);
        up.line("Ctrl-C deletes");
        // Usage is looked at every ten seconds.
        for (pod, message) in [
            ("volume", "Usage of EmptyDir volume \"cache\" exceeds the limit \"2Mi\". "),
            ("layer", "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "),
            ("logs", "Container talker exceeded its local ephemeral storage limit \"2Mi\". "),
        ] {
            own.must(&format!("wait --for=jsonpath={{.status.phase}}=Failed pod/{pod} --timeout=60s"));
            let status = &own.json(&format!("get pod {pod}"))["status"];
            assert_eq!((status["reason"].as_str(), status["message"].as_str()), (Some("Evicted"), Some(message)));
            let events = own.must(&format!("events --for pod/{pod}"));
            assert!(events.lines().any(|l| l.contains("Warning") && l.contains("Evicted")), "{events}");
            assert!(!status["conditions"].to_string().contains("DisruptionTarget"), "{status}");
        }
        let kept = own.json("get pod kept");
        assert_eq!(kept["status"]["phase"], "Running");
        assert_eq!(kept["status"]["containerStatuses"][0]["restartCount"], 0);
        own.down(true);
        assert!(up.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

/// `seq 1 1000000` prints almost seven megabytes.
const STORERS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: volume}
spec:
  terminationGracePeriodSeconds: 600
  volumes: [{name: cache, emptyDir: {sizeLimit: 2Mi}}]
  containers:
  - name: main
    image: toolbox
    command: [sh, -c, 'seq 1 1000000 > /cache/numbers; sleep 1000']
    volumeMounts: [{name: cache, mountPath: /cache}]
---
apiVersion: v1
kind: Pod
metadata: {name: layer}
spec:
  containers:
  - name: main
    image: toolbox
    command: [sh, -c, 'seq 1 1000000 > /numbers; sleep 1000']
    resources: {limits: {ephemeral-storage: 2Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: logs}
spec:
  containers:
  - name: talker
    image: toolbox
    command: [sh, -c, 'seq 1 1000000; sleep 1000']
    resources: {limits: {ephemeral-storage: 2Mi}}
  - name: other
    image: toolbox
    command: [sleep, '1000']
    resources: {limits: {ephemeral-storage: 1Gi}}
---
apiVersion: v1
kind: Pod
metadata: {name: kept}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: cache, emptyDir: {sizeLimit: 20Mi}}]
  containers:
  - name: main
    image: toolbox
    command: [sh, -c, 'ln -s / /cache/root; seq 1 1000000 > /cache/numbers; sleep 1000']
    resources: {limits: {ephemeral-storage: 1Gi}}
    volumeMounts: [{name: cache, mountPath: /cache}]
";
