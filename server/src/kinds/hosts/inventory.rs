//! The hosts of the configuration, and which of them a spec means.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use app::model::ErrorCode;

use crate::{
    config::{
        Config,
        hosts::{HostConfig, SshConfig},
    },
    error::{Error, Result},
};

/// Names in a hint.
const NAMED: usize = 20;
/// Names that are at least so much alike are perhaps mixed up, by Jaro and Winkler.
const ALIKE: f64 = 0.85;

/// See the module.
pub(super) struct Inventory {
    hosts: HashMap<String, Arc<HostConfig>>,
    /// In the order of the configuration.
    names: Vec<String>,
    groups: BTreeMap<String, Vec<String>>,
    pub(super) ssh: SshConfig,
}

impl Inventory {
    pub(super) fn new(config: &Config) -> Self {
        Inventory {
            hosts: config.hosts.iter().map(|host| (host.name.clone(), Arc::new(host.clone()))).collect(),
            names: config.hosts.iter().map(|host| host.name.clone()).collect(),
            groups: config.host_groups.clone(),
            ssh: config.ssh.clone(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<HostConfig>> {
        self.hosts.get(name).cloned()
    }

    /// The file with the keys of hosts; `None` where there is no home to look in.
    pub(super) fn known_hosts(&self) -> Option<PathBuf> {
        let at_home = || std::env::home_dir().map(|home| home.join(".ssh/known_hosts"));
        self.ssh.known_hosts.clone().or_else(at_home)
    }

    /// The hosts that `names` means, each once, in that order.
    pub(super) fn select(&self, names: &[String]) -> Result<Vec<String>> {
        let mut selected = Vec::new();
        let mut seen = HashSet::new();
        for name in names {
            for host in self.meant_by(name.trim())? {
                if seen.insert(host) {
                    selected.push(host.to_owned());
                }
            }
        }
        if selected.is_empty() {
            return Err(self.refused("`spec.hosts` names no host: say on which ones to run.".to_owned()));
        }
        Ok(selected)
    }

    fn meant_by<'a>(&'a self, name: &str) -> Result<Vec<&'a str>> {
        if let Some(group) = name.strip_prefix("group:") {
            let missing = || self.refused(format!("There is no group `{group}`.{}", self.perhaps(name)));
            let members = self.groups.get(group).ok_or_else(missing)?;
            return Ok(members.iter().map(String::as_str).collect());
        }
        if let Some(tag) = name.strip_prefix("tag:") {
            let has_tag = |name: &&String| self.hosts.get(*name).is_some_and(|host| host.tags.iter().any(|t| t == tag));
            let tagged: Vec<&str> = self.names.iter().filter(has_tag).map(String::as_str).collect();
            return if tagged.is_empty() {
                Err(self.refused(format!("No host has the tag `{tag}`.{}", self.perhaps(name))))
            } else {
                Ok(tagged)
            };
        }
        match self.names.iter().find(|known| *known == name) {
            Some(known) => Ok(vec![known]),
            None => Err(self.refused(format!("There is no host `{name}`.{}", self.perhaps(name)))),
        }
    }

    /// What was perhaps meant, as the end of a sentence about what is not there.
    fn perhaps(&self, name: &str) -> String {
        let tags: BTreeSet<&str> = self.hosts.values().flat_map(|host| &host.tags).map(String::as_str).collect();
        let hosts = self.names.iter().map(|name| (name.clone(), name.as_str()));
        let groups = self.groups.keys().map(|group| (format!("group:{group}"), group.as_str()));
        let tags = tags.into_iter().map(|tag| (format!("tag:{tag}"), tag));
        // The word may be right and its prefix forgotten, or wrong.
        let bare = name.split_once(':').map_or(name, |(_, bare)| bare).to_lowercase();
        let alike = |known: &str| strsim::jaro_winkler(&bare, &known.to_lowercase());
        let scored = hosts.chain(groups).chain(tags).map(|(full, known)| (alike(known), full));
        let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
        match best {
            Some((score, full)) if score >= ALIKE => format!(" Did you mean `{full}`?"),
            Some(_) | None => String::new(),
        }
    }

    fn refused(&self, detail: String) -> Error {
        let hint = if self.names.is_empty() {
            "No hosts are configured; see `[[hosts]]` in belay.toml.".to_owned()
        } else {
            let names: Vec<String> = self.names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
            let more = if self.names.len() > NAMED { ", …" } else { "" };
            format!("Known hosts: {}{more}. A group is `group:NAME`, a tag `tag:NAME`.", names.join(", "))
        };
        Error::Invalid { code: ErrorCode::InvalidSpec, field: Some("spec.hosts".to_owned()), detail, hint: Some(hint) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory() -> Inventory {
        let text = "
            [[hosts]]\nname = \"web1\"\ntags = [\"eu\"]\n[[hosts]]\nname = \"web2\"\n
            [[hosts]]\nname = \"db1\"\ntags = [\"eu\"]\n[host_groups]\ndb = [\"db1\"]\nempty = []";
        Inventory::new(&toml::from_str(text).unwrap())
    }

    fn select(names: &[&str]) -> Result<Vec<String>> {
        inventory().select(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn hosts_are_selected_by_name_group_and_tag_each_once() {
        assert_eq!(select(&["web2", "group:db", "tag:eu", "web2"]).unwrap(), ["web2", "db1", "web1"]);
    }

    #[test]
    fn a_name_that_is_nearly_there_is_suggested() {
        for (name, meant) in [
            ("wbe1", Some("`web1`")),
            ("WEB2", Some("`web2`")),
            ("group:bd", None),
            ("group:emty", Some("`group:empty`")),
            ("db", Some("`group:db`")),
            ("eu", Some("`tag:eu`")),
            ("tag:db", Some("`group:db`")),
            ("mainframe", None),
        ] {
            let Error::Invalid { detail, .. } = select(&[name]).unwrap_err() else { panic!("{name}") };
            let suggested = detail.split_once("Did you mean ").map(|(_, rest)| rest.trim_end_matches('?'));
            assert_eq!(suggested, meant, "{detail}");
        }
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_is() {
        for (names, words) in [
            (vec![], "names no host"),
            (vec!["group:empty"], "names no host"),
            (vec!["web9"], "no host `web9`"),
            (vec!["group:web"], "no group `web`"),
            (vec!["tag:us"], "tag `us`"),
        ] {
            let Error::Invalid { field, detail, hint, .. } = select(&names).unwrap_err() else { panic!("{names:?}") };
            assert_eq!(field.as_deref(), Some("spec.hosts"));
            assert!(detail.contains(words) && hint.unwrap().contains("`web1`"), "{names:?}: {detail}");
        }
    }
}
