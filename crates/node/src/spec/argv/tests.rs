use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn command_and_args_override_entrypoint_and_cmd() {
    let image = Image { entrypoint: vec!["e".into()], cmd: vec!["c".into()], ..Default::default() };
    let words = |w: &[&str]| Some(w.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
    for (command, args, expected) in [
        (None, None, vec!["e", "c"]),
        (None, words(&["$(A)"]), vec!["e", "1"]),
        (words(&["x"]), None, vec!["x"]),
        (words(&["x"]), words(&["y"]), vec!["x", "y"]),
    ] {
        let c = core::Container { command, args, ..Default::default() };
        assert_eq!(argv(&c, &image, &env(&[("A", "1")])), expected);
    }
}
