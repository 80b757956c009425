//! Plain HTTP/1.1: web and probe serve, fetch and wget ask. There is no TLS here, and that is said.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI8, Ordering};
use std::time::{Duration, Instant};

use crate::arguments::{at, parse};
use crate::names;
use crate::{Outcome, sys, system};

type Headers = Vec<(String, String)>;

const HEADERS_MAX: usize = 64 << 10;
const IDLE: Duration = Duration::from_secs(60);

/// A request as a handler sees it.
pub struct Request {
    pub method: String,
    /// As sent, with its query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub peer: SocketAddr,
}

pub struct Response {
    pub status: u16,
    pub kind: &'static str,
    pub body: Body,
    pub location: Option<String>,
}

pub enum Body {
    Text(String),
    File(fs::File, u64),
}

impl Response {
    pub fn text(status: u16, text: impl Into<String>) -> Response {
        Response { status, kind: "text/plain; charset=utf-8", body: Body::Text(text.into()), location: None }
    }
}

/// Serves for ever, a thread per connection.
pub fn serve(port: u16, answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Outcome {
    let listener = bind(port)?;
    println!("listening on {}", listener.local_addr().map_err(|e| e.to_string())?);
    io::stdout().flush().map_err(|e| e.to_string())?;
    serve_on(&listener, answer);
    Ok(0)
}

pub fn serve_on(listener: &TcpListener, answer: impl Fn(&Request) -> Response + Send + Sync + 'static) {
    let answer = Arc::new(answer);
    for stream in listener.incoming() {
        // Out of descriptors, say: the next one may do.
        let Ok(stream) = stream else { continue };
        let answer = answer.clone();
        std::thread::spawn(move || {
            // A peer that breaks off is no event.
            let _ = converse(stream, &*answer);
        });
    }
}

/// On every address of both families, or of IPv4 alone where there is no IPv6.
pub fn bind(port: u16) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(("::".parse::<std::net::Ipv6Addr>().map_err(|e| e.to_string())?, port));
    let bound = bound.or_else(|_| TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)));
    at(&format!("port {port}"), bound)
}

fn converse(stream: TcpStream, answer: &(impl Fn(&Request) -> Response + ?Sized)) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    let peer = stream.peer_addr()?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let Some((first, headers)) = head_of(&mut reader)? else { return Ok(()) };
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or("/"));
        let length = header(&headers, "content-length").and_then(|l| l.parse().ok()).unwrap_or(0u64);
        let mut body = Vec::new();
        reader.by_ref().take(length.min(16 << 20)).read_to_end(&mut body)?;
        let last = first.ends_with("HTTP/1.0") || header(&headers, "connection").is_some_and(|c| c == "close");
        let request = Request { method: method.into(), target: target.into(), headers, body, peer };
        let response = answer(&request);
        respond(&mut writer, &request, response, last)?;
        if last {
            return Ok(());
        }
    }
}

