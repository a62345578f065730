//! One run: connect, start, follow, stop where it is told to, look for what the command left, fetch files, close.

use std::{future::Future, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use app::model::{RunId, StopEvidence};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    collect::{self, Fetched},
    connection::Connection,
    evidence::{Notes, nothing_running},
    inventory::Inventory,
    script::{self, RemoteCommand},
    session::{Event, Session},
    stopping::{self, Order, ordered},
    transcript::Transcript,
};
use crate::{
    config::hosts::HostConfig,
    engine::clock::now,
    kinds::{RunOutcome, Stop},
    process::{processes, were},
    store::Verdict,
};

/// Last line of the transcript of a run that was cancelled, with the time behind it.
pub(super) const CANCELLED: &str = "[TASK CANCELLED]";
/// The last words of a command that was stopped.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Between two tries to reach a host that fell silent: short at first, longer each time, at most the second.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// What is to be done on a host.
pub(super) struct Plan {
    pub(super) run: RunId,
    pub(super) host: Arc<HostConfig>,
    pub(super) command: RemoteCommand,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Option<Duration>,
    pub(super) collect: Vec<String>,
    /// Where fetched files go.
    pub(super) out: PathBuf,
    pub(super) log: PathBuf,
}

/// How following a command came to its end.
enum End {
    Exited(i32),
    Ordered,
    TimedOut,
    /// The channel closed without a word about the command.
    Cut(String),
}

/// Carries a plan out, to its end or its proven stop. What was produced is not listed yet.
pub(super) async fn carry_out(inventory: &Inventory, plan: &Plan, mut stop: watch::Receiver<Stop>) -> RunOutcome {
    if *stop.borrow() != Stop::No {
        return cancelled(StopEvidence::never_started(now()));
    }
    let transcript = Transcript::begin(plan.log.clone());
    let outcome = attempt(inventory, plan, &mut stop, &transcript).await;
    match (&outcome.verdict, &outcome.stop) {
        (Verdict::Failed(why), _) => transcript.say(why.clone()).await,
        (Verdict::Cancelled, Some(evidence)) => {
            transcript.say(evidence.detail.clone()).await;
            if evidence.confirmed {
                transcript.say(format!("{CANCELLED} {}", now())).await;
            }
        }
        (Verdict::Succeeded | Verdict::Cancelled, _) => {}
    }
    transcript.finish().await;
    outcome
}

async fn attempt(
    inventory: &Inventory,
    plan: &Plan,
    stop: &mut watch::Receiver<Stop>,
    transcript: &Transcript,
) -> RunOutcome {
    let host = &plan.host;
    let name = host.name.as_str();
    transcript.say(format!("connecting to {name} ({}:{})", host.address, host.port)).await;
    let aborted = || cancelled(nothing_running(format!("Stopped while connecting to {name}: no command was started.")));
    let connection = tokio::select! {
        () = ordered(stop) => return aborted(),
        opened = Connection::open(inventory, host, plan.connect_timeout) => match opened {
            Ok(connection) => connection,
            Err(why) => return failed(why),
        },
    };
    // Nothing of the command runs before the word to go: a stop until then has only the shell to send away.
    let session = {
        let mut starting = pin!(start(&connection, plan, transcript));
        let opened = tokio::select! {
            () = ordered(stop) => None,
            opened = &mut starting => Some(opened),
        };
        match opened {
            Some(opened) => opened.map_err(failed),
            None => {
                send_away(starting).await;
                Err(aborted())
            }
        }
    };
    let mut session = match session {
        Ok(session) => session,
        Err(outcome) => {
            connection.close().await;
            return outcome;
        }
    };
    if let Err(why) = session.go().await {
        return failed(why);
    }
    transcript.say(format!("started on {name} as process {}", session.lead)).await;
    let mut at_work = AtWork { inventory, plan, transcript, connection: Some(connection), session: &mut session };
    let end = at_work.follow(stop).await;
    let outcome = at_work.conclude(end, stop).await;
    if let Some(connection) = at_work.connection.take() {
        connection.close().await;
    }
    outcome
}

async fn start(connection: &Connection, plan: &Plan, transcript: &Transcript) -> Result<Session, String> {
    let script = script::lead(plan.run, &plan.command);
    let opened = timeout(plan.connect_timeout, Session::open(connection, script, transcript.sender())).await;
    opened.unwrap_or_else(|_| Err(format!("no shell was started within {} s", plan.connect_timeout.as_secs())))
}

/// Ends the shell that is being started, and sees it end. One that is not there in time finds its connection closed, and
/// ends as well: it never heard the word to go.
async fn send_away(starting: impl Future<Output = Result<Session, String>>) {
    let sent_away = async {
        if let Ok(session) = starting.await {
            session.send_away().await;
        }
    };
    let _ = timeout(LAST_WORDS, sent_away).await;
}

