//! What decoding one body may still cost.

use std::fs::File;
use std::io;

use super::DecodeError;
use crate::limits::{BODY_DEPTH_MAX, BODY_ELEMENT_COUNT_MAX, BODY_TEXT_BYTES_MAX};

/// Counts down while a body is decoded; every decoder charges before it allocates.
pub struct Budget<'a> {
    depth_left: u32,
    element_count_left: usize,
    text_bytes_left: usize,
    pub spool: &'a dyn Fn() -> io::Result<File>,
}

impl<'a> Budget<'a> {
    pub fn new(spool: &'a dyn Fn() -> io::Result<File>) -> Self {
        Self {
            depth_left: BODY_DEPTH_MAX,
            element_count_left: BODY_ELEMENT_COUNT_MAX,
            text_bytes_left: BODY_TEXT_BYTES_MAX,
            spool,
        }
    }

    pub fn descend(&mut self) -> Result<(), DecodeError> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or(DecodeError::TooLarge("the body nests too deeply"))?;
        Ok(())
    }

    pub fn ascend(&mut self) {
        self.depth_left = self.depth_left.saturating_add(1);
    }

    pub fn charge_elements(&mut self, count: usize) -> Result<(), DecodeError> {
        let left = self.element_count_left.checked_sub(count);
        self.element_count_left = left.ok_or(DecodeError::TooLarge("the body has too many elements"))?;
        Ok(())
    }

    pub fn charge_text(&mut self, bytes: usize) -> Result<(), DecodeError> {
        let left = self.text_bytes_left.checked_sub(bytes);
        self.text_bytes_left = left.ok_or(DecodeError::TooLarge("the body has too much text"))?;
        Ok(())
    }

    /// How much more text is allowed.
    pub fn text_bytes_left(&self) -> usize {
        self.text_bytes_left
    }
}
