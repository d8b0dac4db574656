//! The extra fields of a header, of which two matter: wide sizes and the time of the last change.
//!
//! All others are stepped over, the one with a second, "Unicode" name among them: the name in the header is the only
//! one here, as it is for Java's and Go's readers.

use crate::error::EntryFlaw;
use crate::fields::Fields;

#[derive(Debug, Default)]
pub(crate) struct Extra<'a> {
    zip64: Option<Fields<'a>>,
    pub modified_secs: Option<i64>,
}

const ZIP64: u16 = 0x0001;
const EXTENDED_TIMESTAMP: u16 = 0x5455;
const HAS_MODIFIED: u8 = 1;
/// All ones in a narrow field: the zip64 field has the value.
const UNSET: u32 = u32::MAX;

impl<'a> Extra<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EntryFlaw> {
        let mut extra = Self::default();
        let mut fields = Fields::new(bytes);
        // Up to three bytes behind the last field are padding that aligning writers leave.
        while let (Some(id), Some(length)) = (fields.u16(), fields.u16()) {
            let mut body = fields.bytes(length.into()).map(Fields::new).ok_or(EntryFlaw::ExtraField)?;
            match id {
                ZIP64 if extra.zip64.replace(body).is_some() => return Err(EntryFlaw::ExtraField),
                EXTENDED_TIMESTAMP => {
                    let flags = body.byte().unwrap_or_default();
                    let modified_secs = body.u32().map(|secs| i64::from(secs.cast_signed()));
                    extra.modified_secs = modified_secs.filter(|_| flags & HAS_MODIFIED != 0);
                }
                _ => {}
            }
        }
        Ok(extra)
    }

    /// Unpacked size, packed size and offset of a central header: each wide one is there if and only if its narrow one
    /// is unset.
    pub fn widen_central(mut self, narrow: [u32; 3]) -> Result<[u64; 3], EntryFlaw> {
        let mut wide = [0; 3];
        for (wide, narrow) in wide.iter_mut().zip(narrow) {
            *wide = if narrow == UNSET { self.next_wide()? } else { narrow.into() };
        }
        match self.zip64 {
            Some(rest) if rest.len() != 0 => Err(EntryFlaw::Zip64Sizes),
            _ => Ok(wide),
        }
    }

    /// Unpacked and packed size of a local header: here both wide ones must be there once one is, and the other must say
    /// the same as its narrow one.
    pub fn widen_local(mut self, narrow: [u32; 2]) -> Result<[u64; 2], EntryFlaw> {
        let mut sizes = narrow.map(u64::from);
        if self.zip64.is_none() {
            return if narrow.contains(&UNSET) { Err(EntryFlaw::Zip64Sizes) } else { Ok(sizes) };
        }
        for (size, narrow) in sizes.iter_mut().zip(narrow) {
            let wide = self.next_wide()?;
            if narrow != UNSET && wide != *size {
                return Err(EntryFlaw::LocalSizes);
            }
            *size = wide;
        }
        Ok(sizes)
    }

    fn next_wide(&mut self) -> Result<u64, EntryFlaw> {
        self.zip64.as_mut().and_then(Fields::u64).ok_or(EntryFlaw::Zip64Sizes)
    }
}
