//! Pods as a watch of them tells: which are made, bound, running, gone.
//!
//! Only three places of each event are looked at, in its bytes: the bench's own code is not optimized, and decoding
//! ten thousand pods four times over would take the processors from what is measured.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;

use anyhow::{Context, Result, bail};
use api::resource::PODS;
use bytes::Bytes;
use client::{Body, Client, Https, ListOptions, Transport};
use futures::StreamExt;
use http::Request;

type Stream = std::pin::Pin<Box<dyn futures::Stream<Item = std::io::Result<Bytes>> + Send>>;

/// A watch of a namespace's pods, and what it has told.
pub struct Told {
    client: Client,
    https: Https,
    namespace: String,
    path: String,
    stream: Option<Stream>,
    /// The begin of an event whose end has not come.
    rest: Vec<u8>,
    revision: String,
    /// By name.
    pods: HashMap<Vec<u8>, Stand>,
    counts: [usize; 2],
    made: usize,
}

#[derive(Clone, Copy, Default)]
struct Stand {
    bound: bool,
    running: bool,
}

impl Told {
    /// From now on; the namespace has no pods.
    pub async fn of(client: &Client, https: Https, namespace: &str) -> Result<Told> {
        let list = client.list(&PODS, namespace, &ListOptions::default()).await?;
        anyhow::ensure!(list.objects.is_empty(), "{namespace} has pods already");
        let mut told = Told {
            client: client.clone(),
            https,
            namespace: namespace.into(),
            path: client::path(&PODS, namespace, &[]),
            stream: None,
            rest: Vec::new(),
            revision: list.revision.to_string(),
            pods: HashMap::new(),
            counts: [0; 2],
            made: 0,
        };
        told.begin().await?;
        Ok(told)
    }

    /// All that were ever made.
    pub fn made(&self) -> usize {
        self.made
    }

    pub fn bound(&self) -> usize {
        self.counts[0]
    }

    pub fn running(&self) -> usize {
        self.counts[1]
    }

    /// None is left.
    pub fn is_empty(&self) -> bool {
        self.made > 0 && self.pods.is_empty()
    }

    /// Reads until it is so.
    pub async fn until(&mut self, mut is_so: impl FnMut(&Told) -> bool) -> Result<()> {
        while !is_so(self) {
            let Some(stream) = &mut self.stream else {
                if self.revision.is_empty() {
                    self.look().await?;
                }
                self.begin().await?;
                continue;
            };
            match stream.next().await {
                Some(chunk) => self.take(&chunk?)?,
                // Cut off, as one who reads too slowly is: it goes on where it was.
                None => self.stream = None,
            }
        }
        Ok(())
    }

    /// What there is now, where the changes since are forgotten.
    async fn look(&mut self) -> Result<()> {
        let list = self.client.list(&PODS, &self.namespace, &ListOptions::default()).await?;
        self.revision = list.revision.to_string();
        let there: HashSet<&str> = list.objects.iter().map(|pod| &*pod.meta().name).collect();
        self.pods.retain(|name, _| std::str::from_utf8(name).is_ok_and(|name| there.contains(name)));
        for pod in &list.objects {
            let (bound, phase) = (pod.value()["spec"].get("nodeName").is_some(), &pod.value()["status"]["phase"]);
            self.count(pod.meta().name.as_bytes(), bound, phase == "Running");
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<()> {
        let uri = format!("{}?watch=true&resourceVersion={}", self.path, self.revision);
        let reply = self.https.call(Request::get(uri).body(Bytes::new())?).await?;
        anyhow::ensure!(reply.status.is_success(), "a watch of pods is refused: {}", reply.status);
        let Body::Stream(stream) = reply.body else { bail!("a watch is no stream") };
        (self.stream, self.rest) = (Some(stream), Vec::new());
        Ok(())
    }

    fn take(&mut self, mut chunk: &[u8]) -> Result<()> {
        let mut line = std::mem::take(&mut self.rest);
        while !chunk.is_empty() {
            chunk.read_until(b'\n', &mut line)?;
            if line.last() == Some(&b'\n') {
                self.event(&line)?;
                line.clear();
            }
        }
        self.rest = line;
        Ok(())
    }

    fn event(&mut self, line: &[u8]) -> Result<()> {
        if line.ends_with(b"\"type\":\"ERROR\"}\n") {
            anyhow::ensure!(text(line, b"\"reason\":\"Expired", b'E').is_some(), "{}", String::from_utf8_lossy(line));
            self.revision.clear();
            return Ok(());
        }
        let name = text(line, b"\"name\":\"", b'm').context("an event without a name")?;
        let revision = text(line, b"\"resourceVersion\":\"", b'V').context("an event without a revision")?;
        self.revision = String::from_utf8_lossy(revision).into_owned();
        if line.starts_with(b"{\"type\":\"DELETED\"") {
            self.pods.remove(name);
            return Ok(());
        }
        let bound = text(line, b"\"nodeName\":\"", b'N').is_some();
        let running = text(line, b"\"phase\":\"Running", b'R').is_some();
        self.count(name, bound, running);
        Ok(())
    }

    fn count(&mut self, name: &[u8], bound: bool, running: bool) {
        let stand = match self.pods.get_mut(name) {
            Some(stand) => stand,
            None => {
                self.made += 1;
                self.pods.entry(name.to_owned()).or_default()
            }
        };
        if bound && !std::mem::replace(&mut stand.bound, bound) {
            self.counts[0] += 1;
        }
        if running && !std::mem::replace(&mut stand.running, running) {
            self.counts[1] += 1;
        }
    }
}

/// What stands after the needle, up to the next quote. `rare`: a byte of the needle that the text has seldom; each
/// of them is found by the library, which is optimized.
fn text<'a>(line: &'a [u8], needle: &[u8], rare: u8) -> Option<&'a [u8]> {
    let offset = needle.iter().position(|byte| *byte == rare)?;
    let mut rest = line;
    loop {
        let skipped = rest.skip_until(rare).ok()?;
        let at = line.len() - rest.len();
        if skipped == 0 || line.get(at - 1) != Some(&rare) {
            return None;
        }
        let Some(begin) = (at - 1).checked_sub(offset) else { continue };
        let Some(found) = line[begin..].strip_prefix(needle) else { continue };
        return found.split(|byte| *byte == b'"').next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_behind_their_needles() {
        let line = br#"{"type":"ADDED","object":{"metadata":{"generateName":"m-","name":"mm-1"},"phase":"Running"}}"#;
        assert_eq!(text(line, b"\"name\":\"", b'm'), Some(&b"mm-1"[..]));
        assert_eq!(text(line, b"\"phase\":\"Running", b'R'), Some(&b""[..]));
        assert_eq!(text(line, b"\"nodeName\":\"", b'N'), None);
        assert_eq!(text(b"m", b"\"name\":\"", b'm'), None);
    }
}
