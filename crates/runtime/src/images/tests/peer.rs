//! A registry on loopback that misbehaves as told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::images::tests::fixtures::{Sample, digest};

#[derive(Default)]
pub struct Peer {
    pub address: Mutex<String>,
    /// Path to body.
    pub content: Mutex<HashMap<String, Vec<u8>>>,
    /// `user:password` in base64 that its token service asks for; empty: no authorization at all.
    pub password: Mutex<String>,
    /// Each blob is cut off after so many bytes the first time it is asked for.
    pub cut: AtomicUsize,
    cut_already: Mutex<Vec<String>>,
    /// What it answers first, whatever it is asked: a status and headers.
    pub busy: Mutex<Vec<(u16, &'static str)>>,
    /// Blobs wait while this is set.
    pub stalled: AtomicBool,
    pub requests: Mutex<Vec<String>>,
}

impl Peer {
    pub async fn start() -> Arc<Peer> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Arc::new(Peer::default());
        *peer.address.lock().unwrap() = listener.local_addr().unwrap().to_string();
        let serving = peer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        peer
    }

    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address.lock().unwrap())
    }

    pub fn publish(&self, repository: &str, tag: &str, sample: &Sample) {
        let mut content = self.content.lock().unwrap();
        for version in [tag.to_string(), sample.digest()] {
            content.insert(format!("/v2/{repository}/manifests/{version}"), sample.manifest.clone());
        }
        for blob in sample.packed.iter().chain([&sample.config]) {
            content.insert(format!("/v2/{repository}/blobs/{}", digest(blob)), blob.clone());
        }
    }

    pub fn put(&self, path: &str, body: Vec<u8>) {
        self.content.lock().unwrap().insert(path.into(), body);
    }

    pub fn count(&self, part: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|r| r.contains(part)).count()
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
            let target = line.split(' ').nth(1)?.to_string();
            let mut headers = HashMap::new();
            loop {
                let mut header = String::new();
                stream.read_line(&mut header).await.ok().filter(|n| *n > 0)?;
                let Some((name, value)) = header.split_once(':') else { break };
                headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
            }
            let length: usize = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
            stream.read_exact(&mut vec![0; length]).await.ok()?;
            let range = headers.get("range").cloned().unwrap_or_default();
            self.requests.lock().unwrap().push(format!("{target} {range}").trim().to_string());
            self.answer(stream.get_mut(), &target, &headers, &range).await?;
        }
    }

    async fn answer(
        &self,
        stream: &mut TcpStream,
        target: &str,
        headers: &HashMap<String, String>,
        range: &str,
    ) -> Option<()> {
        let path = target.split('?').next()?;
        let busy = self.busy.lock().unwrap().pop();
        if let Some((status, headers)) = busy {
            return reply(stream, status, headers, b"{}", 2).await;
        }
        let authorization = headers.get("authorization").cloned().unwrap_or_default();
        let password = self.password.lock().unwrap().clone();
        if path == "/token" {
            let right = authorization == format!("Basic {password}");
            let (status, body) = if right { (200, r#"{"token":"T"}"#) } else { (401, "{}") };
            return reply(stream, status, "", body.as_bytes(), body.len()).await;
        }
        if !password.is_empty() && authorization != "Bearer T" {
            let address = self.address.lock().unwrap().clone();
            let challenge =
                format!("WWW-Authenticate: Bearer realm=\"http://{address}/token\",service=\"peer\",scope=\"x\"\r\n");
            return reply(stream, 401, &challenge, b"{}", 2).await;
        }
        let Some(body) = self.content.lock().unwrap().get(path).cloned() else {
            return reply(stream, 404, "", b"{}", 2).await;
        };
        if !path.contains("/blobs/") {
            let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
            return reply(stream, 200, kind, &body, body.len()).await;
        }
        while self.stalled.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let start: usize = range.strip_prefix("bytes=").and_then(|r| r.trim_end_matches('-').parse().ok()).unwrap_or(0);
        let (status, header) = match start {
            0 => (200, String::new()),
            start => (206, format!("Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len())),
        };
        let rest = &body[start..];
        let cut = self.cut.load(Ordering::SeqCst);
        let first = !self.cut_already.lock().unwrap().contains(&path.to_string());
        if cut > 0 && first && cut < rest.len() {
            self.cut_already.lock().unwrap().push(path.to_string());
            reply(stream, status, &header, &rest[..cut], rest.len()).await?;
            stream.shutdown().await.ok()?;
            return None;
        }
        reply(stream, status, &header, rest, rest.len()).await
    }
}

async fn reply(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8], length: usize) -> Option<()> {
    let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()
}
