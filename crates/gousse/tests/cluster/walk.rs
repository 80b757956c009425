//! A pod's life takes the nine verbs of ARCHITECTURE.md in the order of its table.

use std::fs;

use crate::stage::{Stage, play};

const ARCHITECTURE: &str = include_str!("../../../../ARCHITECTURE.md");

#[test]
fn a_pods_life_is_the_walk_of_the_architecture() {
    play(|stage: &Stage| {
        let pod = "{apiVersion: v1, kind: Pod, metadata: {name: walker}, spec: {containers: [
            {name: main, image: toolbox, command: [puppet]}], terminationGracePeriodSeconds: 1}}";
        let file = stage.file("walker.yaml", pod);
        let own = stage.instance("own");
        let mut up = own.up_with(&[file.to_str().unwrap()], &[("GOUSSE_LOG", "walk=trace"), ("NO_COLOR", "1")]);
        up.line("Ctrl-C deletes");
        own.down(true);
        assert!(up.end().ok);
        let told = fs::read_to_string(own.folder.join("up.err")).unwrap();
        let mut walk: Vec<&str> = Vec::new();
        for line in told.lines().filter(|line| line.contains("walker")) {
            let Some((_, rest)) = line.split_once("verb=") else { panic!("{line:?}") };
            let verb = rest.trim_start_matches('"').split(['"', ' ']).next().unwrap();
            if !walk.contains(&verb) {
                walk.push(verb);
            }
        }
        assert_eq!(walk, verbs(), "{told}");
    });
}

/// The second column of the table whose rows are numbered.
fn verbs() -> Vec<&'static str> {
    let rows = ARCHITECTURE.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | `"));
    let numbered = rows.filter(|(number, _)| number.parse::<u32>().is_ok());
    let verbs: Vec<&str> = numbered.filter_map(|(_, rest)| rest.split('`').next()).collect();
    assert_eq!(verbs.len(), 9);
    verbs
}
