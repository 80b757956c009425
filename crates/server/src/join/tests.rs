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
    let may = |node: &str, host: &str| may_bear(&config, node, host, false);
    for host in [
        "2001:db8::1",
        "2001:db8:0:0:0:0:0:1",
        "2001:DB8::0.0.0.1",
        "2001:db8:96::1",
        "2001:db8:96:0:0::0001",
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
    for host in ["n7", "localhost", "127.0.0.1", "::1", "192.0.2.7", "2001:db8::2", "2001:db8:0:0::2"] {
        assert!(may("n7", host), "{host}");
    }
    assert!(may("a.b.wild.example.org", "a.b.wild.example.org"), "a wildcard is for one label");
    // A node on the server's machine has its addresses, but never those of its Service.
    assert!(may_bear(&config, "n7", "2001:db8:0::1", true) && !may_bear(&config, "n7", "2001:db8:96:0::1", true));
}
