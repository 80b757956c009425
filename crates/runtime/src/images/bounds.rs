//! What an archive may make this process keep in memory, whatever its headers say.
//!
//! The tar crate reads what stands before an entry's content whole: long names, extended attributes,
//! the map of a sparse file. Go's archive/tar takes 1 MiB of each (maxSpecialFileSize); here all of one
//! entry's together have one allowance, which the reader beneath enforces.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

use rustix::io::Errno;

const HEADERS_SIZE_MAX: u64 = 4 << 20;
/// As the kernel's, its NUL included.
const PATH_MAX: usize = 4096;

/// Reads no further than it is allowed to at the time.
pub struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

/// Says what is read next.
pub struct Allowance(Rc<Cell<u64>>);

impl<R> Bounded<R> {
    pub fn over(inner: R) -> (Bounded<R>, Allowance) {
        let left = Rc::new(Cell::new(0));
        (Bounded { inner, left: left.clone() }, Allowance(left))
    }
}

impl Allowance {
    /// The headers of one entry.
    pub fn headers(&self) {
        self.0.set(HEADERS_SIZE_MAX);
    }

    /// As much as there is.
    pub fn content(&self) {
        self.0.set(u64::MAX);
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !buf.is_empty() {
            return Err(io::Error::other(format!("the headers of one entry are longer than {HEADERS_SIZE_MAX} bytes")));
        }
        let want = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = self.inner.read(&mut buf[..want])?;
        self.left.set(left - n as u64);
        Ok(n)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// No path is longer than the kernel would take.
pub fn named(length: usize) -> io::Result<()> {
    if length < PATH_MAX { Ok(()) } else { Err(Errno::NAMETOOLONG.into()) }
}
