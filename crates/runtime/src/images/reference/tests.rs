use super::*;

#[test]
fn names_resolve_as_docker_resolves_them() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (name, expected) in [
        ("nginx", "docker.io/library/nginx:latest".to_string()),
        ("nginx:1.27", "docker.io/library/nginx:1.27".into()),
        ("user/app", "docker.io/user/app:latest".into()),
        ("docker.io/nginx", "docker.io/library/nginx:latest".into()),
        ("index.docker.io/user/app:1", "docker.io/user/app:1".into()),
        ("localhost/app", "localhost/app:latest".into()),
        ("localhost:5000/app:v1", "localhost:5000/app:v1".into()),
        ("registry.k8s.io/e2e-test-images/agnhost:2.55", "registry.k8s.io/e2e-test-images/agnhost:2.55".into()),
        ("[::1]:5000/app", "[::1]:5000/app:latest".into()),
        ("toolbox", "gousse.dev/toolbox:latest".into()),
        ("toolbox:latest", "gousse.dev/toolbox:latest".into()),
        ("docker.io/library/toolbox", "docker.io/library/toolbox:latest".into()),
        (&format!("nginx@{digest}"), format!("docker.io/library/nginx@{digest}")),
        (&format!("a.b/c:1@{digest}"), format!("a.b/c:1@{digest}")),
        ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest".into()),
    ] {
        assert_eq!(Reference::parse(name).map(|r| r.to_string()), Ok(expected), "{name}");
    }
}

#[test]
fn names_that_are_none_are_refused() {
    for name in [
        "",
        ":",
        "Nginx",
        "a//b",
        "a/_b",
        "a..b",
        "nginx:",
        "nginx:ta g",
        "x@sha256:12",
        "-a",
        "a b",
        "h:99999/x",
        "/x",
    ] {
        let refusal = Reference::parse(name).expect_err(name);
        assert!(refusal.contains("invalid reference format"), "{name}: {refusal}");
    }
    let (id, long) = ("a".repeat(64), "a/".repeat(127) + "aa");
    for (name, why) in [
        ("a/B", "invalid reference format: repository name (a/B) must be lowercase"),
        ("Bad Image:::", "invalid reference format: repository name (library/Bad Image) must be lowercase"),
        ("x.io/A@sha256:12", "invalid reference format: repository name (A@sha256) must be lowercase"),
        ("bad image", "invalid reference format"),
        (&id, &format!("invalid repository name ({id}), cannot specify 64-byte hexadecimal strings")),
        (&long, "repository name must not be more than 255 characters"),
    ] {
        assert_eq!(Reference::parse(name).unwrap_err(), format!("couldn't parse image name {name:?}: {why}"));
    }
}
