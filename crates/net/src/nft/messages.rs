//! Messages and their attributes, as they are written and read.

/// The attributes of one message.
pub struct Body<'a>(&'a mut Vec<u8>);

impl Body<'_> {
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = value.len() as u16 + 4;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    pub fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Body)) {
        let start = self.0.len();
        self.bytes(kind | 0x8000, &[]);
        fill(&mut Body(self.0));
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

pub fn push_message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    number: u32,
    (family, resource): (u8, u16),
    fill: impl FnOnce(&mut Body),
) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&number.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[family, 0]);
    bytes.extend_from_slice(&resource.to_be_bytes());
    fill(&mut Body(bytes));
    let length = (bytes.len() - start) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// One message of a datagram, header included.
pub struct Received<'a>(&'a [u8]);

impl Received<'_> {
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }

    pub fn kind(&self) -> u16 {
        u16::from_ne_bytes(self.field(4))
    }

    pub fn number(&self) -> u32 {
        u32::from_ne_bytes(self.field(8))
    }

    /// The attributes after the header, where it is netfilter's.
    pub fn attributes(&self) -> &[u8] {
        self.0.get(20..).unwrap_or_default()
    }

    /// The error number of an acknowledgement; 0 for success.
    pub fn error(&self) -> Option<i32> {
        (self.kind() == 2).then(|| i32::from_ne_bytes(self.field(16)).abs())
    }
}

pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let message = rest.get(..length.max(16))?;
        rest = rest.get(length.max(16).next_multiple_of(4)..).unwrap_or_default();
        Some(Received(message))
    })
}

/// Attributes as they came.
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Attributes<'a> {
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        find(self.0, kind)
    }

    /// The value of each attribute, in order.
    pub fn each(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?)).max(4);
            let value = rest.get(4..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(value)
        })
    }

    pub fn inner(&self, kind: u16) -> Attributes<'a> {
        Attributes(find(self.0, kind).unwrap_or_default())
    }
}

/// The value of the attribute of that kind.
pub fn find(mut body: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(body.get(..2)?.try_into().ok()?)).max(4);
        let this = u16::from_ne_bytes(body.get(2..4)?.try_into().ok()?) & 0x3fff;
        if this == kind {
            return body.get(4..length);
        }
        body = body.get(length.next_multiple_of(4)..)?;
    }
}

pub fn text(body: &[u8], kind: u16) -> Option<&str> {
    std::str::from_utf8(find(body, kind)?).ok().map(|s| s.trim_end_matches('\0'))
}
