//! A disk whose cache loses its content at any moment, served to the emulator by NBD.
//!
//! What was flushed is there afterwards. Of what was written and not flushed, each sector may be or not, as on a real
//! disk; the seed decides. (The protocol: NetworkBlockDevice/nbd doc/proto.md, fixed newstyle, one export.)

use std::io::{Error, Read, Result, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::chaos::chance::Chance;

const SECTOR: usize = 512;

const OPTION: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// HAS_FLAGS, SEND_FLUSH, SEND_FUA
const FLAGS: u16 = 1 | 4 | 8;
const FUA: u16 = 1;

#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

struct State {
    /// What the machine sees.
    content: Vec<u8>,
    durable: Vec<u8>,
    /// Written since the last flush: place, bytes, whether it was forced through.
    pending: Vec<(usize, Vec<u8>, bool)>,
    on: bool,
}

impl Disk {
    pub fn new(content: Vec<u8>) -> Disk {
        Disk(Arc::new(Mutex::new(State { durable: content.clone(), content, pending: Vec::new(), on: true })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is taken any more; what is on the disk from now on. Says how many sectors were lost.
    pub fn cut(&self, chance: &mut Chance) -> usize {
        let mut state = self.lock();
        let mut lost = 0;
        for (at, bytes, forced) in std::mem::take(&mut state.pending) {
            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                if forced || chance.happens(50) {
                    let from = at + number * SECTOR;
                    state.durable[from..from + sector.len()].copy_from_slice(sector);
                } else {
                    lost += 1;
                }
            }
        }
        state.content = state.durable.clone();
        state.on = false;
        lost
    }

    /// Power is back.
    pub fn revive(&self) {
        self.lock().on = true;
    }

    /// Serves on this socket, a thread for each connection, until the process ends.
    pub fn serve(&self, socket: &Path) -> Result<()> {
        let listener = UnixListener::bind(socket)?;
        let disk = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let disk = disk.clone();
                // A machine without power breaks off in the middle.
                std::thread::spawn(move || disk.negotiate(stream));
            }
        });
        Ok(())
    }

    fn negotiate(&self, mut stream: UnixStream) -> Result<()> {
        let size = self.lock().content.len() as u64;
        stream.write_all(b"NBDMAGICIHAVEOPT\x00\x03")?;
        let plain = u32::from_be_bytes(take(&mut stream)?) & 2 == 0;
        loop {
            if u64::from_be_bytes(take(&mut stream)?) != OPTION {
                return Err(Error::other("no option"));
            }
            let option = u32::from_be_bytes(take(&mut stream)?);
            let mut content = vec![0; u32::from_be_bytes(take(&mut stream)?) as usize];
            stream.read_exact(&mut content)?;
            let mut reply = |kind: u32, content: &[u8]| {
                let head = [
                    &OPTION_REPLY.to_be_bytes()[..],
                    &option.to_be_bytes(),
                    &kind.to_be_bytes(),
                    &(content.len() as u32).to_be_bytes(),
                ];
                stream.write_all(&[&head.concat(), content].concat())
            };
            match option {
                // EXPORT_NAME
                1 => {
                    let zeros = if plain { 124 } else { 0 };
                    stream.write_all(&[&size.to_be_bytes()[..], &FLAGS.to_be_bytes(), &vec![0; zeros]].concat())?;
                    return self.transmit(stream);
                }
                // INFO, GO
                6 | 7 => {
                    reply(3, &[&[0, 0], &size.to_be_bytes()[..], &FLAGS.to_be_bytes()].concat())?;
                    reply(1, &[])?;
                    if option == 7 {
                        return self.transmit(stream);
                    }
                }
                _ => reply(0x8000_0001, &[])?,
            }
        }
    }

    fn transmit(&self, mut stream: UnixStream) -> Result<()> {
        loop {
            if u32::from_be_bytes(take(&mut stream)?) != REQUEST {
                return Err(Error::other("no request"));
            }
            let (flags, kind) = (u16::from_be_bytes(take(&mut stream)?), u16::from_be_bytes(take(&mut stream)?));
            let handle: [u8; 8] = take(&mut stream)?;
            let at = u64::from_be_bytes(take(&mut stream)?) as usize;
            let length = u32::from_be_bytes(take(&mut stream)?) as usize;
            let mut bytes = vec![0; if kind == 1 { length } else { 0 }];
            stream.read_exact(&mut bytes)?;
            let mut state = self.lock();
            if !state.on {
                return Err(Error::other("no power"));
            }
            let mut answer = Vec::new();
            match kind {
                0 => answer.extend_from_slice(&state.content[at..at + length]),
                1 => {
                    state.content[at..at + length].copy_from_slice(&bytes);
                    state.pending.push((at, bytes, flags & FUA != 0));
                }
                3 => {
                    for (at, bytes, _) in std::mem::take(&mut state.pending) {
                        state.durable[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                }
                _ => return Ok(()),
            }
            drop(state);
            let head = [&REPLY.to_be_bytes()[..], &0u32.to_be_bytes(), &handle].concat();
            stream.write_all(&[head, answer].concat())?;
        }
    }
}

fn take<const N: usize>(stream: &mut UnixStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(stream: &mut UnixStream, kind: u16, at: u64, bytes: &[u8]) {
        let head = [&REQUEST.to_be_bytes()[..], &0u16.to_be_bytes(), &kind.to_be_bytes(), &[7; 8], &at.to_be_bytes()];
        stream.write_all(&[&head.concat(), &(bytes.len() as u32).to_be_bytes()[..], bytes].concat()).unwrap();
        let reply: [u8; 16] = take(stream).unwrap();
        assert_eq!(&reply[8..], &[7; 8]);
    }

    #[test]
    fn what_was_flushed_survives_the_power_and_of_the_rest_any_part() {
        let disk = Disk::new(vec![0; 1 << 20]);
        let (mut machine, served) = UnixStream::pair().unwrap();
        let serving = disk.clone();
        std::thread::spawn(move || serving.transmit(served));
        request(&mut machine, 1, 0, &[1; 64 * SECTOR]);
        request(&mut machine, 3, 0, &[]);
        request(&mut machine, 1, 0, &[2; 64 * SECTOR]);
        let lost = disk.cut(&mut Chance::new(1, 0, "disk"));
        let content = disk.lock().content.clone();
        let newer = content[..64 * SECTOR].chunks(SECTOR).filter(|sector| sector.iter().all(|byte| *byte == 2)).count();
        let older = content[..64 * SECTOR].chunks(SECTOR).filter(|sector| sector.iter().all(|byte| *byte == 1)).count();
        assert_eq!((newer + older, older), (64, lost), "each sector is whole, old or new");
        assert!(newer > 0 && older > 0);
    }
}
