//! Events that wait for their function: where one lies ([`shards`]), which is taken next ([`turns`]), how many attempts run
//! at once ([`pace`]), and when one is tried again or given up ([`retry`]).

pub mod pace;
pub mod retry;
pub mod shards;
pub mod turns;
