//! What a function is told that misses what AWS ships.

use super::Instance;
use crate::environment::{Event, Said, Source};
use crate::logs::Written;

impl Instance {
    /// Says in the log of a function that misses an SDK how to put it in place, in the server's once an instance, and lets
    /// an instance that could not see it go.
    pub(super) async fn advise(&mut self, said: &Said, lines: &mut Vec<Written>) {
        if let Said::InitError { body, .. } | Said::Failed { body, .. } = said
            && let Some(advice) = self.advice.on(body)
        {
            self.is_outdated |= self.advice.is_outdated();
            if !std::mem::replace(&mut self.is_advised, true) {
                tracing::warn!(group = self.log.group, stream = self.log.name, "{advice}");
            }
            // After what the function says of its error itself.
            self.output.read_out(lines);
            self.write(lines).await;
            self.step(Event::Output(Source::Function, format!("{advice}\n"))).await;
        }
    }
}
