use super::*;
use crate::tests::cluster;

fn service(name: &str, label: &str, priority: i64) -> Value {
    json!({"metadata": {"name": name, "uid": "u", "resourceVersion": "7", "labels": {LABEL: label}},
        "spec": {"group": "apps", "version": "v1", "groupPriorityMinimum": priority, "versionPriority": 15}})
}

#[test]
fn what_bears_the_label_follows_what_is_served() {
    let wanted = service("v1.apps", "onstart", 17800);
    let due = |stored: Value| {
        let due = plan(&[stored], std::slice::from_ref(&wanted));
        due.iter().map(|due| format!("{} {}", due.method, due.path)).collect::<Vec<_>>()
    };
    assert_eq!(due(wanted.clone()), [""; 0]);
    assert_eq!(plan(&[], std::slice::from_ref(&wanted))[0].method, Method::POST);
    assert_eq!(due(service("v1.apps", "onstart", 1)), [format!("PUT {PATH}/v1.apps")]);
    assert_eq!(due(service("v1.apps", "no", 1)), [""; 0], "its maker's own");
    assert_eq!(due(service("v1.old", "onstart", 1)), [format!("POST {PATH}"), format!("DELETE {PATH}/v1.old")]);
    assert_eq!(due(service("v1.theirs", "", 1)), [format!("POST {PATH}")]);
    let put = plan(&[service("v1.apps", "true", 1)], std::slice::from_ref(&wanted)).remove(0).object;
    assert_eq!((&put["metadata"]["resourceVersion"], &put["spec"]), (&json!("7"), &wanted["spec"]));
}

#[tokio::test]
async fn every_version_of_a_group_has_a_service_that_is_available() {
    let c = cluster().await;
    let (_, list) = c.get(PATH).await;
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect();
    let (_, groups) = c.get("/apis").await;
    let mut served = vec!["v1.".to_string()];
    for group in groups["groups"].as_array().unwrap().iter().filter(|group| group["name"] != priorities::REGISTRATION) {
        let name = group["name"].as_str().unwrap();
        served.extend(
            group["versions"].as_array().unwrap().iter().map(|v| format!("{}.{name}", v["version"].as_str().unwrap())),
        );
    }
    served.sort();
    assert_eq!(names, served, "each group that is served has a number of upstream's");
    let (_, core) = c.get(&format!("{PATH}/v1.")).await;
    assert_eq!(core["spec"], json!({"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}));
    assert_eq!(core["metadata"]["labels"][LABEL], "onstart");
    assert_eq!(core["status"]["conditions"][0]["status"], "True");

    // The next start puts right what was changed, and makes what is gone.
    let mut apps = c.get(&format!("{PATH}/v1.coordination.k8s.io")).await.1;
    apps["spec"]["versionPriority"] = 3.into();
    assert_eq!(c.put(&format!("{PATH}/v1.coordination.k8s.io"), apps).await.0, 200);
    assert_eq!(c.delete(&format!("{PATH}/v1.node.k8s.io"), Value::Null).await.0, 200);
    keep(&c.server).await.unwrap();
    assert_eq!(c.get(&format!("{PATH}/v1.coordination.k8s.io")).await.1["spec"]["versionPriority"], 15);
    assert_eq!(c.get(&format!("{PATH}/v1.node.k8s.io")).await.0, 200);
}

#[tokio::test]
async fn groups_are_listed_by_their_numbers() {
    let c = cluster().await;
    let (_, groups) = c.get("/apis").await;
    let names: Vec<&str> =
        groups["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], priorities::REGISTRATION);
    assert!(names.is_sorted_by_key(|name| priorities::rank(name)), "{names:?}");
    let last = names[names.len() - 1];
    assert!(priorities::rank(last) < usize::MAX && priorities::rank("example.com") == usize::MAX);
}
