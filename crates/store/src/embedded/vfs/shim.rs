//! The C side of the layer: SQLite's file system interface, implemented over the default one.
//!
//! The only file of this crate with `unsafe`. SQLite calls the functions at the bottom with pointers that it owns; they
//! turn them into the safe types in the middle (`OpenFile` over `Below`), which hold all decisions. What every `SAFETY`
//! line rests on:
//! - SQLite gives `x_open` a block of `szOsFile` bytes and uses it as a file only after `x_open` succeeded and until
//!   `x_close` (<https://sqlite.org/c3ref/vfs.html>). [`ShimFile`] lies at its start, the file of the layer below
//!   behind it.
//! - A file is used by one thread at a time: connections are serialised by SQLite's own mutex.
//! - [`Shared`] and the registration are never freed.
#![expect(unsafe_code, reason = "SQLite's file system interface is a table of C functions")]

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rusqlite::{Connection, ffi};

use super::log::{self, FRAME_HEADER_BYTES, FrameHeader, HEADER_BYTES, Written};
use super::mark::{Mark, MarkFile};
use super::page::{self, PAGE_BYTES, Page};
use super::tap::{Action, Fault, Op, Tapped, Verdict};
use super::{RegisterError, Vfs};

/// How often a page is read before it counts as damaged: a fault on the way from the disk need not repeat itself.
const READ_ATTEMPT_COUNT: usize = 3;

/// What all files of one registration share.
pub(super) struct Shared {
    tapped: Tapped,
    verifies: bool,
    below: *mut ffi::sqlite3_vfs,
    /// What was written to each log that is open, by its path, for all its handles.
    logs: Mutex<HashMap<PathBuf, Weak<Written>>>,
}

// SAFETY: `below` is SQLite's own default file system, which lives as long as the process and is used by all threads;
// it is only read through. The other fields are `Send` and `Sync`.
unsafe impl Send for Shared {}
// SAFETY: as for `Send`.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn new(tapped: Tapped, verifies: bool) -> Self {
        Self { tapped, verifies, below: ptr::null_mut(), logs: Mutex::default() }
    }

    pub(super) fn tapped(&self) -> &Tapped {
        &self.tapped
    }

    pub(super) fn verifies(&self) -> bool {
        self.verifies
    }

    fn written(&self, log: &Path) -> Arc<Written> {
        let mut logs = self.logs.lock();
        if let Some(written) = logs.get(log).and_then(Weak::upgrade) {
            return written;
        }
        logs.retain(|_, written| written.strong_count() > 0);
        let written = Arc::default();
        logs.insert(log.to_owned(), Arc::downgrade(&written));
        written
    }

    /// Carries out `act` unless the tap refuses; `failed` is the code that then says which step it was.
    fn run(&self, file: &Path, action: Action<'_>, failed: c_int, act: impl FnOnce() -> c_int) -> c_int {
        let Some(tap) = self.tapped.get() else { return act() };
        let op = Op { file, action };
        match tap.before(&op) {
            Verdict::Fail(Fault::Full) => ffi::SQLITE_FULL,
            Verdict::Fail(Fault::Io) => failed,
            Verdict::Proceed => {
                let code = act();
                if code == ffi::SQLITE_OK {
                    tap.after(&op);
                }
                code
            }
        }
    }
}

/// A file of the layer below, open.
struct Below(*mut ffi::sqlite3_file);

