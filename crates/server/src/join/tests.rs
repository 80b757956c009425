use super::*;
use crate::tests::cluster;

/// A node was given a certificate for the server's own address, spelt in another way.
#[tokio::test]
async fn a_node_bears_no_name_of_the_server_however_it_is_written() {
    let mut config = cluster().await.server.0.config.clone();
    config.advertise = "[2001:db8::1]:6443".parse().unwrap();
    config.service_cidr = "2001:db8:96::/112".into();
    config.names =
        ["API.Example.org.", "*.Wild.example.org", "198.51.100.7", "::ffff:198.51.100.8"].map(String::from).into();
    let server_is = crate::hosts(&config);
    let may = |node: &str, host: &str| may_bear(&config.service_cidr, &server_is, node, host);
    for host in [
        "2001:db8::1",
        "2001:db8:0:0:0:0:0:1",
        "2001:DB8::0.0.0.1",
        "2001:db8:96::1",
        "2001:db8:96:0:0::0001",
        "2001:db8:96::abcd",
        "localhost",
        "127.0.0.1",
        "127.8.9.10",
        "::1",
        "::ffff:127.0.0.1",
        "fe80::1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "198.51.100.7",
        "::ffff:198.51.100.7",
        "::FFFF:c633:6407",
        "198.51.100.8",
        "0.0.0.0",
        "::",
        "kubernetes.",
        "KUBERNETES",
        "*",
        "*.n7",
        "n7.",
        "[2001:db8::2]",
        "2001:db8::2%eth0",
    ] {
        assert!(!may("n7", host), "{host}");
    }
    for name in ["api.example.org", "x.wild.example.org", "kubernetes", "kubernetes.default.svc"] {
        assert!(!may(name, name), "{name}");
    }
    for address in addresses::local() {
        assert!(!may("n7", &address.to_string()), "{address} is the server's machine's");
    }
    for host in ["n7", "192.0.2.7", "2001:db8::2", "2001:db8:0:0::2"] {
        assert!(may("n7", host), "{host}");
    }
    assert!(may("a.b.wild.example.org", "a.b.wild.example.org"), "a wildcard is for one label");
}
