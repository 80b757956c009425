//! What an image may take of a disk, and its archives of this process's memory.
//!
//! All that an image unpacks to is bounded by bytes and by files, each with a setting: a few kilobytes of
//! zstd are a terabyte of zeros.
//!
//! The tar crate reads what stands before an entry's content whole: long names, extended attributes,
//! the map of a sparse file. Go's archive/tar takes 1 MiB of each (maxSpecialFileSize); here all of one
//! entry's together have one allowance, which the reader beneath enforces.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

use rustix::io::Errno;

/// What one image may unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes, of its files as of its archives.
    pub size: u64,
    /// Files, folders and links.
    pub files: u64,
}

impl Default for Bounds {
    /// Several times the largest images in use.
    fn default() -> Bounds {
        Bounds { size: 64 << 30, files: 4_000_000 }
    }
}

/// What is left to an image after its layers so far.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    bounds: Bounds,
    size: u64,
    files: u64,
}

/// Of headers and padding in an archive, per file.
const FRAME: u64 = 4096;

impl Left {
    pub fn of(bounds: Bounds) -> Left {
        Left { bounds, size: bounds.size, files: bounds.files }
    }

    /// Takes a whole layer off.
    pub fn take(&mut self, size: u64, files: u64) -> Result<(), String> {
        self.check(size, files)?;
        self.size -= size;
        self.files -= files;
        Ok(())
    }

    /// Whether so much of the next layer still fits.
    pub fn check(&self, size: u64, files: u64) -> Result<(), String> {
        if size > self.size {
            return Err(too_large(self.bounds.size));
        }
        match files > self.files {
            true => Err(format!("the image has more than {} files and folders (--image-files-max)", self.bounds.files)),
            false => Ok(()),
        }
    }

    /// The same of an archive as it is read, whatever it comes to.
    pub fn check_archive(&self, read: u64) -> Result<(), String> {
        let max = self.size.saturating_add(self.files.saturating_mul(FRAME));
        if read <= max { Ok(()) } else { Err(too_large(self.bounds.size)) }
    }
}

pub fn too_large(max: u64) -> String {
    format!("the image unpacks to more than {max} bytes (--image-size-max)")
}

const HEADERS_SIZE_MAX: u64 = 4 << 20;
/// As the kernel's, its NUL included.
const PATH_MAX: usize = 4096;

/// Of a tar.
const BLOCK: u64 = 512;

/// Reads no further than it is allowed to at the time. An archive that ends with its last file's content is
/// filled up to a block: umoci leaves that out, and Go's archive/tar lives with it.
pub struct Bounded<R> {
    inner: R,
    at: u64,
    /// It ended within a file's content.
    broken: bool,
    left: Rc<Cell<u64>>,
}

/// Says what is read next.
pub struct Allowance(Rc<Cell<u64>>);

impl<R> Bounded<R> {
    pub fn over(inner: R) -> (Bounded<R>, Allowance) {
        let left = Rc::new(Cell::new(0));
        (Bounded { inner, at: 0, broken: false, left: left.clone() }, Allowance(left))
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
        let mut n = self.inner.read(&mut buf[..want])?;
        let of_content = left > HEADERS_SIZE_MAX;
        self.broken |= n == 0 && want > 0 && of_content;
        if n == 0 && !of_content && !self.broken {
            n = want.min((self.at.next_multiple_of(BLOCK) - self.at) as usize);
            buf[..n].fill(0);
        }
        self.at += n as u64;
        self.left.set(left - n as u64);
        Ok(n)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.inner.seek(to)?;
        Ok(self.at)
    }
}

/// No path is longer than the kernel would take.
pub fn named(length: usize) -> io::Result<()> {
    if length < PATH_MAX { Ok(()) } else { Err(Errno::NAMETOOLONG.into()) }
}