impl Below {
    fn methods(&self) -> Option<&ffi::sqlite3_io_methods> {
        // SAFETY: a `Below` exists only for an open file, whose method table SQLite keeps in static memory.
        unsafe { (*self.0).pMethods.as_ref() }
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> c_int {
        let Some(call) = self.methods().and_then(|methods| methods.xRead) else { return ffi::SQLITE_IOERR_READ };
        let (Ok(amount), Ok(offset)) = (c_int::try_from(bytes.len()), i64::try_from(offset)) else {
            return ffi::SQLITE_IOERR_READ;
        };
        // SAFETY: the file is open, and the layer below writes at most `amount` bytes, which `bytes` has.
        unsafe { call(self.0, bytes.as_mut_ptr().cast(), amount, offset) }
    }

    fn write(&self, bytes: &[u8], offset: u64) -> c_int {
        let Some(call) = self.methods().and_then(|methods| methods.xWrite) else { return ffi::SQLITE_IOERR_WRITE };
        let (Ok(amount), Ok(offset)) = (c_int::try_from(bytes.len()), i64::try_from(offset)) else {
            return ffi::SQLITE_IOERR_WRITE;
        };
        // SAFETY: the file is open, and the layer below reads `amount` bytes, which `bytes` has.
        unsafe { call(self.0, bytes.as_ptr().cast(), amount, offset) }
    }

    fn truncate(&self, size_bytes: u64) -> c_int {
        let Some(call) = self.methods().and_then(|methods| methods.xTruncate) else {
            return ffi::SQLITE_IOERR_TRUNCATE;
        };
        let Ok(size) = i64::try_from(size_bytes) else { return ffi::SQLITE_IOERR_TRUNCATE };
        // SAFETY: the file is open; nothing but numbers is passed.
        unsafe { call(self.0, size) }
    }

    fn sync(&self, flags: c_int) -> c_int {
        let Some(call) = self.methods().and_then(|methods| methods.xSync) else { return ffi::SQLITE_IOERR_FSYNC };
        // SAFETY: the file is open; nothing but numbers is passed.
        unsafe { call(self.0, flags) }
    }

    fn close(self) -> c_int {
        let Some(call) = self.methods().and_then(|methods| methods.xClose) else { return ffi::SQLITE_OK };
        // SAFETY: the file is open, and `self` is consumed, so it is not used afterwards.
        unsafe { call(self.0) }
    }
}

/// What a file is to the layer.
enum Role {
    Database,
    Log(Log),
    /// Journals and temporary files: tapped, not checked.
    Other,
}

/// A log's handle, and what it knows about the commits written through it.
struct Log {
    mark_file: MarkFile,
    /// The last transaction written through this handle and not yet synced.
    unsynced: Option<Mark>,
    written: Arc<Written>,
}

struct OpenFile {
    path: PathBuf,
    role: Role,
    shared: &'static Shared,
}

impl OpenFile {
    fn read(&self, below: &Below, bytes: &mut [u8], offset: u64) -> c_int {
        match &self.role {
            _ if !self.shared.verifies => below.read(bytes, offset),
            Role::Database => self.read_database(below, bytes, offset),
            Role::Log(log) => log.read(below, bytes, offset),
            Role::Other => below.read(bytes, offset),
        }
    }

    fn read_database(&self, below: &Below, bytes: &mut [u8], offset: u64) -> c_int {
        // Before it looks into the log, SQLite peeks at the header to learn the size of a page. A power cut during a
        // checkpoint may have torn this page; its good copy is then in the log, and is what gets read in earnest.
        if offset == 0 && bytes.len() == page::HEADER_BYTES {
            return below.read(bytes, offset);
        }
        match (bytes.as_mut_array::<PAGE_BYTES>(), page::number_at(offset)) {
            (Some(page), Some(number)) => read_page(below, page, number, offset),
            _ => read_part(below, bytes, offset),
        }
    }

    fn write(&mut self, below: &Below, bytes: &[u8], offset: u64) -> c_int {
        let Self { path, role, shared } = self;
        let mut sealed: Page;
        let bytes = match role {
            Role::Database => {
                let (Some(page), Some(number)) = (bytes.as_array::<PAGE_BYTES>(), page::number_at(offset)) else {
                    return ffi::SQLITE_IOERR_WRITE;
                };
                if number == 1 && !page::leaves_room(page) {
                    return ffi::SQLITE_IOERR_WRITE;
                }
                // SQLite's page stays as it is: the pager may be reading it.
                sealed = *page;
                page::seal(&mut sealed, number);
                sealed.as_slice()
            }
            _ => bytes,
        };
        let write = || below.write(bytes, offset);
        let code = shared.run(path, Action::Write { offset, bytes }, ffi::SQLITE_IOERR_WRITE, write);
        if let (ffi::SQLITE_OK, Role::Log(log)) = (code, role) {
            log.note_write(bytes, offset);
        }
        code
    }

