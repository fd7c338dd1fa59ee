//! The core's inner loops: merging, the codec, projection, copy names and scheduling.
#![allow(missing_docs)]

use benches::{FOLDER, batch, content, file, knowledge, path, row};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use sync_core::config::Limits;
use sync_core::id::LinkId;
use sync_core::index::{Dot, Loser, Policy, copy_name, merge, project};
use sync_core::path::Name;
use sync_core::time::Instant;
use sync_core::transfer::{ChunkList, Ranges, Slot, Transfers};
use sync_core::wire::{MAX_ROWS, Message, Rows, decode, encode};
use sync_core::{Actor, DeviceId};

/// Rows of one batch.
const ROWS: u64 = MAX_ROWS as u64;

fn merging(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge");
    group.throughput(Throughput::Elements(ROWS));
    let (mine, theirs) = (knowledge(&[1, 2, 3], ROWS / 2), knowledge(&[1, 2, 4], ROWS / 2));
    let cases: [(&str, &[u64], &[u64]); 3] =
        [("equal", &[1], &[1]), ("concurrent", &[1, 3], &[1, 4]), ("new", &[], &[1])];
    for (name, left, right) in cases {
        let rows: Vec<_> = (0..ROWS).map(|n| (row(n, left), row(n, right))).collect();
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| rows.iter().map(|(l, r)| merge(l, &mine, r, &theirs)).filter(|m| m.mine_changed).count());
        });
    }
    group.finish();
}

fn codec(c: &mut Criterion) {
    let message = Message::Rows(Rows { folder: FOLDER, rows: batch(ROWS), upto: Some(ROWS) });
    let frame = encode(&message);
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("encode 1000 rows", |b| b.iter(|| encode(black_box(&message))));
    group.bench_function("decode 1000 rows", |b| b.iter(|| decode(black_box(&frame))));
    group.finish();
}

fn projection(c: &mut Criterion) {
    let mut group = c.benchmark_group("project");
    let policies = [Policy::Newest, Policy::Largest, Policy::Prefer { rank: [(Actor(2), 0), (Actor(1), 1)].into() }];
    for versions in [1, 2, 16] {
        let actors: Vec<u64> = (1..=versions).collect();
        let rows: Vec<_> = (0..ROWS).map(|n| row(n, &actors)).collect();
        group.throughput(Throughput::Elements(ROWS));
        group.bench_function(BenchmarkId::new("versions", versions), |b| {
            b.iter(|| {
                let shown = rows.iter().zip(policies.iter().cycle()).map(|(row, policy)| project(row, false, policy));
                shown.map(|projection| projection.losers.len()).sum::<usize>()
            });
        });
    }
    group.finish();
    let loser = Loser { dot: Dot { actor: Actor(u64::MAX), seq: 1 }, value: file(1) };
    let names: Vec<Name> = (0..ROWS).map(|n| path(n).name()).collect();
    let mut group = c.benchmark_group("copy name");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("first", |b| {
        b.iter(|| names.iter().map(|name| copy_name(name, &loser, 1).as_bytes().len()).sum::<usize>())
    });
    group.finish();
}

/// A list of 64 KiB chunks.
fn chunks(count: usize) -> ChunkList {
    let mut list = ChunkList::default();
    (0..count).for_each(|n| list.push(64 << 10, content(n as u64).0));
    list
}

/// Every chunk of a file is asked for, arrives, is sealed.
fn fetch_whole(mut ranges: Ranges, limits: &Limits) -> u64 {
    let mut at = Instant(0);
    while let Some((range, _)) = ranges.ask(limits.request_bytes, u64::MAX) {
        at = Instant(at.0 + 100);
        ranges.arrived(range.clone(), range.len(), at);
        if ranges.seal_due(limits.unsealed_bytes, limits.unsealed_for).is_some_and(|due| due <= at) {
            ranges.begin_seal();
            ranges.end_seal(content(1), 1, true);
        }
    }
    ranges.written_bytes()
}

fn scheduling(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("ranges");
    for (name, count) in [("64 MiB", 1 << 10), ("1 GiB", 1 << 14)] {
        let fresh = Ranges::new(chunks(count), &[], None);
        group.throughput(Throughput::Elements(count as u64));
        group.sample_size(20);
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter_batched(|| fresh.clone(), |ranges| fetch_whole(ranges, &limits), BatchSize::LargeInput);
        });
    }
    group.finish();
    let mut group = c.benchmark_group("transfers");
    let count = limits.transfers as u64;
    group.throughput(Throughput::Elements(count));
    group.bench_function("small files of a full queue", |b| {
        b.iter_batched(|| queue(count, &limits), |transfers| drain(transfers, &limits), BatchSize::LargeInput);
    });
    group.finish();
}

fn queue(count: u64, limits: &Limits) -> Transfers {
    let mut transfers = Transfers::default();
    for n in 0..count {
        transfers.want(content(n), 4_096, &path(n), None);
        transfers.enqueue(content(n), limits.small_bytes);
    }
    transfers
}

/// Asks two devices in turn until nothing is left to ask for.
fn drain(mut transfers: Transfers, limits: &Limits) -> usize {
    let slot = |n: u8| Slot { device: DeviceId([n; 32]), link: LinkId(n.into()), outstanding: 0 };
    let slots = [slot(1), slot(2)];
    core::iter::from_fn(|| transfers.next(&slots, limits, Instant(1))).count()
}

criterion_group!(core, merging, codec, projection, scheduling);
criterion_main!(core);
