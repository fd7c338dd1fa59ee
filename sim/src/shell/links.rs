//! The ways between hosts: what becomes of a datagram after one socket has sent it and before another one has it. Every
//! datagram that is sent enters the digest of the run, with its time and its content.

use crate::dice::{Dice, Domain};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shares are given in so many parts.
const MILLION: u64 = 1_000_000;

/// What one direction of a link is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// How long a datagram is under way, microseconds.
    pub latency_us: u64,
    /// Datagrams lost one by one, in a million.
    pub loss_ppm: u64,
    /// Datagrams with which a burst of loss begins, in a million.
    pub burst_ppm: u64,
    /// How long a burst lasts, microseconds.
    pub burst_us: u64,
    /// Datagrams that come twice, in a million.
    pub duplicate_ppm: u64,
    /// Datagrams in which one bit is turned, in a million.
    pub corrupt_ppm: u64,
    /// Datagrams that are overtaken by others, in a million.
    pub reorder_ppm: u64,
    /// By how much at most, microseconds.
    pub reorder_us: u64,
    /// Longest datagram that passes, bytes.
    pub mtu: usize,
    /// Bytes a second; 0 is no limit.
    pub rate: u64,
    /// Bytes that may wait for their turn; more are dropped.
    pub queue: u64,
    /// Waiting bytes from which datagrams are marked, if they can be; 0 is never.
    pub mark: u64,
}

impl Way {
    /// A way on which nothing goes wrong.
    pub const CALM: Self = Self {
        latency_us: 2_000,
        loss_ppm: 0,
        burst_ppm: 0,
        burst_us: 0,
        duplicate_ppm: 0,
        corrupt_ppm: 0,
        reorder_ppm: 0,
        reorder_us: 0,
        mtu: 65_000,
        rate: 0,
        queue: 0,
        mark: 0,
    };
}

/// A datagram on its way.
#[derive(Debug)]
pub struct Passing {
    /// When it is there, microseconds of virtual time.
    pub due_us: u64,
    /// The two bits of congestion notification.
    pub ecn: u8,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// What one direction of a link has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Datagrams sent.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams that did not arrive, whatever the cause.
    pub lost: u64,
    /// How long those that did were under way, queues included: microseconds in all.
    pub under_way_us: u64,
}

struct Link {
    way: Way,
    cut: bool,
    bad_until_us: u64,
    free_at_us: u64,
    dice: Dice,
    traffic: Traffic,
}

/// All links of a run.
pub struct Links {
    inner: Mutex<Inner>,
}

struct Inner {
    seed: u64,
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    digest: blake3::Hasher,
    faults: BTreeMap<&'static str, u64>,
    secrets: Vec<Vec<u8>>,
    leaks: Vec<String>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

impl Links {
    /// Calm links. None of `secrets` may ever show in a datagram.
    pub fn new(seed: u64, secrets: Vec<Vec<u8>>) -> Self {
        let inner = Inner {
            seed,
            links: BTreeMap::new(),
            digest: blake3::Hasher::new(),
            faults: BTreeMap::new(),
            secrets,
            leaks: Vec::new(),
        };
        Self { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the direction from `a` to `b` what `way` says.
    pub fn set(&self, a: IpAddr, b: IpAddr, way: Way) {
        self.lock().link(a, b).way = way;
    }

    /// Cuts the direction from `a` to `b`, or mends it.
    pub fn cut(&self, a: IpAddr, b: IpAddr, cut: bool) {
        self.lock().link(a, b).cut = cut;
    }

    /// Takes a datagram from `src` to `dst` and says when, how often and in what state it arrives.
    pub fn pass(&self, now_us: u64, src: SocketAddr, dst: SocketAddr, ecn: u8, bytes: &[u8]) -> Vec<Passing> {
        self.lock().pass(now_us, src, dst, ecn, bytes)
    }

    /// What each direction has carried.
    pub fn traffic(&self) -> BTreeMap<(IpAddr, IpAddr), Traffic> {
        self.lock().links.iter().map(|(pair, link)| (*pair, link.traffic)).collect()
    }

    /// What all of them have carried.
    pub fn total(&self) -> Traffic {
        self.lock().links.values().fold(Traffic::default(), |sum, link| Traffic {
            datagrams: sum.datagrams + link.traffic.datagrams,
            bytes: sum.bytes + link.traffic.bytes,
            lost: sum.lost + link.traffic.lost,
            under_way_us: sum.under_way_us + link.traffic.under_way_us,
        })
    }

    /// How often each fault struck.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.lock().faults.clone()
    }

    /// Takes the sightings of secrets so far.
    pub fn take_leaks(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().leaks)
    }

