//! Base64, also piecewise: a 50 MB archive in a JSON string is never held as a whole.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;

use super::DecodeError;
use super::budget::Budget;
use crate::limits::BLOB_INLINE_BYTES_MAX;
use crate::{Blob, Spool};

/// How many encoded bytes are decoded at once; a multiple of four.
const STEP_BYTES: usize = 48 << 10;

pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let len = ::base64::encoded_len(bytes.len(), true).unwrap_or(0);
    out.resize(start.saturating_add(len), 0);
    if let Some(room) = out.get_mut(start..) {
        STANDARD.encode_slice(bytes, room).ok();
    }
}

pub fn decode(text: &[u8]) -> Result<Vec<u8>, DecodeError> {
    STANDARD.decode(text).map_err(|error| refuse(text.len(), &error))
}

fn refuse(len: usize, error: &::base64::DecodeError) -> DecodeError {
    DecodeError::Mismatch(match error {
        _ if !len.is_multiple_of(4) => {
            format!("Base64 encoded length is expected a multiple of 4 bytes but found: {len}")
        }
        // Sic: AWS spells it so.
        ::base64::DecodeError::InvalidLastSymbol(..) | ::base64::DecodeError::InvalidPadding => {
            "Invalid last non-pad Base64 character dectected".into()
        }
        _ => "Invalid Base64 character in a blob".into(),
    })
}

/// Takes base64 piece by piece; memory while small, a spool beyond that.
#[derive(Default)]
pub struct Decoder {
    /// Encoded bytes not yet decoded.
    pending: Vec<u8>,
    encoded_len: usize,
    /// Padding was seen: nothing may follow.
    ended: bool,
    memory: Vec<u8>,
    file: Option<File>,
    file_len: u64,
}

impl Decoder {
    pub fn push(&mut self, mut piece: &[u8], budget: &mut Budget<'_>) -> Result<(), DecodeError> {
        self.encoded_len = self.encoded_len.saturating_add(piece.len());
        while !piece.is_empty() {
            let room = STEP_BYTES.saturating_sub(self.pending.len());
            let (head, rest) = piece.split_at(room.min(piece.len()));
            self.pending.extend_from_slice(head);
            piece = rest;
            if self.pending.len() >= STEP_BYTES {
                self.flush(budget)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, budget: &mut Budget<'_>) -> Result<(), DecodeError> {
        if self.ended && !self.pending.is_empty() {
            return Err(refuse(4, &::base64::DecodeError::InvalidPadding));
        }
        self.ended = self.pending.last() == Some(&b'=');
        let decoded = STANDARD.decode_vec(&self.pending, &mut self.memory);
        decoded.map_err(|error| refuse(self.encoded_len, &error))?;
        self.pending.clear();
        if self.file.is_none() && self.memory.len() > BLOB_INLINE_BYTES_MAX {
            self.file = Some((budget.spool)().map_err(DecodeError::Spool)?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.memory).map_err(DecodeError::Spool)?;
            self.file_len = self.file_len.saturating_add(self.memory.len() as u64);
            self.memory.clear();
        }
        Ok(())
    }

    pub fn finish(mut self, budget: &mut Budget<'_>) -> Result<Blob, DecodeError> {
        self.flush(budget)?;
        match self.file {
            Some(file) => Ok(Blob::Spooled(Arc::new(Spool { file, len: self.file_len }))),
            None => {
                budget.charge_text(self.memory.len())?;
                Ok(self.memory.into())
            }
        }
    }
}
