use std::io::Write;

use super::super::record::Stream;
use super::*;

const FIRST: &str = "\
2026-01-01T00:00:01.000000000Z stdout F one
2026-01-01T00:00:02.000000000Z stderr F two
2026-01-01T00:00:03.000000000Z stdout P thr
2026-01-01T00:00:03.500000000Z stdout F ee
2026-01-01T00:00:04.000000000Z stdout F four
";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("0.log")
    }

    fn append(&self, text: &str) {
        File::options().create(true).append(true).open(self.path()).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self, time: &str) {
        std::fs::rename(self.path(), self.0.path().join(format!("0.log.{time}"))).unwrap();
    }

    fn pack(&self, time: &str) {
        let path = self.0.path().join(format!("0.log.{time}"));
        let file = File::create(packed(&path)).unwrap();
        let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        gz.write_all(&std::fs::read(&path).unwrap()).unwrap();
        gz.finish().unwrap();
        std::fs::remove_file(path).unwrap();
    }

    fn shows(&self, tail: Option<usize>, format: Format) -> String {
        rest(&mut Log::open(self.path(), tail, format).unwrap())
    }
}

fn rest(log: &mut Log) -> String {
    let mut all = Vec::new();
    while let Read::Bytes(bytes) = log.read().unwrap() {
        all.extend_from_slice(&bytes);
    }
    String::from_utf8(all).unwrap()
}

#[test]
fn lines_are_joined_and_chosen_as_a_client_asks() {
    let folder = Folder::new();
    folder.append(FIRST);
    let plain = Format::default;
    assert_eq!(folder.shows(None, plain()), "one\ntwo\nthree\nfour\n");
    assert_eq!(folder.shows(Some(2), plain()), "three\nfour\n");
    assert_eq!(folder.shows(Some(0), plain()), "");
    assert_eq!(folder.shows(Some(99), plain()), "one\ntwo\nthree\nfour\n");
    let since = Some("2026-01-01T00:00:04Z".parse().unwrap());
    assert_eq!(folder.shows(None, Format { since, ..plain() }), "four\n");
    let errors = Format { stream: Some(Stream::Stderr), ..plain() };
    assert_eq!(folder.shows(Some(1), errors), "two\n");
    assert_eq!(folder.shows(None, Format { limit: Some(6), ..plain() }), "one\ntw");
    let timed = folder.shows(Some(2), Format { timestamps: true, ..plain() });
    assert_eq!(timed, "2026-01-01T00:00:03.000000000Z three\n2026-01-01T00:00:04.000000000Z four\n");
}

#[test]
fn a_line_without_its_end_is_a_line() {
    let folder = Folder::new();
    folder.append("2026-01-01T00:00:01.000000000Z stdout F a\n2026-01-01T00:00:02.000000000Z stdout P b\n");
    assert_eq!(folder.shows(None, Format::default()), "a\nb");
    assert_eq!(folder.shows(Some(1), Format::default()), "b");
}

#[test]
fn rotated_files_are_part_of_the_log() {
    let folder = Folder::new();
    assert_eq!(folder.shows(None, Format::default()), "");
    folder.append(FIRST);
    folder.rotate("20260101-000005");
    folder.pack("20260101-000005");
    folder.append("2026-01-01T00:00:05.000000000Z stdout F five\n");
    folder.rotate("20260101-000006");
    folder.append("2026-01-01T00:00:06.000000000Z stdout F six\n");
    assert_eq!(folder.shows(None, Format::default()), "one\ntwo\nthree\nfour\nfive\nsix\n");
    assert_eq!(folder.shows(Some(1), Format::default()), "six\n");
    assert_eq!(folder.shows(Some(3), Format::default()), "four\nfive\nsix\n");
}

#[test]
fn a_reader_misses_nothing_when_files_are_renamed_under_it() {
    let folder = Folder::new();
    folder.append(FIRST);
    let mut log = Log::open(folder.path(), Some(1), Format::default()).unwrap();
    assert_eq!(rest(&mut log), "four\n");
    folder.append("2026-01-01T00:00:05.000000000Z stdout F five\n");
    folder.rotate("20260101-000005");
    assert_eq!(rest(&mut log), "five\n");
    folder.append("2026-01-01T00:00:06.000000000Z stdout F six\n");
    folder.rotate("20260101-000006");
    folder.append("2026-01-01T00:00:07.000000000Z stdout F seven\n");
    folder.rotate("20260101-000007");
    folder.pack("20260101-000005");
    folder.pack("20260101-000006");
    folder.append("2026-01-01T00:00:08.000000000Z stdout F eight\n");
    assert_eq!(rest(&mut log), "six\nseven\neight\n");
    folder.append("2026-01-01T00:00:09.000000000Z stdout F nine\n");
    assert_eq!(rest(&mut log), "nine\n");
}

#[test]
fn the_last_lines_of_a_long_log_are_found_from_its_end() {
    let folder = Folder::new();
    let line = |n: usize| format!("2026-01-01T00:00:01.000000000Z stdout F {n:0>200}\n");
    folder.append(&(0..5000).map(line).collect::<String>());
    assert_eq!(folder.shows(Some(1), Format::default()), format!("{:0>200}\n", 4999));
    assert_eq!(folder.shows(Some(2000), Format::default()).lines().count(), 2000);
    assert_eq!(folder.shows(None, Format::default()).lines().count(), 5000);
}

/// A pod that may write to /var/log plants what a reader would choke on, or be shown.
#[test]
fn planted_files_are_neither_shown_nor_waited_for_nor_kept_in_memory() {
    let folder = Folder::new();
    let secret = folder.0.path().join("secret");
    std::fs::write(&secret, "2026-01-01T00:00:01.000000000Z stdout F secret\n").unwrap();
    std::os::unix::fs::symlink(&secret, folder.path()).unwrap();
    assert!(Log::open(folder.path(), None, Format::default()).is_err());
    std::fs::remove_file(folder.path()).unwrap();
    folder.append(FIRST);
    std::os::unix::fs::symlink(&secret, folder.0.path().join("0.log.20200101-000000")).unwrap();
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::unistd::mkfifo(&folder.0.path().join("0.log.20200101-000001"), mode).unwrap();
    for tail in [None, Some(100)] {
        let mut log = Log::open(folder.path(), tail, Format::default()).unwrap();
        let Begun::Whole(text) = log.begin().unwrap() else { panic!("it is short") };
        assert!(!String::from_utf8_lossy(&text).contains("secret") && text.starts_with(b"one"), "{text:?}");
    }
    // Sparse, without a line in it.
    File::options().write(true).open(folder.path()).unwrap().set_len(1 << 40).unwrap();
    assert!(Log::open(folder.path(), Some(1), Format::default()).is_ok());
}