    /// The digest of every datagram sent so far.
    pub fn digest(&self) -> blake3::Hasher {
        self.lock().digest.clone()
    }
}

impl Inner {
    fn link(&mut self, a: IpAddr, b: IpAddr) -> &mut Link {
        let seed = self.seed;
        self.links.entry((a, b)).or_insert_with(|| Link {
            way: Way::CALM,
            cut: false,
            bad_until_us: 0,
            free_at_us: 0,
            dice: Dice::new(seed, Domain::ShellLinks, number(a) << 32 | number(b)),
            traffic: Traffic::default(),
        })
    }

    fn pass(&mut self, now_us: u64, src: SocketAddr, dst: SocketAddr, ecn: u8, bytes: &[u8]) -> Vec<Passing> {
        self.note(now_us, src, dst, bytes);
        let link = self.link(src.ip(), dst.ip());
        let (due_us, marked) = match link.admit(now_us, bytes.len()) {
            Ok(admitted) => admitted,
            Err(fault) => {
                link.traffic.lost += 1;
                self.count(fault);
                return Vec::new();
            }
        };
        link.traffic.under_way_us += due_us - now_us;
        let way = link.way;
        let duplicate = link.dice.hit(way.duplicate_ppm);
        let late_us = if link.dice.hit(way.reorder_ppm) { link.dice.range(1, way.reorder_us.max(2)) } else { 0 };
        let flip = link.dice.hit(way.corrupt_ppm).then(|| link.dice.index(bytes.len().max(1) * 8));
        let mut bytes = bytes.to_vec();
        if let Some(bit) = flip
            && let Some(byte) = bytes.get_mut(bit / 8)
        {
            *byte ^= 1 << (bit % 8);
        }
        // Both bits set: congestion was experienced. Only who can be told is.
        let ecn = if marked && ecn != 0 { 3 } else { ecn };
        for (fault, struck) in [
            ("duplicate", duplicate),
            ("reorder", late_us > 0),
            ("corrupt", flip.is_some()),
            ("mark", marked && ecn == 3),
        ] {
            if struck {
                self.count(fault);
            }
        }
        let mut out = Vec::with_capacity(2);
        if duplicate {
            out.push(Passing { due_us, ecn, bytes: bytes.clone() });
        }
        out.push(Passing { due_us: due_us + late_us, ecn, bytes });
        out
    }

    fn note(&mut self, now_us: u64, src: SocketAddr, dst: SocketAddr, bytes: &[u8]) {
        for at in [src, dst] {
            self.digest.update(&number(at.ip()).to_le_bytes()).update(&at.port().to_le_bytes());
        }
        let len = bytes.len() as u64;
        self.digest.update(&now_us.to_le_bytes()).update(&len.to_le_bytes()).update(bytes);
        let traffic = &mut self.link(src.ip(), dst.ip()).traffic;
        traffic.datagrams += 1;
        traffic.bytes += len;
        for secret in &self.secrets {
            if holds(bytes, secret) {
                let text = String::from_utf8_lossy(secret);
                self.leaks.push(format!("{text:?} in the clear from {src} to {dst} at {now_us} us"));
            }
        }
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }
}

impl Link {
    /// When a datagram that is sent now arrives, and whether it met a queue that marks; or why it does not.
    fn admit(&mut self, now_us: u64, len: usize) -> Result<(u64, bool), &'static str> {
        let way = self.way;
        if self.cut {
            return Err("cut");
        }
        if len > way.mtu {
            return Err("mtu");
        }
        if now_us < self.bad_until_us {
            return Err("burst");
        }
        if self.dice.hit(way.burst_ppm) {
            self.bad_until_us = now_us + way.burst_us;
            return Err("burst");
        }
        if self.dice.hit(way.loss_ppm) {
            return Err("loss");
        }
        if way.rate == 0 {
            return Ok((now_us + way.latency_us, false));
        }
        let start = self.free_at_us.max(now_us);
        let waiting = (start - now_us) * way.rate / MILLION;
        if waiting > way.queue {
            return Err("queue");
        }
        self.free_at_us = start + len as u64 * MILLION / way.rate;
        Ok((self.free_at_us + way.latency_us, way.mark > 0 && waiting > way.mark))
    }
}

