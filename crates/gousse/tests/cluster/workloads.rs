//! Our verbs for workloads and nodes beside a stock kubectl's: the same calls, the same words.
//!
//! What changes something is done to twins, `one` by kubectl and `two` by us; what only looks, looks at the
//! same. A budget's hold on a node is ours alone: kubectl would ask every five seconds.

use std::collections::BTreeSet;

use crate::kubectl::{GOUSSE, kubectl_since, told};
use crate::stage::{Instance, Lines, Output, Stage, play};

/// Of each kind one of that name.
fn twin(name: &str) -> String {
    let template = |kind: &str, more: &str| {
        format!(
            r#"  selector: {{matchLabels: {{app: {kind}-{name}}}}}
  template:
    metadata: {{labels: {{app: {kind}-{name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: toolbox
        command: [sleep, inf]
        env: [{{name: COLOR, value: green}}]
        ports: [{{name: http, containerPort: 80}}]
{more}"#
        )
    };
    let volume = "        volumeMounts: [{name: scratch, mountPath: /scratch}]\n      volumes: [{name: scratch, emptyDir: {}}]\n";
    let of = |kind: &str, spec: &str, template: &str| {
        format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}, labels: {{twin: {name}}}}}\nspec:\n{spec}{template}---\n"
        )
    };
    [
        of("Deployment", "  replicas: 1\n", &template("deploy", volume)),
        of("DaemonSet", "", &template("ds", "")),
        of("StatefulSet", "  replicas: 1\n  serviceName: none\n", &template("sts", "")),
    ]
    .concat()
}

const KINDS: [&str; 3] = ["deploy", "ds", "sts"];

#[test]
fn our_verbs_for_workloads_say_what_kubectls_say() {
    play(|stage: &Stage| {
        let Some(kubectl) = kubectl_since(36) else { return };
        let own = stage.instance("own");
        let up = own.up(&[]);
        for name in ["one", "two"] {
            let done = own.apply(&twin(name));
            assert!(done.ok, "{done:?}");
            std::fs::write(own.folder.join(format!("{name}.yaml")), twin(name)).unwrap();
        }
        settled(&own);
        let mut differ = String::new();
        // A second revision, with its cause.
        for kind in KINDS {
            differ += &twins(&own, &kubectl, &format!(
                "patch {kind} NAME -p '{{\"spec\":{{\"template\":{{\"metadata\":{{\"annotations\":{{\"v\":\"2\"}}}}}}}}}}'
                 annotate {kind} NAME kubernetes.io/change-cause=second"
            ));
        }
        settled(&own);
        for kind in KINDS {
            differ += &looks(
                &own,
                &kubectl,
                &format!(
                    "rollout status {kind}/one
                 rollout status {kind} one --watch=false
                 rollout history {kind}/one
                 rollout history {kind} one --revision=1
                 rollout history {kind} one --revision=9
                 rollout history {kind} one --revision=-1
                 rollout history {kind} one --revision=1 -o name
                 rollout undo {kind} one --dry-run=server
                 rollout undo {kind} one --dry-run=client
                 rollout undo {kind} one --to-revision=2
                 rollout undo {kind} one --to-revision=9
                 rollout restart {kind} nobody"
                ),
            );
            differ += &twins(
                &own,
                &kubectl,
                &format!(
                    "rollout undo {kind}/NAME
                 rollout restart {kind} NAME
                 rollout pause {kind} NAME
                 rollout pause {kind} NAME
                 rollout resume {kind} NAME
                 rollout resume {kind} NAME"
                ),
            );
        }
        settled(&own);
        differ += &looks(
            &own,
            &kubectl,
            "rollout status deploy -l twin=one
             rollout status deploy/one --revision=1
             rollout status rs -l app=deploy-one
             rollout history cm kube-root-ca.crt
             rollout history rs -l app=ds-one
             rollout undo pods -l app=ds-one
             rollout status
             rollout status deploy -l no=where
             rollout pause ds/one
             rollout restart cm kube-root-ca.crt
             scale deploy one
             scale deploy --replicas=1
             scale deploy one --replicas=-1
             scale deploy one --replicas=3 --current-replicas=7
             scale deploy one --replicas=3 --resource-version=1
             scale deploy one two --replicas=3 --resource-version=1
             scale deploy one --replicas=3 --dry-run=client
             scale deploy one --replicas=3 --dry-run=server
             scale deploy one --replicas=3 --dry-run=perhaps
             scale ds one --replicas=3
             scale deploy nobody one --replicas=1
             autoscale deploy one --max=0
             autoscale deploy one --max=3 --cpu=much
             autoscale deploy one --max=3 --cpu=50% --dry-run=server
             autoscale deploy one --max=3 --dry-run=client
             autoscale ds one --max=3
             autoscale deploy one
             rollout history rs -l no=where
             rollout restart deploy -l no=where
             patch deploy one
             patch deploy one -p x --type never
             patch deploy one -p '{\"metadata\":{\"labels\":{\"twin\":\"one\"}}}'
             label deploy one a=b=c
             label deploy one twin=three
             label deploy one twin=three --overwrite --dry-run=server
             label deploy one twin- --dry-run=client
             label deploy one
             label deploy one --list
             annotate deploy one kubernetes.io/change-cause-
             annotate deploy one",
        );
        differ += &twins(
            &own,
            &kubectl,
            "scale deploy NAME --replicas=2 --timeout=60s
             scale deploy NAME --replicas=1 --current-replicas=2
             scale -f NAME.yaml --replicas=1
             scale sts/NAME --replicas=2 -o name
             scale deploy -l twin=NAME --replicas=1
             autoscale deploy/NAME --min=1 --max=3 --cpu=50% --memory=200
             autoscale deploy/NAME --max=3 --cpu-percent=50 --name=other-NAME
             label deploy NAME a=b c=d
             label deploy NAME a=b
             label deploy NAME a- e-
             label deploy NAME c=x d=y --overwrite
             annotate deploy NAME 'note=two words'
             annotate deploy NAME note=other
             annotate deploy NAME note-
             patch deploy NAME --type merge -p '{\"spec\":{\"minReadySeconds\":1}}'
             patch deploy NAME --type json -p '[{\"op\":\"remove\",\"path\":\"/spec/minReadySeconds\"}]'
             patch deploy NAME --subresource=scale --type=merge -p '{\"spec\":{\"replicas\":1}}'",
        );
        // The autoscalers that both made are the same but for their names.
        let made =
            ["one", "two"].map(|name| own.json(&format!("get hpa {name}"))["spec"].to_string().replace(name, "NAME"));
        assert_eq!(made[0], made[1]);
        own.must("delete hpa --all");
        differ += &nodes(&own, &kubectl);
        assert!(differ.is_empty(), "{differ}");
        held(&own);
        own.down(true);
        assert!(up.end().ok);
    });
}

/// Waits until all rollouts are done.
fn settled(own: &Instance) {
    for kind in KINDS {
        own.must(&format!("rollout status {kind} --timeout=60s"));
    }
}

/// The same lines by both, to the same objects.
fn looks(own: &Instance, kubectl: &str, script: &str) -> String {
    script.lines().map(|words| differ(words.trim(), own, [(kubectl, words), (GOUSSE, words)])).collect()
}

/// The same lines by both, each to its twin.
fn twins(own: &Instance, kubectl: &str, script: &str) -> String {
    let each = |words: &str| {
        let [one, two] = ["one", "two"].map(|name| words.replace("NAME", name));
        differ(words.trim(), own, [(kubectl, &one), (GOUSSE, &two)])
    };
    script.lines().map(each).collect()
}

/// What only one of the two says.
fn differ(shown: &str, own: &Instance, calls: [(&str, &str); 2]) -> String {
    let [theirs, ours] = calls.map(|(program, words)| {
        // Our own name stands where theirs does.
        told(own, program, words).replace("two", "one").replace("gousse ", "kubectl ")
    });
    if theirs == ours { String::new() } else { format!("$ {shown}\n--- kubectl\n{theirs}--- ours\n{ours}") }
}

/// Cordon, taint and drain: all by the one, then all by the other.
fn nodes(own: &Instance, kubectl: &str) -> String {
    let node = own.json("get nodes")["items"][0]["metadata"]["name"].as_str().unwrap().to_string();
    let script = format!(
        "cordon {node} --dry-run=client
         cordon node/{node}
         cordon {node}
         uncordon {node} --dry-run=server
         uncordon {node}
         uncordon {node}
         cordon nobody
         cordon
         taint nodes {node} a=b:PreferNoSchedule
         taint nodes {node} a=c:PreferNoSchedule
         taint nodes {node} a=c:PreferNoSchedule --overwrite
         taint nodes {node} a-
         taint nodes {node} a-
         taint pods {node} a-
         drain {node} --force --delete-emptydir-data
         drain {node} --force --ignore-daemonsets
         drain {node} --force --ignore-daemonsets --delete-emptydir-data --dry-run=client
         drain {node} --force --ignore-daemonsets --delete-emptydir-data --dry-run=server
         drain {node} --pod-selector=app=sts-one --dry-run=server
         drain {node} --pod-selector=app=none
         drain {node} --pod-selector=(
         uncordon {node}"
    );
    let run = |words: &str| -> Vec<(String, BTreeSet<String>)> {
        // Pods are evicted in any order.
        let lines =
            |call: &str| told(own, words, call).replace("gousse ", "kubectl ").lines().map(String::from).collect();
        script.lines().map(str::trim).map(|call| (call.to_string(), lines(call))).collect()
    };
    let (theirs, ours) = (run(kubectl), run(GOUSSE));
    let both = theirs.into_iter().zip(ours).filter(|(theirs, ours)| theirs != ours);
    both.map(|((call, theirs), (_, ours))| format!("$ {call}\n--- kubectl\n{theirs:#?}\n--- ours\n{ours:#?}\n"))
        .collect()
}

/// A budget holds a pod on its node until it is gone; who waits for that is told of it.
fn held(own: &Instance) {
    let node = own.json("get nodes")["items"][0]["metadata"]["name"].as_str().unwrap().to_string();
    let budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: hold}\n\
                  spec: {maxUnavailable: 0, selector: {matchLabels: {app: sts-two}}}\n";
    assert!(own.apply(budget).ok);
    own.must("wait --for=jsonpath={.status.observedGeneration}=1 pdb/hold");
    let drain = format!("drain {node} --ignore-daemonsets --delete-emptydir-data");
    let done = own.gousse(&format!("{drain} --pod-selector=app=sts-two --timeout=1s"));
    assert!(!done.ok && done.err.contains("global timeout reached: 1s"), "{done:?}");
    assert!(done.err.contains("Cannot evict pod as it would violate the pod's disruption budget."), "{done:?}");
    assert!(done.err.contains(&format!("There are pending nodes to be drained:\n {node}\n")), "{done:?}");
    let mut words = own.program("sh", "");
    words.args(["-c", &format!("exec {GOUSSE} {drain} 2>&1")]);
    let mut lines = Lines::of(words);
    lines.until(|line| line.contains("will retry when its budget changes"));
    own.must("delete pdb hold");
    lines.until(|line| line == "pod/two-0 evicted");
    lines.until(|line| line == format!("node/{node} drained"));
    own.must(&format!("uncordon {node}"));
    let done = own
        .program(
            GOUSSE,
            &format!("drain {node} --ignore-daemonsets --delete-emptydir-data --disable-eviction --grace-period=0"),
        )
        .output_now();
    assert!(done.ok && done.out.contains(" deleted") && done.out.ends_with("drained\n"), "{done:?}");
    own.must(&format!("uncordon {node}"));
}
