//! Kind `hosts`: one command on many machines over SSH, stopped with proof on each. A unit is a host, named as in the
//! configuration; its name and the run's mark are all that is needed to look for a run again, whatever became of the
//! server, the job or the connection.

mod collect;
mod connection;
mod evidence;
mod host_keys;
mod inventory;
mod run;
mod script;
mod session;
mod spec;
mod stopping;
mod transcript;

use std::{ffi::OsString, sync::Arc, time::Duration};

use app::model::{HostInfo, HostsSpec, Kind, Phase};
use async_trait::async_trait;
use tokio::sync::watch;

use self::{
    evidence::Notes,
    inventory::Inventory,
    run::{CANCELLED, Plan},
    script::RemoteCommand,
    stopping::Order,
};
use super::{
    Admitted, JobKind, Recovery, RunContext, RunOutcome, RunPlace, Stop, Upload, presets::Commands, run_files::RunFiles,
};
use crate::{
    config::Config,
    data::{DataFolder, make_folder},
    engine::clock::now,
    error::{Error, Result},
    process,
    store::{ClaimedRun, JobRecord, NewUnit, OpenRun},
};

/// Hosts of a job at once when the spec does not say.
const DEFAULT_PARALLEL: u32 = 50;
/// Seconds until a host must have been reached, when the spec does not say.
const DEFAULT_CONNECT_TIMEOUT_S: u32 = 10;
/// Seconds between SIGTERM and SIGKILL when neither spec nor preset says.
const DEFAULT_GRACE_S: u32 = 5;

/// See the module.
pub struct HostsKind {
    shared: Arc<Shared>,
    files: RunFiles,
}

struct Shared {
    data: DataFolder,
    inventory: Inventory,
    commands: Commands,
}

/// The hosts of a configuration, as the form offers them.
#[must_use]
pub fn offered(config: &Config) -> Vec<HostInfo> {
    let groups_of = |name: &String| {
        let groups = config.host_groups.iter().filter(|(_, members)| members.contains(name));
        groups.map(|(group, _)| group.clone()).collect()
    };
    let info = |host: &crate::config::hosts::HostConfig| HostInfo {
        name: host.name.clone(),
        groups: groups_of(&host.name),
        tags: host.tags.clone(),
    };
    config.hosts.iter().map(info).collect()
}

impl HostsKind {
    /// The kind as configured.
    #[must_use]
    pub fn new(data: DataFolder, config: &Config) -> Self {
        let commands = Commands {
            presets: config.presets_of(Kind::Hosts),
            allow_free: config.ssh.allow_free_commands,
            section: "ssh",
        };
        let files = RunFiles::new(Kind::Hosts, data.clone());
        HostsKind { shared: Arc::new(Shared { data, inventory: Inventory::new(config), commands }), files }
    }
}

impl Shared {
    fn admitted(&self, spec: &HostsSpec, units: Vec<NewUnit>) -> Result<Admitted> {
        let text =
            serde_json::to_string(spec).map_err(|error| Error::internal("a spec could not be written", error))?;
        Ok(Admitted { spec: text, parallel: spec.parallel.unwrap_or(DEFAULT_PARALLEL), units })
    }

    /// What is to be done, or one sentence why it cannot be. Makes the run's folders. Blocking.
    fn plan(&self, claimed: &ClaimedRun) -> Result<std::result::Result<Plan, String>> {
        let place = RunPlace::from(claimed);
        let spec = read_spec(&claimed.spec)?;
        let name = &claimed.unit.name;
        let Some(host) = self.inventory.get(name) else {
            return Ok(Err(format!("the host `{name}` is not configured any more")));
        };
        let preset = spec.preset.as_ref().and_then(|preset| self.commands.presets.get(preset));
        let Some(argv) = preset.map(|preset| &preset.command).or(spec.command.as_ref()) else {
            let preset = spec.preset.unwrap_or_default();
            return Ok(Err(format!("the preset `{preset}` is not configured any more")));
        };
        let mut env = preset.map(|preset| preset.env.clone()).unwrap_or_default();
        env.insert("BELAY_HOST".to_owned(), name.clone());
        let out = self.data.out(place.job_id, place.run_id);
        make_folder(&out)?;
        make_folder(&self.data.logs(place.job_id))?;
        let connect_timeout = spec.connect_timeout_s.unwrap_or(DEFAULT_CONNECT_TIMEOUT_S);
        let timeout = spec.timeout_s.or(preset.and_then(|preset| preset.timeout_s));
        Ok(Ok(Plan {
            run: place.run_id,
            command: RemoteCommand {
                argv: argv.iter().map(|word| word.replace("{host}", name)).collect(),
                env,
                grace: self.grace(&spec),
            },
            host,
            connect_timeout: Duration::from_secs(connect_timeout.into()),
            timeout: timeout.map(|seconds| Duration::from_secs(seconds.into())),
            collect: spec.collect,
            out,
            log: self.data.log(place.job_id, place.run_id),
        }))
    }

