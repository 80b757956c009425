use super::*;
use crate::tests::cluster;

#[test]
fn no_path_is_answered_by_two_lines() {
    for row in PATHS {
        let found: Vec<&str> = PATHS
            .iter()
            .filter(|other| match row.path.strip_prefix(other.path) {
                Some("") => true,
                Some(rest) => other.tree && rest.starts_with('/'),
                None => false,
            })
            .map(|other| other.path)
            .collect();
        assert_eq!(found, [row.path]);
    }
}

#[test]
fn a_path_is_found_whole_and_what_is_below_it_in_a_tree_only() {
    let found = |path: &'static str| find(path).map(|(row, rest)| (row.path, rest));
    for (path, want) in [
        ("/", Some(("", ""))),
        ("/version/", Some(("/version", ""))),
        ("/version/x", None),
        ("/versions", None),
        ("/readyz/store", Some(("/readyz", "store"))),
        ("/apis/apps/v1", Some(("/apis", "apps/v1"))),
        ("/openapi/v3/apis/apps/v1", Some(("/openapi/v3", "apis/apps/v1"))),
        ("/openapi/v4", None),
        ("/openapi", None),
    ] {
        assert_eq!(found(path), want, "{path}");
    }
}

#[tokio::test]
async fn the_root_names_what_is_served() {
    let c = cluster().await;
    let (_, root) = c.get("/").await;
    for path in root["paths"].as_array().unwrap() {
        let (code, _) = c.get(path.as_str().unwrap()).await;
        assert_eq!(code, 200, "{path}");
    }
    assert!(root["paths"].as_array().unwrap().contains(&json!("/apis/coordination.k8s.io/v1")), "{root}");
    assert!(!root.to_string().contains("gousse"), "{root}");
}
