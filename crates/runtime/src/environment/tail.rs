//! The last bytes of an invocation's log, for callers that want them with the answer.

use crate::limits::LOG_TAIL_BYTES;

#[derive(Debug, Default)]
pub struct Tail(Vec<u8>);

impl Tail {
    pub fn push(&mut self, text: &str) {
        let text = text.as_bytes();
        let text = text.get(text.len().saturating_sub(LOG_TAIL_BYTES)..).unwrap_or_default();
        let surplus = self.0.len().saturating_add(text.len()).saturating_sub(LOG_TAIL_BYTES);
        self.0.drain(..surplus.min(self.0.len()));
        self.0.extend_from_slice(text);
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_stays() {
        let mut tail = Tail::default();
        tail.push("first");
        tail.push(&"x".repeat(LOG_TAIL_BYTES - 1));
        assert_eq!(tail.0.len(), LOG_TAIL_BYTES);
        assert!(tail.0.starts_with(b"tx"));
        tail.push(&"y".repeat(LOG_TAIL_BYTES + 5));
        assert!(tail.0.iter().all(|byte| *byte == b'y') && tail.0.len() == LOG_TAIL_BYTES);
    }
}
