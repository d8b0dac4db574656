//! Filter patterns, as operations take them.

use std::sync::Arc;

use base::AwsError;
use chronicle::{Candidates, Test};
use engine::filter::{Filter, Kind};

use super::errors;

struct Filtering(Filter);

impl Test for Filtering {
    fn candidates<'m>(&'m self, messages: &'m [u8]) -> Option<Candidates<'m>> {
        self.0.needles().next()?;
        let mut candidates = self.0.candidates(messages);
        Some(Box::new(move |from| candidates.next_from(from)))
    }

    fn admits(&self, message: &str) -> bool {
        self.0.matches(message)
    }
}

/// The test that a pattern is; `None` if it admits everything.
pub fn parse(pattern: &str) -> Result<Option<Arc<dyn Test>>, AwsError> {
    let filter = Filter::parse(pattern).map_err(|malformed| errors::invalid_parameter(malformed.to_string()))?;
    Ok(match filter.kind() {
        Kind::Everything => None,
        _ => Some(Arc::new(Filtering(filter))),
    })
}

/// Live tail says before it what is wrong.
pub fn in_live_tail(error: &AwsError) -> AwsError {
    let known = "Invalid filter pattern";
    match error.message.starts_with(known) {
        true => error.clone(),
        false => errors::invalid_parameter(format!("{known}: {}", error.message)),
    }
}
