//! The clocks of hosts: all show the time of the simulation, each wall clock with an error of its own.

use io_shell::world::Clock;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;
use sync_core::{Instant, WallTime};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// When every run begins: 2026-01-01, in nanoseconds since 1970.
pub const EPOCH_NS: i64 = 1_767_225_600_000_000_000;

/// The clocks of one host.
#[derive(Clone, Debug, Default)]
pub struct HostClock {
    /// By how much its wall clock is wrong, nanoseconds.
    pub skew_ns: Arc<AtomicI64>,
}

impl HostClock {
    /// What its wall clock shows when the simulation has run for `elapsed`.
    pub fn wall_at(&self, elapsed: Duration) -> WallTime {
        let elapsed = i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX);
        WallTime(EPOCH_NS.saturating_add(elapsed).saturating_add(self.skew_ns.load(Relaxed)))
    }
}

thread_local! {
    /// How long the simulation has run, for whoever acts between two ticks.
    static OUTSIDE: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Tells those who act between two ticks how long the simulation has run.
pub fn set_outside(elapsed: Duration) {
    OUTSIDE.set(elapsed);
}

/// How long the simulation has run.
pub fn elapsed() -> Duration {
    let of_host = if turmoil::in_simulation() { turmoil::sim_elapsed() } else { None };
    of_host.unwrap_or_else(|| OUTSIDE.get())
}

/// The same in microseconds.
pub fn elapsed_us() -> u64 {
    u64::try_from(elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl Clock for HostClock {
    fn now(&self) -> Instant {
        Instant(elapsed_us())
    }

    fn wall(&self) -> WallTime {
        self.wall_at(elapsed())
    }
}

/// Virtual seconds before every line of the log.
struct Stamp;

impl FormatTime for Stamp {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:10.3}", elapsed().as_secs_f64())
    }
}

/// Sends what this thread logs to standard error until the guard is dropped. `RUST_LOG` is not heeded: what is shown
/// depends on nothing but the run.
pub fn log_to_stderr() -> tracing::subscriber::DefaultGuard {
    let filter = tracing_subscriber::EnvFilter::new("sim=debug,io_shell=debug,turmoil=info");
    let subscriber = tracing_subscriber::fmt()
        .with_timer(Stamp)
        .with_ansi(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .finish();
    tracing::subscriber::set_default(subscriber)
}
