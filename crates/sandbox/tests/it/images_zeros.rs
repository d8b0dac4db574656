//! Memory that a clone gives back to the kernel. Allocators (jemalloc is one) take what they gave back for zeros, so it
//! must be zeros afterwards, or the kernel must have said that it was not given back.
//!
//! Regression test for clones that got the image's contents there, and for memory that ended with the image's when it
//! was made larger.

use std::path::Path;

use sandbox::{Image, Isolation, Mount, Program, Sandbox, Spec};

use crate::common::{isolation, isolation_without_root, public_folder, soon, spec};
use crate::images::{Running, python, resume_in, take, template, works_here};

/// Makes areas of each kind, and afterwards tells what of them is wrong.
const AREAS: &str = "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for name in ('mmap', 'mremap', 'sbrk', 'malloc', 'realloc'): getattr(libc, name).restype = ctypes.c_void_p
number = ctypes.c_size_t
SIZE, GROWN, FULL = 64 * 4096, 16 << 20, b'Z'
def area(at=0, flags=0x22):
    return libc.mmap(number(at), number(SIZE), 3, flags, -1, number(0))
def full(at, size=SIZE):
    ctypes.memset(at, FULL[0], size)
    return at
def read(at, size=SIZE):
    return bytes(sorted(set(ctypes.string_at(at, size))))
def advise(at, advice):
    return libc.madvise(number(at), number(SIZE), advice) == 0