/// Where the first byte occurs the rest is compared: contents that are encrypted have it once in 256 bytes.
fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    let Some((first, _)) = secret.split_first() else { return false };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|b| b == first) {
        if rest[at..].starts_with(secret) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn number(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits() as u64,
    }
}

impl Dice {
    /// Whether something comes about that does in so many cases of a million.
    fn hit(&mut self, ppm: u64) -> bool {
        ppm > 0 && self.range(0, MILLION) < ppm
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const A: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 1)), 1);
    const B: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 2)), 1);

    fn links(way: Way) -> Links {
        let links = Links::new(7, vec![b"secret".to_vec()]);
        links.set(A.ip(), B.ip(), way);
        links
    }

    fn share_lost(way: Way, count: u64) -> f64 {
        let links = links(way);
        (0..count).for_each(|i| drop(links.pass(i * 1_000, A, B, 0, &[0; 100])));
        links.total().lost as f64 / count as f64
    }

    #[test]
    fn loss_is_what_it_is_set_to() {
        assert_eq!(share_lost(Way::CALM, 1_000), 0.0);
        let lost = share_lost(Way { loss_ppm: 50_000, ..Way::CALM }, 100_000);
        assert!((0.045..0.055).contains(&lost), "{lost}");
    }

    #[test]
    fn bursts_lose_neighbours() {
        let lost = share_lost(Way { burst_ppm: 10_000, burst_us: 9_500, ..Way::CALM }, 100_000);
        assert!((0.07..0.12).contains(&lost), "{lost}");
    }

    #[test]
    fn a_rate_spaces_datagrams_and_a_full_queue_drops_them() {
        let links = links(Way { rate: 1_000_000, queue: 5_000, ..Way::CALM });
        let due: Vec<u64> = (0..10).flat_map(|_| links.pass(0, A, B, 0, &[0; 1_000])).map(|p| p.due_us).collect();
        assert_eq!(due, [1, 2, 3, 4, 5, 6].map(|ms| ms * 1_000 + Way::CALM.latency_us));
        assert_eq!(links.faults()["queue"], 4);
    }

    #[test]
    fn congestion_is_marked_where_it_can_be() {
        let links = links(Way { rate: 1_000_000, queue: 50_000, mark: 1_500, ..Way::CALM });
        let marks: Vec<u8> = (0..4).flat_map(|_| links.pass(0, A, B, 2, &[0; 1_000])).map(|p| p.ecn).collect();
        assert_eq!(marks, [2, 2, 3, 3]);
        assert!(links.pass(0, A, B, 0, &[0; 1_000]).iter().all(|p| p.ecn == 0));
    }

    #[test]
    fn one_bit_is_turned_and_what_is_too_long_or_cut_off_is_lost() {
        let links = links(Way { corrupt_ppm: MILLION, mtu: 100, ..Way::CALM });
        let passed = links.pass(0, A, B, 0, &[0; 100]).remove(0);
        assert_eq!(passed.bytes.iter().map(|b| b.count_ones()).sum::<u32>(), 1);
        assert!(links.pass(0, A, B, 0, &[0; 101]).is_empty());
        links.cut(A.ip(), B.ip(), true);
        assert!(links.pass(0, A, B, 0, &[0; 1]).is_empty());
        assert_eq!(links.pass(0, B, A, 0, &[0; 101]).len(), 1, "the other direction is another matter");
    }

    #[test]
    fn a_secret_in_the_clear_is_noticed() {
        let links = links(Way::CALM);
        links.pass(0, A, B, 0, b"no secre here, none");
        assert!(links.take_leaks().is_empty());
        links.pass(0, A, B, 0, b"but a ssecret here");
        assert_eq!(links.take_leaks().len(), 1);
    }
}