    fn sync(&mut self, below: &Below, flags: c_int) -> c_int {
        let Self { path, role, shared } = self;
        let code = shared.run(path, Action::Sync, ffi::SQLITE_IOERR_FSYNC, || below.sync(flags));
        match (code, role) {
            (ffi::SQLITE_OK, Role::Log(log)) => log.mark_synced(),
            _ => code,
        }
    }

    fn truncate(&mut self, below: &Below, size_bytes: u64) -> c_int {
        let Self { path, role, shared } = self;
        if let (Role::Log(log), 0) = (role, size_bytes)
            && log.mark_file.erase().is_err()
        {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
        let truncate = || below.truncate(size_bytes);
        shared.run(path, Action::Truncate { size_bytes }, ffi::SQLITE_IOERR_TRUNCATE, truncate)
    }

    fn close(self, below: Below) -> c_int {
        if let Role::Log(mut log) = self.role {
            // The log itself is synced, and an older mark is only a weaker proof.
            log.mark_file.sync().ok();
        }
        below.close()
    }
}

impl Log {
    /// Remembers the end of a transaction. SQLite writes the header of a frame on its own, before the page.
    fn note_write(&mut self, bytes: &[u8], offset: u64) {
        if offset == 0 {
            self.unsynced = None;
        }
        if let (Some(page), Some(index)) = (bytes.as_array::<PAGE_BYTES>(), log::page_at(offset)) {
            self.written.note(index, page);
        }
        if let (Some(header), Some(index)) = (bytes.as_array::<FRAME_HEADER_BYTES>(), log::frame_at(offset)) {
            let header = FrameHeader::parse(header);
            if header.is_commit() {
                self.unsynced = Some(header.mark(index));
            }
        }
    }

    /// Reads from the log, and verifies what is a page. Headers, and the whole frames that recovery reads, are SQLite's
    /// to verify.
    fn read(&self, below: &Below, bytes: &mut [u8], offset: u64) -> c_int {
        let (Some(index), Some(page)) = (log::page_at(offset), bytes.as_mut_array::<PAGE_BYTES>()) else {
            return below.read(bytes, offset);
        };
        let code = below.read(page, offset);
        if code != ffi::SQLITE_OK {
            return code;
        }
        match self.written.confirms(index, page) {
            Some(true) => ffi::SQLITE_OK,
            Some(false) => ffi::SQLITE_IOERR_DATA,
            None => verify_by_chain(below, page, index, offset),
        }
    }

