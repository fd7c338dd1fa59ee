//! One line about long work: rewritten in place on a terminal, now and then a plain line otherwise.

use crate::cli::human;
use crate::cli::out::Out;
use std::io;
use std::time::{Duration, Instant};
use sync_core::status::Status;
use tokio::sync::watch;

/// The shortest time between two lines where they cannot be rewritten.
const PLAIN_PAUSE: Duration = Duration::from_secs(5);

/// The progress of one piece of work.
#[derive(Debug, Default)]
pub struct Progress {
    shown: String,
    last: Option<Instant>,
}

impl Progress {
    /// Shows how far it is.
    ///
    /// # Errors
    /// The stream's.
    pub fn show(&mut self, out: &mut Out<'_>, text: &str) -> io::Result<()> {
        if text == self.shown {
            return Ok(());
        }
        if out.prose_terminal {
            out.prose(&format!("\r\x1b[2K{text}"))?;
        } else if self.last.is_none_or(|last| last.elapsed() >= PLAIN_PAUSE) {
            out.note(text)?;
            self.last = Some(Instant::now());
        } else {
            return Ok(());
        }
        text.clone_into(&mut self.shown);
        Ok(())
    }

    /// Clears the line, so that what is printed next starts on an empty one.
    ///
    /// # Errors
    /// The stream's.
    pub fn clear(&mut self, out: &mut Out<'_>) -> io::Result<()> {
        if out.prose_terminal && !self.shown.is_empty() {
            self.shown.clear();
            out.prose("\r\x1b[2K")?;
        }
        Ok(())
    }
}

/// Shows the first scan of the folders until none is being scanned or the daemon ends.
///
/// # Errors
/// The stream's.
pub async fn first_scan(mut status: watch::Receiver<std::sync::Arc<Status>>, out: &mut Out<'_>) -> io::Result<()> {
    let mut progress = Progress::default();
    loop {
        let scanning = scan_line(&status.borrow_and_update());
        let Some(line) = scanning else { break };
        progress.show(out, &line)?;
        if status.changed().await.is_err() {
            break;
        }
    }
    progress.clear(out)
}

/// What is being scanned, if anything is.
fn scan_line(status: &Status) -> Option<String> {
    let scanned: Vec<_> = status.folders.iter().filter(|f| f.state == "scanning").collect();
    let first = scanned.first()?;
    let files = scanned.iter().map(|f| f.files).sum();
    let bytes = scanned.iter().map(|f| f.bytes).sum();
    let which = if scanned.len() == 1 { first.name.clone() } else { human::count(scanned.len() as u64, "folder") };
    let which = crate::api::path::printable(&which);
    Some(format!("scanning {which}: {}, {}", human::count(files, "file"), human::bytes(bytes)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_that_cannot_be_rewritten_are_few() {
        let mut prose = Vec::new();
        let mut progress = Progress::default();
        let mut out = Out::plain(io::sink(), &mut prose);
        for step in 0..100 {
            progress.show(&mut out, &format!("step {step}")).unwrap();
        }
        progress.clear(&mut out).unwrap();
        drop(out);
        assert_eq!(prose, b"step 0\n");
    }

    #[test]
    fn a_terminal_has_one_line_that_ends_empty() {
        let mut prose = Vec::new();
        let mut progress = Progress::default();
        let mut out = Out::plain(io::sink(), &mut prose);
        out.prose_terminal = true;
        progress.show(&mut out, "a").unwrap();
        progress.show(&mut out, "a").unwrap();
        progress.show(&mut out, "b").unwrap();
        progress.clear(&mut out).unwrap();
        drop(out);
        assert_eq!(prose, b"\r\x1b[2Ka\r\x1b[2Kb\r\x1b[2K");
    }

    #[tokio::test]
    async fn the_first_scan_ends_with_the_daemon() {
        let (sender, status) = watch::channel(std::sync::Arc::default());
        drop(sender);
        first_scan(status, &mut Out::plain(io::sink(), io::sink())).await.unwrap();
    }
}
