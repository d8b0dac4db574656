//! Every bound of this crate, with its reason.

/// Programs of one sandbox that run, or have exited without anybody taking the event: a runtime and ten extensions,
/// several times over.
pub const PROGRAMS_MAX: usize = 64;

/// Descriptors that one program is given, besides its standard ones. One message carries at most 253.
pub const GRANTS_MAX: usize = 32;

/// The highest number under which a program may find a descriptor.
pub const GRANT_NUMBER_MAX: u16 = 255;

/// Directories mounted into one sandbox: code, five layers, runtime, interpreter, SDKs, and room.
pub const MOUNTS_MAX: usize = 32;

/// Loopback ports on which the host listens inside one sandbox.
pub const LISTENERS_MAX: usize = 8;

/// One message between the server, its spawner and a sandbox's init. Environment and arguments of a program travel in
/// one; AWS allows a function 4 KiB of environment, and what the platform adds is smaller.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;
