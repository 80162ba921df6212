//! Where data goes: standard output, or a file.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use super::error::CliError;

/// Bytes gathered before a write.
const BUFFER_BYTES: usize = 256 * 1024;

/// Buffered output with a name for messages.
pub(super) struct Output {
    out: BufWriter<Box<dyn Write>>,
    name: String,
    terminal: bool,
}

impl Output {
    pub(super) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self::new(Box::new(stdout.lock()), "standard output", terminal)
    }

    /// A file, or standard output for none and for `-`.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self::stdout());
        };
        let name = path.display().to_string();
        let file = File::create(path).map_err(CliError::write(&name))?;
        Ok(Self::new(Box::new(file), &name, false))
    }

    fn new(out: Box<dyn Write>, name: &str, terminal: bool) -> Self {
        let out = BufWriter::with_capacity(BUFFER_BYTES, out);
        Self {
            out,
            name: name.to_owned(),
            terminal,
        }
    }

    /// Whether a person reads it directly.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes something.
    pub(super) fn put(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), CliError> {
        write(&mut self.out).map_err(CliError::write(&self.name))
    }

    /// Writes a line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.put(|out| writeln!(out, "{text}"))
    }

    /// Writes a value as JSON on lines of its own, for people and programs alike.
    pub(super) fn json(&mut self, value: &serde_json::Value) -> Result<(), CliError> {
        self.put(|out| writeln!(out, "{value:#}"))
    }

    /// Hands everything on.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(CliError::write(&self.name))
    }
}
