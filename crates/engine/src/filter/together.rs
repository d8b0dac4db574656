//! Many patterns at once: those of JSON read a message in one pass, however many they are.
//!
//! **Invariant:** each pattern says what it says alone.

use super::json::{Selector, Trial, place};
use super::scan::scan;
use super::{Filter, Language};

/// The fields of a match, by their names.
pub type Fields = Vec<(String, String)>;

/// What patterns of JSON look for together.
#[derive(Debug, Clone, Default)]
pub struct Together {
    /// Each once.
    selectors: Vec<Selector>,
    /// Of each selector, which patterns ask for it, and by which of their own.
    asked: Vec<Vec<(usize, usize)>>,
}

impl Together {
    pub fn new<'f>(filters: impl Iterator<Item = &'f Filter>) -> Together {
        let mut together = Together::default();
        for (number, filter) in filters.enumerate() {
            let Language::Json(json) = &filter.language else { continue };
            for (own, selector) in json.selectors().iter().enumerate() {
                let shared = place(&mut together.selectors, selector.clone());
                if shared >= together.asked.len() {
                    together.asked.push(Vec::new());
                }
                together.asked.get_mut(shared).into_iter().for_each(|asked| asked.push((number, own)));
            }
        }
        together
    }

    /// What [`Filter::extract`] says of each of the patterns, which are those that this was made of, in their order.
    pub fn extract<'f>(&self, filters: impl Iterator<Item = &'f Filter>, message: &str) -> Vec<Option<Fields>> {
        let (mut extracted, mut trials) = (Vec::new(), Vec::new());
        for filter in filters {
            match &filter.language {
                Language::Json(json) => {
                    trials.push(filter.has_needle(message).then(|| Trial::new(json)));
                    extracted.push(None);
                }
                _ => {
                    trials.push(None);
                    extracted.push(filter.extract(message));
                }
            }
        }
        if trials.iter().all(Option::is_none) {
            return extracted;
        }
        let is_json = scan(message, &self.selectors, &mut |selector, node| {
            for (number, own) in self.asked.get(selector).into_iter().flatten() {
                if let Some(Some(trial)) = trials.get_mut(*number) {
                    trial.meet(*own, node);
                }
            }
        });
        for (extracted, trial) in extracted.iter_mut().zip(trials) {
            *extracted = trial.filter(|_| is_json).map_or(extracted.take(), Trial::finish);
        }
        extracted
    }
}
