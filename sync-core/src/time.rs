//! Time enters the core as an argument, in two kinds that never mix.

use core::ops::{Add, Sub};
use core::time::Duration;
use minicbor::{Decode, Encode};

/// Monotonic time in microseconds since an origin of the driver's choosing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// Time since `earlier`, zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Wall-clock time in nanoseconds since 1970, as this device believes it. It ranks versions; it never decides
/// whether one is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, serde::Serialize)]
#[cbor(transparent)]
pub struct WallTime(#[n(0)] pub i64);

impl WallTime {
    /// `YYYYMMDD-HHMMSS` in UTC, by Howard Hinnant's `civil_from_days`.
    pub fn utc_compact(self) -> alloc::string::String {
        let seconds = self.0.div_euclid(1_000_000_000);
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        alloc::format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
    }
}

/// Both times at once, as a batch of inputs sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic time.
    pub now: Instant,
    /// Wall-clock time.
    pub wall: WallTime,
}

/// Why the node wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Work is left over from the last batch.
    More,
    /// Hinted paths have been quiet for long enough.
    Settle,
    /// A peer is to be dialled.
    Dial,
    /// A peer has not finished its handshake.
    Handshake,
    /// A heartbeat is due, or a peer is mute.
    Heartbeat,
    /// Staged bytes are to be made durable.
    Seal,
    /// An item that failed is to be tried again.
    Retry,
    /// A content may be asked for again.
    Fetch,
    /// A periodic full scan.
    Rescan,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_compact_agrees_with_known_dates() {
        let at = |s: i64| WallTime(s * 1_000_000_000).utc_compact();
        assert_eq!(at(0), "19700101-000000");
        assert_eq!(at(951_782_400), "20000229-000000");
        assert_eq!(at(1_795_219_449), "20261121-000409");
        assert_eq!(at(-1), "19691231-235959");
    }
}
