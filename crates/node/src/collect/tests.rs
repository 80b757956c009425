use super::*;

fn image(id: &str, size: u64) -> Image {
    Image { id: id.into(), size, ..Image::default() }
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + minutes * 60).unwrap()
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn above_the_high_mark_all_down_to_the_low_one_is_too_much() {
    let excess = |available| Room { available, capacity: 1000 }.excess();
    assert_eq!((excess(1000), excess(151), excess(150), excess(100), excess(0)), (0, 0, 50, 100, 200));
    assert_eq!(Room::default().excess(), 0, "a file system that tells nothing");
}

#[test]
fn the_longest_unused_go_first_and_no_more_than_needed() {
    let images = [image("a", 10), image("b", 10), image("c", 10), image("d", 10)];
    let mut known = Known::default();
    known.note(&images, &set(&["a", "b"]), at(0));
    known.note(&images, &set(&["a"]), at(5));
    known.note(&images, &set(&[]), at(10));
    let choose = |in_use: &[&str], excess| known.choose(&images, &set(in_use), excess, at(10));
    assert_eq!(choose(&[], 5), set(&["c"]), "never used");
    assert_eq!(choose(&[], 20), set(&["c", "d"]));
    assert_eq!(choose(&[], 21), set(&["b", "c", "d"]), "b was used before a");
    assert_eq!(choose(&["c"], 20), set(&["b", "d"]));
    assert_eq!(choose(&["a", "c"], u64::MAX), set(&["b", "d"]));
}

#[test]
fn new_images_and_the_built_in_one_stay() {
    let mut built_in = image("toolbox", 10);
    built_in.tags = vec!["gousse.dev/toolbox:latest".into()];
    let mut images = vec![built_in, image("old", 10)];
    let mut known = Known::default();
    known.note(&images, &set(&[]), at(0));
    images.push(image("new", 10));
    known.note(&images, &set(&[]), at(5));
    assert_eq!(known.choose(&images, &set(&[]), u64::MAX, at(6)), set(&["old"]));
    assert_eq!(known.choose(&images, &set(&[]), u64::MAX, at(7)), set(&["new", "old"]));
}
