//! Pushes a sample into Debian's docker-registry by plain HTTP and pulls it back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::fixtures::{Sample, digest};
use super::{pull, store};

struct Registry(Child);

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub async fn registry_round_trip(binary: &Path) {
    let folder = tempfile::tempdir().unwrap();
    // The registry takes no listener over, so a port that was just free has to do.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
        folder.path().join("data").display()
    );
    std::fs::write(folder.path().join("config.yml"), config).unwrap();
    let mut command = Command::new(binary);
    command.arg("serve").arg(folder.path().join("config.yml")).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut registry = Registry(command.spawn().unwrap());
    let mut log = BufReader::new(registry.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    // It says when it listens, and dies once nobody reads what it says.
    log.find(|line| line.contains("listening on")).expect("the registry starts");
    std::thread::spawn(move || log.for_each(drop));

    let address = format!("127.0.0.1:{port}");
    let sample = Sample::usual();
    for blob in sample.packed.iter().chain([&sample.config]) {
        let (status, location) = request(&address, "POST", "/v2/team/app/blobs/uploads/", "", b"");
        assert_eq!(status, 202);
        let path = location.split_once(&address).map_or(location.as_str(), |(_, path)| path);
        let path = format!("{path}{}digest={}", if path.contains('?') { '&' } else { '?' }, digest(blob));
        assert_eq!(request(&address, "PUT", &path, "application/octet-stream", blob).0, 201);
    }
    let kind = "application/vnd.oci.image.manifest.v1+json";
    assert_eq!(request(&address, "PUT", "/v2/team/app/manifests/1", kind, &sample.manifest).0, 201);

    let (_dir, store) = store();
    let image = pull(&store, &format!("{address}/team/app:1")).await.unwrap();
    assert_eq!(image.id, sample.id());
    assert_eq!(image.digests, [format!("{address}/team/app@{}", sample.digest())]);
    assert!(pull(&store, &format!("{address}/team/app:2")).await.is_err());
}

fn request(address: &str, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let location = answer.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_default();
    (status, location.to_string())
}
