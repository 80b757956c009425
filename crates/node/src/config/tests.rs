use super::*;

#[test]
fn the_first_address_of_each_family_is_the_nodes() {
    let (clock, entropy): (Clock, Entropy) =
        (std::sync::Arc::new(jiff::Timestamp::default), std::sync::Arc::new(|_| ()));
    let mut config = Config::new("n", "/d".into(), "/r".into(), clock, entropy);
    let mut check = |all: &[&str], kept: &[&str]| {
        config.host_addresses = all.iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(config.addresses().map(|address| address.to_string()).collect::<Vec<_>>(), kept);
    };
    check(&["10.0.0.2", "10.244.0.1", "fd00::2", "fd00::3"], &["10.0.0.2", "fd00::2"]);
    check(&["fd00::2", "10.0.0.2"], &["fd00::2", "10.0.0.2"]);
    check(&["10.0.0.2"], &["10.0.0.2"]);
    check(&[], &[]);
}
