use super::*;

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

const WEB: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: i}]}\n";

#[test]
fn one_bad_file_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", "kind: [");
    write(folder.path(), "b.yaml", WEB);
    write(folder.path(), "c.yaml", &WEB.replace("name: web}", "name: x}").replace("image: i}", "image: i, bad: 1}"));
    write(folder.path(), "d.yaml", &WEB.replace("containers:", "serviceAccountName: s, containers:"));
    write(folder.path(), ".e.yaml", &WEB.replace("web", "hidden"));
    let found = read_all(folder.path(), "node", true);
    let keys: Vec<_> = found.iter().map(StaticPod::key).collect();
    assert_eq!(keys, [("default".to_owned(), "web-node".to_owned())]);
    let pod = found[0].object.value();
    assert_eq!(pod["metadata"]["annotations"][CONFIG_SOURCE], "file");
    assert_eq!(pod["spec"]["restartPolicy"], "Always");
    assert_eq!(pod["spec"]["nodeName"], "node");
    assert_eq!(found[0].uid.len(), 32);
}

#[test]
fn changed_file_is_another_pod_of_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", WEB);
    let before = read_all(folder.path(), "n", true).remove(0);
    write(folder.path(), "a.yaml", &WEB.replace("image: i", "image: j"));
    let after = read_all(folder.path(), "n", true).remove(0);
    assert_eq!(before.key(), after.key());
    assert_ne!(before.uid, after.uid);
}

/// A UID becomes the name of folders and of a cgroup.
#[test]
fn uid_that_is_no_plain_name_is_refused_by_file_and_field() {
    let long = "x".repeat(65);
    for uid in ["..", ".", "a/b", "../../etc", "/", "-x", ".hidden", "a\0b", "a b", "a\nb", "ä", "...", long.as_str()]
    {
        let text = WEB.replace("name: web}", &format!("name: web, uid: {}}}", serde_json::json!(uid)));
        let why =
            parse(&text, Path::new("/m/a.yaml"), "n", true).map(|pod| panic!("{uid:?}: {:?}", pod.uid)).unwrap_err();
        assert!(why.contains("metadata.uid"), "{uid:?}: {why}");
    }
    for uid in ["6f1c9d3e-8a4b-4c55-9f0e-2b7a1d9c3e10", "0123456789abcdef0123456789abcdef", "kube_proxy.1"] {
        let text = WEB.replace("name: web}", &format!("name: web, uid: {uid}}}"));
        assert_eq!(parse(&text, Path::new("/m/a.yaml"), "n", true).unwrap().uid, uid);
    }
}

#[test]
fn two_files_with_one_uid_are_one_pod_and_an_error() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", &WEB.replace("name: web}", "name: a, uid: same}"));
    write(folder.path(), "b.yaml", &WEB.replace("name: web}", "name: b, uid: same}"));
    let found = read_all(folder.path(), "n", true);
    let keys: Vec<_> = found.iter().map(|pod| pod.key().1).collect();
    assert_eq!(keys, ["a-n"]);
}

/// Nobody else validates what stands in a file (kubelet/config/common.go tryDecodeSinglePod).
#[test]
fn what_the_api_would_refuse_is_refused_here_too() {
    let spec = |more: &str| WEB.replace("containers: [{name: c, image: i}]", more);
    for (text, field) in [
        (WEB.replace("name: web", "name: ../../x"), "metadata.name"),
        (WEB.replace("name: web}", "name: web, namespace: ../x}"), "metadata.namespace"),
        (spec("containers: [{name: ../../c, image: i}]"), "spec.containers[0].name"),
        (spec("containers: [{name: c, image: i}], volumes: [{name: ../../v, emptyDir: {}}]"), "spec.volumes[0].name"),
        (
            spec(
                "containers: [{name: c, image: i}], volumes: [{name: v, downwardAPI: {items: [{path: ../x, fieldRef: {fieldPath: metadata.name}}]}}]",
            ),
            "spec.volumes[0].downwardAPI",
        ),
        (
            spec(
                "containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v, subPath: ../x}]}], volumes: [{name: v, emptyDir: {}}]",
            ),
            "subPath",
        ),
        (
            spec("hostAliases: [{ip: \"1.2.3.4\\n6.6.6.6 bank\", hostnames: [x]}], containers: [{name: c, image: i}]"),
            "spec.hostAliases[0].ip",
        ),
        (
            spec("hostAliases: [{ip: 1.2.3.4, hostnames: [\"a\\nb\"]}], containers: [{name: c, image: i}]"),
            "spec.hostAliases",
        ),
        (
            spec("containers: [{name: c, image: i}], volumes: [{name: v, csi: {driver: acme.io}}]"),
            "may not have volumes of csi",
        ),
        (spec("hostname: ../x, containers: [{name: c, image: i}]"), "spec.hostname"),
        (
            spec("securityContext: {runAsUser: 4294967295}, containers: [{name: c, image: i}]"),
            "spec.securityContext.runAsUser",
        ),
        (spec("containers: [{name: c, image: i, env: [{name: \"A=B\", value: x}]}]"), "spec.containers[0].env[0].name"),
    ] {
        let why = parse(&text, Path::new("/m/a.yaml"), "n", true).map(|_| panic!("{text}")).unwrap_err();
        assert!(why.contains(field), "{field}: {why}");
    }
    let privileged = spec("containers: [{name: c, image: i, securityContext: {privileged: true}}]");
    assert!(parse(&privileged, Path::new("/m/a.yaml"), "n", true).is_ok());
    assert!(parse(&privileged, Path::new("/m/a.yaml"), "n", false).unwrap_err().contains("privileged"));
}

/// The folder may hold anything: a manifest is small, and a plain file.
#[test]
fn a_manifest_that_is_no_plain_file_or_has_no_end_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "good.yaml", WEB);
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    let at = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("zero")).unwrap();
    fs::File::create(folder.path().join("huge")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(read_all(folder.path(), "n", true).len(), 1);
}
