//! How long a new file takes from one idle daemon to the other.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::{Duration, Instant};
use tests::{Lab, Pair, tree::write};

/// Files that are timed.
const FILES: usize = 100;
/// What the slowest twentieth may take; a loaded machine is no reason to fail.
const LIMIT: Duration = Duration::from_secs(2);

#[test]
fn a_new_file_is_on_the_other_side_at_once() {
    let lab = Lab::new(Duration::from_secs(180));
    let pair = Pair::new(&lab, |root| {
        for number in 0..1_000 {
            write(&root.join(format!("dir {}/file {number}", number % 10)), format!("{number}"));
        }
    });
    let mut times: Vec<Duration> = (0..FILES)
        .map(|number| {
            let (name, text) = (format!("new {number}"), format!("the text of file {number}"));
            // Every other one comes back.
            let (from, to) = if number % 2 == 0 { (&pair.a, &pair.b) } else { (&pair.b, &pair.a) };
            let began = Instant::now();
            fs::write(from.root.join(&name), &text).unwrap();
            let path = to.root.join(&name);
            while fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
                assert!(began.elapsed() < Duration::from_secs(30), "{name} does not come: {}", to.status());
                std::thread::sleep(Duration::from_micros(200));
            }
            began.elapsed()
        })
        .collect();
    times.sort();
    let at = |percent: usize| times[(FILES * percent / 100).min(FILES - 1)];
    eprintln!("a new file takes {:?} at p50, {:?} at p95, {:?} at most", at(50), at(95), at(100));
    assert!(at(95) < LIMIT, "{times:?}");
}