    fn grace(&self, spec: &HostsSpec) -> Duration {
        let preset = spec.preset.as_ref().and_then(|name| self.commands.presets.get(name));
        let seconds = spec.grace_s.or(preset.and_then(|preset| preset.grace_s)).unwrap_or(DEFAULT_GRACE_S);
        Duration::from_secs(seconds.into())
    }
}

fn read_spec(spec: &str) -> Result<HostsSpec> {
    serde_json::from_str(spec).map_err(|error| Error::internal("a stored spec cannot be read", error))
}

#[async_trait]
impl JobKind for HostsKind {
    fn kind(&self) -> Kind {
        Kind::Hosts
    }

    fn phases(&self) -> &'static [Phase] {
        &[Phase::InProgress]
    }

    async fn admit(&self, spec: serde_json::Value, uploads: &[Upload]) -> Result<Admitted> {
        if let Some(upload) = uploads.first() {
            let detail = format!("Kind `hosts` takes no uploads; there is one as `{}`.", upload.part);
            return Err(Error::invalid_spec("files", detail));
        }
        let spec = spec::parse(spec)?;
        spec::check(&spec, &self.shared.commands)?;
        let hosts = self.shared.inventory.select(&spec.hosts)?;
        let unit = |name| NewUnit { phase: Phase::InProgress, name, input: OsString::new() };
        self.shared.admitted(&spec, hosts.into_iter().map(unit).collect())
    }

    async fn admit_again(&self, spec: &str, units: Vec<NewUnit>) -> Result<Admitted> {
        let spec = read_spec(spec)?;
        spec::check(&spec, &self.shared.commands)?;
        self.shared.admitted(&spec, units)
    }

    async fn units(&self, _job: &JobRecord, _phase: Phase) -> Result<Vec<NewUnit>> {
        Ok(Vec::new())
    }

    async fn run(&self, context: RunContext) -> RunOutcome {
        let RunContext { claimed, stop, .. } = context;
        let place = RunPlace::from(&claimed);
        let shared = self.shared.clone();
        let planned = tokio::task::spawn_blocking(move || shared.plan(&claimed)).await;
        let plan = match planned.unwrap_or_else(|error| Err(Error::internal("work failed", error))) {
            Ok(Ok(plan)) => plan,
            Ok(Err(why)) => return run::failed(why),
            Err(Error::DiskFull) => return run::failed("no space left on the disk".to_owned()),
            Err(error) => {
                tracing::error!(run = %place.run_id, error = &error as &dyn std::error::Error, "a run could not be planned");
                return run::failed("the server could not carry it out; its log says why".to_owned());
            }
        };
        let outcome = run::carry_out(&self.shared.inventory, &plan, stop).await;
        self.files.with_output(place, outcome).await
    }

    async fn adopt(&self, run: RunPlace, _outcome: &RunOutcome) -> Result<()> {
        self.files.adopt(run).await
    }

    async fn disown(&self, run: RunPlace) {
        self.files.disown(run).await;
    }

    async fn discard(&self, run: RunPlace) {
        self.files.discard(run).await;
    }

    async fn tidy(&self, run: RunPlace) {
        // Nothing but its scratch: what a look needs is on the host.
        self.files.discard(run).await;
    }

    fn grace(&self, spec: &str) -> Duration {
        match read_spec(spec) {
            Ok(spec) => self.shared.grace(&spec),
            Err(_) => Duration::from_secs(DEFAULT_GRACE_S.into()),
        }
    }

    async fn recover(&self, run: &OpenRun, grace: Duration, mut stop: watch::Receiver<Stop>) -> Result<Recovery> {
        let mut notes = Notes::after(&run.unit_name, run.stop.as_ref());
        match self.shared.inventory.get(&run.unit_name) {
            Some(host) => {
                let patience = Duration::from_secs(DEFAULT_CONNECT_TIMEOUT_S.into());
                let ended = watch::Sender::new(None).subscribe();
                let order = Order { run: run.run_id, lead: None, grace, ended, stop: &mut stop };
                notes = notes.at(&host);
                run::stop_anew(&self.shared.inventory, &host, patience, order, &mut notes).await;
            }
            None => notes.silent("it is not configured any more"),
        }
        let evidence = notes.evidence();
        if evidence.confirmed && run.is_cancelled {
            let log = self.shared.data.log(run.job_id, run.run_id);
            let lines = [evidence.detail.clone(), format!("{CANCELLED} {}", now())];
            let written = tokio::task::spawn_blocking(move || process::log::add(&log, &lines)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(run = %run.run_id, %error, "a transcript lacks its last line");
            }
        }
        Ok(Recovery::Stopped(evidence))
    }
}
