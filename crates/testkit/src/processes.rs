//! CPU time and memory of processes, as the kernel counts them.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The kernel's unit of CPU time in /proc, the same on all of Linux's architectures.
const TICKS_PER_SECOND: f64 = 100.0;
/// Interval between two readings of memory.
const EVERY: Duration = Duration::from_millis(200);

/// CPU seconds of a process.
pub fn cpu(pid: u32) -> f64 {
    ticks(pid, &[11, 12]) / TICKS_PER_SECOND
}

/// CPU seconds of a process and of the processes that it has started, running or not.
pub fn cpu_of_family(pid: u32) -> f64 {
    children(pid)
        .iter()
        .map(|child| cpu_of_family(*child))
        .sum::<f64>()
        + ticks(pid, &[11, 12, 13, 14]) / TICKS_PER_SECOND
}

/// The process that started this one.
pub fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// Resident memory in bytes.
pub fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// The most resident memory that a process ever had, in bytes.
pub fn peak(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

fn ticks(pid: u32, fields: &[usize]) -> f64 {
    let stat = stat(pid).unwrap_or_default();
    fields
        .iter()
        .filter_map(|field| stat.get(*field)?.parse::<f64>().ok())
        .sum()
}

/// The fields of `/proc/PID/stat` behind the name, which may contain anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(
        text.rsplit_once(')')?
            .1
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    )
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

fn status(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or_default() * 1024
}

/// The processes of a run, by what they are.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    /// Process id of the program under test.
    pub service: u32,
    /// Process id of PostgreSQL's postmaster.
    pub postgres: Option<u32>,
    /// Process id of RabbitMQ.
    pub rabbitmq: Option<u32>,
    /// Process id of Kafka.
    pub kafka: Option<u32>,
}

impl Processes {
    /// CPU seconds so far, by process; `generator` is this one.
    pub fn cpu(&self) -> BTreeMap<&'static str, f64> {
        let mut seconds = BTreeMap::from([
            ("service", cpu(self.service)),
            ("generator", cpu(std::process::id())),
        ]);
        seconds.extend(self.postgres.map(|pid| ("postgres", cpu_of_family(pid))));
        seconds.extend(self.rabbitmq.map(|pid| ("rabbitmq", cpu(pid))));
        seconds.extend(self.kafka.map(|pid| ("kafka", cpu(pid))));
        seconds
    }
}

/// Looks at a process's memory until it is dropped or asked for what it saw.
pub struct Watch {
    stop: Arc<AtomicBool>,
    seen: Option<JoinHandle<Vec<(f64, u64)>>>,
}

impl Watch {
    /// Starts to sample the resident memory of a process.
    pub fn memory_of(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, began) = (stop.clone(), Instant::now());
        let seen = thread::spawn(move || {
            let mut seen = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                seen.push((began.elapsed().as_secs_f64(), resident(pid)));
                thread::sleep(EVERY);
            }
            seen
        });
        Self {
            stop,
            seen: Some(seen),
        }
    }

    /// Seconds since it began, and bytes.
    pub fn seen(mut self) -> Vec<(f64, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.seen
            .take()
            .and_then(|seen| seen.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
