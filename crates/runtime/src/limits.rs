//! Every bound of this crate, with its reason.

use std::time::Duration;

/// How long an instance is kept that nobody calls.
pub const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(600);

/// Lambda's time for the first init, extensions included.
pub const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Lambda's time for the init of a provisioned instance, unless its function's timeout is longer.
pub const INIT_TIMEOUT_PROVISIONED: Duration = Duration::from_secs(130);

/// Lambda's time for a snapshot to be restored, the hooks that run then included.
pub const RESTORE_TIMEOUT: Duration = Duration::from_secs(10);

/// For how long the key is good that the init of a snapshot is given, as it is told: shorter than SDKs keep one, so that those
/// who begin with the snapshot ask for their own. And what they are told of theirs.
pub const SNAPSHOT_KEY_EXPIRES: Duration = Duration::from_secs(300);
pub const KEY_EXPIRES: Duration = Duration::from_secs(6 * 3_600);

/// Lambda's limit of a response that is not streamed: 6 MiB, and 100 bytes.
pub const RESPONSE_BYTES_MAX: u64 = 6_291_556;

/// Lambda's limit of a response that is streamed.
pub const STREAMED_BYTES_MAX: u64 = 200 * 1024 * 1024;

/// The end of a log that comes with an answer.
pub const LOG_TAIL_BYTES: usize = 4 * 1024;

/// How often a runtime is started in one sandbox before the sandbox is made anew: a function that crashes in each
/// invocation still gets its `/tmp` back most of the time, and a sandbox runs a limited number of programs.
pub const STARTS_MAX: u32 = 32;

/// What a runtime may send of a response before the host lets it send more (`docs/decisions/0007-runtime-frames.md`).
/// What waits for a slow caller is never more.
pub const CREDIT_BYTES: u64 = 262_144;

/// A message of a runtime that is not an event, a response or an error.
pub const HEAD_MESSAGE_BYTES_MAX: usize = 65_536;

/// One event of a log: CloudWatch's limit.
pub const LOG_EVENT_BYTES_MAX: usize = 256 * 1024;

/// What waits of the log pipe for its marks on standard output.
pub const MARKED_BYTES_MAX: usize = 1024 * 1024;

/// What a runtime hands over for later instances of its version: 32 MiB, and an index.
pub const PREPARED_MESSAGE_BYTES_MAX: usize = 40 * 1024 * 1024;

/// Runtimes of the whole server that hand it over at once: each may fill the server's memory by so much.
pub const HANDOVERS_MAX: usize = 2;

/// How long a runtime may take to do so; an idle instance is stopped then where it stands.
pub const PREPARE_BEFORE_FREEZE_MAX: Duration = Duration::from_secs(2);

/// What unpacked code may take of the disk before code that runs nowhere is deleted.
pub const CODE_CACHE_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// The same for what was prepared of code, which is made again when it is wanted.
pub const PREPARED_CACHE_BYTES: u64 = 1024 * 1024 * 1024;

/// What a kept file takes of the disk besides its bytes: its folder, and the end of its last block.
pub const PREPARED_FILE_BYTES: u64 = 8 * 1024;

/// Releases of which is remembered that they do without what was prepared. Those of before try it again.
pub const REJECTED_MAX: usize = 4_096;

/// A zip up to here is read into memory to be unpacked.
pub const READ_ZIP_BYTES: u64 = 16 * 1024 * 1024;

/// Interpreters that are kept of those found.
pub const INTERPRETERS_MAX: usize = 256;

/// How long an interpreter may take to tell its version: a shim that hangs must not keep every cold start waiting.
pub const INTERPRETER_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections to one sandbox's Runtime API: a runtime, its pollers and ten extensions need fewer.
pub const API_CONNECTIONS_MAX: usize = 64;

/// Requests to it that wait to be looked at.
pub const API_REQUESTS_MAX: usize = 64;

/// Bodies of requests to it that are held as a whole, of 6 MiB each at most: a runtime sends one after the other.
pub const API_WHOLE_BODIES_MAX: usize = 2;

/// The head of a request to it: AWS allows 1 MB for the cause of a traced error.
pub const API_HEAD_BYTES_MAX: usize = 1_152 * 1024;

/// Instances of the whole server, idle ones too. Memory ends before on most machines.
pub const INSTANCES_MAX: usize = 10_000;

/// How long an idle instance runs on before it is stopped where it stands: long enough that a stream of requests never
/// pays for it.
pub const FREEZE_AFTER: Duration = Duration::from_millis(20);

/// How long killing a sandbox's processes may take before the sandbox is given up.
pub const CLEAR_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a function's name is in its sandbox's.
pub const NAME_CHARS_MAX: usize = 40;