/// A run whose command was let go.
struct AtWork<'a> {
    inventory: &'a Inventory,
    plan: &'a Plan,
    transcript: &'a Transcript,
    /// Gone when it broke.
    connection: Option<Connection>,
    session: &'a mut Session,
}

impl AtWork<'_> {
    async fn follow(&mut self, stop: &mut watch::Receiver<Stop>) -> End {
        let too_long = async {
            match self.plan.timeout {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = self.session.event() => match event {
                Event::Ended(status) => End::Exited(status),
                Event::Closed(why) => End::Cut(why),
            },
            () = ordered(stop) => End::Ordered,
            () = too_long => End::TimedOut,
        }
    }

    async fn conclude(&mut self, end: End, stop: &mut watch::Receiver<Stop>) -> RunOutcome {
        match end {
            End::Exited(status) => self.after_exit(status, stop).await,
            End::Ordered => {
                let mut notes = self.notes();
                let ended = self.stop(stop, &mut notes).await;
                self.after_stop(notes, ended, stop).await
            }
            End::TimedOut => self.after_time_out(stop).await,
            End::Cut(why) => self.after_cut(why, stop).await,
        }
    }

    fn notes(&self) -> Notes {
        Notes::new(&self.plan.host.name).at(&self.plan.host)
    }

    async fn after_time_out(&mut self, stop: &mut watch::Receiver<Stop>) -> RunOutcome {
        let seconds = self.plan.timeout.unwrap_or_default().as_secs();
        self.transcript.say(format!("the command takes longer than {seconds} s")).await;
        let evidence = self.stop_for_sure(stop).await.evidence();
        let end = if evidence.confirmed { "stopped" } else { "whether it still runs is not known" };
        RunOutcome { stop: Some(evidence), ..failed(format!("timed out after {seconds} s, {end}")) }
    }

    /// The command ended by itself; what it left running is stopped.
    async fn after_exit(&mut self, status: i32, stop: &mut watch::Receiver<Stop>) -> RunOutcome {
        let notes = self.stop_for_sure(stop).await;
        let _ = timeout(LAST_WORDS, self.session.until_closed()).await;
        let mut outcome = exited(status);
        if !notes.is_proven() || notes.was_signalled() {
            let evidence = notes.evidence();
            let left = evidence.processes_seen.unwrap_or(0) as usize;
            let told = if evidence.confirmed {
                format!("{} that the command had left {} stopped", processes(left), were(left))
            } else {
                evidence.detail.clone()
            };
            self.transcript.say(told).await;
            // Left-overs that are gone are no stop of the run.
            outcome.stop = (!evidence.confirmed).then_some(evidence);
        }
        self.fetch(outcome, stop).await
    }

    async fn after_stop(&mut self, notes: Notes, ended: Option<i32>, stop: &mut watch::Receiver<Stop>) -> RunOutcome {
        match ended {
            // It ended before anything of it was signalled.
            Some(status) if notes.is_proven() && !notes.was_signalled() => {
                self.fetch(RunOutcome { stop: Some(notes.evidence()), ..exited(status) }, stop).await
            }
            _ => cancelled(notes.evidence()),
        }
    }

    /// The connection broke, or the remote shell was ended by somebody else: the command may live on.
    async fn after_cut(&mut self, why: String, stop: &mut watch::Receiver<Stop>) -> RunOutcome {
        self.transcript.say(format!("the command is out of sight ({why}); looking for it")).await;
        if !self.session.was_told() {
            self.connection = None;
        }
        let evidence = self.stop_for_sure(stop).await.evidence();
        if *stop.borrow() != Stop::No {
            return cancelled(evidence);
        }
        let found = match (evidence.confirmed, evidence.processes_seen) {
            (true, Some(0)) => "nothing of the command was left",
            (true, _) => "the command was found and stopped",
            (false, _) => "whether the command still runs is not known",
        };
        RunOutcome { stop: Some(evidence), ..failed(format!("it was cut off ({why}); {found}")) }
    }

    /// Stops what there is, and goes on asking a host that does not answer, for as long as the configuration says. Once
    /// somebody wants the job to stop it is asked one more time: then the job waits for the proof, and the repair asks.
    async fn stop_for_sure(&mut self, stop: &mut watch::Receiver<Stop>) -> Notes {
        let patience = self.inventory.ssh.reconnect();
        let deadline = Instant::now() + patience;
        let mut pause = AGAIN[0];
        let mut notes = self.notes();
        let mut told = None;
        loop {
            self.stop(stop, &mut notes).await;
            if notes.is_proven() || Instant::now() >= deadline || *stop.borrow() != Stop::No {
                return notes;
            }
            let why = notes.why_unproven();
            if told.as_ref() != Some(&why) {
                self.transcript.say(format!("{why}; it is asked again for {} s", patience.as_secs())).await;
                told = Some(why);
            }
            tokio::select! {
                () = tokio::time::sleep_until(deadline.min(Instant::now() + pause)) => {}
                () = ordered(stop) => {}
            }
            pause = (pause * 2).min(AGAIN[1]);
        }
    }

    /// Stops what there is, over this connection or a new one, and writes down how. Answers how the command ended
    /// meanwhile.
    async fn stop(&mut self, stop: &mut watch::Receiver<Stop>, notes: &mut Notes) -> Option<i32> {
        let plan = self.plan;
        let (heard, ended) = watch::channel(None);
        // By a later time another process may have the leader's number; while it lives it is found by its mark.
        let mut lead = None;
        if let Some(connection) = self.connection.take_if(|connection| !connection.is_closed()) {
            lead = Some(self.session.lead);
            let mut order = Order { run: plan.run, lead, grace: plan.command.grace, ended: ended.clone(), stop };
            let told = tokio::select! {
                told = stopping::stop(&connection, &mut order, notes) => told,
                never = self.session.drain(&heard) => match never {},
            };
            match told {
                Ok(()) => {
                    self.connection = Some(connection);
                    let mut status = *ended.borrow();
                    if status.is_none()
                        && let Ok(Event::Ended(late)) = timeout(LAST_WORDS, self.session.event()).await
                    {
                        status = Some(late);
                    }
                    if let Some(status) = status.filter(|_| notes.was_signalled()) {
                        notes.ended(status);
                    }
                    return status;
                }
                Err(why) => self.transcript.say(format!("over this connection: {why}")).await,
            }
        }
        let order = Order { run: plan.run, lead, grace: plan.command.grace, ended: ended.clone(), stop };
        let stopped = stop_anew(self.inventory, &plan.host, plan.connect_timeout, order, notes);
        tokio::select! {
            () = stopped => {}
            never = self.session.drain(&heard) => match never {},
        }
        *ended.borrow()
    }

    async fn fetch(&mut self, mut outcome: RunOutcome, stop: &mut watch::Receiver<Stop>) -> RunOutcome {
        if self.plan.collect.is_empty() {
            return outcome;
        }
        let fetched = tokio::select! {
            fetched = self.collect() => fetched,
            () = ordered(stop) => {
                if let Some(unproven) = outcome.stop.filter(|evidence| !evidence.confirmed) {
                    return cancelled(unproven);
                }
                let host = &self.plan.host.name;
                let detail = format!(
                    "Stopped while fetching files from {host}: the command had ended. What was fetched in part ends in \
                     `{}`.",
                    collect::PARTIAL,
                );
                return cancelled(nothing_running(detail));
            }
        };
        self.transcript.say(fetched.summary()).await;
        for fault in &fetched.faults {
            self.transcript.say(fault.clone()).await;
        }
        if let (Verdict::Succeeded, Some(fault)) = (&outcome.verdict, fetched.faults.first()) {
            outcome.verdict = Verdict::Failed(fault.clone());
        }
        outcome
    }

    /// Over a new connection, where the run's own one broke after the command had ended.
    async fn collect(&mut self) -> Fetched {
        let connection = match self.connection.take_if(|connection| !connection.is_closed()) {
            Some(connection) => Ok(connection),
            None => Connection::open(self.inventory, &self.plan.host, self.plan.connect_timeout).await,
        };
        match connection {
            Ok(connection) => {
                let connection = self.connection.insert(connection);
                let max = self.inventory.ssh.max_collect_bytes;
                collect::fetch(connection, &self.plan.collect, &self.plan.out, max).await
            }
            Err(why) => Fetched::nothing(&why),
        }
    }
}

