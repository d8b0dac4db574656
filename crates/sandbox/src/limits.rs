//! Every bound of this crate, with its reason.

use std::time::Duration;

/// How often it is looked at what a sandbox holds besides its `/tmp`: soon while that changes by so much, later and later while
/// it does not.
pub const HELD_LOOKED_AT_EVERY: Duration = Duration::from_millis(10);
pub const HELD_LOOKED_AT_EVERY_MAX: Duration = Duration::from_millis(160);
pub const HELD_CHANGE_BYTES: u64 = 1024 * 1024;

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

/// What one sandbox with egress sends: some twenty thousand packets and 600 Mbit a second, which is what AWS gives a
/// function, after a burst of some milliseconds' worth. A flood of small packets stops here.
pub const PACKETS_A_SECOND_MAX: u64 = 20_000;
pub const BURST_PACKETS: u32 = 2_000;
pub const BYTES_A_SECOND_MAX: u64 = 75_000_000;
pub const BURST_BYTES: u32 = 4_000_000;

/// Connections of one sandbox that the host keeps books of. A process may have 1,024 files open, and the closed linger.
pub const CONNECTIONS_MAX: u32 = 4_096;
pub const NEW_CONNECTIONS_A_SECOND_MAX: u64 = 1_000;

/// Queries for names of one sandbox that wait for an answer at once, and a second. AWS allows 1,024 packets a second.
pub const NAME_QUERIES_MAX: usize = 64;
pub const NAME_QUERIES_A_SECOND_MAX: u32 = 1_024;

/// A query for names, or an answer by UDP: the longest that anybody offers to take.
pub const NAME_BYTES_MAX: usize = 4_096;

/// Servers that end just as one begins, each of which makes it look again whether the host forwards.
pub const SERVERS_ENDING_MAX: u32 = 64;

/// What `pasta` may say of its failure.
pub const PASTA_WORDS_BYTES_MAX: usize = 2_048;

/// Mappings of a program of which an image is taken: a Python with everything has some hundreds.
pub const IMAGE_MAPPINGS_MAX: usize = 4_096;

/// What the kernel tells of those mappings, each with some twenty lines. A program can have more of them, and long names.
pub const IMAGE_MAPPINGS_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What it tells of anything else of a program, such as one descriptor: a set that waits on three hundred others.
pub const IMAGE_TEXT_BYTES_MAX: u64 = 32 * 1024;

/// And of all sockets of a sandbox, of some seven thousand.
pub const IMAGE_SOCKETS_BYTES_MAX: u64 = 1024 * 1024;

/// Names in a directory of the kernel's on a program: its threads or its descriptors, which have limits of their own.
pub const IMAGE_NAMES_MAX: usize = 1_024;

/// Names of files and the like in an image.
pub const IMAGE_DATA_BYTES: u64 = 64 * 1024;

/// Memory that an image holds, and addresses that its program may have mapped: what is looked through to find it.
pub const IMAGE_BYTES_MAX: u64 = 512 * 1024 * 1024;
pub const IMAGE_ADDRESSES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// Parts of memory that a filter tells apart, of which a clone can give nothing back: it looks at one after the other.
pub const IMAGE_KEPT_MAX: usize = 64;

/// Pieces of an image that clones have copied beforehand: some hundred in a Python. They travel in one message.
pub const IMAGE_WRITTEN_MAX: usize = 2_000;
pub const IMAGE_WRITTEN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Threads of a program of which an image is taken, and how many numbers from the main one's on they take up: a Java
/// virtual machine has some twenty.
pub const IMAGE_THREADS_MAX: usize = 256;
pub const IMAGE_NUMBERS_MAX: u32 = 2_000;

/// What a pipe of a program's own may hold: a byte, where it is a lock.
pub const IMAGE_PIPE_BYTES_MAX: usize = 512;

/// Programs that run and are looked at at once, to take an image of them or learn from them, and those that become one.
/// Each of the former may take as long as one may, and an image's memory meanwhile.
pub const IMAGE_LOOKS_MAX: usize = 4;
pub const IMAGE_RESUMES_MAX: usize = 32;

/// Who waits for either.
pub const IMAGE_WAITING_MAX: usize = 256;

/// How long taking an image or becoming one may last, on a busy host.
pub const IMAGE_SECONDS_MAX: u32 = 10;
