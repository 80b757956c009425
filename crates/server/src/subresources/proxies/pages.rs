//! Links within pages that pass the proxy lead through it again (util/proxy transport.go).
//!
//! A page is rewritten as it comes, in its own compression (gzip, deflate). One that cannot be read as such goes
//! on as it is, or ends where it cannot be unpacked.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder};
use futures::{Stream, StreamExt};
use http::{HeaderMap, header};
use lol_html::errors::RewritingError;
use lol_html::send::{Element, ElementContentHandlers, HtmlRewriter, Settings};
use lol_html::{HtmlRewriter as Rewriter, MemorySettings, OutputSink};

/// The start of a tag that is read as one, in bytes.
const TAG_MAX: usize = 1 << 20;

/// Attributes that hold an address, by element.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Where links lead back into the proxy.
#[derive(Clone, Debug)]
pub struct Within {
    /// The path in front of the target's own.
    pub base: String,
    /// The target's host and port.
    pub target: String,
    /// What the client calls this server.
    pub host: String,
}

type Pieces = std::pin::Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

impl Within {
    /// The address that leads through the proxy; None: it stays as it is.
    pub fn rewritten(&self, link: &str) -> Option<String> {
        let (start, after) = match link.find("//") {
            Some(0) => ("//", &link[2..]),
            Some(at) if matches!(&link[..at], "http:" | "https:") => link.split_at(at + 2),
            _ => ("", link),
        };
        let (host, path) = match start {
            "" => ("", link),
            _ => after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len())),
        };
        let own = if !host.is_empty() && host == self.host { format!("{start}{host}") } else { String::new() };
        let elsewhere = !host.is_empty() && host != self.host && host != self.target;
        if elsewhere || !path.starts_with('/') || path.starts_with(&self.base) {
            return None;
        }
        Some(format!("{own}{}{path}", self.base))
    }
}

/// How a page is packed; None: not as anything that is known here.
fn packing(headers: &HeaderMap) -> Option<Packing> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    if kind.split(';').next()?.trim() != "text/html" {
        return None;
    }
    match headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?")) {
        None | Some("") => Some(Packing::None),
        Some("gzip") => Some(Packing::Gzip),
        Some("deflate") => Some(Packing::Deflate),
        Some(_) => None,
    }
}

#[derive(Clone, Copy)]
enum Packing {
    None,
    Gzip,
    Deflate,
}

/// The page with its links rewritten; anything else as it comes.
pub fn rewritten(headers: &mut HeaderMap, body: Pieces, within: Within) -> Pieces {
    let Some(packing) = packing(headers) else { return body };
    headers.remove(header::CONTENT_LENGTH);
    let page = Page::new(packing, within);
    Box::pin(futures::stream::unfold((body, Some(page)), |(mut body, page)| async move {
        let mut page = page?;
        loop {
            let (told, rest) = match body.next().await {
                Some(Ok(piece)) => match page.take(&piece) {
                    Ok(told) if told.is_empty() => continue,
                    Ok(told) => (Ok(told.into()), Some(page)),
                    Err(error) => (Err(error), None),
                },
                Some(Err(error)) => (Err(error), None),
                None => (page.end().map(Bytes::from), None),
            };
            return Some((told, (body, rest)));
        }
    }))
}

/// A page on its way: unpacked, rewritten, packed.
struct Page {
    unpacked: Unpacked,
    packed: Packed,
}

/// What is written comes out of it as `Page::take` is called.
#[derive(Clone)]
struct Packed(Arc<Mutex<Sink>>);

enum Sink {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(DeflateEncoder<Vec<u8>>),
}

enum Unpacked {
    Plain(Links),
    Gzip(GzDecoder<Links>),
    Deflate(DeflateDecoder<Links>),
}

struct Links {
    /// None: what comes is passed on as it is.
    rewriter: Option<HtmlRewriter<'static, Packed>>,
    packed: Packed,
}

impl Page {
    fn new(packing: Packing, within: Within) -> Page {
        let plain = Vec::new();
        let packed = Packed(Arc::new(Mutex::new(match packing {
            Packing::None => Sink::Plain(plain),
            Packing::Gzip => Sink::Gzip(GzEncoder::new(plain, Compression::fast())),
            Packing::Deflate => Sink::Deflate(DeflateEncoder::new(plain, Compression::fast())),
        })));
        let memory = MemorySettings::new()
            .with_max_allowed_memory_usage(TAG_MAX)
            .with_graceful_bail_out_on_memory_limit_exceeded(true);
        let each = ElementContentHandlers::default().element(move |element: &mut Element<'_, '_>| {
            rewrite(element, &within);
            Ok(())
        });
        let every = "*".parse().expect("a selector of all elements");
        let settings = Settings::new_send()
            .append_element_content_handler((std::borrow::Cow::Owned(every), each))
            .with_memory_settings(memory)
            .with_strict(false);
        let rewriter = Some(Rewriter::new(settings, packed.clone()));
        let links = Links { rewriter, packed: packed.clone() };
        let unpacked = match packing {
            Packing::None => Unpacked::Plain(links),
            Packing::Gzip => Unpacked::Gzip(GzDecoder::new(links)),
            Packing::Deflate => Unpacked::Deflate(DeflateDecoder::new(links)),
        };
        Page { unpacked, packed }
    }

    fn take(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        match &mut self.unpacked {
            Unpacked::Plain(links) => links.write_all(piece)?,
            Unpacked::Gzip(decoder) => decoder.write_all(piece)?,
            Unpacked::Deflate(decoder) => decoder.write_all(piece)?,
        }
        Ok(self.packed.drain())
    }

