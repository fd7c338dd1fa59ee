//! What a run shows of itself: one line an event, with a column for each device.

use crate::core::host::{Host, Standing};
use crate::core::world::World;
use sync_core::{Input, Output};

impl World {
    /// Shows what happens at `host`, if anybody watches.
    pub(super) fn tell_trace(&self, host: usize, line: impl FnOnce(&Self) -> String) {
        if self.trace {
            let columns = |acting: Option<usize>| {
                let cell = |(i, h): (usize, &Host)| {
                    format!(" {} {}", glyph(h, self.now), if acting == Some(i) { '◆' } else { '·' })
                };
                self.hosts.iter().enumerate().map(cell).collect::<Vec<_>>().join(" │")
            };
            self.show(&format!("{:>12.6}{} │ {host}: {}", self.now as f64 / 1e6, columns(Some(host)), line(self)));
        }
    }

    /// Shows what happens to all.
    pub(super) fn tell_all(&self, line: impl FnOnce(&Self) -> String) {
        if self.trace {
            self.show(&format!("{:>12.6} ──── {}", self.now as f64 / 1e6, line(self)));
        }
    }

    #[allow(clippy::print_stdout)] // That is what a trace is for.
    fn show(&self, line: &str) {
        println!("{line}");
    }
}

/// How a device is.
fn glyph(host: &Host, now: u64) -> char {
    match host.standing {
        Standing::Removed => 'R',
        Standing::Retired => '✝',
        Standing::Member if !host.is_up() => '○',
        Standing::Member if host.paused_until > now => '‖',
        Standing::Member if host.hostile_until > now => '☠',
        Standing::Member if host.disk.lost => '?',
        Standing::Member if host.disk.faults != Default::default() || host.stalled_until > now => '!',
        Standing::Member => '●',
    }
}

/// An input as the trace has it: frames decoded.
#[allow(clippy::wildcard_enum_match_arm)] // The rest is shown as it is.
pub(super) fn shown(input: &Input) -> String {
    match input {
        Input::Received { link, lane, frame } => match sync_core::wire::decode(frame) {
            Ok(message) => format!("{link:?} {lane:?} {message:?}"),
            Err(error) => format!("{link:?} {lane:?} {error}"),
        },
        other => format!("{other:?}"),
    }
}

/// An output as the trace has it.
#[allow(clippy::wildcard_enum_match_arm)] // The rest is shown as it is.
pub(super) fn shown_output(output: &Output) -> String {
    match output {
        Output::Send { link, lane, frame } => match sync_core::wire::decode(frame) {
            Ok(message) => format!("Send {link:?} {lane:?} {}", message.name()),
            Err(error) => format!("{error}"),
        },
        other => format!("{other:?}"),
    }
}
