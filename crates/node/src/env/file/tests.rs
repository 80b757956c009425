use std::fs;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn values_stand_in_single_quotes_and_nothing_in_them_is_read() {
    let text = "# a comment\n\n  A='one $B \"x\" #' # another\nB='two\nlines\n'\nC= 'nothing'\r\nD='last'";
    let of = |key: &str| parse(text, key).unwrap();
    assert_eq!(of("A"), "one $B \"x\" #");
    assert_eq!(of("B"), "two\nlines\n");
    assert_eq!((of("C"), of("D"), of("E")), (String::new(), "last".into(), String::new()));
    let error = |text: &str| parse(text, "K").unwrap_err().replace("invalid environment variable format ", "");
    assert_eq!(error("\nA"), "at line 2: missing '='");
    assert_eq!(error("='x'"), "at line 1: empty variable name");
    assert_eq!(error("A ='x'"), "at line 1: whitespace before '=' is not allowed");
    assert_eq!(error("A=x"), "at line 1: value must be enclosed in single quotes");
    assert_eq!(error("A='x\ny'z"), "at line 2: unexpected content after closing quote");
    assert_eq!(error("A='x\ny"), "starting at line 1: unclosed single quote");
    assert_eq!(parse("K='v'\nbroken", "K").unwrap(), "v", "what comes after the key is not read");
}

#[test]
fn nothing_outside_the_volume_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let volume = folder.path().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(folder.path().join("secret"), "K='host'").unwrap();
    fs::write(volume.join("own"), "K='own'").unwrap();
    symlink(folder.path().join("secret"), volume.join("absolute")).unwrap();
    symlink("../secret", volume.join("relative")).unwrap();
    symlink("/own", volume.join("inside")).unwrap();
    nix::unistd::mkfifo(&volume.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(volume.join("large"), vec![b'#'; 1 << 21]).unwrap();
    assert_eq!(value(&volume, "own", "K").unwrap(), "own");
    assert_eq!(value(&volume, "inside", "K").unwrap(), "own");
    for path in ["absolute", "relative", "../secret", "pipe", ".", "large", "absent"] {
        value(&volume, path, "K").unwrap_err();
    }
    // Opened, it would say so itself; a device would do worse.
    let _socket = std::os::unix::net::UnixListener::bind(volume.join("socket")).unwrap();
    assert!(value(&volume, "socket", "K").unwrap_err().ends_with("not a plain file"));
}