    fn mark_synced(&mut self) -> c_int {
        let Some(mark) = self.unsynced.take() else { return ffi::SQLITE_OK };
        match self.mark_file.write(&mark) {
            // Without room the older mark stays, a weaker proof; the commit is on disk.
            Err(error) if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                ffi::SQLITE_IOERR_FSYNC
            }
            _ => ffi::SQLITE_OK,
        }
    }
}

fn read_page(below: &Below, page: &mut Page, number: u64, offset: u64) -> c_int {
    for _ in 0..READ_ATTEMPT_COUNT {
        let code = below.read(page, offset);
        // A short read has filled the rest with zeros: sound if nothing was there, as at the end of a new file.
        if !matches!(code, ffi::SQLITE_OK | ffi::SQLITE_IOERR_SHORT_READ) || page::is_sound(page, number) {
            return code;
        }
    }
    ffi::SQLITE_IOERR_DATA
}

/// Reads a part of one page and verifies the whole page for it.
fn read_part(below: &Below, bytes: &mut [u8], offset: u64) -> c_int {
    const BYTES: u64 = PAGE_BYTES as u64;
    let mut page = [0; PAGE_BYTES];
    let code = read_page(below, &mut page, offset / BYTES + 1, offset - offset % BYTES);
    let rest = usize::try_from(offset % BYTES).ok().and_then(|within| page.get(within..));
    match rest.and_then(|rest| rest.get(..bytes.len())) {
        Some(part) => bytes.copy_from_slice(part),
        None => return ffi::SQLITE_IOERR_READ,
    }
    code
}

/// Holds a page of the log at `offset` against the checksum in the header of its frame.
fn verify_by_chain(below: &Below, page: &Page, frame: u32, offset: u64) -> c_int {
    let header_at = offset.saturating_sub(FRAME_HEADER_BYTES as u64);
    // The sums of the frame before are the last bytes of its header, those of the first are the log header's.
    let before_at = match frame {
        0 => HEADER_BYTES as u64 - 8,
        _ => header_at.saturating_sub(PAGE_BYTES as u64 + 8),
    };
    let mut header = [0; FRAME_HEADER_BYTES];
    let mut before = [0; 8];
    for code in [below.read(&mut before, before_at), below.read(&mut header, header_at)] {
        if code != ffi::SQLITE_OK {
            return code;
        }
    }
    match log::follows(log::sums_in(&before), &header, page) {
        true => ffi::SQLITE_OK,
        false => ffi::SQLITE_IOERR_DATA,
    }
}

/// Enters a file system under a name of its own. The memory is given to SQLite for good.
pub(super) fn register(mut shared: Shared) -> Result<Vfs, RegisterError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("lamp-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let name: &'static CStr = Box::leak(CString::new(name).unwrap_or_default().into_boxed_c_str());
    // SAFETY: a null name asks for the default; SQLite initialises itself on the way.
    shared.below = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    // SAFETY: the pointer is null or SQLite's own static registration.
    let Some(below) = (unsafe { shared.below.as_ref() }) else {
        return Err(RegisterError { code: ffi::SQLITE_NOTFOUND });
    };
    let shim_bytes = size_of::<ShimFile>() as c_int;
    let shared: &'static Shared = Box::leak(Box::new(shared));
    let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: below.szOsFile.saturating_add(shim_bytes),
        mxPathname: below.mxPathname,
        pNext: ptr::null_mut(),
        zName: name.as_ptr(),
        pAppData: ptr::from_ref(shared).cast_mut().cast(),
        xOpen: Some(x_open),
        xDelete: Some(x_delete),
        xAccess: Some(x_access),
        xFullPathname: Some(x_full_pathname),
        // No extension is ever loaded through this layer.
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(x_randomness),
        xSleep: Some(x_sleep),
        xCurrentTime: Some(x_current_time),
        xGetLastError: Some(x_get_last_error),
        xCurrentTimeInt64: Some(x_current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }));
    // SAFETY: the registration is complete and never freed, as SQLite demands.
    match unsafe { ffi::sqlite3_vfs_register(vfs, 0) } {
        ffi::SQLITE_OK => Ok(Vfs { name, shared }),
        code => Err(RegisterError { code }),
    }
}

/// Has a new database leave `bytes` free at the end of each page; an existing one is as it is.
pub(super) fn reserve(connection: &Connection, bytes: u8) -> rusqlite::Result<()> {
    let mut bytes = c_int::from(bytes);
    let argument = ptr::from_mut(&mut bytes).cast();
    // SAFETY: the connection is open while it is borrowed, and this control reads and writes one `int`.
    let code = unsafe {
        ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_RESERVE_BYTES, argument)
    };
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

