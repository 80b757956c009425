//! What pods mount: images as volumes, and paths below volumes.

use crate::stage::{Stage, play};

#[test]
fn an_image_is_a_volume_that_can_be_read_and_nothing_else() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        own.run_pod("reader", POD);
        assert!(own.must("exec reader -c main -- cat /image/etc/passwd").starts_with("root:x:0:0:"));
        assert!(own.must("exec reader -c main -- ls /etc-of-it").contains("passwd"));
        let refused = own.gousse("exec reader -c main -- /image/bin/toolbox echo ran");
        assert!(!refused.ok && refused.err.contains("ermission denied"), "{refused:?}");
        let refused = own.gousse("exec reader -c main -- sh -c 'echo x > /image/etc/passwd'");
        assert!(!refused.ok && refused.err.contains("ead-only"), "{refused:?}");
        let pod = own.json("get pod reader");
        let mounts = pod["status"]["containerStatuses"][0]["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().any(|m| m["name"] == "image" && m["mountPath"] == "/image"), "{mounts:?}");
        let events = own.must("events --for pod/reader");
        assert!(events.contains("Successfully pulled image \"gousse.dev/toolbox\""), "{events}");
        own.must(
            "wait --for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImageNeverPull pod/lacking",
        );
        let absent = own.json("get pod lacking");
        assert_eq!(
            absent["status"]["containerStatuses"][0]["state"]["waiting"]["message"],
            "Container image \"absent:1\" is not present with pull policy of Never"
        );
        let invalid = own.apply(&POD.replace("pullPolicy: Never", "pullPolicy: Sometimes").replace("lacking", "wrong"));
        assert!(
            invalid.err.contains("spec.volumes[0].image.pullPolicy: Unsupported value: \"Sometimes\""),
            "{invalid:?}"
        );
        own.down(true);
        assert!(up.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - name: image
    image: {reference: gousse.dev/toolbox}
  containers:
  - name: main
    image: toolbox
    command: [sleep, '1000']
    volumeMounts:
    - {name: image, mountPath: /image}
    - {name: image, mountPath: /etc-of-it, subPath: etc}
---
apiVersion: v1
kind: Pod
metadata: {name: lacking}
spec:
  volumes:
  - name: image
    image: {reference: 'absent:1', pullPolicy: Never}
  containers:
  - name: main
    image: toolbox
    volumeMounts: [{name: image, mountPath: /image}]
";

#[test]
fn a_sub_path_that_leads_out_of_its_volume_starts_nothing_and_says_so() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        for (number, link) in ["/bin/sh", "/nowhere", "../../..", "/etc"].iter().enumerate() {
            let name = format!("out{number}");
            let applied = own.apply(&OUT.replace("NAME", &name).replace("LINK", link));
            assert!(applied.ok, "{applied:?}");
            let waits = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError";
            own.must(&format!("wait --for={waits} pod/{name} --timeout=60s"));
            let status = &own.json(&format!("get pod {name}"))["status"]["containerStatuses"][0];
            let why = "failed to prepare subPath for volumeMount \"v\" of container \"main\"";
            assert_eq!((&status["state"]["waiting"]["message"], &status["restartCount"]), (&why.into(), &0.into()));
        }
        // A link that stays in is followed.
        own.run_pod("in", &OUT.replace("NAME", "in").replace("LINK", "deep/../there"));
        own.down(true);
        assert!(up.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

const OUT: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: v, emptyDir: {}}
  initContainers:
  - name: links
    image: toolbox
    command: [sh, -c, 'mkdir /v/deep /v/there; ln -s LINK /v/link']
    volumeMounts: [{name: v, mountPath: /v}]
  containers:
  - name: main
    image: toolbox
    command: [sleep, '1000']
    volumeMounts: [{name: v, mountPath: /m, subPath: link}]
";
