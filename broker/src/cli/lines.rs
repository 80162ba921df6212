//! Lines of a file or of standard input, read ahead by a thread in blocks of many.
//!
//! A block is handed over when it is full, and when the next read might have to wait: what a person
//! types is sent at once, what a file holds moves in large pieces.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::error::CliError;

/// Size at which a block is handed over.
const BLOCK_BYTES: usize = 256 * 1024;
/// Blocks that may wait.
pub(super) const BLOCKS_MAX: usize = 8;
/// Longest line; a record cannot be much larger.
const LINE_BYTES_MAX: u64 = 1 << 30;

/// Whole lines, without the ends of line.
#[derive(Debug, Default)]
pub(super) struct Block {
    bytes: Vec<u8>,
    /// End of each line, its end of line included.
    ends: Vec<usize>,
}

impl Block {
    /// The lines. Only `\n` ends a line: a `\r` before it belongs to the line.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let line = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            line.strip_suffix(b"\n").unwrap_or(line)
        })
    }

    /// Bytes read, ends of line included.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// A source of lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// Blocks in order; the end of the channel is the end of the input.
    pub(super) blocks: Receiver<Result<Block, CliError>>,
    /// Bytes of the input, where it is a file.
    pub(super) total: Option<u64>,
}

/// Starts to read a file, or standard input for none and for `-`.
pub(super) fn open(path: Option<&Path>) -> Result<Lines, CliError> {
    let (input, name, total): (Box<dyn Read + Send>, String, Option<u64>) = match path {
        Some(path) if path != Path::new("-") => {
            let file = File::open(path).map_err(CliError::read(path))?;
            let metadata = file.metadata().map_err(CliError::read(path))?;
            let total = metadata.is_file().then_some(metadata.len());
            (Box::new(file), path.display().to_string(), total)
        }
        _ => (Box::new(io::stdin()), "standard input".to_owned(), None),
    };
    let (sender, blocks) = sync_channel(BLOCKS_MAX);
    let thread = std::thread::Builder::new().name("read lines".to_owned());
    let spawned = thread.spawn(move || {
        if let Err(cause) = read(input, &sender) {
            let _ = sender.send(Err(CliError::Read { name, cause }));
        }
    });
    let failed = |cause| CliError::Read {
        name: "the input".to_owned(),
        cause,
    };
    spawned.map_err(failed)?;
    Ok(Lines { blocks, total })
}

fn read(input: impl Read, sender: &SyncSender<Result<Block, CliError>>) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(BLOCK_BYTES, input);
    let mut block = Block::default();
    loop {
        let before = block.bytes.len();
        let count = reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut block.bytes)?;
        if count as u64 == LINE_BYTES_MAX && block.bytes.last() != Some(&b'\n') {
            let text = format!("a line is longer than {LINE_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if count > 0 {
            block.ends.push(before + count);
        }
        let ended = count == 0;
        let full = block.bytes.len() >= BLOCK_BYTES || reader.buffer().is_empty();
        if (ended || full) && !block.ends.is_empty() {
            let capacity = block.bytes.capacity().min(2 * BLOCK_BYTES);
            let next = Block {
                bytes: Vec::with_capacity(capacity),
                ends: Vec::new(),
            };
            if sender
                .send(Ok(std::mem::replace(&mut block, next)))
                .is_err()
            {
                return Ok(());
            }
        }
        if ended {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(input: &[u8]) -> Vec<Vec<u8>> {
        let (sender, blocks) = sync_channel(1_000);
        read(input, &sender).unwrap();
        drop(sender);
        let blocks: Vec<Block> = blocks.iter().map(Result::unwrap).collect();
        blocks
            .iter()
            .flat_map(Block::lines)
            .map(<[u8]>::to_vec)
            .collect()
    }

    #[test]
    fn lines_end_at_newlines_only() {
        assert_eq!(lines_of(b""), Vec::<Vec<u8>>::new());
        assert_eq!(lines_of(b"\n"), [b""]);
        assert_eq!(lines_of(b"a\r\nb"), [b"a\r".to_vec(), b"b".to_vec()]);
        assert_eq!(
            lines_of(b"a\n\nb\n"),
            [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]
        );
    }

    #[test]
    fn lines_longer_than_a_block_stay_whole() {
        let long = vec![b'x'; 3 * BLOCK_BYTES + 1];
        let input = [&b"a\n"[..], &long, b"\nb\n"].concat();
        assert_eq!(lines_of(&input), [b"a".to_vec(), long, b"b".to_vec()]);
    }
}
