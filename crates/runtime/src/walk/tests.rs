use std::fs;

use super::*;

/// `width` folders, each with one in it with one in it …
fn tree(root: &Path, width: usize, depth: usize) {
    for one in 0..width {
        let top = root.join(one.to_string());
        fs::create_dir(&top).unwrap();
        crate::removal::tests::nest(&top, depth);
    }
}

#[test]
fn every_name_is_shown_once_in_a_tree_deeper_than_what_is_open_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path(), 3, OPEN_MAX * 3);
    let mut shown = 0;
    each_below(open_folder(folder.path()).unwrap(), |_, _, kind| {
        shown += 1;
        kind == FileType::Directory
    })
    .unwrap();
    assert_eq!(shown, 3 * (1 + OPEN_MAX * 3));
}

#[test]
fn a_folder_moved_away_meanwhile_leads_nobody_out_and_the_rest_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    fs::create_dir_all(&inside).unwrap();
    fs::create_dir(&outside).unwrap();
    tree(&inside, 2, OPEN_MAX * 3);
    for top in ["0", "1"] {
        fs::create_dir(inside.join(top).join("sibling")).unwrap();
    }
    fs::write(outside.join("secret"), "x").unwrap();
    let (mut seen, mut visits, mut moved) = (Vec::new(), 0, false);
    each_below(open_folder(&inside).unwrap(), |_, name, kind| {
        seen.push(name.to_str().unwrap().to_owned());
        visits += 1;
        // Deep in the first tree all of it is moved to where its `..` is another.
        if visits == 2 + 2 + OPEN_MAX * 2 && !moved {
            let first = if inside.join("1/d/d/d").exists() { "1" } else { "0" };
            fs::rename(inside.join(first).join("d/d"), outside.join("gone")).unwrap();
            moved = true;
        }
        kind == FileType::Directory
    })
    .unwrap();
    assert!(moved);
    assert!(!seen.iter().any(|name| name == "secret" || name == "gone"), "it left the tree");
    assert_eq!(seen.iter().filter(|name| *name == "sibling").count(), 2, "what stayed is seen");
}