/// What lies at the start of SQLite's block for a file; the file of the layer below follows.
#[repr(C, align(8))]
struct ShimFile {
    base: ffi::sqlite3_file,
    /// Made by `x_open`, freed by `x_close`.
    open: *mut OpenFile,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Version 2 has shared memory, which the log needs, and not version 3's memory-mapped reads.
    iVersion: 2,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync),
    xFileSize: Some(x_file_size),
    xLock: Some(x_lock),
    xUnlock: Some(x_unlock),
    xCheckReservedLock: Some(x_check_reserved_lock),
    xFileControl: Some(x_file_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_device_characteristics),
    xShmMap: Some(x_shm_map),
    xShmLock: Some(x_shm_lock),
    xShmBarrier: Some(x_shm_barrier),
    xShmUnmap: Some(x_shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The file of the layer below, in the same block.
///
/// # Safety
/// `file` is a block of this registration's `szOsFile` bytes.
unsafe fn below(file: *mut ffi::sqlite3_file) -> Below {
    // SAFETY: the block is larger than a `ShimFile` by the size of a file below, and `ShimFile` keeps its alignment.
    Below(unsafe { file.cast::<ShimFile>().add(1) }.cast())
}

/// # Safety
/// `file` was opened by [`x_open`] and is not closed; nobody else uses it meanwhile.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a mut OpenFile {
    // SAFETY: `x_open` has put an `OpenFile` there that lives until `x_close`, and the caller is alone with it.
    unsafe { &mut *(*file.cast::<ShimFile>()).open }
}

/// # Safety
/// `vfs` is a registration made by [`register`].
unsafe fn shared(vfs: *mut ffi::sqlite3_vfs) -> &'static Shared {
    // SAFETY: `register` has put a leaked `Shared` there.
    unsafe { &*(*vfs).pAppData.cast::<Shared>() }
}

/// # Safety
/// `name` is null or a C string that outlives the call.
unsafe fn path_of(name: *const c_char) -> PathBuf {
    if name.is_null() {
        return PathBuf::new();
    }
    // SAFETY: not null, and by the contract a C string.
    PathBuf::from(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()))
}

unsafe extern "C" fn x_open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes the registration that it calls through, and the name of the file or null.
    let (shared, path) = unsafe { (shared(vfs), path_of(name)) };
    let role = match flags {
        _ if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 => Role::Database,
        _ if flags & ffi::SQLITE_OPEN_WAL != 0 => {
            let mark_file = MarkFile::beside(&path, shared.tapped.clone());
            Role::Log(Log { mark_file, unsynced: None, written: shared.written(&path) })
        }
        _ => Role::Other,
    };
    // SAFETY: the block begins with a `ShimFile`. Without methods SQLite does not close a file that failed to open.
    unsafe { (*file).pMethods = ptr::null() };
    let open_below = || {
        // SAFETY: the registration below is static; it gets its own part of the block and SQLite's other arguments.
        unsafe {
            let Some(call) = (*shared.below).xOpen else { return ffi::SQLITE_CANTOPEN };
            call(shared.below, name, below(file).0, flags, out_flags)
        }
    };
    let creates = shared.tapped.get().is_some() && flags & ffi::SQLITE_OPEN_CREATE != 0 && !path.exists();
    let code = match creates {
        true => shared.run(&path, Action::Create, ffi::SQLITE_CANTOPEN, open_below),
        false => open_below(),
    };
    if code == ffi::SQLITE_OK {
        let open = Box::into_raw(Box::new(OpenFile { path, role, shared }));
        // SAFETY: the block begins with room for a `ShimFile`, which nobody reads before this function returns.
        unsafe { ptr::write(file.cast(), ShimFile { base: ffi::sqlite3_file { pMethods: &METHODS }, open }) };
    }
    code
}

unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes an open file once and does not use it again, so the box is taken back exactly once.
    let (open, below) = unsafe { (Box::from_raw((*file.cast::<ShimFile>()).open), below(file)) };
    open.close(below)
}

unsafe extern "C" fn x_read(file: *mut ffi::sqlite3_file, to: *mut c_void, amount: c_int, offset: i64) -> c_int {
    let (Ok(len), Ok(offset)) = (usize::try_from(amount), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: the file is open, and `to` has room for `amount` bytes, which the layer below or we fill.
    unsafe { opened(file).read(&below(file), slice::from_raw_parts_mut(to.cast(), len), offset) }
}

unsafe extern "C" fn x_write(file: *mut ffi::sqlite3_file, from: *const c_void, amount: c_int, offset: i64) -> c_int {
    let (Ok(len), Ok(offset)) = (usize::try_from(amount), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: the file is open, and `from` holds `amount` bytes that nobody changes during the call.
    unsafe { opened(file).write(&below(file), slice::from_raw_parts(from.cast(), len), offset) }
}

unsafe extern "C" fn x_truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    let Ok(size_bytes) = u64::try_from(size) else { return ffi::SQLITE_IOERR_TRUNCATE };
    // SAFETY: the file is open.
    unsafe { opened(file).truncate(&below(file), size_bytes) }
}

unsafe extern "C" fn x_sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe { opened(file).sync(&below(file), flags) }
}