/// How long a whole response waits for its runtime to ask for the next event. Most ask at once; a caller that answers
/// faster than that would find no instance free, and pay for a cold start.
pub const ANSWER_HELD_MAX: Duration = Duration::from_millis(5);

/// What is read of a request's body that nobody wants.
pub const API_DRAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a Runtime API that could not take a connection waits before it tries again.
pub const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// What a room may hold while it is parked; its function's limit comes with the function.
pub const PARK_MEMORY_BYTES: u64 = 1024 * 1024 * 1024;

/// How often the log says that invocations are refused for want of memory.
pub const REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(10);

/// How often the dispatcher is told what memory the host has; in haste while instances are being started, or it is short.
pub const MEMORY_TOLD_EVERY: Duration = Duration::from_secs(1);
pub const MEMORY_TOLD_EVERY_IN_HASTE: Duration = Duration::from_millis(100);

/// After how much time of invocations it is looked at what an instance has had of a processor: a call of the kernel.
pub const CPU_LOOKED_AT_EVERY: Duration = Duration::from_millis(50);

/// How often it is looked at whether cores have anything left, while somebody asks; and what is too long ago to compare with.
pub const CORES_LOOKED_AT_EVERY: Duration = Duration::from_millis(100);
pub const CORES_GLANCED_AT_EVERY: Duration = Duration::from_millis(1);
pub const CORES_SEEN_MAX: Duration = Duration::from_secs(1);

/// How often it is looked at whether an init computes, and what share of that time it must have had of a processor, as
/// one of many. One that has less waits for something else, so another one may start.
pub const INIT_LOOKED_AT_EVERY: Duration = Duration::from_millis(20);
pub const INIT_COMPUTES_FROM_PERCENT: u32 = 2;

/// How often it is looked at: after that time it keeps nobody from starting anyway.
pub const INIT_LOOKS_MAX: u32 = 150;

/// From when on less often: it computes for long.
pub const INIT_LOOKED_AT_OFTEN: u32 = 8;
pub const INIT_LOOKED_AT_LATER_EVERY: Duration = Duration::from_millis(100);

/// The share of the CPU that what is made ahead has against what is asked for, in thousandths of a processor: little, but
/// not so little that a busy host never makes any.
pub const AHEAD_CPU_MILLIS: u32 = 50;

/// How long a program is waited for that is to be led to another folder, and does not wait in a syscall yet.
pub const LEAD_WITHIN: Duration = Duration::from_millis(500);
pub const LEAD_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// Rooms of one kind that are parked, however seldom and however often it is wanted, and those of all kinds.
pub const PARKED_PER_KIND: u32 = 2;
pub const PARKED_PER_KIND_MAX: u32 = 16;
pub const PARKED_MAX: u32 = 32;

/// Rooms that are made ahead at the same time: so that a slow one keeps no quick one waiting.
pub const PARKED_AT_ONCE: u32 = 2;

/// How often it is looked at whether those that are held still live.
pub const PARKED_LOOKED_AT_EVERY: Duration = Duration::from_secs(10);

/// How long making rooms ahead waits for instances that are being started.
pub const PARK_AFTER_LAUNCH_MAX: Duration = Duration::from_millis(100);

/// What images hold together; their clones share it. Of a small machine or limit, that part at most.
pub const IMAGES_BYTES_MAX: u64 = 1024 * 1024 * 1024;
pub const IMAGES_PART_MAX: u64 = 32;

/// Of that, what images of runtimes that wait may hold: one is some megabytes, and each account has its own.
pub const IMAGES_OF_WAITING_PART: u64 = 4;

/// Accounts of which is known that they could use one, or have one; each of AWS's runtimes counts.
pub const IMAGES_KNOWN_MAX: usize = 64;

/// So many starts of an account that find nothing parked, within such a time, make it worth to have an image.
pub const IMAGE_MISSES: u32 = 3;
pub const IMAGE_MISSES_WITHIN: Duration = Duration::from_secs(10);

/// How long one is kept that nobody wants, and any: then its account's seed of hashes is another.
pub const IMAGE_UNWANTED_AFTER: Duration = Duration::from_secs(600);
pub const IMAGE_KEPT_MAX: Duration = Duration::from_secs(3_600);

/// How long it is not tried again where it failed.
pub const IMAGE_RESTS_FOR: Duration = Duration::from_secs(600);

/// How often it is looked at whether any is to go, while there are some.
pub const IMAGES_LOOKED_AT_EVERY: Duration = Duration::from_secs(60);

/// With less of the memory to spare, no template is made: a gigabyte, or of a small machine or limit a quarter.
pub const MEMORY_SPARE_BYTES: u64 = 1024 * 1024 * 1024;
pub const MEMORY_SPARE_PART: u64 = 4;

