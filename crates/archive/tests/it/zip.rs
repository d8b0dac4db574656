//! Builds zip archives, right by default and wrong wherever a test says so.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// An entry: the two headers that describe it, its bytes, and what follows them.
#[derive(Debug, Clone)]
pub struct Item {
    pub central: Header,
    pub local: Header,
    pub packed: Vec<u8>,
    pub descriptor: Vec<u8>,
    /// Whether only the central header is written.
    pub ghost: bool,
}

/// The fields of either header; each writes those that it has.
#[derive(Debug, Clone, Default)]
pub struct Header {
    pub signature: [u8; 4],
    pub made_by: u16,
    pub flags: u16,
    pub method: u16,
    pub time: u16,
    pub date: u16,
    pub checksum: u32,
    pub packed: u32,
    pub unpacked: u32,
    pub name: Vec<u8>,
    pub extra: Vec<u8>,
    pub comment: Vec<u8>,
    pub disk: u16,
    pub attributes: u32,
    /// Instead of where the local header really is.
    pub offset: Option<u32>,
}

/// The end record, and the wide one with its locator where `wide` is set.
#[derive(Debug, Clone, Default)]
pub struct End {
    pub disk: u16,
    pub directory_disk: u16,
    pub disk_entries: u16,
    pub entries: u16,
    pub directory_bytes: u32,
    pub directory_offset: u32,
    pub comment: Vec<u8>,
    /// Instead of the comment's length.
    pub comment_bytes: Option<u16>,
    pub wide: Option<WideEnd>,
}

#[derive(Debug, Clone, Default)]
pub struct WideEnd {
    pub stated_bytes: u64,
    pub disk: u32,
    pub disk_entries: u64,
    pub entries: u64,
    pub directory_bytes: u64,
    pub directory_offset: u64,
    pub located: u64,
    pub disks: u32,
    /// Between the record and its locator.
    pub gap: Vec<u8>,
}

pub const UNIX: u16 = 3 << 8 | 30;
pub const DEFLATE: u16 = 8;
pub const DESCRIPTOR: u16 = 1 << 3;
pub const ZIP64: u16 = 1;

pub fn stored(name: impl AsRef<[u8]>, contents: impl AsRef<[u8]>) -> Item {
    let contents = contents.as_ref();
    item(name.as_ref(), 0, contents, contents.to_vec())
}

pub fn deflated(name: impl AsRef<[u8]>, contents: impl AsRef<[u8]>) -> Item {
    item(name.as_ref(), DEFLATE, contents.as_ref(), deflate(contents.as_ref()))
}

pub fn directory(name: &str) -> Item {
    stored(name, "").mode(0o040_755)
}

pub fn link(name: &str, target: impl AsRef<[u8]>) -> Item {
    stored(name, target).mode(0o120_777)
}

pub fn deflate(contents: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(contents).unwrap();
    encoder.finish().unwrap()
}

fn item(name: &[u8], method: u16, contents: &[u8], packed: Vec<u8>) -> Item {
    let mut checksum = Crc::new();
    checksum.update(contents);
    let local = Header {
        signature: *b"PK\x03\x04",
        made_by: UNIX,
        method,
        date: 23 << 9 | 4 << 5 | 5, // 2003-04-05
        time: 6 << 11 | 7 << 5 | 4, // 06:07:08
        checksum: checksum.sum(),
        packed: packed.len() as u32,
        unpacked: contents.len() as u32,
        name: name.to_vec(),
        attributes: 0o100_644 << 16,
        ..Header::default()
    };
    let central = Header { signature: *b"PK\x01\x02", ..local.clone() };
    Item { central, local, packed, descriptor: Vec::new(), ghost: false }
}

impl Item {
    pub fn mode(self, mode: u32) -> Self {
        self.central(|header| header.attributes = mode << 16)
    }

    pub fn central(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.central);
        self
    }

    pub fn local(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.local);
        self
    }

    pub fn both(self, change: impl Fn(&mut Header)) -> Self {
        self.central(&change).local(&change)
    }

    /// Leaves the entry out of the archive but lists it, at `offset`.
    pub fn ghost(mut self, offset: u32) -> Self {
        self.ghost = true;
        self.central(|header| header.offset = Some(offset))
    }

    pub fn packed(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.packed);
        self
    }

    /// Says in both headers how long the packed bytes are now.
    pub fn resized(self) -> Self {
        let packed = self.packed.len() as u32;
        self.both(|header| header.packed = packed)
    }

    /// Moves sizes and checksum behind the data, in one of the four forms.
    pub fn streamed(mut self, signed: bool, wide: bool) -> Self {
        let Header { checksum, packed, unpacked, .. } = self.central;
        if signed {
            self.descriptor.extend_from_slice(b"PK\x07\x08");
        }
        self.descriptor.extend_from_slice(&checksum.to_le_bytes());
        for size in [packed, unpacked] {
            match wide {
                true => self.descriptor.extend_from_slice(&u64::from(size).to_le_bytes()),
                false => self.descriptor.extend_from_slice(&size.to_le_bytes()),
            }
        }
        self.both(|header| header.flags |= DESCRIPTOR).local(|header| {
            (header.checksum, header.packed, header.unpacked) = (0, 0, 0);
        })
    }

    /// Moves the sizes of both headers to zip64 fields.
    pub fn wide(self) -> Self {
        self.both(|header| {
            let sizes = [header.unpacked, header.packed].map(|size| u64::from(size).to_le_bytes()).concat();
            header.extra = extra(ZIP64, &sizes);
            (header.packed, header.unpacked) = (u32::MAX, u32::MAX);
        })
    }
}

