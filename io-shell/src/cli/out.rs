//! The two streams of a command.

use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Data and prose, kept apart. A reader that leaves early shows as an error of kind `BrokenPipe`.
pub struct Out<'a> {
    data: Box<dyn Write + 'a>,
    prose: Box<dyn Write + 'a>,
    /// Whether data goes to a terminal.
    pub data_terminal: bool,
    /// Whether prose goes to a terminal.
    pub prose_terminal: bool,
}

impl Out<'static> {
    /// stdout and stderr.
    pub fn std() -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let (data_terminal, prose_terminal) = (stdout.is_terminal(), stderr.is_terminal());
        Self { data: Box::new(stdout), prose: Box::new(stderr), data_terminal, prose_terminal }
    }
}

impl<'a> Out<'a> {
    /// Two other streams, neither a terminal.
    pub fn plain(data: impl Write + 'a, prose: impl Write + 'a) -> Self {
        Self { data: Box::new(data), prose: Box::new(prose), data_terminal: false, prose_terminal: false }
    }

    /// Bytes of data as they are.
    ///
    /// # Errors
    /// The stream's.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.data.write_all(bytes)?;
        self.data.flush()
    }

    /// A line of data, out at once.
    ///
    /// # Errors
    /// The stream's.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.data, "{text}")?;
        self.data.flush()
    }

    /// One JSON document on a line.
    ///
    /// # Errors
    /// The stream's.
    pub fn json(&mut self, document: &impl Serialize) -> io::Result<()> {
        self.line(&serde_json::to_string(document)?)
    }

    /// A line of prose.
    ///
    /// # Errors
    /// The stream's.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.prose, "{text}")
    }

    /// Bytes of prose as they are, out at once.
    ///
    /// # Errors
    /// The stream's.
    pub fn prose(&mut self, text: &str) -> io::Result<()> {
        self.prose.write_all(text.as_bytes())?;
        self.prose.flush()
    }
}