/// Of a limit of memory, what is kept for the server itself, images of templates included: sandboxes together never get
/// it. At least so much.
pub const SERVER_PART: u64 = 16;
pub const SERVER_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// The least limit that leaves functions something.
pub const MEMORY_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// Of the memory, what instances leave free.
pub const SPARE_PERCENT: u32 = 10;

/// What a parked room holds, about. Under a limit of memory, all of them have the same part of it as images.
pub const PARKED_BYTES: u64 = 10 * 1024 * 1024;

/// Instances that are weighed each time that memory is told, of those that start or run for the first time.
pub const WEIGHED_AT_ONCE_MAX: usize = 64;

/// Snapshots that are made at once: each is an init, which takes a processor. One that is not done in this time goes on
/// beside the next.
pub const SNAPSHOTS_AT_ONCE_MAX: usize = 4;
pub const SNAPSHOT_BUSY_FOR: Duration = Duration::from_secs(10);

/// Inits that go on so, of all accounts and of one.
pub const SNAPSHOTS_GOING_MAX: usize = 32;
pub const SNAPSHOTS_OF_ACCOUNT_MAX: usize = 16;

/// How often an init is begun that is killed, nobody knows by whom, before that is the function's failure.
pub const SNAPSHOT_KILLED_TRIES_MAX: u32 = 3;

/// Who was killed by its own limit of memory has held all of it but for this at some time.
pub const MEMORY_PEAK_SLACK_BYTES: u64 = 4 * 1024 * 1024;

/// How long a version that is published waits for memory, and how often it looks.
pub const SNAPSHOT_MEMORY_PAUSE: Duration = Duration::from_secs(1);
pub const SNAPSHOT_MEMORY_TRIES_MAX: u32 = 10;

/// Versions of which is remembered that they have a template, or cannot have one.
pub const TEMPLATES_KNOWN_MAX: usize = 1_024;

/// How long a template is kept that nobody wants: as long as its clones are.
pub const TEMPLATE_UNWANTED_AFTER: Duration = Duration::from_secs(3_600);

/// What loading a function may print, to be printed for each of its clones.
pub const TEMPLATE_PRINTED_BYTES_MAX: usize = 64 * 1024;

/// How often a template is looked at that has said it waits, and does not yet.
pub const TEMPLATE_TRIES_MAX: u32 = 200;

/// Functions that wait to be made ready.
pub const EXPECTED_MAX: usize = 64;

/// How long starting a sandbox may take.
pub const SANDBOX_START_TIMEOUT: Duration = Duration::from_secs(30);

/// Lambda's limit of extensions, external and internal together.
pub const EXTENSIONS_MAX: usize = 10;

/// Lambda's time for the shutdown of an environment with external extensions, and the runtime's part of it.
pub const SHUTDOWN_EXTERNAL: Duration = Duration::from_millis(2_000);
pub const SHUTDOWN_RUNTIME: Duration = Duration::from_millis(300);

/// The part of it in which subscribers of telemetry get what is left, before they are told of the end.
pub const SHUTDOWN_TELEMETRY: Duration = Duration::from_millis(500);

/// Lambda's time for the shutdown of an environment with internal extensions alone.
pub const SHUTDOWN_INTERNAL: Duration = Duration::from_millis(500);

/// A request of an extension: a name, a few events, a destination.
pub const EXTENSION_BODY_BYTES_MAX: usize = 64 * 1024;

/// An extension's name: a file's.
pub const EXTENSION_NAME_BYTES_MAX: usize = 255;

/// Entries of `/opt/extensions` that are looked at.
pub const EXTENSION_FILES_MAX: usize = 1_024;

/// What an init tells before anybody has subscribed is kept up to here.
pub const INIT_TELEMETRY_BYTES_MAX: usize = 1024 * 1024;

/// How long a subscriber may take for one batch before it gets it again.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait before a batch is offered again, at first and at most.
pub const DELIVERY_PAUSE_FIRST: Duration = Duration::from_millis(20);
pub const DELIVERY_PAUSE_MAX: Duration = Duration::from_millis(1_000);

/// How often a batch is offered: some ten seconds, in which whoever subscribes first may begin to listen.
pub const DELIVERY_TRIES_MAX: u32 = 16;

/// What is read of a subscriber's reply.
pub const DELIVERY_REPLY_BYTES_MAX: usize = 64 * 1024;

/// How long an idle instance runs on for its subscribers' sake, until they have all that was told.
pub const DELIVERY_BEFORE_FREEZE_MAX: Duration = Duration::from_millis(500);

/// How far into the words of a function's error is looked for an SDK that it misses.
pub const ERROR_BYTES_READ: usize = 8 * 1024;

/// How much of a missing package's name is repeated.
pub const PACKAGE_CHARS_MAX: usize = 100;
