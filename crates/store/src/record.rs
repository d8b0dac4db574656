//! A record as bytes: its version, how many parts it has, and JSON.
//!
//! ```text
//! version  0      json                                     a record that fits one row
//! version  parts  length u32  xxh3-64 of the json  json…   one that goes on in the rows of its parts
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::RecordError;
use crate::limits::{RECORD_BYTES_MAX, VALUE_BYTES_MAX};

/// A value of a table.
///
/// When the shape changes so that old JSON no longer reads, `VERSION` rises, the old shape stays, frozen, in a
/// `mod v1` beside the type, and `migrate` reads it. Rows are written anew in the new shape when they are next put.
pub trait Record: Serialize + DeserializeOwned {
    const VERSION: u8;

    /// Reads the JSON that an older `version` of the program wrote.
    fn migrate(version: u8, _json: &[u8]) -> Result<Self, RecordError> {
        Err(RecordError::Unknown(version))
    }
}

/// What the first row of a record says.
pub(crate) struct Head<'a> {
    version: u8,
    /// Rows that the record goes on in.
    pub part_count: usize,
    /// Of the whole record.
    length: usize,
    sum: u64,
    json: &'a [u8],
}

/// Bytes of the JSON in a head that goes on, and in each part but the last.
const PART_BYTES: usize = VALUE_BYTES_MAX - HEAD_BYTES;
const HEAD_BYTES: usize = 2 + 4 + 8;

/// The rows of one record: the first, and its parts.
pub(crate) struct Encoded {
    pub head: Vec<u8>,
    pub parts: Vec<Vec<u8>>,
}

/// Encodes `record` into one row, or, if `splits`, into as many as it needs.
pub(crate) fn encode<V: Record>(record: &V, splits: bool) -> Result<Result<Encoded, TooLong>, RecordError> {
    let mut head = vec![V::VERSION, 0];
    serde_json::to_writer(&mut head, record)?;
    if head.len() <= VALUE_BYTES_MAX {
        return Ok(Ok(Encoded { head, parts: Vec::new() }));
    }
    let max = if splits { RECORD_BYTES_MAX } else { VALUE_BYTES_MAX };
    let json = head.split_off(2);
    if !splits || json.len() > max {
        return Ok(Err(TooLong { size: json.len(), max }));
    }
    let mut chunks = json.chunks(PART_BYTES);
    let first = chunks.next().unwrap_or_default();
    let parts: Vec<_> = chunks.map(<[u8]>::to_vec).collect();
    let mut head = vec![V::VERSION, u8::try_from(parts.len()).map_err(|_| RecordError::Parts)?];
    head.extend_from_slice(&u32::try_from(json.len()).map_err(|_| RecordError::Parts)?.to_be_bytes());
    head.extend_from_slice(&xxh3_64(&json).to_be_bytes());
    head.extend_from_slice(first);
    Ok(Ok(Encoded { head, parts }))
}

/// The record does not fit its table.
pub(crate) struct TooLong {
    pub size: usize,
    pub max: usize,
}

impl<'a> Head<'a> {
    pub fn read(row: &'a [u8]) -> Result<Self, RecordError> {
        let ([version, part_count], json) = row.split_first_chunk().ok_or(RecordError::Parts)?;
        let (version, part_count) = (*version, usize::from(*part_count));
        if part_count == 0 {
            return Ok(Self { version, part_count, length: json.len(), sum: 0, json });
        }
        let (length, rest) = json.split_first_chunk().ok_or(RecordError::Parts)?;
        let (sum, json) = rest.split_first_chunk().ok_or(RecordError::Parts)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| RecordError::Parts)?;
        if length > RECORD_BYTES_MAX {
            return Err(RecordError::Parts);
        }
        Ok(Self { version, part_count, length, sum: u64::from_be_bytes(*sum), json })
    }

    /// The record, from this and its parts in order. [`RecordError::Parts`] if they do not belong together.
    pub fn decode<V: Record>(&self, parts: &[&[u8]]) -> Result<V, RecordError> {
        if self.part_count == 0 {
            return self.parse(self.json);
        }
        let mut json = Vec::with_capacity(self.length);
        json.extend_from_slice(self.json);
        for part in parts {
            json.extend_from_slice(part);
        }
        if parts.len() != self.part_count || json.len() != self.length || xxh3_64(&json) != self.sum {
            return Err(RecordError::Parts);
        }
        self.parse(&json)
    }

    fn parse<V: Record>(&self, json: &[u8]) -> Result<V, RecordError> {
        match self.version {
            version if version == V::VERSION => Ok(serde_json::from_slice(json)?),
            version if version > V::VERSION => Err(RecordError::Newer { found: version, known: V::VERSION }),
            version => V::migrate(version, json),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Door {
        name: String,
        open: bool,
    }

    mod v1 {
        #[derive(serde::Deserialize)]
        pub struct Door {
            pub name: String,
        }
    }

    impl Record for Door {
        const VERSION: u8 = 2;

        fn migrate(version: u8, json: &[u8]) -> Result<Self, RecordError> {
            match version {
                1 => Ok(Self { name: serde_json::from_slice::<v1::Door>(json)?.name, open: false }),
                other => Err(RecordError::Unknown(other)),
            }
        }
    }

    fn decode(row: &[u8]) -> Result<Door, RecordError> {
        Head::read(row)?.decode(&[])
    }

    #[test]
    fn old_records_migrate_and_newer_ones_are_refused() {
        let old = decode(b"\x01\x00{\"name\":\"front\"}").unwrap();
        assert_eq!(old, Door { name: "front".into(), open: false });
        let newer = decode(b"\x03\x00{}").unwrap_err();
        assert!(matches!(newer, RecordError::Newer { found: 3, known: 2 }), "{newer}");
        assert!(matches!(decode(b"\x00\x00{}"), Err(RecordError::Unknown(0))));
    }

    proptest! {
        #[test]
        fn whatever_a_row_holds_is_read_calmly(row in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(decode(&row).is_err() || row.starts_with(&[2, 0]) || row.starts_with(&[1, 0]));
        }

        #[test]
        fn long_records_come_back_from_their_parts_only(length in 0..400_000_usize) {
            let door = Door { name: "x".repeat(length), open: true };
            let Ok(Ok(encoded)) = encode(&door, true) else { return Err(TestCaseError::fail("it fits")) };
            let parts: Vec<_> = encoded.parts.iter().map(Vec::as_slice).collect();
            let head = Head::read(&encoded.head).unwrap();
            prop_assert!(encoded.head.len() <= VALUE_BYTES_MAX && parts.iter().all(|p| p.len() <= VALUE_BYTES_MAX));
            prop_assert_eq!(head.decode::<Door>(&parts).unwrap(), door);
            prop_assert!(parts.is_empty() || head.decode::<Door>(&parts[1..]).is_err());
        }
    }
}
