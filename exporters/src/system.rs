//! The few facts that only the C library gives: the clock's discipline, the time zone, page and
//! tick sizes. All of the crate's `unsafe` is here.
#![allow(unsafe_code)] // `adjtimex`, `localtime_r`, `getloadavg` and `sysconf` have no safe wrapper we use.

/// The size of a page of memory in bytes.
pub(crate) fn page_size_bytes() -> u64 {
    // SAFETY: `sysconf` takes no pointer and may be called at any time.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size)
        .ok()
        .filter(|size| *size > 0)
        .unwrap_or(4096)
}

/// Clock ticks per second, the unit of the kernel's CPU times.
pub(crate) fn ticks_per_second() -> f64 {
    // SAFETY: `sysconf` takes no pointer and may be called at any time.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// The local time zone at `unix_seconds`: its abbreviation and its offset from UTC in seconds.
pub(crate) fn time_zone(unix_seconds: i64) -> Option<(String, i64)> {
    let when: libc::time_t = unix_seconds as libc::time_t;
    // SAFETY: `tm` is plain data for which zero bytes are valid; `localtime_r` reads `when` and
    // writes `broken_down`, both of which live through the call.
    let broken_down = unsafe {
        let mut broken_down: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const when, &raw mut broken_down).is_null() {
            return None;
        }
        broken_down
    };
    if broken_down.tm_zone.is_null() {
        return None;
    }
    // SAFETY: a non-null `tm_zone` points at a NUL-terminated name the C library keeps for the
    // whole life of the process.
    let name = unsafe { std::ffi::CStr::from_ptr(broken_down.tm_zone) };
    #[allow(clippy::useless_conversion)] // `c_long` is 32 bits wide on some targets.
    let offset_seconds = i64::from(broken_down.tm_gmtoff);
    Some((name.to_string_lossy().into_owned(), offset_seconds))
}

/// The load averages over 1, 5 and 15 minutes, where there is no `/proc/loadavg`.
#[cfg(not(target_os = "linux"))]
pub(crate) fn load_averages() -> Option<[f64; 3]> {
    let mut loads = [0.0; 3];
    // SAFETY: the pointer is to three doubles, as the second argument says.
    let count = unsafe { libc::getloadavg(loads.as_mut_ptr(), 3) };
    (count == 3).then_some(loads)
}

/// The state of the kernel's clock discipline: what `adjtimex` returns, and its record.
#[cfg(target_os = "linux")]
pub(crate) fn clock_discipline() -> std::io::Result<(i32, libc::timex)> {
    // SAFETY: `timex` is plain data for which zero bytes are valid; `modes` zero asks the call to
    // change nothing and only to fill in the record, which lives through the call.
    unsafe {
        let mut record: libc::timex = std::mem::zeroed();
        let state = libc::adjtimex(&raw mut record);
        if state < 0 {
            Err(std::io::Error::last_os_error())
        } else {
            Ok((state, record))
        }
    }
}
