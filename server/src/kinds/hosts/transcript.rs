//! The transcript of a run: what the host printed, and what Belay did there, into the run's log.
//!
//! One writer a run, on the blocking pool only while it writes; what waits for it is bounded, so that a host that prints
//! faster than the disk takes it is slowed down by its own connection.

use std::path::PathBuf;

use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    engine::clock::now,
    process::{Lines, LogFile},
};

/// Pieces that wait for the writer.
const WAITING: usize = 8;

/// Where something was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// A piece of the transcript.
#[derive(Debug)]
pub(super) enum Piece {
    Printed(Stream, Vec<u8>),
    Said(String),
}

/// See the module.
pub(super) struct Transcript {
    pieces: mpsc::Sender<Piece>,
    writer: JoinHandle<()>,
}

impl Transcript {
    /// Begins a new one; the file is made with the first line.
    pub(super) fn begin(path: PathBuf) -> Self {
        let (pieces, waiting) = mpsc::channel(WAITING);
        Transcript { pieces, writer: tokio::spawn(write(path, waiting)) }
    }

    /// The way to the writer, for who must not lose a piece when it is interrupted.
    pub(super) fn sender(&self) -> mpsc::Sender<Piece> {
        self.pieces.clone()
    }

    /// A line in Belay's own name.
    pub(super) async fn say(&self, text: impl Into<String>) {
        // The writer ends only after the last sender.
        let _ = self.pieces.send(Piece::Said(text.into())).await;
    }

    /// Waits until all is written.
    pub(super) async fn finish(self) {
        drop(self.pieces);
        if let Err(error) = self.writer.await {
            tracing::warn!(%error, "a transcript may lack its end");
        }
    }
}

/// What is written to, on whichever thread.
struct Target {
    log: LogFile,
    stdout: Lines,
    stderr: Lines,
}

async fn write(path: PathBuf, mut waiting: mpsc::Receiver<Piece>) {
    let mut target = Target { log: LogFile::new(path), stdout: Lines::new(b'o'), stderr: Lines::new(b'e') };
    let mut pieces = Vec::with_capacity(WAITING);
    loop {
        let is_over = waiting.recv_many(&mut pieces, WAITING).await == 0;
        let batch = std::mem::replace(&mut pieces, Vec::with_capacity(WAITING));
        let written = tokio::task::spawn_blocking(move || {
            target.write(batch, is_over);
            target
        });
        match written.await {
            Ok(back) => target = back,
            Err(_) => return,
        }
        if is_over {
            return;
        }
    }
}

impl Target {
    fn write(&mut self, pieces: Vec<Piece>, is_over: bool) {
        let mut lines = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Printed(Stream::Stdout, bytes) => self.stdout.take(&bytes, now().0, &mut lines),
                Piece::Printed(Stream::Stderr, bytes) => self.stderr.take(&bytes, now().0, &mut lines),
                Piece::Said(text) => {
                    self.end_lines(&mut lines);
                    self.log.append(&std::mem::take(&mut lines));
                    self.log.say(&text);
                }
            }
        }
        if is_over {
            self.end_lines(&mut lines);
        }
        self.log.append(&lines);
    }

    fn end_lines(&mut self, lines: &mut Vec<u8>) {
        self.stdout.finish(now().0, lines);
        self.stderr.finish(now().0, lines);
    }
}
