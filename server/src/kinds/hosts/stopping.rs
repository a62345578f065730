//! Stopping what a run started on its host: SIGTERM to all of it, a grace period, SIGKILL, and looks until nothing is
//! left. It is done through a channel of its own, over the run's connection or, when that does not answer, another one.

use std::time::Duration;

use app::model::RunId;
use russh::{Channel, ChannelMsg, client::Msg};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    connection::Connection,
    evidence::Notes,
    script::{self, Part, Said, Splitter},
};
use crate::kinds::Stop;

/// An answer to a word takes at most so long; a look is a matter of milliseconds.
const ANSWER: Duration = Duration::from_secs(10);
/// A channel is opened at once, or the connection is no good.
const SECOND_CHANNEL: Duration = Duration::from_secs(3);
/// What got SIGKILL and is there after this cannot be ended.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks: short at first, most commands obey at once.
const LOOKS: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(200)];

/// Somebody on the host who looks, and signals.
struct Agent {
    channel: Channel<Msg>,
    splitter: Splitter,
    said: std::collections::VecDeque<Said>,
}

impl Agent {
    /// Its first word goes along, so that a host far away has heard it when it says that it is ready.
    async fn send(connection: &Connection, run: RunId, lead: Option<u32>, first: &str) -> Result<Agent, String> {
        let script = script::agent(run, lead);
        let silent = |_| format!("it did not answer within {} s", SECOND_CHANNEL.as_secs());
        let channel = timeout(SECOND_CHANNEL, connection.channel()).await.map_err(silent)??;
        let fault = |error: russh::Error| format!("no shell could be started to look: {error}");
        channel.exec(true, script.line).await.map_err(fault)?;
        channel.data_bytes(format!("{}{first}\n", script.text).into_bytes()).await.map_err(fault)?;
        let mut agent =
            Agent { channel, splitter: Splitter::new(script.token), said: std::collections::VecDeque::new() };
        match agent.answer().await? {
            Said::Ready(_) => Ok(agent),
            Said::Missing(tool) => Err(format!("the host has no `{tool}` to look with")),
            other => Err(format!("the shell that looks answered {other:?}")),
        }
    }

    /// Says a word and answers what [`Agent::count`] does.
    async fn ask(&mut self, word: &str, notes: &mut Notes) -> Result<u32, String> {
        let sent = self.channel.data_bytes(format!("{word}\n").into_bytes()).await;
        sent.map_err(|error| format!("the connection was lost: {error}"))?;
        self.count(notes).await
    }

    /// The answer to a word: how many processes of the run there were, noted. They are none only after a look at all
    /// processes of the host.
    async fn count(&mut self, notes: &mut Notes) -> Result<u32, String> {
        match self.answer().await? {
            Said::Found { left, late } => {
                notes.signalled("SIGTERM", late);
                notes.found(left);
                Ok(left)
            }
            Said::Failed => Err("the look failed on the host".to_owned()),
            Said::Blind => Err("the host has no /proc to look into".to_owned()),
            other => Err(format!("the shell that looks answered {other:?}")),
        }
    }

    async fn answer(&mut self) -> Result<Said, String> {
        timeout(ANSWER, self.next()).await.map_err(|_| format!("it did not answer within {} s", ANSWER.as_secs()))?
    }

    async fn next(&mut self) -> Result<Said, String> {
        loop {
            if let Some(said) = self.said.pop_front() {
                return Ok(said);
            }
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data }) => {
                    let parts = self.splitter.take(&data).into_iter();
                    self.said.extend(parts.filter_map(|part| match part {
                        Part::Said(said) => Some(said),
                        // What a profile prints.
                        Part::Text(_) => None,
                    }));
                }
                Some(ChannelMsg::Close) | None => return Err("the connection was lost".to_owned()),
                Some(_) => {}
            }
        }
    }
}

/// Which run is to be stopped, and how.
pub(super) struct Order<'a> {
    pub(super) run: RunId,
    /// Its leader, on the connection that started it. Whether it is that still is looked at on the host.
    pub(super) lead: Option<u32>,
    pub(super) grace: Duration,
    /// The status of the command, once it is heard of; without a sender nobody listens to it.
    pub(super) ended: watch::Receiver<Option<i32>>,
    /// Kills at once when it says so, also in the middle.
    pub(super) stop: &'a mut watch::Receiver<Stop>,
}

/// Stops what is left of a run, and writes down how. The error says why it could not be seen through.
pub(super) async fn stop(connection: &Connection, order: &mut Order<'_>, notes: &mut Notes) -> Result<(), String> {
    let is_kill = is_kill(order.stop);
    let mut agent = Agent::send(connection, order.run, order.lead, if is_kill { "KILL" } else { "TERM" }).await?;
    let mut told = agent.count(notes).await?;
    if !is_kill {
        notes.signalled("SIGTERM", told);
        if told > 0 {
            wait_for_end(&mut agent, order, notes).await?;
        }
        if notes.is_proven() {
            return Ok(());
        }
        told = agent.ask("KILL", notes).await?;
    }
    notes.signalled("SIGKILL", told);
    let deadline = Instant::now() + KILL_PATIENCE;
    loop {
        look_until_gone(&mut agent, notes, Duration::from_millis(500)).await?;
        if notes.is_proven() || Instant::now() >= deadline {
            return Ok(());
        }
        agent.ask("KILL", notes).await?;
    }
}

/// Looks until nothing is left or the grace period is over.
async fn wait_for_end(agent: &mut Agent, order: &mut Order<'_>, notes: &mut Notes) -> Result<(), String> {
    let deadline = Instant::now() + order.grace;
    let mut pause = LOOKS[0];
    // The first look waits until the command is said to be gone, if that is said soon.
    let _ = timeout(order.grace.min(LOOKS[1]), order.ended.wait_for(Option::is_some)).await;
    loop {
        agent.ask("look", notes).await?;
        if notes.is_proven() || is_kill(order.stop) || Instant::now() >= deadline {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep_until(deadline.min(Instant::now() + pause)) => {}
            () = killed(order.stop) => {}
        }
        pause = (pause * 2).min(LOOKS[1]);
    }
}

async fn look_until_gone(agent: &mut Agent, notes: &mut Notes, patience: Duration) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    let mut pause = LOOKS[0];
    loop {
        agent.ask("look", notes).await?;
        if notes.is_proven() || Instant::now() >= deadline {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOKS[1]);
    }
}

fn is_kill(stop: &watch::Receiver<Stop>) -> bool {
    *stop.borrow() == Stop::Kill
}

async fn killed(stop: &mut watch::Receiver<Stop>) {
    wait_until(stop, |stop| stop == Stop::Kill).await;
}

/// Resolves when a stop is ordered.
pub(super) async fn ordered(stop: &mut watch::Receiver<Stop>) {
    wait_until(stop, |stop| stop != Stop::No).await;
}

async fn wait_until(stop: &mut watch::Receiver<Stop>, is_it: impl Fn(Stop) -> bool) {
    if stop.wait_for(|stop| is_it(*stop)).await.is_err() {
        // Nobody can order anything any more.
        std::future::pending::<()>().await;
    }
}