/// Over a connection of its own. What cannot be seen is noted.
pub(super) async fn stop_anew(
    inventory: &Inventory,
    host: &HostConfig,
    patience: Duration,
    mut order: Order<'_>,
    notes: &mut Notes,
) {
    let connection = match Connection::open(inventory, host, patience).await {
        Ok(connection) => connection,
        Err(why) => return notes.silent(&why),
    };
    if let Err(why) = stopping::stop(&connection, &mut order, notes).await {
        notes.silent(&why);
    }
    connection.close().await;
}

fn exited(status: i32) -> RunOutcome {
    let verdict = match status {
        0 => Verdict::Succeeded,
        // As shells put it.
        129..=192 => Verdict::Failed(format!("exit status {status}, as after signal {}", status - 128)),
        _ => Verdict::Failed(format!("exit status {status}")),
    };
    RunOutcome { verdict, exit_code: Some(status), stop: None, produced: Vec::new() }
}

pub(super) fn failed(why: String) -> RunOutcome {
    RunOutcome { verdict: Verdict::Failed(why), exit_code: None, stop: None, produced: Vec::new() }
}

fn cancelled(evidence: StopEvidence) -> RunOutcome {
    RunOutcome { verdict: Verdict::Cancelled, exit_code: None, stop: Some(evidence), produced: Vec::new() }
}
