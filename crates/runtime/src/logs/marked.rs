//! Frames that have a mark on standard output, and wait for it.
//!
//! Marks have no names: the first that is found is the first frame's. Where two threads or processes write at once, either
//! order is right.

use std::collections::VecDeque;

use base::Timestamp;

use super::Written;
use crate::environment::Source;
use crate::limits::MARKED_BYTES_MAX;

/// Frames that have marks, and the marks that were found.
#[derive(Default)]
pub struct Marked {
    frames: VecDeque<Frame>,
    /// What they hold of memory.
    pub bytes: usize,
    /// Behind how many of the events that are being read each mark stood.
    pub places: Vec<usize>,
    /// Frames that waited too long, so their marks mean nothing.
    overdue: usize,
    /// The last frame that was placed goes on.
    is_midway: bool,
}

/// A frame, or a part of one that is too long for one event. Without text it makes no event, and waits for its mark alone.
pub struct Frame {
    pub text: String,
    pub time: Timestamp,
    /// Its mark comes behind it.
    pub is_last: bool,
}

impl Frame {
    /// What it takes of memory while it waits.
    fn held_bytes(&self) -> usize {
        self.text.capacity().saturating_add(size_of::<Frame>())
    }
}

impl From<Frame> for Written {
    fn from(frame: Frame) -> Written {
        Written { source: Source::Function, text: frame.text, time: Some(frame.time) }
    }
}

impl Marked {
    /// Nothing is to be placed now.
    pub fn is_calm(&self) -> bool {
        self.places.is_empty() && self.bytes <= MARKED_BYTES_MAX
    }

    pub fn push(&mut self, frame: Frame, events: &mut Vec<Written>) {
        if self.is_midway {
            self.is_midway = !frame.is_last;
            return events.push(frame.into());
        }
        self.bytes = self.bytes.saturating_add(frame.held_bytes());
        self.frames.push_back(frame);
    }

    /// Puts the frame of each mark where the mark stood.
    pub fn place(&mut self, events: &mut Vec<Written>) {
        let mut rest = std::mem::take(events).into_iter();
        let mut taken = 0_usize;
        for place in std::mem::take(&mut self.places) {
            events.extend(rest.by_ref().take(place.saturating_sub(taken)));
            taken = place;
            match self.overdue.checked_sub(1) {
                Some(overdue) => self.overdue = overdue,
                None => self.pop(events),
            }
        }
        events.extend(rest);
    }

    /// Adds the first frame.
    fn pop(&mut self, events: &mut Vec<Written>) {
        while let Some(frame) = self.frames.pop_front() {
            self.bytes = self.bytes.saturating_sub(frame.held_bytes());
            self.is_midway = !frame.is_last;
            if !frame.text.is_empty() {
                events.push(frame.into());
            }
            if !self.is_midway {
                break;
            }
        }
    }

    #[cfg(test)]
    pub fn frames_count(&self) -> usize {
        self.frames.len()
    }

    /// Adds frames without their marks, while more wait than may.
    pub fn give_up(&mut self, events: &mut Vec<Written>, bytes_max: usize) {
        while self.bytes > bytes_max {
            self.pop(events);
            self.overdue = self.overdue.saturating_add(1);
        }
    }
}
