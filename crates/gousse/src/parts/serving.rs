//! The certificate that a node's API shows: the first one, then the one that was asked for.
//!
//! One file, `<data_dir>/agent/serving.pem`, 0600, replaced as a whole; the key is the node's and stays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use node::certificates::{Certificate, Purpose};
use wire::tls::Presented;

use crate::instance::{Instance, write_private};
use kubectl::failure::{Context, Result};

fn file(instance: &Instance) -> PathBuf {
    instance.data_dir.join("agent").join("serving.pem")
}

/// What is shown from now on, and how it is renewed. `first`: the server's word at its start, or at the join, whose key
/// stays. `bears`: whether it is to name a host.
pub fn begin(
    instance: &Instance,
    first: wire::Pair,
    authority: &str,
    bears: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> Result<(Arc<Presented>, Certificate)> {
    let path = file(instance);
    let kept = fs::read_to_string(&path).ok().map(|certificate| wire::Pair { certificate, key: first.key.clone() });
    // That of an earlier key, or of another authority, nobody would believe.
    let is_good = |pair: &wire::Pair| {
        wire::tls::belong_together(pair).is_ok() && wire::tls::is_signed_by(&pair.certificate, authority)
    };
    let pair = kept.filter(is_good).unwrap_or(first);
    let shown = Presented::new(&pair).context("reading the node's certificate")?;
    let (key, shows) = (pair.key.clone(), shown.clone());
    let take = move |certificate: &str| {
        write(&path, certificate)?;
        shows.replace(&wire::Pair { certificate: certificate.into(), key: key.clone() })
    };
    let own = Certificate {
        purpose: Purpose::Serving,
        key: pair.key,
        held: pair.certificate,
        take: Box::new(take),
        bears: Box::new(bears),
        nameless: None,
    };
    Ok((shown, own))
}

/// What the server gave at the join serves until there is another one, even if the client's own is renewed before.
pub fn keep_first(instance: &Instance, certificate: &str) -> io::Result<()> {
    let path = file(instance);
    if path.exists() { Ok(()) } else { write(&path, certificate) }
}

/// Whole or not at all, on the disk when this returns.
pub fn write(path: &Path, certificate: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    write_private(path, certificate.as_bytes()).map_err(|why| io::Error::other(why.to_string()))?;
    fs::File::open(folder)?.sync_all()
}
