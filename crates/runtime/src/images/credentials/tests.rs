use super::*;

fn applies(registry: &str, image: &str) -> bool {
    matches(registry, &Reference::parse(image).unwrap())
}

#[test]
fn hosts_ports_paths_and_stars_match_as_upstreams_keyring_does() {
    assert!(applies("https://index.docker.io/v1/", "nginx"));
    assert!(applies("docker.io", "user/app"));
    assert!(applies("reg.io/team", "reg.io/team/app"));
    assert!(!applies("reg.io/team", "reg.io/teams/app"));
    assert!(applies("*.reg.io", "eu.reg.io/app"));
    assert!(!applies("*.reg.io", "a.eu.reg.io/app"));
    assert!(applies("reg.io:5000", "reg.io:5000/app"));
    assert!(!applies("reg.io", "reg.io:5000/app"));
}

#[test]
fn dockers_configuration_is_read_and_helpers_are_named_not_run() {
    let json = br#"{"auths": {"reg.io": {"auth": "dXNlcjpwYTpzcw=="}, "reg.io/team": {"identitytoken": "T"}, "other.io": {"auth": "eDp5"}},
        "credHelpers": {"gcr.io": "gcloud"}, "HttpHeaders": {}}"#;
    let found = from_docker_config(json, &Reference::parse("reg.io/team/app").unwrap()).unwrap();
    let keys: Vec<&str> = found.credentials.iter().map(|c| c.registry.as_str()).collect();
    assert_eq!(keys, ["reg.io/team", "reg.io"], "the most particular first");
    assert_eq!((found.credentials[1].username.as_str(), found.credentials[1].password.as_str()), ("user", "pa:ss"));
    assert!(found.note.is_none());
    let found = from_docker_config(json, &Reference::parse("gcr.io/app").unwrap()).unwrap();
    assert!(found.note.unwrap().contains("\"gcloud\""));
}
