//! The table of verbs: all of the folder's, with kubectl's booleans.

use super::*;

fn parsed<F: Args>(words: &str) -> Result<F, String> {
    let command = crate::booleans(F::augment_args(Command::new("verb")));
    let matches = command.try_get_matches_from(words.split(' ')).map_err(|error| error.to_string())?;
    F::from_arg_matches(&matches).map_err(|error| error.to_string())
}

#[test]
fn every_file_of_the_folder_is_a_verb_of_the_table() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/verbs");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> =
        files.filter_map(|name| Some(name.strip_suffix(".rs")?.replace('_', "-"))).filter(|n| n != "tests").collect();
    let mut rows: Vec<&str> = VERBS.iter().map(|verb| verb.name).collect();
    files.sort();
    rows.sort();
    assert_eq!(files, rows);
}

#[test]
fn every_verb_says_what_it_does() {
    let command = Chosen::augment_subcommands(Command::new("x"));
    let silent: Vec<&str> =
        command.get_subcommands().filter(|verb| verb.get_about().is_none()).map(Command::get_name).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn booleans_are_kubectls() {
    let delete = |words: &str| parsed::<delete::Delete>(&format!("delete {words}")).unwrap();
    let flags = delete("--ignore-not-found=true --force=1 --all=false --wait pod/web");
    assert_eq!(flags.selection.given.resources, ["pod/web"]);
    assert!(flags.ignore_not_found && flags.force && !flags.all && flags.wait && !flags.now);
    assert!(!delete("pod/web --wait=false").wait);
    let flags = parsed::<describe::Describe>("describe --show-events pod web").unwrap();
    assert_eq!(flags.resources, ["pod", "web"]);
    let flags = parsed::<exec::Exec>("exec -it web -- sh -c x").unwrap();
    assert!(flags.asked.stdin && flags.asked.tty && flags.asked.target == "web");
    let flags = parsed::<exec::Exec>("exec -ti=false web -qc a -- sh").unwrap();
    assert!(!flags.asked.stdin && flags.asked.tty && flags.asked.quiet);
    assert_eq!(flags.asked.container.as_deref(), Some("a"));
    assert!(parsed::<get::Get>("get pods --watch=perhaps").is_err_and(|error| error.contains("true or false")));
}
