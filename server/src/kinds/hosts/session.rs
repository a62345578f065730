//! The channel in which a run's command is led: starting it, and hearing of it.

use std::collections::VecDeque;

use russh::{Channel, ChannelMsg, client::Msg};
use tokio::sync::{mpsc, watch};

use super::{
    connection::Connection,
    script::{Part, Said, Script, Splitter},
    transcript::{Piece, Stream},
};

/// What is heard of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The command has ended with this status.
    Ended(i32),
    /// The channel is closed without a word about the command; what was said instead.
    Closed(String),
}

/// See the module.
pub(super) struct Session {
    channel: Channel<Msg>,
    splitter: Splitter,
    transcript: mpsc::Sender<Piece>,
    /// Pieces that the transcript has not taken yet: an interrupted wait loses none.
    waiting: VecDeque<Piece>,
    said: VecDeque<Said>,
    /// How the shell ended, as the server tells it.
    exit: Option<String>,
    is_closed: bool,
    /// Pid of the shell that leads the run, its session and its process group.
    pub(super) lead: u32,
}

impl Session {
    /// Starts the shell; the command waits for [`Session::go`]. The error says what the host answered.
    pub(super) async fn open(
        connection: &Connection,
        script: Script,
        transcript: mpsc::Sender<Piece>,
    ) -> Result<Session, String> {
        let channel = connection.channel().await?;
        let fault = |error: russh::Error| format!("the remote shell could not be started: {error}");
        channel.exec(true, script.line).await.map_err(fault)?;
        channel.data_bytes(script.text.into_bytes()).await.map_err(fault)?;
        let mut session = Session {
            channel,
            splitter: Splitter::new(script.token),
            transcript,
            waiting: VecDeque::new(),
            said: VecDeque::new(),
            exit: None,
            is_closed: false,
            lead: 0,
        };
        match session.next().await {
            Some(Said::Ready(lead)) => session.lead = lead,
            Some(Said::Missing(tool)) => {
                return Err(format!(
                    "the host has no `{tool}`, without which no stop can be proven: nothing was started"
                ));
            }
            Some(other) => return Err(format!("the remote shell answered {other:?}")),
            None if session.was_told() => {
                // Before ours it is the user's login shell, and what that reads.
                let why = session.why_closed();
                return Err(format!(
                    "the remote shell did not start: {why}, of the login shell or a start-up file of it"
                ));
            }
            None => return Err(format!("the remote shell did not start: {}", session.why_closed())),
        }
        Ok(session)
    }

    /// Lets the command begin.
    pub(super) async fn go(&self) -> Result<(), String> {
        let sent = self.channel.data_bytes(&b"go\n"[..]).await;
        sent.map_err(|error| format!("the command could not be started: {error}"))
    }

    /// Ends the shell before its command has begun, and waits until the host says that it is gone.
    pub(super) async fn send_away(mut self) {
        let _ = self.channel.eof().await;
        self.until_closed().await;
    }

    /// What happens next. Interrupted, it goes on where it was.
    pub(super) async fn event(&mut self) -> Event {
        loop {
            match self.next().await {
                Some(Said::Ended(status)) => return Event::Ended(status),
                Some(_) => {}
                None => return Event::Closed(self.why_closed()),
            }
        }
    }

    /// Goes on reading, for what is printed while something else is done. Never ends; answers how the command ended
    /// through `ended`.
    pub(super) async fn drain(&mut self, ended: &watch::Sender<Option<i32>>) -> std::convert::Infallible {
        loop {
            match self.event().await {
                Event::Ended(status) => {
                    ended.send_replace(Some(status));
                }
                Event::Closed(_) => std::future::pending().await,
            }
        }
    }

    /// Reads on to the end of the channel.
    pub(super) async fn until_closed(&mut self) {
        while let Event::Ended(_) = self.event().await {}
    }

    /// The next word of the script; `None` when the channel is closed.
    async fn next(&mut self) -> Option<Said> {
        loop {
            self.pass_on().await;
            if let Some(said) = self.said.pop_front() {
                return Some(said);
            }
            if self.is_closed {
                return None;
            }
            let message = self.channel.wait().await;
            self.take(message);
        }
    }

    fn take(&mut self, message: Option<ChannelMsg>) {
        match message {
            Some(ChannelMsg::Data { data }) => {
                for part in self.splitter.take(&data) {
                    match part {
                        Part::Text(text) => self.waiting.push_back(Piece::Printed(Stream::Stdout, text)),
                        Part::Said(said) => self.said.push_back(said),
                    }
                }
            }
            Some(ChannelMsg::ExtendedData { data, .. }) => {
                self.waiting.push_back(Piece::Printed(Stream::Stderr, data.to_vec()));
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => self.exit = Some(format!("exit status {exit_status}")),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => self.exit = Some(format!("signal {signal_name:?}")),
            Some(ChannelMsg::Failure) => self.exit = Some("the host refused to run it".to_owned()),
            Some(ChannelMsg::Close) | None => {
                let rest = self.splitter.rest();
                if !rest.is_empty() {
                    self.waiting.push_back(Piece::Printed(Stream::Stdout, rest));
                }
                self.is_closed = true;
            }
            Some(_) => {}
        }
    }

    async fn pass_on(&mut self) {
        while !self.waiting.is_empty() {
            // The place is taken before the piece is, so that nothing is lost in between.
            let Ok(place) = self.transcript.reserve().await else { return self.waiting.clear() };
            if let Some(piece) = self.waiting.pop_front() {
                place.send(piece);
            }
        }
    }

    fn why_closed(&self) -> String {
        self.exit.clone().unwrap_or_else(|| "the connection was lost".to_owned())
    }

    /// True when the host told how its shell ended: the connection works.
    pub(super) fn was_told(&self) -> bool {
        self.exit.is_some()
    }
}
