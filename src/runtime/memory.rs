//! Memory of this process.

/// Returns the bytes of memory that the process has in use; `None` where there is no `/proc`.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes = kilobytes.trim().strip_suffix("kB")?.trim();
    kilobytes
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}
