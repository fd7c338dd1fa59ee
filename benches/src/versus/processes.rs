//! What the processes below this one use, from `/proc`. Whatever is gone counts nothing.

use std::fs;

/// Ticks a second in `/proc/PID/stat`: the same on every Linux that people use.
const TICKS: f64 = 100.0;

/// All processes below this one.
pub fn descendants() -> Vec<u32> {
    below(std::process::id())
}

/// All processes below another.
pub fn below(pid: u32) -> Vec<u32> {
    let mut found = children(pid);
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children(pid));
        next += 1;
    }
    found
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// CPU time of all processes below this one since its start, those that have ended among them, seconds.
pub fn cpu_s() -> f64 {
    let stat = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let mine = ticks(&stat(std::process::id())).1;
    let theirs = descendants().into_iter().map(|pid| ticks(&stat(pid)));
    (mine + theirs.map(|(own, children)| own + children).sum::<u64>()) as f64 / TICKS
}

/// Ticks of a process, and of those of its children that it has waited for.
fn ticks(stat: &str) -> (u64, u64) {
    // The name, in parentheses, may hold anything.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |n: usize| rest.split_whitespace().nth(n).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    (field(11) + field(12), field(13) + field(14))
}

/// Peak resident memory of a process so far, bytes.
pub fn peak_bytes(pid: u32) -> Option<u64> {
    memory(pid, "VmHWM:")
}

/// Resident memory of a process, bytes.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, key: &str) -> Option<u64> {
    kib(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, key).map(|kib| kib << 10)
}

fn kib(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The name of a process's program, cut to 15 bytes.
pub fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 11 12 13 14 20 0 1 0 5 0";
        assert_eq!(ticks(stat), (23, 27));
        assert_eq!(ticks(""), (0, 0));
        assert_eq!(kib("VmPeak:\t 9 kB\nVmHWM:\t    12 kB\n", "VmHWM:"), Some(12));
    }

    #[test]
    fn children_of_children_are_found() {
        let mut shell = Command::new("sh");
        let mut shell =
            shell.args(["-c", "sleep 30; true"]).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let sleeps = || below(shell.id()).into_iter().find(|pid| name(*pid) == "sleep");
        let found = (0..500).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            sleeps()
        });
        let sleep = found.unwrap();
        assert!(descendants().contains(&sleep) && resident_bytes(sleep).is_some());
        Command::new("kill").arg(sleep.to_string()).status().unwrap();
        shell.wait().unwrap();
    }
}
