//! What the store keeps beside and above its rows, on a real disk: blobs, streams, sealed secrets, backups.
#![cfg(test)]

mod backup;
mod formats;
