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
    let found = read_all(folder.path(), "Node");
    let keys: Vec<_> = found.iter().map(StaticPod::key).collect();
    assert_eq!(keys, [("default".to_owned(), "web-node".to_owned())]);
    let pod = found[0].object.value();
    assert_eq!(pod["metadata"]["annotations"][CONFIG_SOURCE], "file");
    assert_eq!(pod["spec"]["restartPolicy"], "Always");
    assert_eq!(pod["spec"]["nodeName"], "Node");
    assert_eq!(found[0].uid.len(), 32);
}

#[test]
fn changed_file_is_another_pod_of_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", WEB);
    let before = read_all(folder.path(), "n").remove(0);
    write(folder.path(), "a.yaml", &WEB.replace("image: i", "image: j"));
    let after = read_all(folder.path(), "n").remove(0);
    assert_eq!(before.key(), after.key());
    assert_ne!(before.uid, after.uid);
}
