//! A registry for the tests that pull, read-only, inside the run's network.
//!
//! It serves the packed images over HTTP.
//! It knows two paths of the distribution protocol, manifests and blobs, and answers by digest or by an image's name
//! without its registry. The cluster is told to ask here for what it would fetch from the suite's own registry.

use super::layout::MANIFEST;
use super::namespace::ADDRESS;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The port on the machine's own address.
pub const PORT: u16 = 5055;

struct Shelf {
    blobs: PathBuf,
    /// Image names without their registry (`e2e-test-images/kitten:1.8`), and the digests of their manifests.
    names: Vec<(String, String)>,
}

/// Serves the layout until the process ends.
pub fn serve(layout: &Path) -> Result<()> {
    let shelf = Arc::new(Shelf::read(layout)?);
    let listener = TcpListener::bind((ADDRESS, PORT)).context("binding the harness's registry")?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shelf = shelf.clone();
            std::thread::spawn(move || {
                // A puller that hangs up early has its own words for it.
                let _ = answer(&shelf, stream);
            });
        }
    });
    Ok(())
}

impl Shelf {
    fn read(layout: &Path) -> Result<Shelf> {
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
        let mut names = Vec::new();
        for entry in index["manifests"].as_array().into_iter().flatten() {
            let name = entry["annotations"]["io.containerd.image.name"].as_str().unwrap_or_default();
            let digest = entry["digest"].as_str().unwrap_or_default();
            if let Some((_registry, rest)) = name.split_once('/') {
                names.push((rest.to_owned(), digest.to_owned()));
            }
        }
        Ok(Shelf { blobs: layout.join("blobs/sha256"), names })
    }

    /// The digest and media type that a path asks for.
    fn find(&self, path: &str) -> Option<(String, &'static str)> {
        let rest = path.split('?').next()?.strip_prefix("/v2/")?;
        if let Some((_, digest)) = rest.split_once("/blobs/") {
            return Some((digest.to_owned(), "application/octet-stream"));
        }
        let (repository, reference) = rest.split_once("/manifests/")?;
        if reference.starts_with("sha256:") {
            return Some((reference.to_owned(), MANIFEST));
        }
        let wanted = format!("{repository}:{reference}");
        let (_, digest) = self.names.iter().find(|(name, _)| *name == wanted)?;
        Some((digest.clone(), MANIFEST))
    }

    fn blob(&self, digest: &str) -> Option<fs::File> {
        let digest = digest.strip_prefix("sha256:")?;
        let plain = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| fs::File::open(self.blobs.join(digest)).ok()).flatten()
    }
}

/// One request, one answer, and the connection ends.
fn answer(shelf: &Shelf, stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let mut words = request.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut out = stream;
    if path == "/v2/" {
        return Ok(out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")?);
    }
    let found = shelf.find(path).and_then(|(digest, media)| Some((shelf.blob(&digest)?, digest, media)));
    let Some((mut blob, digest, media)) = found else {
        return Ok(out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?);
    };
    let length = blob.metadata()?.len();
    write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nContent-Length: {length}\r\nDocker-Content-Digest: {digest}\r\n\
         Connection: close\r\n\r\n"
    )?;
    if method != "HEAD" {
        std::io::copy(&mut blob, &mut out)?;
    }
    Ok(())
}
