//! Both backends under the conformance suite, a model, concurrency, failure and death.
#![cfg(test)]

mod backends;
mod cache;
mod embedded;
mod kill;
mod model;