unsafe extern "C" fn x_delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, syncs_directory: c_int) -> c_int {
    // SAFETY: SQLite passes the registration that it calls through, and the file's name.
    let (shared, path) = unsafe { (shared(vfs), path_of(name)) };
    let is_log = path.as_os_str().as_bytes().ends_with(b"-wal");
    if is_log && MarkFile::beside(&path, shared.tapped.clone()).erase().is_err() {
        return ffi::SQLITE_IOERR_DELETE;
    }
    let action = Action::Delete { syncs_directory: syncs_directory != 0 };
    shared.run(&path, action, ffi::SQLITE_IOERR_DELETE, || {
        // SAFETY: the registration below is static, the other arguments are SQLite's.
        unsafe {
            let Some(call) = (*shared.below).xDelete else { return ffi::SQLITE_IOERR_DELETE };
            call(shared.below, name, syncs_directory)
        }
    })
}

/// Functions that the layer below answers alone, from the same arguments.
macro_rules! below_answers {
    ($($name:ident = $call:ident of file ($($arg:ident: $kind:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($arg: $kind),*) -> c_int {
            // SAFETY: the file is open, so the one below is; the other arguments are SQLite's, passed on as they are.
            unsafe {
                let below = below(file);
                let Some(call) = below.methods().and_then(|methods| methods.$call) else { return ffi::SQLITE_IOERR };
                call(below.0, $($arg),*)
            }
        }
    )*};
    ($($name:ident = $call:ident of system ($($arg:ident: $kind:ty),*);)*) => {$(
        unsafe extern "C" fn $name(vfs: *mut ffi::sqlite3_vfs, $($arg: $kind),*) -> c_int {
            // SAFETY: SQLite passes the registration that it calls through, the one below is static, and the other
            // arguments are SQLite's, passed on as they are.
            unsafe {
                let below = shared(vfs).below;
                let Some(call) = (*below).$call else { return ffi::SQLITE_ERROR };
                call(below, $($arg),*)
            }
        }
    )*};
}

below_answers! {
    x_file_size = xFileSize of file (size: *mut i64);
    x_lock = xLock of file (level: c_int);
    x_unlock = xUnlock of file (level: c_int);
    x_check_reserved_lock = xCheckReservedLock of file (out: *mut c_int);
    x_file_control = xFileControl of file (op: c_int, argument: *mut c_void);
    x_sector_size = xSectorSize of file ();
    x_device_characteristics = xDeviceCharacteristics of file ();
    x_shm_map = xShmMap of file (region: c_int, size: c_int, extends: c_int, out: *mut *mut c_void);
    x_shm_lock = xShmLock of file (offset: c_int, count: c_int, flags: c_int);
    x_shm_unmap = xShmUnmap of file (deletes: c_int);
}

below_answers! {
    x_access = xAccess of system (name: *const c_char, flags: c_int, out: *mut c_int);
    x_full_pathname = xFullPathname of system (name: *const c_char, room: c_int, out: *mut c_char);
    x_randomness = xRandomness of system (count: c_int, out: *mut c_char);
    x_sleep = xSleep of system (micros: c_int);
    x_current_time = xCurrentTime of system (out: *mut f64);
    x_get_last_error = xGetLastError of system (room: c_int, out: *mut c_char);
    x_current_time_int64 = xCurrentTimeInt64 of system (out: *mut i64);
}

unsafe extern "C" fn x_shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: the file is open, so the one below is.
    unsafe {
        let below = below(file);
        if let Some(call) = below.methods().and_then(|methods| methods.xShmBarrier) {
            call(below.0);
        }
    }
}
