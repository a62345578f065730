//! What is written down during a stop on a host, and what it comes to.

use app::model::{StopEvidence, StopMethod, StopStep, StopStepKind, Timestamp};

use crate::{
    config::hosts::HostConfig,
    engine::clock::now,
    process::{processes, were},
};

/// The notes of one stop.
#[derive(Debug)]
pub(super) struct Notes {
    host: String,
    /// Where it is looked for by now: a name may come to stand for another machine.
    place: String,
    signals: Vec<String>,
    steps: Vec<StopStep>,
    seen: u32,
    left: Option<u32>,
    /// Why nobody could look, when that was so at last.
    silent: Option<String>,
    /// Since when it is so; from former notes, if there are any.
    silent_since: Option<Timestamp>,
}

impl Notes {
    pub(super) fn new(host: &str) -> Self {
        Notes {
            host: host.to_owned(),
            place: host.to_owned(),
            signals: Vec::new(),
            steps: Vec::new(),
            seen: 0,
            left: None,
            silent: None,
            silent_since: None,
        }
    }

    /// Goes on with what a former stop of the same run had noted.
    pub(super) fn after(host: &str, former: Option<&StopEvidence>) -> Self {
        let mut notes = Notes::new(host);
        if let Some(former) = former {
            notes.signals.clone_from(&former.signals);
            notes.seen = former.processes_seen.unwrap_or(0);
            let is_silent = |step: &&StopStep| step.step == StopStepKind::Searched && former.processes_left.is_none();
            notes.silent_since = former.steps.iter().find(is_silent).map(|step| step.at);
            notes.steps.clone_from(&former.steps);
        }
        notes
    }

    /// Its place by the configuration.
    pub(super) fn at(mut self, host: &HostConfig) -> Self {
        self.place = format!("{}:{}", host.address, host.port);
        self
    }

    fn step(&mut self, step: StopStepKind, detail: String) {
        self.steps.push(StopStep { step, at: now(), detail });
    }

    /// So many processes were sent this signal.
    pub(super) fn signalled(&mut self, signal: &str, count: u32) {
        self.found(count);
        if count > 0 {
            if !self.signals.iter().any(|sent| sent == signal) {
                self.signals.push(signal.to_owned());
            }
            self.step(StopStepKind::Signalled, format!("{signal} to {}", processes(count as usize)));
        }
    }

    /// The command ended while it was being stopped.
    pub(super) fn ended(&mut self, status: i32) {
        self.step(StopStepKind::Exited, format!("exit {status}"));
    }

    /// A look found so many.
    pub(super) fn found(&mut self, count: u32) {
        self.seen = self.seen.max(count);
        self.left = Some(count);
        self.silent = None;
        self.silent_since = None;
    }

    /// Nobody could look.
    pub(super) fn silent(&mut self, why: &str) {
        self.left = None;
        if self.silent_since.is_none() {
            self.silent_since = Some(now());
            self.step(StopStepKind::Searched, why.to_owned());
        }
        self.silent = Some(why.to_owned());
    }

    pub(super) fn was_signalled(&self) -> bool {
        !self.signals.is_empty()
    }

    pub(super) fn is_proven(&self) -> bool {
        self.left == Some(0)
    }

    /// What stands in the way of the proof.
    pub(super) fn why_unproven(&self) -> String {
        let host = &self.host;
        match (self.left, &self.silent) {
            (Some(left), _) => format!("on {host} {} of the run cannot be ended", processes(left as usize)),
            (None, Some(why)) => format!("{host} does not answer: {why}"),
            (None, None) => format!("{host} was not asked"),
        }
    }

    /// What it all comes to.
    pub(super) fn evidence(mut self) -> StopEvidence {
        let confirmed = self.is_proven();
        let host = &self.host;
        let detail = match (self.left, &self.silent) {
            (Some(0), _) if self.seen == 0 => format!("Nothing of the run was found on {host}."),
            (Some(0), _) => {
                let seen = self.seen as usize;
                format!("Stopped on {host}: {} {} seen, 0 are left.", processes(seen), were(seen))
            }
            (Some(left), _) => format!("On {host} {} of the run cannot be ended.", processes(left as usize)),
            (None, why) => {
                let why = why.as_deref().unwrap_or("it was not asked");
                let since = self.silent_since.unwrap_or_else(now);
                format!("{host} does not answer since {since}: {why}. What runs there is not known.")
            }
        };
        if let Some(left) = self.left {
            let searched = format!("all processes of {} were looked through", self.place);
            self.step(StopStepKind::Searched, searched);
            self.step(StopStepKind::Counted, format!("{left} of {} left", processes(self.seen as usize)));
        }
        if confirmed {
            self.step(StopStepKind::Confirmed, "stopped".to_owned());
        }
        StopEvidence {
            method: if self.left.is_some() { StopMethod::Remote } else { StopMethod::Lost },
            signals: self.signals,
            stopped_at: confirmed.then(now),
            processes_left: self.left,
            processes_seen: Some(self.seen),
            confirmed,
            detail,
            steps: self.steps,
        }
    }
}

/// Evidence of a run that was stopped before its command had begun, or after it had ended.
pub(super) fn nothing_running(detail: String) -> StopEvidence {
    StopEvidence {
        method: StopMethod::Remote,
        signals: Vec::new(),
        stopped_at: Some(now()),
        processes_left: Some(0),
        processes_seen: Some(0),
        confirmed: true,
        detail,
        steps: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_proven_only_by_a_look_that_found_nothing() {
        let mut notes = Notes::new("web1");
        notes.signalled("SIGTERM", 3);
        assert!(!notes.is_proven());
        notes.found(0);
        let evidence = notes.evidence();
        assert!(evidence.confirmed && evidence.stopped_at.is_some());
        assert_eq!((evidence.method, evidence.processes_left), (StopMethod::Remote, Some(0)));
        assert_eq!(evidence.detail, "Stopped on web1: 3 processes were seen, 0 are left.");
    }

    #[test]
    fn a_host_that_fell_silent_is_unconfirmed_since_then_also_when_it_is_asked_again() {
        let mut notes = Notes::new("web1");
        notes.signalled("SIGTERM", 1);
        notes.silent("it did not answer within 10 s");
        let first = notes.evidence();
        assert!(!first.confirmed && first.processes_left.is_none() && first.stopped_at.is_none());
        std::thread::sleep(std::time::Duration::from_millis(5));
        let mut again = Notes::after("web1", Some(&first));
        again.silent("it did not answer within 10 s");
        let second = again.evidence();
        assert_eq!((&second.detail, second.signals), (&first.detail, vec!["SIGTERM".to_owned()]));
        let mut thawed = Notes::after("web1", Some(&first));
        thawed.found(0);
        assert!(thawed.evidence().confirmed);
    }
}
