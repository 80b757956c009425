//! Pods that burn processor become more, and fewer when that is too many.

use crate::stage::{Stage, play};

const BURNER: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: burner}
spec:
  selector: {matchLabels: {app: burner}}
  template:
    metadata: {labels: {app: burner}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: toolbox
        command: [sh, -c, 'while true; do true; done']
        resources: {requests: {cpu: 20m, memory: 1Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: idle}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: toolbox, command: [sleep, '1000']}]
";

/// At most two, so that the machine is not filled; windows are short, so that nobody waits.
fn autoscaler(percent: u32) -> String {
    format!(
        "
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: burner}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: burner}}
  minReplicas: 1
  maxReplicas: 2
  metrics: [{{type: Resource, resource: {{name: cpu, target: {{type: Utilization, averageUtilization: {percent}}}}}}}]
  behavior: {{scaleDown: {{stabilizationWindowSeconds: 0}}}}
"
    )
}

#[test]
fn what_burns_processor_is_scaled_up_and_down() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        assert!(own.apply(BURNER).ok);
        own.must("wait --for=jsonpath={.status.readyReplicas}=1 deployment/burner --timeout=60s");
        own.must("wait --for=condition=Ready pod/idle --timeout=60s");
        // The first who asks waits for a window; the burner is the first of them.
        let pods = own.must("top pods --sort-by cpu");
        let rows: Vec<Vec<&str>> = pods.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["NAME", "CPU(cores)", "MEMORY(bytes)"], "{pods}");
        let millis = |row: &[&str]| row[1].trim_end_matches('m').parse::<u32>().unwrap();
        assert!(rows[1][0].starts_with("burner-") && millis(&rows[1]) > 40, "{pods}");
        assert!(rows[2][0] == "idle" && millis(&rows[2]) < 20, "{pods}");
        let nodes = own.must("top nodes --no-headers");
        assert!(!nodes.contains("<unknown>") && nodes.lines().count() == 1, "{nodes}");

        assert!(own.apply(&autoscaler(100)).ok);
        own.must("wait --for=jsonpath={.status.desiredReplicas}=2 hpa/burner --timeout=60s");
        own.must("wait --for=jsonpath={.status.readyReplicas}=2 deployment/burner --timeout=60s");
        let events = own.must("events --for hpa/burner");
        let told = "New size: 2; reason: cpu resource utilization (percentage of request) above target";
        assert!(events.contains("SuccessfulRescale") && events.contains(told), "{events}");
        // What they use is little of what they may: one is enough.
        assert!(own.apply(&autoscaler(1_000_000)).ok);
        own.must("wait --for=jsonpath={.status.desiredReplicas}=1 hpa/burner --timeout=90s");
        own.must("wait --for=jsonpath={.spec.replicas}=1 deployment/burner --timeout=60s");
        own.down(true);
        assert!(up.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}
