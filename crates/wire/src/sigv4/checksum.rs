//! The checksums that S3's clients send with a body: three CRCs, SHA-1 and SHA-256. CRC-32, which every client sends,
//! is a library's; the other two CRCs are rare enough for a table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest;

/// An algorithm by the name of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    /// `x-amz-checksum-crc32` and its like.
    pub fn of_header(name: &str) -> Option<Self> {
        match name.strip_prefix("x-amz-checksum-")? {
            "crc32" => Some(Self::Crc32),
            "crc32c" => Some(Self::Crc32c),
            "crc64nvme" => Some(Self::Crc64Nvme),
            "sha1" => Some(Self::Sha1),
            "sha256" => Some(Self::Sha256),
            _ => None,
        }
    }

    /// As S3's messages spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }
}

/// A checksum under way.
#[derive(Clone)]
pub struct Checksum(State);

#[derive(Clone)]
enum State {
    Crc32(crc32fast::Hasher),
    Crc { table: &'static [u64; 256], value: u64, bits: u32 },
    Digest(Box<digest::Context>),
}

impl Checksum {
    pub fn new(algorithm: Algorithm) -> Self {
        let crc = |table, bits| State::Crc { table, value: ones(bits), bits };
        Self(match algorithm {
            Algorithm::Crc32 => State::Crc32(crc32fast::Hasher::new()),
            Algorithm::Crc32c => crc(&CRC32C, 32),
            Algorithm::Crc64Nvme => crc(&CRC64_NVME, 64),
            Algorithm::Sha1 => State::Digest(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY).into()),
            Algorithm::Sha256 => State::Digest(digest::Context::new(&digest::SHA256).into()),
        })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc { table, value, .. } => {
                for byte in bytes {
                    let index = (*value ^ u64::from(*byte)) & 0xff;
                    let entry = usize::try_from(index).ok().and_then(|index| table.get(index));
                    *value = entry.copied().unwrap_or_default() ^ (*value >> 8);
                }
            }
            State::Crc32(hasher) => hasher.update(bytes),
            State::Digest(context) => context.update(bytes),
        }
    }

    /// Big-endian and in Base64, as headers carry it.
    pub fn finish(self) -> String {
        match self.0 {
            State::Crc32(hasher) => BASE64.encode(hasher.finalize().to_be_bytes()),
            State::Crc { value, bits: 32, .. } => {
                BASE64.encode((value ^ ones(32)).to_be_bytes().get(4..).unwrap_or(&[]))
            }
            State::Crc { value, bits, .. } => BASE64.encode((value ^ ones(bits)).to_be_bytes()),
            State::Digest(context) => BASE64.encode(context.finish()),
        }
    }
}

const fn ones(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

/// Of a reflected polynomial; a narrower one works in the low bits of the same register.
const fn table(polynomial: u64) -> [u64; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ polynomial } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

static CRC32C: [u64; 256] = table(0x82f6_3b78);
static CRC64_NVME: [u64; 256] = table(0x9a6c_9329_ac4b_c9b5);

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the catalogue of CRCs, and of FIPS 180.
    #[test]
    fn every_algorithm_gives_its_check_value() {
        let of = |algorithm, text: &[u8]| {
            let mut checksum = Checksum::new(algorithm);
            text.chunks(4).for_each(|part| checksum.update(part));
            checksum.finish()
        };
        let hex = |hex: u64, bytes: usize| BASE64.encode(&hex.to_be_bytes()[8 - bytes..]);
        assert_eq!(of(Algorithm::Crc32, b"123456789"), hex(0xcbf4_3926, 4));
        assert_eq!(of(Algorithm::Crc32c, b"123456789"), hex(0xe306_9283, 4));
        assert_eq!(of(Algorithm::Crc64Nvme, b"123456789"), hex(0xae8b_1486_0a79_9888, 8));
        assert_eq!(of(Algorithm::Sha1, b"abc"), "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
        assert_eq!(of(Algorithm::Sha256, b"abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
