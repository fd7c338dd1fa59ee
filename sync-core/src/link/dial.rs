//! When to dial a peer: exponential backoff with jitter, then dormancy with a slow probe.

use crate::id::EffectId;
use crate::proving::{Mutant, Point, is_mutant, sometimes};
use crate::rng::Rng;
use crate::time::Instant;
use core::time::Duration;

/// How attempts are spaced.
#[derive(Clone, Debug)]
pub struct BackoffPolicy {
    /// Pause after the first failure.
    pub base: Duration,
    /// Longest pause.
    pub max: Duration,
    /// Share by which a pause varies either way, in percent.
    pub jitter_percent: u64,
    /// Attempts before the peer is left dormant.
    pub attempts: u32,
    /// Pause between attempts at a dormant peer.
    pub dormant: Duration,
    /// How long a session must last before failures are forgotten.
    pub stable: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            max: Duration::from_secs(60),
            jitter_percent: 10,
            attempts: 5,
            dormant: Duration::from_secs(300),
            stable: Duration::from_secs(60),
        }
    }
}

impl BackoffPolicy {
    /// The pause after failure number `failures` (from 1): doubling, jittered, then clamped.
    pub fn pause(&self, failures: u32, rng: &mut Rng) -> Duration {
        if failures >= self.attempts {
            return self.dormant;
        }
        let doubled = self.base.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let percent = 100 - self.jitter_percent + rng.below(2 * self.jitter_percent + 1);
        let jittered = doubled.saturating_mul(u32::try_from(percent).unwrap_or(100)) / 100;
        jittered.min(self.max)
    }
}

/// Where a peer's dialling stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialState {
    /// Nothing to do: no address, or a link stands.
    Idle,
    /// Waiting for the next attempt.
    Backoff(Instant),
    /// This attempt is under way.
    Dialing(EffectId),
    /// Too many failures: only a slow probe.
    Dormant(Instant),
    /// A session stands, since then.
    Connected(Instant),
}

/// Decides when one peer is dialled. Illegal events are no-ops.
#[derive(Clone, Debug)]
pub struct Dialer {
    policy: BackoffPolicy,
    state: DialState,
    failures: u32,
}

impl Dialer {
    /// A dialler that waits to be told.
    pub fn new(policy: BackoffPolicy) -> Self {
        Self { policy, state: DialState::Idle, failures: 0 }
    }

