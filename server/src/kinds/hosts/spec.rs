//! Checks a spec of kind `hosts`, field by field, so that a refusal names the one that is wrong.

use app::model::HostsSpec;
use serde_json::Value;

use super::collect;
use crate::{
    error::{Error, Result},
    kinds::{
        fields::{Fields, MAX_GRACE_S, MAX_PARALLEL, MAX_TIMEOUT_S, check_range},
        presets::Commands,
    },
};

/// Ten minutes, seconds.
const MAX_CONNECT_TIMEOUT_S: u32 = 600;
/// Longest command, bytes: it goes through the standard input of a shell that reads it byte by byte.
const MAX_COMMAND: usize = 64 * 1024;
/// Most patterns of files to fetch.
const MAX_COLLECT: usize = 100;

/// Reads a spec; every error names its field.
pub(super) fn parse(spec: Value) -> Result<HostsSpec> {
    let mut fields = Fields::of(spec)?;
    let spec = HostsSpec {
        hosts: fields.take("hosts", "a list of hosts, `group:NAME` and `tag:NAME`")?.unwrap_or_default(),
        preset: fields.take("preset", "a text")?,
        command: fields.take("command", "a list of texts")?,
        parallel: fields.take("parallel", "a whole number from 1 to 1,024")?,
        connect_timeout_s: fields.take("connect_timeout_s", "a whole number of seconds from 1 to 600")?,
        timeout_s: fields.take("timeout_s", "a whole number of seconds from 1 to 604,800")?,
        grace_s: fields.take("grace_s", "a whole number of seconds from 0 to 3,600")?,
        collect: fields.take("collect", "a list of remote paths")?.unwrap_or_default(),
    };
    fields.finish(
        "Kind `hosts` takes hosts, preset or command, parallel, connect_timeout_s, timeout_s, grace_s and collect.",
    )?;
    Ok(spec)
}

/// Checks everything but the hosts.
pub(super) fn check(spec: &HostsSpec, commands: &Commands) -> Result<()> {
    check_range("parallel", spec.parallel, 1, MAX_PARALLEL, "")?;
    check_range("connect_timeout_s", spec.connect_timeout_s, 1, MAX_CONNECT_TIMEOUT_S, " seconds")?;
    check_range("timeout_s", spec.timeout_s, 1, MAX_TIMEOUT_S, " seconds")?;
    check_range("grace_s", spec.grace_s, 0, MAX_GRACE_S, " seconds")?;
    let (field, command) = commands.chosen(spec.preset.as_deref(), spec.command.as_deref())?;
    if command.iter().map(String::len).sum::<usize>() > MAX_COMMAND {
        return Err(Error::invalid_spec(field, "The command is longer than 64 KiB."));
    }
    if spec.collect.len() > MAX_COLLECT {
        return Err(Error::invalid_spec("spec.collect", "At most 100 patterns of files can be fetched."));
    }
    for pattern in &spec.collect {
        collect::check(pattern).map_err(|why| Error::invalid_spec("spec.collect", why))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::config::Preset;

    fn commands(allow_free: bool) -> Commands {
        let preset = Preset { command: vec!["uptime".to_owned()], ..Preset::default() };
        Commands { presets: BTreeMap::from([("load".to_owned(), preset)]), allow_free, section: "ssh" }
    }

    fn refusal(spec: Value, free: bool) -> (String, String) {
        let error = parse(spec).and_then(|spec| check(&spec, &commands(free))).unwrap_err();
        let Error::Invalid { field, detail, hint, .. } = error else { panic!("not a refusal: {error}") };
        (field.unwrap_or_default(), format!("{detail} {}", hint.unwrap_or_default()))
    }

    #[test]
    fn a_refused_spec_names_its_field() {
        let cases = [
            (json!({}), "spec.preset"),
            (json!({"preset": "nope"}), "spec.preset"),
            (json!({"preset": "load", "command": ["true"]}), "spec.command"),
            (json!({"command": []}), "spec.command"),
            (json!({"command": [""]}), "spec.command"),
            (json!({"command": ["echo", "a\u{0}b"]}), "spec.command"),
            (json!({"command": ["echo", "x".repeat(70_000)]}), "spec.command"),
            (json!({"preset": "load", "hosts": "web1"}), "spec.hosts"),
            (json!({"preset": "load", "parallel": 0}), "spec.parallel"),
            (json!({"preset": "load", "connect_timeout_s": 601}), "spec.connect_timeout_s"),
            (json!({"preset": "load", "timeout_s": 0}), "spec.timeout_s"),
            (json!({"preset": "load", "grace_s": 3601}), "spec.grace_s"),
            (json!({"preset": "load", "collect": [""]}), "spec.collect"),
            (json!({"preset": "load", "collect": ["/var/log/[a"]}), "spec.collect"),
            (json!({"preset": "load", "collect": ["/var/**/x"]}), "spec.collect"),
            (json!({"preset": "load", "inputs": ["x"]}), "spec.inputs"),
        ];
        for (spec, field) in cases {
            assert_eq!(refusal(spec.clone(), true).0, field, "{spec}");
        }
    }

    #[test]
    fn a_free_command_is_refused_where_hosts_do_not_allow_it() {
        let (field, words) = refusal(json!({"command": ["true"]}), false);
        assert_eq!(field, "spec.command");
        assert!(words.contains("`[ssh]`"), "{words}");
    }
}
