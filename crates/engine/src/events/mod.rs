//! Events that wait for their function: when one is tried again or given up ([`retry`]), and how many attempts run at once
//! ([`pace`]).

pub mod pace;
pub mod retry;
