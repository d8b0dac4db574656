//! Lines as programs write them: text, JSON and the platform's reports, the same ones in each run.

use base::Timestamp;

/// One line of so many is the rare one, which a literal finds.
const RARE_EVERY: u64 = 50_000;
/// What the rare line says, and no other.
pub const RARE: &str = "quota of volume vol-0e7731 is exceeded";
/// What a thousandth of the lines of text match, in the syntax that patterns, queries and grep share.
pub const TIMED_OUT: &str = "timed out after [0-9]+ ms";

const METHODS: &[&str] = &["GET", "GET", "GET", "POST", "PUT", "DELETE"];
const THINGS: &[&str] = &["orders", "customers", "invoices", "carts", "sessions", "payments"];
const SERVICES: &[&str] = &["checkout", "catalogue", "billing", "search", "mail"];

/// A stream's lines: so many, evenly over some time.
pub struct Lines {
    chance: u64,
    made: u64,
    count: u64,
    from_ms: i64,
    to_ms: i64,
}

pub struct Line {
    pub time_ms: i64,
    pub text: String,
}

impl Lines {
    /// Each `seed` gives other lines.
    pub fn new(seed: u64, count: u64, from: Timestamp, to: Timestamp) -> Self {
        let chance = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { chance, made: 0, count, from_ms: from.as_millis(), to_ms: to.as_millis() }
    }

    /// The next draw below `end` (xorshift64*).
    fn below(&mut self, end: u64) -> u64 {
        self.chance ^= self.chance >> 12;
        self.chance ^= self.chance << 25;
        self.chance ^= self.chance >> 27;
        (self.chance.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        let number = self.below(words.len() as u64) as usize;
        words.get(number).copied().unwrap_or_default()
    }

    /// A request's id.
    fn id(&mut self) -> String {
        let (high, low) = (self.below(1 << 31), self.below(1 << 31));
        let (middle, last) = (self.below(1 << 16), self.below(1 << 24));
        format!("{high:08x}-{middle:04x}-4{:03x}-9{:03x}-{low:08x}{:04x}", last >> 12, last & 0xfff, middle ^ 0x5a5a)
    }

    fn text(&mut self, time: &str) -> String {
        let (id, user, number) = (self.id(), self.below(10_000), self.below(1_000_000));
        let (method, thing, took) = (self.one_of(METHODS), self.one_of(THINGS), self.below(400) + 1);
        let head = format!("{time} {id}");
        if self.made % RARE_EVERY == 7 {
            return format!("{head} ERROR {RARE}: {method} /api/v1/{thing}/{number} of user-{user} is refused");
        }
        if self.below(1_000) == 0 {
            return format!(
                "{head} WARN {method} /api/v1/{thing}/{number} timed out after {} ms on db-{}",
                took * 25,
                user % 8
            );
        }
        let how = if self.below(3) == 0 { "from the database" } else { "from the cache" };
        let bytes = self.below(20_000);
        format!(
            "{head} INFO {method} /api/v1/{thing}/{number} took {took} ms for user-{user}, {bytes} bytes {how}, host ip-10-0-{}-{}",
            user % 8,
            number % 250
        )
    }

    fn json(&mut self, time: &str) -> String {
        let (id, user, number) = (self.id(), self.below(10_000), self.below(1_000_000));
        let (method, thing, service) = (self.one_of(METHODS), self.one_of(THINGS), self.one_of(SERVICES));
        let (level, status) = match self.below(1_000) {
            0 => ("error", 500),
            1..20 => ("warn", 404),
            20..100 => ("info", 201),
            _ => ("info", 200),
        };
        let millis = self.below(400) + 1;
        format!(
            r#"{{"time":"{time}","level":"{level}","service":"{service}","requestId":"{id}","method":"{method}","path":"/api/v1/{thing}/{number}","status":{status},"latency_ms":{millis},"user":{{"id":{user},"plan":"free"}}}}"#
        )
    }

    fn report(&mut self) -> String {
        let (id, whole, part) = (self.id(), self.below(900) + 1, self.below(100));
        format!(
            "REPORT RequestId: {id}\tDuration: {whole}.{part:02} ms\tBilled Duration: {} ms\tMemory Size: 128 MB\tMax Memory Used: {} MB\t",
            whole + 1,
            40 + part % 60
        )
    }
}

impl Iterator for Lines {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        if self.made == self.count {
            return None;
        }
        let passed = (self.to_ms - self.from_ms) as f64 * (self.made as f64 / self.count as f64);
        let time_ms = self.from_ms + passed as i64;
        let time = Timestamp::from_millis(time_ms).iso8601_millis();
        let text = match self.made % 20 {
            0 => self.report(),
            odd if odd % 2 == 1 => self.text(&time),
            _ => self.json(&time),
        };
        self.made += 1;
        Some(Line { time_ms, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_lines_again_and_each_has_what_is_looked_for() {
        let lines = |seed| {
            let (from, to) = (Timestamp::from_secs(1_000_000), Timestamp::from_secs(1_003_600));
            Lines::new(seed, 20_000, from, to).map(|line| line.text).collect::<Vec<_>>()
        };
        let made = lines(1);
        assert_eq!((made.len(), &made), (20_000, &lines(1)));
        assert_ne!(made, lines(2));
        let count = |has: &str| made.iter().filter(|line| line.contains(has)).count();
        assert_eq!(count(RARE), 1);
        assert_eq!(count("REPORT RequestId: "), 1_000);
        assert!(count(" timed out after ") > 0 && count("\"status\":500,") > 0);
        assert!(made.iter().filter(|line| line.starts_with('{')).all(|line| {
            serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value["status"].is_u64())
        }));
        assert!(made.iter().all(|line| !line.contains('\n')));
    }
}
