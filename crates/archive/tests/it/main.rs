//! The reader against archives that we build byte by byte, that real tools wrote, and that chance bent.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod odd;
#[cfg(test)]
mod race;
#[cfg(test)]
mod random;
#[cfg(test)]
mod real;
#[cfg(test)]
mod tree;
#[cfg(test)]
mod zip;
