//! How well a link does, from its own measurements.

use crate::input::LinkStats;
use serde::Serialize;

/// Measured health, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing to complain of.
    #[default]
    Healthy,
    /// Round trips above 500 ms.
    Degraded,
    /// More than 5 % of packets lost.
    Failing,
    /// More than 10 % of packets lost.
    Unhealthy,
}

impl Health {
    /// The name in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// The health that two samples of a link's cumulative measurements show.
pub fn health(before: &LinkStats, after: &LinkStats) -> Health {
    let sent = after.packets_sent.saturating_sub(before.packets_sent);
    let lost = after.packets_lost.saturating_sub(before.packets_lost);
    match () {
        () if lost * 10 > sent => Health::Unhealthy,
        () if lost * 20 > sent => Health::Failing,
        () if after.rtt_us > 500_000 => Health::Degraded,
        () => Health::Healthy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_exclusive() {
        let check = |rtt_us, lost, want| {
            let after = LinkStats { rtt_us, packets_sent: 1_000, packets_lost: lost, ..LinkStats::default() };
            assert_eq!(health(&LinkStats::default(), &after), want, "{rtt_us} µs, {lost} lost");
        };
        check(500_000, 50, Health::Healthy);
        check(500_001, 0, Health::Degraded);
        check(1, 51, Health::Failing);
        check(1, 100, Health::Failing);
        check(1, 101, Health::Unhealthy);
    }
}
