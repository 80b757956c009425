//! Join tokens: made by whoever administers, read by an agent from where nobody else sees them.
//!
//! A token on a command line stands in /proc for every user of the machine, so there is no such way.

use std::io::Read;
use std::path::Path;

use api::resource::SECRETS;
use jiff::SignedDuration;
use sha2::{Digest, Sha256};

use crate::cli::Token;
use crate::parts::Seams;
use kubectl::Connection;
use kubectl::failure::{Context, Result, failure};
use kubectl::output;

/// Holds a token where no file does.
const VARIABLE: &str = "GOUSSE_TOKEN";
/// More than a token is; a file that is none is not read to its end.
const LONGEST: u64 = 4096;
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

pub async fn run(connection: Connection, command: Token) -> Result<()> {
    match command {
        Token::Create { ttl } => create(connection, ttl).await,
    }
}

async fn create(connection: Connection, ttl: SignedDuration) -> Result<()> {
    if ttl < SignedDuration::from_secs(1) {
        return Err(failure("--ttl is not positive: a token ends, 24h after it was made unless you say otherwise"));
    }
    let login = crate::login(connection)?;
    let session = login.session()?;
    let seams = Seams::real();
    let authority = session.client.call(http::Method::GET, server::AUTHORITY_PATH, &[], None).await?;
    let authority = String::from_utf8_lossy(&authority.bytes().await?).into_owned();
    let certificate = wire::tls::chain(&authority).context("reading the server's authority")?;
    let fingerprint: String = Sha256::digest(&certificate[0]).iter().map(|b| format!("{b:02x}")).collect();
    let mut random = [0; 22];
    (seams.entropy)(&mut random);
    let text: String = random.iter().map(|b| char::from(LETTERS[usize::from(*b) % LETTERS.len()])).collect();
    let (id, secret) = text.split_at(6);
    let ends = (seams.clock)().checked_add(ttl).context("--ttl is too long")?;
    let ends = api::seconds(ends);
    session.client.create(&SECRETS, "kube-system", &server::token_secret(id, secret, &ends)).await?;
    output::line(format_args!("{fingerprint}.{id}.{secret}"))?;
    output::note(format_args!(
        "it holds until {ends}; to end it now: gousse delete -n kube-system secret bootstrap-token-{id}"
    ));
    Ok(())
}

/// Refuses a token on the command line.
pub fn refuse(argument: Option<&str>) -> Result<()> {
    match argument {
        None => Ok(()),
        Some(_) => Err(failure(format!(
            "--token shows the token to every user of this machine (/proc): give it by --token-file FILE, \
             --token-file - (standard input) or ${VARIABLE}, and make another (gousse token create): this one was seen"
        ))),
    }
}

/// The token that an agent was given; None if it was given none.
pub fn given(file: Option<&Path>) -> Result<Option<String>> {
    let text = match file {
        Some(path) if path == Path::new("-") => read(std::io::stdin().lock(), "standard input")?,
        Some(path) => {
            let file = std::fs::File::open(path).context(format_args!("opening {} (--token-file)", path.display()))?;
            read(file, &path.display().to_string())?
        }
        None => match std::env::var(VARIABLE) {
            Ok(text) => text,
            Err(_) => return Ok(None),
        },
    };
    match text.trim() {
        "" => Err(failure("the token is empty (--token-file, $GOUSSE_TOKEN)")),
        token => Ok(Some(token.to_string())),
    }
}

fn read(from: impl Read, name: &str) -> Result<String> {
    let mut text = String::new();
    from.take(LONGEST).read_to_string(&mut text).context(format_args!("reading {name} (--token-file)"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_from_a_file_and_never_from_the_command_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "f.i.s\n").unwrap();
        assert_eq!(given(Some(&path)).unwrap().as_deref(), Some("f.i.s"));
        let refused = refuse(Some("f.i.s")).unwrap_err().printed();
        assert!(refused.contains("--token-file") && !refused.contains("f.i.s"), "{refused}");
        std::fs::write(&path, "\n").unwrap();
        assert!(given(Some(&path)).is_err());
        assert!(given(Some(&folder.path().join("none"))).unwrap_err().printed().contains("none (--token-file)"));
    }
}
