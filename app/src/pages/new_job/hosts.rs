//! The form of kind `hosts`: a preset or a command on hosts that are picked by name, group and tag.

use std::collections::{BTreeMap, BTreeSet};

use leptos::prelude::*;

use super::{
    Form, lines,
    parts::{OwnCommand, command_section, how_it_stops, parallel_field, time_field},
};
use crate::{
    components::notice::notice,
    model::{FormOptions, HostsSpec, Problem, Spec},
    text,
};

/// Hosts at once when nothing is typed.
const PARALLEL: u32 = 50;

/// Reads what was typed.
pub(super) fn read(form: &Form) -> Result<Spec, Problem> {
    let (preset, command) = form.preset_or_command()?;
    Ok(Spec::Hosts(HostsSpec {
        hosts: form.values("hosts"),
        preset,
        command,
        parallel: form.number("parallel")?,
        connect_timeout_s: None,
        timeout_s: form.number("timeout_s")?,
        grace_s: None,
        collect: lines(&form.value("collect")),
    }))
}

/// The sections between name and foot.
pub(super) fn sections(form: Form, options: &FormOptions, typed: &dyn Fn(&str) -> String) -> AnyView {
    view! {
        {hosts_section(options, &typed("hosts"))}
        {command_section(form, options, own_command(options), typed("command"))}
        {limits_section(form, typed)}
    }
    .into_any()
}

/// What stands beside the form.
pub(super) fn aside(_form: Form, options: &FormOptions) -> AnyView {
    let known = text::counted(options.hosts.len() as u64, ("host", "hosts"));
    view! {
        <section class="panel" aria-labelledby="h-will">
            <div class="panel-head"><h2 id="h-will">"What will run"</h2></div>
            <div class="panel-body stack">
                <dl class="facts">
                    <dt>"Where"</dt>
                    <dd>{format!("On those that are chosen, of {known}, each once")}</dd>
                    <dt>"As"</dt>
                    <dd>"The user of the configuration, over SSH"</dd>
                    <dt>"Left there"</dt>
                    <dd>"Nothing: no file, no process"</dd>
                </dl>
            </div>
        </section>
        {how_it_stops("On each host, the command and all that it started, 5 s grace.")}
    }
    .into_any()
}

fn hosts_section(options: &FormOptions, typed: &str) -> AnyView {
    if options.hosts.is_empty() {
        let words = "The configuration names no hosts: there is nowhere to run.";
        return notice("partial", "warning", words.into_any());
    }
    let ticked: BTreeSet<&str> = typed.lines().collect();
    let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
    let mut tags: BTreeMap<&str, usize> = BTreeMap::new();
    for host in &options.hosts {
        host.groups.iter().for_each(|group| *groups.entry(group).or_default() += 1);
        host.tags.iter().for_each(|tag| *tags.entry(tag).or_default() += 1);
    }
    let many = |title, prefix: &str, names: &BTreeMap<&str, usize>| {
        let choices = names.iter().map(|(name, count)| {
            let hosts = text::counted(*count as u64, ("host", "hosts"));
            (format!("{prefix}:{name}"), (*name).to_owned(), hosts)
        });
        pick(title, choices.collect(), &ticked)
    };
    let single = options.hosts.iter().map(|host| {
        let words: Vec<&str> = host.groups.iter().chain(&host.tags).map(String::as_str).collect();
        (host.name.clone(), host.name.clone(), words.join(", "))
    });
    view! {
        <section class="section" aria-labelledby="s-hosts">
            <header>
                <h2 id="s-hosts">"Hosts"</h2>
                <p>"By group, by tag, or one by one. Each is taken once."</p>
            </header>
            {many("Groups", "group", &groups)}
            {many("Tags", "tag", &tags)}
            {pick("Single hosts", single.collect(), &ticked)}
        </section>
    }
    .into_any()
}

/// Boxes to tick: value, name, and what it stands for.
fn pick(title: &'static str, choices: Vec<(String, String, String)>, ticked: &BTreeSet<&str>) -> Option<AnyView> {
    let boxes = choices
        .into_iter()
        .map(|(value, name, words)| {
            let checked = ticked.contains(value.as_str());
            view! {
                <label class="choice">
                    <input class="check" type="checkbox" name="hosts" value=value checked=checked />
                    <span>{name}" "<small>{words}</small></span>
                </label>
            }
            .into_any()
        })
        .collect::<Vec<_>>();
    (!boxes.is_empty()).then(|| {
        view! {
            <fieldset class="picks">
                <legend>{title}</legend>
                <div class="scroll" tabindex="0">{boxes}</div>
            </fieldset>
        }
        .into_any()
    })
}

fn own_command(options: &FormOptions) -> Option<OwnCommand> {
    options.allow_free_commands_on_hosts.then(|| OwnCommand {
        example: "df -h /",
        hint: view! { "No shell. Replaced: " <span class="mono">"{host}"</span> "." }.into_any(),
    })
}

fn limits_section(form: Form, typed: &dyn Fn(&str) -> String) -> AnyView {
    let (parallel, timeout, collect) = (typed("parallel"), typed("timeout_s"), typed("collect"));
    view! {
        <section class="section" aria-labelledby="s-how">
            <header>
                <h2 id="s-how">"Limits and files"</h2>
                <p>"Files are fetched when the command has ended, whatever its status."</p>
            </header>
            <div class="fields">
                {parallel_field(form, format!("Hosts at a time; {PARALLEL} when it is empty."), PARALLEL, parallel)}
                {time_field(form, "Where it takes longer it is stopped and counts as failed.", timeout)}
                <div class="field wide">
                    <label for="collect">"Fetch these files "<small>"one pattern a line"</small></label>
                    <textarea
                        class="textarea mono"
                        id="collect"
                        name="collect"
                        rows="2"
                        spellcheck="false"
                        placeholder="/var/log/app/*.log"
                        aria-invalid=move || form.wrong("collect").then_some("true")
                    >
                        {collect}
                    </textarea>
                </div>
            </div>
        </section>
    }
    .into_any()
}