fn respond(writer: &mut TcpStream, request: &Request, response: Response, last: bool) -> io::Result<()> {
    let length = match &response.body {
        Body::Text(text) => text.len() as u64,
        Body::File(_, length) => *length,
    };
    let location = response.location.map(|l| format!("Location: {l}\r\n")).unwrap_or_default();
    let close = if last { "Connection: close\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {length}\r\n{location}{close}\r\n",
        response.status,
        reason(response.status),
        response.kind
    );
    // One write for what fits: a page is one packet.
    let mut first = head.into_bytes();
    let body = if request.method == "HEAD" { Body::Text(String::new()) } else { response.body };
    match body {
        Body::Text(text) => {
            first.extend(text.bytes());
            writer.write_all(&first)
        }
        Body::File(file, length) => {
            writer.write_all(&first)?;
            // A file that shrinks meanwhile breaks the connection rather than the framing.
            let sent = io::copy(&mut file.take(length), writer)?;
            if sent == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 | 302 => "Found",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// The first line and the headers; None at a clean end.
fn head_of(reader: &mut impl BufRead) -> io::Result<Option<(String, Headers)>> {
    let (mut first, mut headers, mut size) = (None, Vec::new(), 0);
    loop {
        let mut line = String::new();
        if reader.by_ref().take(HEADERS_MAX as u64).read_line(&mut line)? == 0 {
            return Ok(None);
        }
        size += line.len();
        if size > HEADERS_MAX {
            return Err(io::Error::other("the headers are too long"));
        }
        let line = line.trim_end();
        match (&first, line.split_once(':')) {
            (None, _) if line.is_empty() => {}
            (None, _) => first = Some(line.to_string()),
            (Some(first), _) if line.is_empty() => return Ok(Some((first.clone(), headers))),
            (Some(_), Some((name, value))) => headers.push((name.to_ascii_lowercase(), value.trim().to_string())),
            (Some(_), None) => return Err(io::Error::other("a header without colon")),
        }
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

pub fn web(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "p= q", false)?;
    let folder = PathBuf::from(given.operands.first().map_or(".", String::as_str));
    if !folder.is_dir() {
        return Err(format!("{}: no such folder", folder.display()));
    }
    let quiet = given.has("q");
    serve(given.number("p", 8080)?, move |request| {
        let response = page(&folder, request);
        if !quiet {
            let time = system::format_time("%FT%TZ", sys::now());
            println!("{time} {} {} {} {}", request.peer.ip(), request.method, request.target, response.status);
        }
        response
    })
}

fn page(folder: &Path, request: &Request) -> Response {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Response::text(405, "only GET and HEAD\n");
    }
    let asked = request.target.split(['?', '#']).next().unwrap_or("/");
    let decoded = unquote(asked);
    if decoded.split('/').any(|part| part == "..") {
        return Response::text(403, "no way up\n");
    }
    let mut path = folder.join(decoded.trim_start_matches('/'));
    if path.is_dir() {
        if !asked.ends_with('/') {
            return Response { location: Some(format!("{asked}/")), ..Response::text(301, "") };
        }
        if !path.join("index.html").exists() {
            return listing(&path, &decoded);
        }
        path.push("index.html");
    }
    let opened = fs::File::open(&path).and_then(|file| file.metadata().map(|meta| (file, meta.len())));
    match opened {
        Ok((file, length)) => {
            Response { status: 200, kind: kind_of(&path), body: Body::File(file, length), location: None }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Response::text(404, "not found\n"),
        Err(e) => Response::text(500, format!("{e}\n")),
    }
}

fn listing(folder: &Path, shown: &str) -> Response {
    let Ok(entries) = fs::read_dir(folder) else { return Response::text(500, "cannot be listed\n") };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        })
        .collect();
    names.sort();
    let escape = |t: &str| t.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let rows: String =
        names.iter().map(|n| format!("<li><a href=\"./{}\">{}</a></li>\n", quote(n), escape(n))).collect();
    let title = escape(shown);
    let text = format!("<!doctype html><title>{title}</title><h1>{title}</h1><ul>\n{rows}</ul>\n");
    Response { kind: "text/html; charset=utf-8", ..Response::text(200, text) }
}

fn kind_of(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css",
        "js" => "text/javascript",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "txt" | "md" | "log" | "yaml" | "" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn unquote(text: &str) -> String {
    let mut bytes: VecDeque<u8> = text.bytes().collect();
    let mut out = Vec::new();
    while let Some(byte) = bytes.pop_front() {
        let hex: String = bytes.iter().take(2).map(|b| char::from(*b)).collect();
        match u8::from_str_radix(&hex, 16) {
            Ok(decoded) if byte == b'%' && hex.len() == 2 => {
                out.push(decoded);
                bytes.drain(..2);
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn quote(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A probe's target: GET /healthz answers 200 or 500; /healthy and /unhealthy switch it, /exit?CODE ends it.
pub fn probe(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "p= healthy-after= unhealthy-after= while=", false)?;
    let (from, to) = (given.duration("healthy-after")?, given.duration("unhealthy-after")?);
    let file = given.value("while").map(PathBuf::from);
    let (started, switched) = (Instant::now(), AtomicI8::new(-1));
    serve(given.number("p", 8080)?, move |request| {
        let path = request.target.split('?').next().unwrap_or("/");
        match path {
            "/healthy" | "/unhealthy" => {
                switched.store(i8::from(path == "/healthy"), Ordering::SeqCst);
                return Response::text(200, "switched\n");
            }
            "/exit" => {
                let code = request.target.split('?').nth(1).and_then(|c| c.trim_start_matches("code=").parse().ok());
                std::process::exit(code.unwrap_or(0));
            }
            _ => {}
        }
        let by_time = from.is_none_or(|d| started.elapsed() >= d) && to.is_none_or(|d| started.elapsed() < d);
        let by_file = file.as_ref().is_none_or(|path| path.exists());
        let healthy = match switched.load(Ordering::SeqCst) {
            -1 => by_time && by_file,
            state => state == 1,
        };
        println!("{} {} {}", request.method, request.target, if healthy { "ok" } else { "unhealthy" });
        if healthy { Response::text(200, "ok\n") } else { Response::text(500, "unhealthy\n") }
    })
}

/// An answer to `get`, its body still to be read.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
}

/// Asks for a page, following up to ten redirects.
pub fn get(method: &str, url: &str, headers: &[String], timeout: Duration) -> Result<Answer, String> {
    let mut url = url.to_string();
    for _ in 0..10 {
        let rest = match url.split_once("://") {
            Some(("http", rest)) => rest,
            Some((scheme, _)) => return Err(format!("{url}: {scheme} is not built in, only http is")),
            None => url.as_str(),
        };
        let (host, path) = rest.split_once('/').map_or((rest, "/".to_string()), |(h, p)| (h, format!("/{p}")));
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = names::address(&if has_port { host.to_string() } else { format!("{host}:80") })?;
        let stream = at(&url, TcpStream::connect_timeout(&address, timeout))?;
        at(&url, stream.set_read_timeout(Some(timeout)))?;
        let more: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: toolbox\r\nConnection: close\r\n{more}\r\n"
        );
        at(&url, (&stream).write_all(request.as_bytes()))?;
        let mut reader = BufReader::new(stream);
        let (first, headers) = at(&url, head_of(&mut reader))?.ok_or_else(|| format!("{url}: no answer"))?;
        let status = first.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("{url}: no HTTP answer"))?;
        match header(&headers, "location").filter(|_| (301..=308).contains(&status)) {
            Some(next) if next.starts_with('/') => url = format!("http://{host}{next}"),
            Some(next) => url = next.to_string(),
            None => return Ok(Answer { status, headers, reader }),
        }
    }
    Err(format!("{url}: too many redirects"))
}

impl Answer {
    /// Copies the body, or fails if it is cut short.
    pub fn copy_to(mut self, out: &mut dyn Write) -> io::Result<u64> {
        if header(&self.headers, "transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
            let mut all = 0;
            loop {
                let mut line = String::new();
                self.reader.read_line(&mut line)?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(|_| io::Error::other("a bad chunk"))?;
                if size == 0 {
                    return Ok(all);
                }
                if io::copy(&mut self.reader.by_ref().take(size), out)? != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                all += size;
                self.reader.read_line(&mut String::new())?;
            }
        }
        match header(&self.headers, "content-length").and_then(|l| l.parse::<u64>().ok()) {
            Some(length) => match io::copy(&mut self.reader.take(length), out)? {
                read if read == length => Ok(read),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            },
            None => io::copy(&mut self.reader, out),
        }
    }
}

pub fn fetch(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "every= into= header= timeout=", false)?;
    if given.operands.is_empty() {
        return Err("needs a URL".into());
    }
    let headers: Vec<String> = given.values("header").map(str::to_string).collect();
    let timeout = given.duration("timeout")?.unwrap_or(Duration::from_secs(10));
    let every = given.duration("every")?;
    loop {
        let mut failed = false;
        for url in &given.operands {
            let done = match given.value("into") {
                None => get("GET", url, &headers, timeout).and_then(|answer| shown(url, answer)),
                Some(folder) => get("GET", url, &headers, timeout).and_then(|answer| kept(url, answer, folder)),
            };
            if let Err(text) = done {
                eprintln!("fetch: {text}");
                failed = true;
            }
        }
        io::stdout().flush().map_err(|e| e.to_string())?;
        match every {
            Some(pause) => std::thread::sleep(pause),
            None => return Ok(i32::from(failed)),
        }
    }
}

fn shown(url: &str, answer: Answer) -> Result<(), String> {
    let status = answer.status;
    at(url, answer.copy_to(&mut io::stdout()))?;
    if status == 200 { Ok(()) } else { Err(format!("{url}: status {status}")) }
}

/// Readers of the folder see the old file or the new one, never half of one.
fn kept(url: &str, answer: Answer, folder: &str) -> Result<(), String> {
    if answer.status != 200 {
        return Err(format!("{url}: status {}", answer.status));
    }
    let path = url.split("://").last().unwrap_or(url).split(['?', '#']).next().unwrap_or_default();
    let name = path.split_once('/').and_then(|(_, path)| path.rsplit('/').next()).filter(|n| !n.is_empty());
    let target = Path::new(folder).join(name.unwrap_or("index.html"));
    let part = target.with_extension("part");
    let written = fs::create_dir_all(folder).and_then(|()| {
        let mut file = fs::File::create(&part)?;
        let bytes = answer.copy_to(&mut file)?;
        fs::rename(&part, &target)?;
        Ok(bytes)
    });
    let bytes = at(url, written)?;
    println!("{} {url} {bytes} bytes -> {}", system::format_time("%FT%TZ", sys::now()), target.display());
    Ok(())
}

pub fn wget(arguments: &[String]) -> Outcome {
    let given = parse(arguments, "q O= T= t= spider header= S", false)?;
    let [url] = given.operands.as_slice() else { return Err("needs one URL".into()) };
    let timeout = given.duration("T")?.unwrap_or(Duration::from_secs(60));
    let headers: Vec<String> = given.values("header").map(str::to_string).collect();
    let method = if given.has("spider") { "HEAD" } else { "GET" };
    let answer = get(method, url, &headers, timeout)?;
    if answer.status != 200 {
        return Err(format!("server returned error: HTTP/1.1 {}", answer.status));
    }
    if given.has("spider") {
        return Ok(0);
    }
    let name = url.rsplit('/').next().filter(|n| !n.is_empty() && !url.ends_with(&format!("//{n}")));
    match given.value("O").unwrap_or(name.unwrap_or("index.html")) {
        "-" => at(url, answer.copy_to(&mut io::stdout()))?,
        path => at(url, answer.copy_to(&mut at(path, fs::File::create(path))?))?,
    };
    Ok(0)
}