ADVICES = {'dontneed': 4, 'free': 8, 'remove': 9, 'cold': 20, 'pageout': 21, 'dontneed_locked': 24}
def make():
    made = {name: full(area()) for name in [*ADVICES, 'remap', 'moved', 'again', 'over', 'fork', 'thread', 'read']}
    made['heap'] = full(libc.malloc(number(GROWN // 8)), GROWN // 8)
    libc.mprotect(number(made['read']), number(SIZE), 1)
    return made
made = make()
asked, done = threading.Event(), threading.Event()
def work():
    asked.wait()
    global of_thread
    of_thread = given_back('thread')
    done.set()
threading.Thread(target=work, daemon=True).start()
def given_back(name):
    was_done, seen = advise(made[name], 4), read(made[name])
    return [] if seen == (b'\\0' if was_done else FULL) else [(name, was_done, seen)]
def refused():
    return [name for name in ('dontneed', 'dontneed_locked') if not advise(made[name], ADVICES[name])]
def wrong():
    found = []
    for name, advice in ADVICES.items():
        was_done, seen = advise(made[name], advice), read(made[name])
        fine = {'dontneed': [b'\\0'], 'dontneed_locked': [b'\\0'], 'free': [FULL, b'\\0', b'\\0' + FULL]}.get(name, [FULL])
        if seen not in (fine if was_done else [FULL]): found.append((name, was_done, seen))
    grown = libc.mremap(number(made['remap']), number(SIZE), number(GROWN), 1)
    if grown not in (None, 2**64 - 1):
        if read(grown) != FULL or read(grown + SIZE, GROWN - SIZE) != b'\\0': found.append('remap')
    elif read(made['remap']) != FULL: found.append('remap failed')
    to = area()
    moved = libc.mremap(number(made['moved']), number(SIZE), number(SIZE), 3, number(to))
    if moved == to:
        made['moved'] = moved
        found += given_back('moved')
    heap = libc.realloc(number(made['heap']), number(GROWN))
    if read(heap, GROWN // 8) != FULL or read(full(heap, GROWN), GROWN) != FULL: found.append('heap')
    libc.munmap(number(made['again']), number(SIZE))
    if read(area(made['again'], 0x32)) != b'\\0': found.append('again')
    if read(area(made['over'], 0x32)) != b'\\0': found.append('over')
    found += given_back('read')
    pid = os.fork()
    if pid == 0: os._exit(len(given_back('fork')))
    if os.waitpid(pid, 0)[1] != 0: found.append('fork')
    asked.set()
    done.wait()
    found += of_thread
    fresh = full(area())
    if not advise(fresh, 4) or read(fresh) != b'\\0': found.append('fresh')
    if read(top) != FULL or libc.sbrk(ctypes.c_ssize_t(-SIZE)) != top + SIZE: found.append('the heap has another end')
    elif libc.sbrk(ctypes.c_ssize_t(SIZE)) != top or read(top) != b'\\0': found.append('break')
    return found
ALONE = 'import ctypes, mmap; m = mmap.mmap(-1, 1 << 20, flags=0x22); m.write(bytes([9]) * 4096); m.madvise(4); assert m[0] == 0'
def exec_is_well():
    return os.waitpid(os.posix_spawn('/usr/bin/python3', ['python3', '-I', '-S', '-c', ALONE], {}), 0)[1]
# The C library takes so much ahead that the end of the heap stays ours.
for what, value in ((-3, 1 << 17), (-1, 1 << 30), (-2, 64 << 20)): libc.mallopt(what, value)
for at in [libc.malloc(number(120000)) for _ in range(8)]: libc.free(ctypes.c_void_p(at))
libc.sbrk(ctypes.c_ssize_t(-libc.sbrk(0) % 4096))
top = full(libc.sbrk(ctypes.c_ssize_t(SIZE)))
";

const OTHER: &str = "/var/task/other";

fn spec_with(folder: &Path) -> Spec {
    let mounts = vec![Mount { host: folder.to_owned(), inside: "/var/task".into() }];
    Spec { mounts, ..spec("zeros") }
}

async fn room(isolation: &Isolation, folder: &Path) -> Sandbox {
    soon(isolation.start(spec_with(folder))).await.unwrap()
}

async fn clone(isolation: &Isolation, folder: &Path, image: &Image, program: &str) -> Running {
    let program = Program::new([program, "-I", "-S", "-c", "import signal; signal.pause()"]).directory("/");
    resume_in(room(isolation, folder).await, image, program).await.unwrap()
}

/// `refused` is what this program is told that it cannot give back.
async fn zeros_are_zeros(isolation: &Isolation, program: &str, refused: &str) {
    let folder = public_folder();
    std::fs::copy("/usr/bin/python3", folder.path().join("other")).unwrap();
    let mut order = python(AREAS);
    order.argv[0] = program.to_owned();
    let first = template(room(isolation, folder.path()).await, order).await;
    let image = take(&first).await.unwrap();
    let mut clone = self::clone(isolation, folder.path(), &image, program).await;
    // One of a clone is the same.
    let again = take(&clone).await.unwrap();
    let mut second = self::clone(isolation, folder.path(), &again, program).await;
    for clone in [&mut clone, &mut second] {
        assert_eq!(clone.say("exec_is_well()").await, "0");
        assert_eq!(clone.say("refused()").await, refused);
        assert_eq!(clone.say("[full(made[n]) and n for n in ('dontneed', 'dontneed_locked')] and wrong()").await, "[]");
        assert_eq!(clone.say("exec_is_well()").await, "0");
    }
}

/// Programs whose allocators bear to be told that they cannot give memory back.
#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_told_what_it_cannot_give_back() {
    if works_here() {
        zeros_are_zeros(&isolation().await.0, "/usr/bin/python3", "['dontneed', 'dontneed_locked']").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_told_what_it_cannot_give_back_without_root() {
    if works_here() {
        zeros_are_zeros(&isolation_without_root().await.0, "/usr/bin/python3", "['dontneed', 'dontneed_locked']").await;
    }
}

/// All others.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_clone_gives_back_is_zero() {
    if works_here() {
        zeros_are_zeros(&isolation().await.0, OTHER, "[]").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_clone_gives_back_is_zero_without_root() {
    if works_here() {
        zeros_are_zeros(&isolation_without_root().await.0, OTHER, "[]").await;
    }
}
