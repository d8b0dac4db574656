//! The real services in virtual time: asynchronous events and mappings of queues, with functions that answer as their names
//! say. Hours pass in moments, and what should happen at a second happens at that second.

// All of it is test code, the functions that the tests share too.
#![cfg(test)]

mod bed;
mod mappings;
mod retries;
mod tenants;
#[path = "../support/world.rs"]
mod world;
