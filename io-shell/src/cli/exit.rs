//! How a command ends.

use crate::api::{ClientError, LockError};
use crate::daemon::Refused;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// Exit codes: a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or yes.
    Yes = 0,
    /// No, or it failed.
    No = 1,
    /// The arguments or settings are wrong.
    Usage = 2,
    /// No daemon is running for the home.
    NoDaemon = 3,
    /// The daemon will not.
    Refused = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The arguments or settings are wrong.
    Usage(String),
    /// The daemon did not answer, or not as wished.
    Client(ClientError),
    /// Another daemon has the home.
    Lock(LockError),
    /// A stream of this process.
    Stream(io::Error),
    /// Anything else.
    Other(anyhow::Error),
}

impl Failure {
    /// The exit code for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Client(ClientError::Bad(_)) => Exit::Usage,
            Self::Client(ClientError::NoDaemon(_)) => Exit::NoDaemon,
            Self::Client(ClientError::Refused(_)) | Self::Lock(LockError::Taken { .. }) => Exit::Refused,
            Self::Client(ClientError::Broken(_))
            | Self::Lock(LockError::Io { .. })
            | Self::Stream(_)
            | Self::Other(_) => Exit::No,
        }
    }

    /// Whether whoever read our output has had enough: no failure of ours.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Stream(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Client(error) => error.fmt(f),
            Self::Lock(error) => error.fmt(f),
            Self::Stream(error) => write!(f, "the output cannot be written: {error}"),
            Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::Lock(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Refused>() {
            Ok(refused) => Self::Client(ClientError::Refused(refused.0)),
            Err(other) => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_numbers() {
        let check = |failure: Failure, code: u8| assert_eq!(failure.exit() as u8, code, "{failure}");
        check(Failure::Usage(String::new()), 2);
        check(ClientError::Bad(String::new()).into(), 2);
        check(ClientError::NoDaemon("/h".into()).into(), 3);
        check(ClientError::Refused(String::new()).into(), 4);
        check(LockError::Taken { home: "/h".into(), pid: "1".into() }.into(), 4);
        check(ClientError::Broken(String::new()).into(), 1);
        check(anyhow::anyhow!("x").into(), 1);
        check(anyhow::Error::new(Refused(String::new())).into(), 4);
        assert_eq!((Exit::Yes as u8, Exit::No as u8), (0, 1));
    }

    #[test]
    fn a_reader_that_leaves_is_no_failure() {
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_broken_pipe());
        assert!(!Failure::from(io::Error::from(io::ErrorKind::StorageFull)).is_broken_pipe());
    }
}