    /// Where it stands.
    pub fn state(&self) -> DialState {
        self.state
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// When the next attempt is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            DialState::Dormant(_) if is_mutant(Mutant::DormantForEver) => None,
            DialState::Backoff(at) | DialState::Dormant(at) => Some(at),
            DialState::Idle | DialState::Dialing(_) | DialState::Connected(_) => None,
        }
    }

    /// A new address, a user's wish, a changed network: try at once.
    pub fn nudge(&mut self, now: Instant) {
        match self.state {
            DialState::Idle | DialState::Backoff(_) | DialState::Dormant(_) => self.state = DialState::Backoff(now),
            DialState::Dialing(_) | DialState::Connected(_) => {}
        }
    }

    /// Whether an attempt is due.
    pub fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    /// An attempt begins.
    pub fn begin(&mut self, dial: EffectId) {
        self.state = DialState::Dialing(dial);
    }

    /// An attempt failed. One that was given up before says nothing about the one under way: the answer is whether it
    /// is this one.
    pub fn failed(&mut self, dial: EffectId, now: Instant, rng: &mut Rng) -> bool {
        let is_current = self.state == DialState::Dialing(dial);
        if is_current {
            self.fall_back(now, rng);
        }
        is_current
    }

    /// A session stands, whoever dialled.
    pub fn connected(&mut self, now: Instant) {
        if !matches!(self.state, DialState::Connected(_)) {
            self.state = DialState::Connected(now);
            if is_mutant(Mutant::ForgivenEarly) {
                self.failures = 0;
            }
        }
    }

    /// The session ended. A long one forgives what went before.
    pub fn disconnected(&mut self, now: Instant, rng: &mut Rng) {
        if let DialState::Connected(since) = self.state {
            if now.since(since) >= self.policy.stable {
                if self.failures > 0 {
                    sometimes(Point::DialForgiven);
                }
                self.failures = 0;
            }
            self.fall_back(now, rng);
        }
    }

    fn fall_back(&mut self, now: Instant, rng: &mut Rng) {
        self.failures = self.failures.saturating_add(1);
        let pause = self.policy.pause(self.failures, rng);
        let at = if is_mutant(Mutant::DialAtOnce) { now } else { now + pause };
        let dormant = self.failures >= self.policy.attempts;
        if dormant {
            sometimes(Point::DialDormant);
        }
        self.state = if dormant { DialState::Dormant(at) } else { DialState::Backoff(at) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails every attempt and returns the pauses, in milliseconds.
    fn pauses(seed: u64, count: usize) -> alloc::vec::Vec<u128> {
        let (mut rng, mut now) = (Rng::new(seed), Instant(0));
        let mut dialer = Dialer::new(BackoffPolicy::default());
        dialer.nudge(now);
        (0..count)
            .map(|_| {
                assert!(dialer.is_due(now));
                dialer.begin(EffectId(1));
                dialer.failed(EffectId(1), now, &mut rng);
                let at = dialer.deadline().unwrap();
                let pause = at.since(now);
                now = at;
                pause.as_millis()
            })
            .collect()
    }

    #[test]
    fn pauses_double_within_ten_percent_and_end_in_dormancy() {
        for seed in 0..1_000 {
            let got = pauses(seed, 7);
            for (pause, nominal) in got.iter().zip([1_000, 2_000, 4_000, 8_000]) {
                assert!(pause.abs_diff(nominal) <= nominal / 10, "seed {seed}: {got:?}");
            }
            assert!(got[4..].iter().all(|p| *p == 300_000), "seed {seed}: {got:?}");
        }
    }

    #[test]
    fn only_a_stable_session_forgives_failures() {
        let (mut rng, mut dialer) = (Rng::new(1), Dialer::new(BackoffPolicy::default()));
        let second = Duration::from_secs(1);
        dialer.connected(Instant(0));
        dialer.disconnected(Instant(0) + second * 59, &mut rng);
        dialer.connected(Instant(0) + second * 61);
        dialer.disconnected(Instant(0) + second * 62, &mut rng);
        assert_eq!(dialer.failures(), 2);
        dialer.connected(Instant(0) + second * 70);
        dialer.disconnected(Instant(0) + second * 131, &mut rng);
        assert_eq!(dialer.failures(), 1);
    }

    #[test]
    fn a_nudge_wakes_a_dormant_peer_but_not_a_dial_under_way() {
        let mut rng = Rng::new(3);
        let mut dialer = Dialer::new(BackoffPolicy { attempts: 1, ..BackoffPolicy::default() });
        dialer.nudge(Instant(5));
        dialer.begin(EffectId(1));
        dialer.nudge(Instant(6));
        assert_eq!(dialer.state(), DialState::Dialing(EffectId(1)));
        dialer.failed(EffectId(1), Instant(7), &mut rng);
        assert!(matches!(dialer.state(), DialState::Dormant(_)));
        dialer.nudge(Instant(8));
        assert!(dialer.is_due(Instant(8)));
    }

    #[test]
    fn an_attempt_that_was_given_up_does_not_end_the_one_under_way() {
        let (mut rng, mut dialer) = (Rng::new(4), Dialer::new(BackoffPolicy::default()));
        dialer.begin(EffectId(1));
        dialer.connected(Instant(1));
        dialer.disconnected(Instant(2), &mut rng);
        dialer.begin(EffectId(2));
        dialer.failed(EffectId(1), Instant(3), &mut rng);
        assert_eq!((dialer.state(), dialer.failures()), (DialState::Dialing(EffectId(2)), 1));
    }
}
