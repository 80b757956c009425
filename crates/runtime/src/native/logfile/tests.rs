use super::*;

fn formatted(text: &[u8]) -> String {
    let mut out = Vec::new();
    format(&mut out, "stdout", text, 1_700_000_000_000_000_001);
    String::from_utf8(out).unwrap()
}

#[test]
fn lines_become_records_and_a_line_without_end_a_partial_one() {
    let head = "2023-11-14T22:13:20.000000001Z stdout";
    assert_eq!(formatted(b"one\r\n\ntwo"), format!("{head} F one\n{head} F \n{head} P two\n"));
}

#[test]
fn long_lines_are_cut_at_sixteen_kibibytes() {
    let text = [vec![b'x'; LINE_MAX + 1], b"\n".to_vec()].concat();
    let records = formatted(&text);
    let tags: Vec<_> = records.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(tags, ["P", "F"]);
}
