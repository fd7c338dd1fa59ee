//! The command line.

use crate::versus::work::Workload;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Measures landropic beside other ways of keeping directories the same, both ends on this machine.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// What to do, separated by commas [default: w1 to w9]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub workload: Vec<Workload>,
    /// Whom to measure beside landropic, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub against: Vec<Rival>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
    /// Draw the results into this HTML file
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Trials of each peer
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Multiplies sizes and counts
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    pub scale: f64,
    /// The landropic to measure [default: the release build of this checkout]
    #[arg(long, value_name = "FILE")]
    pub bin: Option<PathBuf>,
    /// The syncthing to measure [default: the one that is installed]
    #[arg(long, value_name = "FILE")]
    pub syncthing: Option<PathBuf>,
    /// Where to make directories, on the disk to be measured [default: the one for temporary files]
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

impl Args {
    /// The workloads asked for, in their order.
    pub fn workloads(&self) -> Vec<Workload> {
        let all = Workload::value_variants().iter().copied();
        all.filter(|w| if self.workload.is_empty() { w.is_usual() } else { self.workload.contains(w) }).collect()
    }

    /// Those asked for beside landropic, in their order.
    pub fn rivals(&self) -> Vec<Rival> {
        let all = Rival::value_variants().iter().copied();
        all.filter(|rival| self.against.is_empty() || self.against.contains(rival)).collect()
    }
}

/// What landropic is measured beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rival {
    /// cp -a, on one machine: neither network nor encryption
    Cp,
    /// rsync to its own daemon: not encrypted
    RsyncDaemon,
    /// rsync over ssh with AES-128-GCM
    RsyncSsh,
    /// The same with --fsync
    RsyncSshFsync,
    /// Unison over ssh with AES-128-GCM
    Unison,
    /// Syncthing over TCP; in W6 also with its watcher's delay forced down to 0.01 s (1 s in old versions)
    Syncthing,
}

impl Rival {
    /// The programs it needs, each with the Debian package that has it.
    pub fn needs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Cp => &[("cp", "coreutils")],
            Self::RsyncDaemon => &[("rsync", "rsync")],
            Self::RsyncSsh | Self::RsyncSshFsync => {
                &[("rsync", "rsync"), ("ssh", "openssh-client"), ("sshd", "openssh-server")]
            }
            Self::Unison => &[("unison", "unison"), ("ssh", "openssh-client"), ("sshd", "openssh-server")],
            Self::Syncthing => &[("syncthing", "syncthing")],
        }
    }
}

fn scale(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if number > 0.0 && number <= 100.0 { Ok(number) } else { Err("more than 0, at most 100".to_owned()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split(' '))
    }

    #[test]
    fn lists_are_separated_by_commas_and_keep_their_own_order() {
        let args = parse("versus --workload w2,w1 --against syncthing,rsync-ssh --scale 0.5").unwrap();
        assert_eq!(args.workloads(), [Workload::W1, Workload::W2]);
        assert_eq!(args.rivals(), [Rival::RsyncSsh, Rival::Syncthing]);
        assert_eq!((args.scale, args.rounds, args.json), (0.5, 3, false));
    }

    #[test]
    fn without_lists_all_is_measured_but_what_is_asked_for_by_name_only() {
        let args = parse("versus").unwrap();
        assert_eq!(args.workloads().len(), 9);
        assert!(!args.workloads().contains(&Workload::Memory));
        assert_eq!(args.rivals().len(), 6);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["--workload w10", "--against tar", "--scale 0", "--scale NaN", "--rounds 0"] {
            assert!(parse(&format!("versus {line}")).is_err(), "{line}");
        }
    }
}