    fn end(self) -> io::Result<Vec<u8>> {
        let links = match self.unpacked {
            Unpacked::Plain(links) => links,
            Unpacked::Gzip(decoder) => decoder.finish()?,
            Unpacked::Deflate(decoder) => decoder.finish()?,
        };
        if let Some(rewriter) = links.rewriter {
            rewriter.end().map_err(io::Error::other)?;
        }
        self.packed.end()
    }
}

fn rewrite(element: &mut Element<'_, '_>, within: &Within) {
    let name = element.tag_name();
    let Some((_, attributes)) = LINKS.iter().find(|(of, _)| *of == name) else { return };
    for attribute in *attributes {
        let link = element.get_attribute(attribute).and_then(|link| within.rewritten(link.trim()));
        if let Some(link) = link {
            element.set_attribute(attribute, &link).expect("the name of an attribute that is there");
        }
    }
}

impl Write for Links {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.rewriter.as_mut().map(|rewriter| rewriter.write(bytes)) {
            None => self.packed.handle_chunk(bytes),
            Some(Ok(())) => {}
            // It has passed on all that it had.
            Some(Err(RewritingError::MemoryLimitExceeded(_))) => self.rewriter = None,
            Some(Err(error)) => return Err(io::Error::other(error)),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl OutputSink for Packed {
    fn handle_chunk(&mut self, chunk: &[u8]) {
        let mut into = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Into memory.
        let _ = match &mut *into {
            Sink::Plain(plain) => plain.write_all(chunk),
            Sink::Gzip(encoder) => encoder.write_all(chunk),
            Sink::Deflate(encoder) => encoder.write_all(chunk),
        };
    }
}

impl Packed {
    fn drain(&self) -> Vec<u8> {
        let mut into = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(match &mut *into {
            Sink::Plain(plain) => plain,
            Sink::Gzip(encoder) => encoder.get_mut(),
            Sink::Deflate(encoder) => encoder.get_mut(),
        })
    }

    fn end(&self) -> io::Result<Vec<u8>> {
        let mut into = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *into {
            Sink::Plain(_) => {}
            Sink::Gzip(encoder) => encoder.try_finish()?,
            Sink::Deflate(encoder) => encoder.try_finish()?,
        }
        drop(into);
        Ok(self.drain())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn within() -> Within {
        let base = "/api/v1/namespaces/a/pods/b:80/proxy".into();
        Within { base, target: "10.244.0.7:80".into(), host: "localhost:8001".into() }
    }

    #[test]
    fn only_what_leads_to_the_target_leads_through_the_proxy() {
        let base = within().base;
        for (link, led) in [
            ("/x", format!("{base}/x")),
            ("/", format!("{base}/")),
            ("/x?a=1&amp;b=2#c", format!("{base}/x?a=1&amp;b=2#c")),
            ("http://10.244.0.7:80/x", format!("{base}/x")),
            ("//10.244.0.7:80/x", format!("{base}/x")),
            ("http://localhost:8001/x", format!("http://localhost:8001{base}/x")),
        ] {
            assert_eq!(within().rewritten(link), Some(led), "{link}");
        }
        let there = format!("{base}/x");
        for link in ["x", "", "../x", "#x", "?x", "http://example.com/x", "//example.com/x", "mailto:a//b", &there] {
            assert_eq!(within().rewritten(link), None, "{link}");
        }
    }

    async fn page(headers: &mut HeaderMap, pieces: Vec<Vec<u8>>) -> io::Result<Vec<u8>> {
        let body = futures::stream::iter(pieces.into_iter().map(|piece| Ok(Bytes::from(piece))));
        let mut out = Vec::new();
        let mut stream = rewritten(headers, Box::pin(body), within());
        while let Some(piece) = stream.next().await {
            out.extend(piece?);
        }
        Ok(out)
    }

    fn html(encoding: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "text/html; charset=utf-8".parse().unwrap());
        headers.insert(header::CONTENT_LENGTH, "7".parse().unwrap());
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        }
        headers
    }

    #[tokio::test]
    async fn pages_are_rewritten_in_whatever_pieces_they_come() {
        let text =
            "<!doctype html><p title=\"/x\">/x<A HREF='/rewriteme'>test</a><img src=/i>\u{e9}<script>'/x'</script>";
        let base = within().base;
        let led = format!(
            "<!doctype html><p title=\"/x\">/x<A HREF=\"{base}/rewriteme\">test</a><img src=\"{base}/i\">\u{e9}<script>'/x'</script>"
        );
        for size in [1, 7, 1000] {
            let pieces = text.as_bytes().chunks(size).map(<[u8]>::to_vec).collect();
            let mut headers = html(None);
            assert_eq!(String::from_utf8(page(&mut headers, pieces).await.unwrap()).unwrap(), led);
            assert!(!headers.contains_key(header::CONTENT_LENGTH));
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        let pieces = packed.chunks(9).map(<[u8]>::to_vec).collect();
        let got = page(&mut html(Some("gzip")), pieces).await.unwrap();
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&got[..]).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, led);
        assert!(page(&mut html(Some("gzip")), vec![b"no gzip".to_vec()]).await.is_err());
    }

    #[tokio::test]
    async fn whatever_is_no_page_passes_as_it_is() {
        let text = b"<a href=/x>".to_vec();
        for (kind, encoding) in [("text/plain", None), ("application/json", None), ("text/html", Some("br"))] {
            let mut headers = html(encoding);
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            assert_eq!(page(&mut headers, vec![text.clone()]).await.unwrap(), text);
            assert!(headers.contains_key(header::CONTENT_LENGTH));
        }
        // A tag without end is not kept without bound.
        let huge = [b"<a x=".to_vec(), vec![b'y'; TAG_MAX * 2]].concat();
        assert_eq!(
            page(&mut html(None), vec![huge.clone(), huge.clone()]).await.unwrap(),
            [huge.clone(), huge].concat()
        );
    }
}