pub fn extra(id: u16, body: &[u8]) -> Vec<u8> {
    [&id.to_le_bytes()[..], &(body.len() as u16).to_le_bytes(), body].concat()
}

pub fn zip(items: &[Item]) -> Vec<u8> {
    zip_ending(items, |_| {})
}

/// The archive of `items`, its end changed.
pub fn zip_ending(items: &[Item], change: impl FnOnce(&mut End)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut central = Vec::new();
    for item in items {
        write_central(&mut central, &item.central, bytes.len() as u32);
        if !item.ghost {
            write_local(&mut bytes, &item.local);
            bytes.extend_from_slice(&item.packed);
            bytes.extend_from_slice(&item.descriptor);
        }
    }
    let mut end = End {
        disk_entries: items.len() as u16,
        entries: items.len() as u16,
        directory_bytes: central.len() as u32,
        directory_offset: bytes.len() as u32,
        ..End::default()
    };
    bytes.extend_from_slice(&central);
    change(&mut end);
    write_end(&mut bytes, &end);
    bytes
}

impl End {
    /// Moves everything to the wide record.
    pub fn widen(&mut self) -> &mut WideEnd {
        let wide = WideEnd {
            stated_bytes: 44,
            disk: 0,
            disk_entries: self.disk_entries.into(),
            entries: self.entries.into(),
            directory_bytes: self.directory_bytes.into(),
            directory_offset: self.directory_offset.into(),
            located: u64::from(self.directory_offset) + u64::from(self.directory_bytes),
            disks: 1,
            gap: Vec::new(),
        };
        (self.disk_entries, self.entries) = (u16::MAX, u16::MAX);
        (self.directory_bytes, self.directory_offset) = (u32::MAX, u32::MAX);
        self.wide.insert(wide)
    }
}

fn write_local(out: &mut Vec<u8>, header: &Header) {
    out.extend_from_slice(&header.signature);
    write_shared(out, header);
    out.extend_from_slice(&header.name);
    out.extend_from_slice(&header.extra);
}

fn write_central(out: &mut Vec<u8>, header: &Header, offset: u32) {
    out.extend_from_slice(&header.signature);
    out.extend_from_slice(&header.made_by.to_le_bytes());
    write_shared(out, header);
    let comment_bytes = header.comment.len() as u16;
    for field in [comment_bytes, header.disk, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&header.attributes.to_le_bytes());
    out.extend_from_slice(&header.offset.unwrap_or(offset).to_le_bytes());
    for field in [&header.name, &header.extra, &header.comment] {
        out.extend_from_slice(field);
    }
}

/// The fields that both headers have, in one order.
fn write_shared(out: &mut Vec<u8>, header: &Header) {
    for field in [20, header.flags, header.method, header.time, header.date] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [header.checksum, header.packed, header.unpacked] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [header.name.len() as u16, header.extra.len() as u16] {
        out.extend_from_slice(&field.to_le_bytes());
    }
}

fn write_end(out: &mut Vec<u8>, end: &End) {
    if let Some(wide) = &end.wide {
        out.extend_from_slice(b"PK\x06\x06");
        out.extend_from_slice(&wide.stated_bytes.to_le_bytes());
        out.extend_from_slice(&[45, 0, 45, 0]);
        for field in [wide.disk, 0] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        for field in [wide.disk_entries, wide.entries, wide.directory_bytes, wide.directory_offset] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&wide.gap);
        out.extend_from_slice(b"PK\x06\x07");
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&wide.located.to_le_bytes());
        out.extend_from_slice(&wide.disks.to_le_bytes());
    }
    out.extend_from_slice(b"PK\x05\x06");
    for field in [end.disk, end.directory_disk, end.disk_entries, end.entries] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for field in [end.directory_bytes, end.directory_offset] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    let comment_bytes = end.comment_bytes.unwrap_or(end.comment.len() as u16);
    out.extend_from_slice(&comment_bytes.to_le_bytes());
    out.extend_from_slice(&end.comment);
}
